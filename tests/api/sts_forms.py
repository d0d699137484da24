"""AWS STS as suites ask it: sessions as persons, forms that are signed, answers in XML."""

import urllib.parse
import xml.etree.ElementTree as ElementTree

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from principals import ACCOUNT, ROOT, Person, allow

FORM = "application/x-www-form-urlencoded"
VERSION = "2011-06-15"
NAMESPACE = "{https://sts.amazonaws.com/doc/2011-06-15/}"
ME = {"Action": "GetCallerIdentity", "Version": VERSION}


def arn_of(role):
    return f"arn:aws:iam::{ACCOUNT}:role/{role}"


def new_role(people, statement, most="3600", policy=None):
    """A role with this trust; it may do everything with keys unless told otherwise."""
    name = people.name("role")
    people.admin("role", "create", name, "--max-session", most, "--trust", people.file(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}))
    people.put("role", name, policy or allow("kms:*", "sts:*"))
    return name


def root(rig):
    return Person(rig, ROOT, rig.boto(), rig.credential.access_key, rig.credential.secret)


def sts(people, person):
    return people.client("sts", person.credential.access_key, person.credential.secret,
                         person.token)


def assume(people, person, role, name="night", **more):
    """A session as a person; with what STS answered."""
    made = sts(people, person).assume_role(RoleArn=arn_of(role), RoleSessionName=name, **more)
    session = person_of(people, made)
    session.answer = made
    return session


def person_of(people, made):
    secrets = [made["Credentials"][n] for n in ("AccessKeyId", "SecretAccessKey", "SessionToken")]
    arn = made.get("AssumedRoleUser", {}).get("Arn", "")
    return Person(people.rig, arn, people.client("kms", *secrets), *secrets)


def signed(person, body, service="sts", region="us-east-1", content_type=FORM):
    """Headers of a form, signed."""
    request = AWSRequest(method="POST", url=person.rig.url + "/", data=body,
                         headers={"Content-Type": content_type})
    SigV4Auth(Credentials(person.credential.access_key, person.credential.secret, person.token),
              service, region).add_auth(request)
    return dict(request.headers.items())


def post(person, form, headers=None, **how):
    """A form, signed and sent; status and the elements of the answer by name."""
    body = form if isinstance(form, bytes) else urllib.parse.urlencode(form).encode()
    answer = person.rig.send({**signed(person, body, **how), **(headers or {})}, body)
    return elements(answer)


def elements(answer):
    assert answer.headers["content-type"] == "text/xml" and answer.request_id
    tree = ElementTree.fromstring(answer.body)
    found = {e.tag.removeprefix(NAMESPACE): e.text or "" for e in tree.iter()}
    assert found["RequestId"] == answer.request_id
    if answer.status != 200:
        assert tree.tag == NAMESPACE + "ErrorResponse" and found["Type"] == "Sender"
        assert set(found) == {"ErrorResponse", "Error", "Type", "Code", "Message", "RequestId"}
    return answer.status, found


def fails(person, status, code, form, message=None, **how):
    got, found = post(person, form, **how)
    assert (got, found["Code"]) == (status, code), found
    assert message is None or message in found["Message"], found["Message"]
    return found["Message"]
