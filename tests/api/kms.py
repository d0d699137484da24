"""What every suite uses: a rig as an object, signed raw calls, the audit trail, the AWS clients.

All calls go through HTTP with signatures made by botocore. `call` sends any bytes a suite likes;
the boto3 client is for what an ordinary program would do.
"""

import base64
import contextlib
import datetime
import http.client
import json
import os
import pathlib
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from unittest import mock

import boto3
import botocore.auth
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

ROOT = pathlib.Path(__file__).resolve().parents[2]
RIG = ROOT / "provisioning" / "rig.sh"
BUILD = pathlib.Path(os.environ.get("HSMKMS_BUILD", ROOT / "build" / "release"))
CLIENTS = pathlib.Path(os.environ.get("HSMKMS_CLIENTS", ROOT / "build" / "clients"))
AWS = "/usr/bin/aws"
TLS = os.environ.get("HSMKMS_E2E_TLS", "") == "1"
SANITIZED = os.environ.get("HSMKMS_E2E_SANITIZED", "") == "1"

JSON_TYPE = "application/x-amz-json-1.1"
NO_SUCH_KEY = "00000000-0000-4000-8000-000000000000"
NO_SUCH_UUID = "not-a-key-id"


def b64(data):
    """Bytes as the text of a JSON blob member."""
    return base64.b64encode(data).decode()


def unb64(text):
    """The reverse."""
    return base64.b64decode(text, validate=True)


def client_program(*names, made_by):
    """A file that tests/api/clients.sh made, or a skip."""
    path = CLIENTS.joinpath(*names)
    if not path.exists():
        pytest.skip(f"there is no {path}: {made_by} was not to be had")
    return path


@contextlib.contextmanager
def signing_clock(ahead):
    """Within it, signatures are dated by a clock so far (a timedelta) ahead."""
    real = datetime.datetime

    class Shifted(real):
        @classmethod
        def utcnow(cls):
            return real.utcnow() + ahead

        @classmethod
        def now(cls, tz=None):
            return real.now(tz) + ahead

    with mock.patch.object(botocore.auth.datetime, "datetime", Shifted):
        yield


class Refused(Exception):
    """An answer that is not a success; name is its __type."""

    def __init__(self, answer):
        super().__init__(f"{answer.status} {answer.text[:300]}")
        self.answer = answer
        self.name = answer.type


