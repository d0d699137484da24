"""Who asks: users, roles and sessions of a rig, and what suites about permissions share."""

import json
import uuid

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from kms import JSON_TYPE, Credential

ACCOUNT = "000000000000"
OTHER = "444455556666"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
NO_SUCH_GRANT = "0" * 64
DRY = "DryRunOperationException"
DENIED = "AccessDeniedException"
INVALID = "ValidationException"


def allow(*actions, effect="Allow", resource="*", **more):
    """A policy of one statement."""
    return {"Version": "2012-10-17", "Statement": [
        {"Effect": effect, "Action": list(actions), "Resource": resource, **more}]}


class Person:
    """A user or a session: its ARN, its key service, and what it signs with."""

    def __init__(self, rig, arn, client, access_key, secret, token=None):
        self.rig, self.arn, self.kms = rig, arn, client
        self.credential = Credential(access_key, secret)
        self.token = token

    def ask(self, operation, **parameters):
        """A raw call, which can say what the installed client does not know; its answer."""
        body = json.dumps(parameters).encode()
        request = AWSRequest(method="POST", url=self.rig.url + "/", data=body, headers={
            "Content-Type": JSON_TYPE, "X-Amz-Target": f"TrentService.{operation}"})
        SigV4Auth(Credentials(self.credential.access_key, self.credential.secret, self.token),
                  "kms", "us-east-1").add_auth(request)
        return self.rig.send(dict(request.headers.items()), body)

    def refused(self, expected, operation, **parameters):
        """A raw call that must be refused; its message."""
        answer = self.ask(operation, **parameters)
        assert answer.status != 200 and answer.type == expected, answer.text
        return answer.message


class People:
    """Makes users, roles and sessions in a rig; names are new each time."""

    def __init__(self, rig):
        self.rig = rig
        self.tag = uuid.uuid4().hex[:8]
        self.count = 0

    def admin(self, *arguments):
        out = self.rig.admin(*arguments, check=False)
        assert out.returncode == 0, f"{arguments}: {out.stdout}{out.stderr}"
        return json.loads(out.stdout) if out.stdout.strip() else {}

    def file(self, document):
        self.count += 1
        path = self.rig.dir / f"policy-{self.tag}-{self.count}.json"
        path.write_text(json.dumps(document))
        return str(path)

    def name(self, what):
        self.count += 1
        return f"{what}-{self.tag}-{self.count}"

    def put(self, kind, name, policy, policy_name="p"):
        self.admin("policy", "put", f"--{kind}", name, "--name", policy_name, self.file(policy))

    def client(self, service, access_key, secret, token=None):
        return boto3.client(service, region_name="us-east-1",
                            endpoint_url=self.rig.exports[f"AWS_ENDPOINT_URL_{service.upper()}"],
                            aws_access_key_id=access_key, aws_secret_access_key=secret,
                            aws_session_token=token, config=Config(retries={"max_attempts": 0}),
                            verify=self.rig.exports.get("AWS_CA_BUNDLE", True))

    def user(self, what="user", policy=None, name=None, account=None):
        """A user with an access key, and an identity policy where one is given."""
        name = name or self.name(what)
        where = ["--account", account] if account else []
        self.admin("user", "create", *where, name)
        if policy:
            self.put("user", name, policy)
        made = self.admin("key", "create", "--user", name, *where)
        secrets = made["AccessKeyId"], made["SecretAccessKey"]
        person = Person(self.rig, f"arn:aws:iam::{account or ACCOUNT}:user/{name}",
                        self.client("kms", *secrets), *secrets)
        person.name = name
        return person

    def forget(self, person):
        """Deletes a user that has no policies."""
        self.admin("key", "disable", person.credential.access_key)
        self.admin("key", "delete", person.credential.access_key)
        self.admin("user", "delete", person.name)

    def role(self, policy=None, name=None):
        """A role that users of the account may assume; its name."""
        name = name or self.name("role")
        trust = {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}]}
        self.admin("role", "create", name, "--trust", self.file(trust))
        if policy:
            self.put("role", name, policy)
        return name

    def session(self, role, name="s1", policy=None):
        """A session of a role."""
        if not hasattr(self, "assumer"):
            self.assumer = self.user("assumer", allow("sts:AssumeRole"))
        sts = self.client("sts", self.assumer.credential.access_key, self.assumer.credential.secret)
        more = {"Policy": json.dumps(policy)} if policy else {}
        made = sts.assume_role(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/{role}", RoleSessionName=name,
                               **more)["Credentials"]
        secrets = made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"]
        return Person(self.rig, f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{name}",
                      self.client("kms", *secrets), *secrets)


def refused(expected, call, **parameters):
    """A call that must be refused with this code (or one of several); its message."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    code = caught.value.response["Error"]["Code"]
    names = (expected,) if isinstance(expected, str) else expected
    assert code in names, caught.value
    return caught.value.response["Error"].get("Message", "")


def make(rig, key, person, operations=("Decrypt",), **more):
    """A grant made by root."""
    return rig.ok("CreateGrant", KeyId=key, GranteePrincipal=getattr(person, "arn", person),
                  Operations=list(operations), **more)


def grants(rig, key, **more):
    return rig.ok("ListGrants", KeyId=key, **more)["Grants"]


def blob(rig, key, **context):
    more = {"EncryptionContext": context} if context else {}
    return rig.boto().encrypt(KeyId=key, Plaintext=b"x", **more)["CiphertextBlob"]
