"""A real Ceph object gateway whose SSE-KMS keys are ours, by the transit dialect over mutual TLS."""

import contextlib
import json
import os
import pathlib
import shlex
import shutil
import ssl
import subprocess
import tempfile

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

import kms
from test_mtls import Pki

pytestmark = [pytest.mark.lengthy, pytest.mark.any_listener, pytest.mark.xdist_group("rgw")]
GATEWAY = kms.ROOT / "tests" / "gateways" / "rgw.sh"
BUCKET = "vault"
PARTS = [os.urandom(5 << 20), os.urandom(5 << 20), b"the end"]
lengthy_only = pytest.mark.skipif(kms.SANITIZED, reason="a small part is enough under a sanitizer")

# what a gateway needs and no more
POLICY = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["kms:GenerateDataKey", "kms:Decrypt"], "Resource": "*"}]}


class Gated(kms.Rig):
    """A service that asks every client for a certificate."""

    def __init__(self, pki, **arguments):
        self.pki = pki
        super().__init__(tls=True, transit=True, conf=(
            f"[https]\nclient_certificates = require\nclient_ca = {pki.path('root.pem')}\n"),
            **arguments)

    def connect(self):
        context = ssl.create_default_context(cafile=self.exports["AWS_CA_BUNDLE"])
        context.load_cert_chain(*self.pki.pair("operator"))
        return kms.http.client.HTTPSConnection(self.host, self.port, timeout=60, context=context)