class Answer:
    """One HTTP answer."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    @property
    def json(self):
        return json.loads(self.body) if self.body else {}

    @property
    def type(self):
        return self.json.get("__type", "")

    @property
    def message(self):
        return self.json.get("message", self.json.get("Message"))

    @property
    def request_id(self):
        return self.headers["x-amzn-requestid"]


class Key(str):
    """A key id that remembers its ARN."""

    def __new__(cls, metadata):
        key = super().__new__(cls, metadata["KeyId"])
        key.arn = metadata["Arn"]
        key.metadata = metadata
        return key


class Credential:
    """Access key and secret, and what a request is signed for."""

    def __init__(self, access_key, secret, region="us-east-1", service="kms"):
        self.access_key, self.secret, self.region, self.service = access_key, secret, region, service

    def but(self, **changes):
        return Credential(**{**self.__dict__, **changes})


class Rig:
    """A disposable service made by provisioning/rig.sh."""

    def __init__(self, tls=TLS, conf="", env=None, transit=False, tls_key=None, stores=()):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hk", dir="/tmp"))
        self.tls = tls or tls_key is not None
        self.environment = {**os.environ, "HSMKMS_BUILD": str(BUILD), **(env or {})}
        self.local = threading.local()
        arguments = ["--bare"] + (["--tls"] if tls else []) + (["--conf", conf] if conf else [])
        arguments += ["--tls-key", tls_key] if tls_key else []
        arguments += ["--transit"] if transit else []
        for cluster in stores:
            arguments += ["--store", cluster]
        try:
            self._take(self._rig("up", *arguments))
        except BaseException:
            self.down()
            raise

    # life

    def _rig(self, command, *arguments, check=True, env=None):
        result = subprocess.run([RIG, command, self.dir, *arguments], check=False, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120,
                                env={**self.environment, **(env or {})})
        if check and result.returncode:
            raise subprocess.CalledProcessError(result.returncode, [command], result.stdout,
                                                result.stderr + self.log()[-2000:])
        return result

    def _take(self, result):
        self.exports = dict(shlex.split(line)[1].split("=", 1)
                            for line in result.stdout.splitlines() if line.startswith("export "))
        self.url = self.exports["AWS_ENDPOINT_URL_KMS"]
        self.host, self.port = self.url.split("//")[1].split(":")
        self.port = int(self.port)
        self.credential = Credential(self.exports["AWS_ACCESS_KEY_ID"],
                                     self.exports["AWS_SECRET_ACCESS_KEY"])
        self.local = threading.local()

    def start(self, check=True, env=None):
        """Starts again. Returns the exit status of the daemon when it does not start."""
        result = self._rig("start", check=check, env=env)
        if result.returncode == 0:
            self._take(result)
        return result.returncode

    def stop(self):
        self._rig("stop")

    def kill(self):
        self._rig("kill")

    def restart(self):
        self.stop()
        self.start()

    def running(self):
        return self._rig("status", check=False).stdout.strip() == "running"

    def down(self):
        if (self.dir / "rig").exists():
            self._rig("down", check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    @property
    def pid(self):
        return int((self.dir / "daemon.pid").read_text())

    def log(self):
        path = self.dir / "daemon.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # clients

    def env(self, **more):
        """Environment for a client program that is a process of its own."""
        return {**os.environ, **self.exports, "AWS_PAGER": "", "AWS_MAX_ATTEMPTS": "1",
                "AWS_EC2_METADATA_DISABLED": "true", **more}

    def boto(self, **changes):
        """A boto3 client; changes override its arguments."""
        arguments = {
            "endpoint_url": self.url, "region_name": "us-east-1",
            "aws_access_key_id": self.credential.access_key,
            "aws_secret_access_key": self.credential.secret,
            "verify": self.exports.get("AWS_CA_BUNDLE", True),
            "config": Config(retries={"max_attempts": 0}, read_timeout=60), **changes}
        return boto3.client("kms", **arguments)

    def aws(self, *arguments, check=True):
        """The AWS command line: its JSON output."""
        command = [AWS, "--endpoint-url", self.url, "--output", "json", "kms", *arguments]
        result = subprocess.run(command, check=check, env=self.env(), timeout=120, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if check:
            return json.loads(result.stdout) if result.stdout.strip() else {}
        return result

    def admin(self, *arguments, check=True):
        """hsmkms-admin over its socket."""
        return subprocess.run([*shlex.split(self.exports["HSMKMS_ADMIN"]), *arguments], check=check,
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)

    def user(self, name, actions="kms:*"):
        """A new user who may do these actions; its credential."""
        self.admin("user", "create", name)
        policy = self.dir / f"policy-{name}.json"
        policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": actions, "Resource": "*"}]}))
        self.admin("policy", "put", "--user", name, "--name", "user", str(policy))
        return self.access_key(name)

    def access_key(self, name):
        """A new access key of a user; its credential."""
        made = json.loads(self.admin("key", "create", "--user", name).stdout)
        return Credential(made["AccessKeyId"], made["SecretAccessKey"])

    # raw calls

    def connect(self):
        """A new HTTP connection."""
        if not self.tls:
            return http.client.HTTPConnection(self.host, self.port, timeout=60)
        context = ssl.create_default_context(cafile=self.exports["AWS_CA_BUNDLE"])
        return http.client.HTTPSConnection(self.host, self.port, timeout=60, context=context)

    def socket(self):
        """A raw connection, TLS where the rig has it."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.tls:
            return plain
        context = ssl.create_default_context(cafile=self.exports["AWS_CA_BUNDLE"])
        return context.wrap_socket(plain, server_hostname=self.host)

    def signed(self, operation, body, credential=None, headers=None):
        """Headers of a signed request."""
        credential = credential or self.credential
        all_headers = {"Host": f"{self.host}:{self.port}", "Content-Type": JSON_TYPE,
                       "X-Amz-Target": f"TrentService.{operation}", **(headers or {})}
        request = AWSRequest(method="POST", url=self.url + "/", data=body, headers={
            k: v for k, v in all_headers.items() if v is not None})
        SigV4Auth(Credentials(credential.access_key, credential.secret), credential.service,
                  credential.region).add_auth(request)
        return dict(request.headers.items())

    def send(self, headers, body, method="POST", path="/", connection=None):
        """One request on this thread's connection, or on the given one."""
        own = connection is None
        if own:
            connection = self._own_connection()
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()},
                            response.read())
        except BaseException as error:
            if own:
                connection.close()
                self.local.connection = None
            if isinstance(error, ConnectionRefusedError):
                error.add_note("the daemon's log ends with\n" + self.log()[-3000:])
            raise
        return answer

    def _own_connection(self):
        """This thread's connection; a new one when it was idle so long that the service may close it."""
        connection, used = getattr(self.local, "connection", None), getattr(self.local, "used", 0)
        if connection is None or time.monotonic() - used > 20:
            connection = self.connect()
        self.local.connection, self.local.used = connection, time.monotonic()
        return connection

    def call(self, operation, parameters=None, credential=None, headers=None, connection=None):
        """Calls an operation with a dict, or with bytes as they are; any answer is returned."""
        body = parameters if isinstance(parameters, bytes) else json.dumps(parameters or {}).encode()
        return self.send(self.signed(operation, body, credential, headers), body,
                         connection=connection)

    def ok(self, operation, **parameters):
        """The result of a call that must succeed."""
        answer = self.call(operation, parameters)
        if answer.status != 200:
            raise Refused(answer)
        return answer.json

    def refuses(self, expected, operation, parameters=None, **more):
        """A call that must be refused with this __type (or one of several)."""
        answer = self.call(operation, parameters, **more)
        names = (expected,) if isinstance(expected, str) else expected
        assert answer.status != 200, f"{operation} {str(parameters)[:200]} succeeded"
        assert answer.type in names, f"{operation} {str(parameters)[:200]}: {answer.text[:300]}"
        assert answer.request_id
        return answer

    def key(self, **parameters):
        """A new key."""
        return Key(self.ok("CreateKey", **parameters)["KeyMetadata"])

    # views

    def metrics(self):
        """The text of /metrics."""
        host = self.exports["HSMKMS_OPS_URL"].split("//")[1]
        connection = http.client.HTTPConnection(host, timeout=20)
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        text = response.read().decode()
        assert response.status == 200, text
        return text

    def metric(self, name):
        """Sum of all samples whose metric name matches a regular expression."""
        values = [float(line.rsplit(" ", 1)[1]) for line in self.metrics().splitlines()
                  if re.match(name + r"(\{.*\})? ", line)]
        assert values, f"no metric {name}"
        return sum(values)

    def audit(self):
        """All audit records."""
        directory = pathlib.Path(self.exports["HSMKMS_AUDIT_DIR"])
        return [json.loads(line) for path in sorted(directory.glob("audit-*.jsonl"))
                for line in path.read_text().splitlines()]

    def audit_verify(self):
        """hsmkms-audit verify must find the trail whole."""
        result = subprocess.run([BUILD / "hsmkms-audit", "verify", self.exports["HSMKMS_AUDIT_DIR"]],
                                check=False, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, timeout=120)
        assert result.returncode == 0, result.stdout
        return result.stdout

    def view(self):
        """All that a client can see, to prove that a refused call changed nothing."""
        keys = sorted(k["KeyId"] for k in self.ok("ListKeys", Limit=1000)["Keys"])
        return {"keys": [self.details(k) for k in keys],
                "aliases": self.ok("ListAliases", Limit=100)["Aliases"]}

    def details(self, key):
        """One key with its policy, tags and rotation."""
        metadata = self.ok("DescribeKey", KeyId=key)["KeyMetadata"]
        rotation = ([self.ok("GetKeyRotationStatus", KeyId=key), self.ok("ListKeyRotations", KeyId=key)]
                    if metadata["KeySpec"] == "SYMMETRIC_DEFAULT" else [])
        return [metadata, self.ok("GetKeyPolicy", KeyId=key),
                self.ok("ListResourceTags", KeyId=key), *rotation]