class Gateway:
    """The object gateway of one service."""

    def __init__(self, service, pki):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hkrgw", dir="/tmp"))
        self.service, self.pki = service, pki
        try:
            self._run("up", self._settings("agent"))
        except BaseException:
            self.down()
            raise

    def _settings(self, auth, more=""):
        """Where the gateway finds its keys, and who it is there."""
        certificate, key = self.pki.pair("gateway")
        path = self.dir / "kms.conf"
        path.write_text("".join(f"rgw crypt {line}\n" for line in (
            "s3 kms backend = vault", f"vault auth = {auth}", f"vault addr = {self.service.url}",
            "vault prefix = /v1/transit", "vault secret engine = transit",
            f"vault ssl cacert = {self.service.exports['AWS_CA_BUNDLE']}",
            f"vault ssl clientcert = {certificate}", f"vault ssl clientkey = {key}")) + more)
        return path

    def _run(self, command, *arguments):
        result = subprocess.run([GATEWAY, command, self.dir, *arguments], check=False, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
        assert result.returncode == 0, result.stdout + result.stderr
        self.exports = {**getattr(self, "exports", {}), **dict(
            shlex.split(line)[1].split("=", 1) for line in result.stdout.splitlines()
            if line.startswith("export "))}

    def restart(self, auth="agent", more=""):
        self._run("restart", self._settings(auth, more))

    def down(self):
        with contextlib.suppress(AssertionError):
            self._run("down")
        shutil.rmtree(self.dir, ignore_errors=True)

    def s3(self):
        return boto3.client("s3", endpoint_url=self.exports["RGW_URL"], region_name="us-east-1",
                            aws_access_key_id=self.exports["RGW_ACCESS_KEY"],
                            aws_secret_access_key=self.exports["RGW_SECRET_KEY"],
                            config=Config(retries={"max_attempts": 0},
                                          s3={"addressing_style": "path"}))

    def rados(self, *arguments):
        return subprocess.run(["rados", "-c", self.exports["RGW_CONF"], "-p",
                               "default.rgw.buckets.data", *arguments], check=True, timeout=60,
                              stdout=subprocess.PIPE).stdout

    def stored(self, name):
        """The RADOS object of an S3 object."""
        listed = self.rados("ls").decode().splitlines()
        return next(line for line in listed if line.endswith("_" + name))

    def attribute(self, name, attribute, value=None):
        """An extended attribute that the gateway keeps of an encrypted object; value sets it."""
        attribute = "user.rgw.crypt." + attribute
        if value is None:
            return self.rados("getxattr", self.stored(name), attribute)
        return self.rados("setxattr", self.stored(name), attribute, value)


@pytest.fixture(scope="module")
def pki():
    made = Pki()
    made.ca("root")
    for name in ("gateway", "operator", "stranger"):
        made.client(name)
    yield made
    made.down()


@pytest.fixture(scope="module")
def service(pki):
    made = Gated(pki)
    try:
        made.admin("user", "create", "rgw")
        document = pki.dir / "policy.json"
        document.write_text(json.dumps(POLICY))
        made.admin("policy", "put", str(document), "--user", "rgw", "--name", "gateway")
        made.admin("cert", "bind", pki.spki("gateway"), "--user", "rgw")
        yield made
        assert "Sanitizer" not in made.log()
    finally:
        made.down()


@pytest.fixture(scope="module")
def gateway(service, pki):
    if shutil.which("radosgw") is None:
        pytest.skip("radosgw is not installed")
    made = Gateway(service, pki)
    try:
        made.s3().create_bucket(Bucket=BUCKET)
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def s3(gateway):
    return gateway.s3()


_made = iter(range(10 ** 6))


@pytest.fixture()
def name(service):
    """A new key under a name of its own."""
    alias = f"key-{next(_made)}"
    key = service.key()
    service.ok("CreateAlias", AliasName="alias/" + alias, TargetKeyId=key)
    return alias


def put(s3, key, body, name, **more):
    return s3.put_object(Bucket=BUCKET, Key=key, Body=body, ServerSideEncryption="aws:kms",
                         SSEKMSKeyId=name, **more)


def get(s3, key, **more):
    return s3.get_object(Bucket=BUCKET, Key=key, **more)["Body"].read()


def refused(call):
    """Status and code of an S3 call that must fail."""
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"].get("Code")


@contextlib.contextmanager
def counted(service, expected):
    """The operations that are recorded meanwhile, in order and no others."""
    before = len(service.audit())
    yield
    records = service.audit()[before:]
    assert [r["eventName"] for r in records] == expected
    for record in records:
        assert record["userIdentity"]["arn"].endswith(":user/rgw")


def test_put_get_head_range(service, gateway, s3, name):
    body = os.urandom(300_000)
    with counted(service, ["GenerateDataKey"]):
        answer = put(s3, "plain", body, name)
    assert answer["ServerSideEncryption"] == "aws:kms" and answer["SSEKMSKeyId"] == name
    with counted(service, ["Decrypt"]):
        assert get(s3, "plain") == body
    with counted(service, ["Decrypt"]):
        assert s3.head_object(Bucket=BUCKET, Key="plain")["ContentLength"] == len(body)
    with counted(service, ["Decrypt"]):
        assert get(s3, "plain", Range="bytes=1000-4999") == body[1000:5000]
    stored = gateway.rados("get", gateway.stored("plain"), "-")
    assert len(stored) == len(body) and stored != body
    with counted(service, []):
        s3.list_objects_v2(Bucket=BUCKET)


def test_the_context_is_in_the_record(service, s3, name):
    put(s3, "context", b"x", name, SSEKMSEncryptionContext=kms.b64(b'{"b":"2","a":"\xc3\xa9"}'))
    assert get(s3, "context") == b"x"
    made, opened = service.audit()[-2:]
    context = {"a": "é", "b": "2", "aws:s3:arn": f"arn:aws:s3::gate:{BUCKET}/context"}
    for record in (made, opened):
        assert record["requestParameters"]["encryptionContext"] == context


def test_a_key_by_its_id(s3, service):
    key = service.key()
    put(s3, "by-id", b"bytes", key)
    assert get(s3, "by-id") == b"bytes"


@lengthy_only
def test_multipart(service, s3, name):
    with counted(service, ["GenerateDataKey"] + ["Decrypt"] * len(PARTS)):
        upload = s3.create_multipart_upload(Bucket=BUCKET, Key="parts", SSEKMSKeyId=name,
                                            ServerSideEncryption="aws:kms")["UploadId"]
        tags = [{"PartNumber": i, "ETag": s3.upload_part(
            Bucket=BUCKET, Key="parts", UploadId=upload, PartNumber=i, Body=part)["ETag"]}
            for i, part in enumerate(PARTS, 1)]
        s3.complete_multipart_upload(Bucket=BUCKET, Key="parts", UploadId=upload,
                                     MultipartUpload={"Parts": tags})
    with counted(service, ["Decrypt"]):
        assert get(s3, "parts") == b"".join(PARTS)
    at = len(PARTS[0]) - 500
    with counted(service, ["Decrypt"]):
        assert get(s3, "parts", Range=f"bytes={at}-{at + 999}") == b"".join(PARTS)[at:at + 1000]


@lengthy_only
@pytest.mark.parametrize("attribute", ["datakey", "context"])
def test_moved_between_objects(gateway, s3, name, attribute):
    first, second = f"first-{attribute}", f"second-{attribute}"
    for key in (first, second):
        put(s3, key, b"of " + key.encode(), name)
    gateway.attribute(first, attribute, gateway.attribute(second, attribute))
    gateway.restart()
    assert refused(lambda: get(s3, first)) == (400, "InvalidArgument")
    assert get(s3, second) == b"of " + second.encode()


@lengthy_only
def test_wrapped_key_under_another_key(service, gateway, s3, name):
    other = service.key()
    put(s3, "moved", b"bytes", name)
    gateway.attribute("moved", "keyid", other)
    gateway.restart()
    assert refused(lambda: get(s3, "moved")) == (400, "InvalidArgument")
    gateway.attribute("moved", "keyid", name)
    gateway.restart()
    assert get(s3, "moved") == b"bytes"


def test_disabled_between_put_and_get(service, s3, name):
    put(s3, "disabled", b"bytes", name)
    key = service.ok("DescribeKey", KeyId="alias/" + name)["KeyMetadata"]["KeyId"]
    service.ok("DisableKey", KeyId=key)
    for call in (lambda: get(s3, "disabled"), lambda: put(s3, "more", b"", name)):
        assert refused(call) == (400, "InvalidArgument")
    service.ok("EnableKey", KeyId=key)
    assert get(s3, "disabled") == b"bytes"
    service.ok("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    assert refused(lambda: get(s3, "disabled")) == (400, "InvalidArgument")
    service.ok("CancelKeyDeletion", KeyId=key)
    service.ok("EnableKey", KeyId=key)
    assert get(s3, "disabled") == b"bytes"


@lengthy_only
def test_restart_and_rotation_between_put_and_get(service, gateway, s3, name):
    body = os.urandom(100_000)
    put(s3, "rotated", body, name)
    key = service.ok("DescribeKey", KeyId="alias/" + name)["KeyMetadata"]["KeyId"]
    service.ok("RotateKeyOnDemand", KeyId=key)
    service.restart()
    put(s3, "after", body, name)
    assert get(s3, "rotated") == body and get(s3, "after") == body
    assert gateway.attribute("rotated", "datakey").startswith(b"vault:v1:")
    assert gateway.attribute("after", "datakey").startswith(b"vault:v2:")


@pytest.mark.parametrize("hostile", ["..", ".", "a?b", "a%2fb", "a%20b", "é", "a/b", "a//b", "", "a;b",
                                     "%00", "../keys/x", "?list=true", "-a", "a-"])
def test_hostile_key_ids(service, s3, hostile):
    before = service.view()
    status, code = refused(lambda: put(s3, "hostile", b"x", hostile))
    assert status == 400, code
    assert service.view() == before
    with pytest.raises(ClientError):
        s3.head_object(Bucket=BUCKET, Key="hostile")


def test_a_blank_in_a_key_id(service, s3):
    before = service.view()
    status, _ = refused(lambda: put(s3, "hostile", b"x", "a b"))
    assert status in (400, 500)  # the gateway makes no request of it
    assert service.view() == before


def test_unknown_key(s3):
    assert refused(lambda: put(s3, "unknown", b"x", "no-such-key")) == (400, "InvalidArgument")


def test_policy_of_one_bucket(service, s3, name):
    """A key policy can confine the gateway to a bucket: its name is in the context."""
    document = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
         "Action": "kms:*", "Resource": "*"},
        {"Effect": "Deny", "Principal": {"AWS": "arn:aws:iam::000000000000:user/rgw"},
         "Action": "kms:*", "Resource": "*", "Condition": {"StringNotLike": {
             "kms:EncryptionContext:aws:s3:arn": f"arn:aws:s3::gate:{BUCKET}/*"}}}]}
    key = service.ok("DescribeKey", KeyId="alias/" + name)["KeyMetadata"]["KeyId"]
    service.ok("PutKeyPolicy", KeyId=key, PolicyName="default", Policy=json.dumps(document))
    put(s3, "confined", b"x", name)
    assert get(s3, "confined") == b"x"
    s3.create_bucket(Bucket="elsewhere")
    assert refused(lambda: s3.put_object(Bucket="elsewhere", Key="confined", Body=b"x", SSEKMSKeyId=name,
                                         ServerSideEncryption="aws:kms")) == (403, "AccessDenied")


def test_user_disabled(service, s3, name):
    put(s3, "user", b"x", name)
    service.admin("user", "disable", "rgw")
    try:
        assert refused(lambda: get(s3, "user")) == (403, "AccessDenied")
    finally:
        service.admin("user", "enable", "rgw")
    assert get(s3, "user") == b"x"


@lengthy_only
def test_token_mode(service, gateway, name):
    """The gateway sends its token twice; the file is read again for each request."""
    file = gateway.dir / "token"
    made = [json.loads(service.admin("token", "create", "--user", "rgw").stdout) for _ in range(2)]
    file.write_text(made[0]["Token"] + "\n")
    file.chmod(0o600)
    gateway.restart("token", f"rgw crypt vault token file = {file}\n")
    try:
        s3 = gateway.s3()
        put(s3, "token", b"x", name)
        assert service.audit()[-1]["userIdentity"]["accessKeyId"] == made[0]["TokenId"]
        file.write_text(made[1]["Token"])
        service.admin("token", "disable", made[0]["TokenId"])
        assert get(s3, "token") == b"x"
        service.admin("token", "disable", made[1]["TokenId"])
        assert refused(lambda: get(s3, "token")) == (403, "AccessDenied")
    finally:
        gateway.restart()


# other clients of the gateway

def run(*command, env=None):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    result = subprocess.run(command, check=False, text=True, timeout=120, env={**clean, **(env or {})},
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout


def credentials(gateway):
    return {"AWS_ACCESS_KEY_ID": gateway.exports["RGW_ACCESS_KEY"],
            "AWS_SECRET_ACCESS_KEY": gateway.exports["RGW_SECRET_KEY"],
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}


def by_s3cmd(gateway, name, source, target):
    config = gateway.dir / "s3cfg"
    host = gateway.exports["RGW_URL"].split("//")[1]
    config.write_text(f"[default]\naccess_key = {gateway.exports['RGW_ACCESS_KEY']}\n"
                      f"secret_key = {gateway.exports['RGW_SECRET_KEY']}\nhost_base = {host}\n"
                      f"host_bucket = {host}\nuse_https = False\n")
    run("s3cmd", "-c", str(config), "put", "--server-side-encryption",
        f"--server-side-encryption-kms-id={name}", str(source), f"s3://{BUCKET}/s3cmd")
    run("s3cmd", "-c", str(config), "get", f"s3://{BUCKET}/s3cmd", str(target))


def by_rclone(gateway, name, source, target):
    remote = (f":s3,provider=Ceph,env_auth=true,endpoint='{gateway.exports['RGW_URL']}',"
              f"server_side_encryption='aws:kms',sse_kms_key_id={name}:{BUCKET}/rclone")
    env = {**credentials(gateway), "RCLONE_CONFIG": str(gateway.dir / "rclone.conf")}
    run("rclone", "copyto", str(source), remote, env=env)
    run("rclone", "copyto", remote, str(target), env=env)


def by_awscli(gateway, name, source, target):
    aws = [kms.AWS, "--endpoint-url", gateway.exports["RGW_URL"], "s3", "cp"]
    run(*aws, "--sse", "aws:kms", "--sse-kms-key-id", name, str(source), f"s3://{BUCKET}/awscli",
        env=credentials(gateway))
    run(*aws, f"s3://{BUCKET}/awscli", str(target), env=credentials(gateway))


@lengthy_only
@pytest.mark.parametrize("client", [by_s3cmd, by_rclone, by_awscli])
def test_clients(gateway, s3, name, tmp_path, client):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(200_000))
    client(gateway, name, source, target)
    assert target.read_bytes() == source.read_bytes()
    head = s3.head_object(Bucket=BUCKET, Key=client.__name__[3:])
    assert head["ServerSideEncryption"] == "aws:kms" and head["SSEKMSKeyId"] == name


def test_the_trail_is_whole(service):
    service.audit_verify()
