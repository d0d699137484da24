"""AWS STS: who am I, sessions of roles and of users, and tokens that are not what they seem.

Through boto3, the AWS command line and forms of our own. What a session may not do is in
test_attacks.py, what trust policies can ask about in test_conditions.py.
"""

import base64
import datetime
import json
import re
import subprocess
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import clock
import kms
from kms import Credential, b64, signing_clock
from principals import ACCOUNT, DENIED, OTHER, ROOT, People, Person, allow, refused

FORM = "application/x-www-form-urlencoded"
VERSION = "2011-06-15"
NAMESPACE = "{https://sts.amazonaws.com/doc/2011-06-15/}"
INVALID_TOKEN = "The security token included in the request is invalid."
EXPIRED_TOKEN = "The security token included in the request is expired"
ME = {"Action": "GetCallerIdentity", "Version": VERSION}


@pytest.fixture(scope="module")
def people(rig):
    return People(rig)


@pytest.fixture(scope="module")
def alice(people):
    alice = people.user("alice", allow("sts:*"))
    alice.id = people.admin("user", "show", alice.name)["User"]["UserId"]
    return alice


@pytest.fixture(scope="module")
def role(people):
    """A role that may be tagged and given an identity, for at most two hours."""
    return new_role(people, {"Principal": {"AWS": ACCOUNT}, "Action": "sts:*"}, "7200")


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
    return people.client("sts", person.credential.access_key, person.credential.secret, person.token)


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


# --- GetCallerIdentity ----------------------------------------------------------------------------


def test_who_am_i(rig, people, alice, role):
    session = assume(people, alice, role)
    role_id = people.admin("role", "show", role)["Role"]["RoleId"]
    expected = [(root(rig), ROOT, ACCOUNT), (alice, alice.arn, alice.id),
                (session, f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/night", f"{role_id}:night")]
    for person, arn, user_id in expected:
        answer = sts(people, person).get_caller_identity()
        assert (answer["Arn"], answer["UserId"], answer["Account"]) == (arn, user_id, ACCOUNT)
        environment = rig.env(AWS_ACCESS_KEY_ID=person.credential.access_key,
                              AWS_SECRET_ACCESS_KEY=person.credential.secret,
                              **({"AWS_SESSION_TOKEN": person.token} if person.token else {}))
        command = [kms.AWS, "--endpoint-url", rig.url, "--output", "json", "sts",
                   "get-caller-identity"]
        shown = subprocess.run(command, check=True, env=environment, timeout=120, text=True,
                               stdout=subprocess.PIPE)
        assert json.loads(shown.stdout) == {"Arn": arn, "UserId": user_id, "Account": ACCOUNT}
        status, found = post(person, ME)
        assert status == 200 and (found["Arn"], found["UserId"]) == (arn, user_id)
        assert post(person, {"Action": "GetCallerIdentity"})[0] == 200  # the version may be left out


def test_a_path_is_no_part_of_a_session(people, alice):
    name = people.name("deep")
    people.admin("role", "create", name, "--path", "/a/b/", "--trust", people.file(
        {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}]}))
    client = sts(people, alice)
    made = client.assume_role(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/a/b/{name}",
                              RoleSessionName="s1")
    assert made["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/s1"
    refused("AccessDenied", client.assume_role, RoleArn=arn_of(name), RoleSessionName="s1")


def test_nobody_is_kept_from_knowing_who_they_are(people):
    denied = people.user("denied", allow("*", effect="Deny"))
    assert sts(people, denied).get_caller_identity()["Arn"] == denied.arn
    refused("AccessDenied", sts(people, denied).assume_role, RoleArn=arn_of("x"),
            RoleSessionName="s1")


# --- AssumeRole -----------------------------------------------------------------------------------


def test_a_session(rig, people, key, alice, role):
    session = assume(people, alice, role)
    made = session.answer
    assert re.fullmatch("ASIA[A-Z2-7]{16}", made["Credentials"]["AccessKeyId"])
    assert len(made["Credentials"]["SecretAccessKey"]) >= 40
    assert made["AssumedRoleUser"]["AssumedRoleId"].endswith(":night")
    left = made["Credentials"]["Expiration"] - datetime.datetime.now(datetime.timezone.utc)
    assert abs(left.total_seconds() - 3600) < 120 and "SourceIdentity" not in made
    session.kms.describe_key(KeyId=key)
    records = rig.audit()
    text = json.dumps(records)
    assert session.credential.secret not in text and session.token not in text
    assumed = [r for r in records if r["eventName"] == "AssumeRole"][-1]
    assert assumed["eventSource"] == "sts.amazonaws.com" and not assumed.get("errorCode")
    used = [r for r in records if r["eventName"] == "DescribeKey"][-1]["userIdentity"]
    assert used["type"] == "AssumedRole" and used["arn"] == session.arn
    assert used["accessKeyId"] == session.credential.access_key


def test_an_external_id(people, alice):
    role = new_role(people, {"Principal": {"AWS": alice.arn}, "Action": "sts:AssumeRole",
                             "Condition": {"StringEquals": {"sts:ExternalId": "tenant-7"}}})
    assume(people, alice, role, ExternalId="tenant-7")
    client = sts(people, alice)
    for more in ({}, {"ExternalId": "tenant-8"}, {"ExternalId": "Tenant-7"}):
        assert refused("AccessDenied", client.assume_role, RoleArn=arn_of(role),
                       RoleSessionName="night", **more) == \
            f"User: {alice.arn} is not authorized to perform: sts:AssumeRole on resource: " \
            f"{arn_of(role)}"


@pytest.mark.parametrize("principal, identity, allowed", [
    ("user", None, True), ("account", allow("sts:AssumeRole"), True), ("account", None, False),
    ("account", allow("sts:AssumeRole", resource="arn:aws:iam::000000000000:role/x"), False),
    ("user", allow("sts:AssumeRole", effect="Deny"), False), ("other", allow("sts:*"), False),
])
def test_trust(people, principal, identity, allowed):
    user = people.user("truster", identity)
    names = {"user": user.arn, "account": ROOT, "other": people.user("another").arn}
    role = new_role(people, {"Principal": {"AWS": names[principal]}, "Action": "sts:AssumeRole"})
    if allowed:
        assume(people, user, role)
    else:
        refused("AccessDenied", sts(people, user).assume_role, RoleArn=arn_of(role),
                RoleSessionName="night")
    people.admin("role", "trust", role, people.file({"Version": "2012-10-17", "Statement": [
        {"Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRole"}]}))
    refused("AccessDenied", sts(people, user).assume_role, RoleArn=arn_of(role),
            RoleSessionName="night")


def test_trust_across_accounts(new_rig):
    """Both sides must agree."""
    rig = new_rig()
    people = People(rig)
    people.admin("account", "add", OTHER)
    eve = people.user("eve", account=OTHER)
    role = new_role(people, {"Principal": {"AWS": OTHER}, "Action": "sts:AssumeRole"})
    refused("AccessDenied", sts(people, eve).assume_role, RoleArn=arn_of(role), RoleSessionName="s1")
    people.admin("policy", "put", "--user", eve.name, "--account", OTHER, "--name", "p",
                 people.file(allow("sts:AssumeRole")))
    session = assume(people, eve, role)
    session.kms.describe_key(KeyId=rig.key())
    people.admin("role", "trust", role, people.file({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}]}))
    refused("AccessDenied", sts(people, eve).assume_role, RoleArn=arn_of(role), RoleSessionName="s1")


def test_durations(people, alice, role):
    for seconds in (900, 3600, 7200):
        session = assume(people, alice, role, DurationSeconds=seconds)
        left = session.answer["Credentials"]["Expiration"] - datetime.datetime.now(
            datetime.timezone.utc)
        assert abs(left.total_seconds() - seconds) < 120
    form = {"Action": "AssumeRole", "Version": VERSION, "RoleArn": arn_of(role),
            "RoleSessionName": "night"}
    for seconds in ("899", "43201", "0"):
        fails(alice, 400, "ValidationError", {**form, "DurationSeconds": seconds})
    for text in ("-900", "900.0", "", "1e3", " 900", "0x900", "99999999999"):
        fails(alice, 400, "MalformedQueryString", {**form, "DurationSeconds": text})
    fails(alice, 400, "ValidationError", {**form, "DurationSeconds": "7201"},
          "exceeds the MaxSessionDuration set for this role")
    session = assume(people, alice, role)
    fails(session, 400, "ValidationError", {**form, "DurationSeconds": "3601"},
          "exceeds the 1 hour session limit for roles assumed by role chaining")
    assume(people, session, role, DurationSeconds=3600)
    people.admin("role", "max-session", role, "--max-session", "3600")
    fails(alice, 400, "ValidationError", {**form, "DurationSeconds": "7200"}, "MaxSessionDuration")
    people.admin("role", "max-session", role, "--max-session", "7200")
    assert post(alice, {**form, "DurationSeconds": "7200"})[0] == 200


def test_session_policies(people, key, alice, role):
    assume(people, alice, role, Policy=json.dumps(allow("kms:DescribeKey"))).kms.describe_key(KeyId=key)
    narrow = assume(people, alice, role, Policy=json.dumps(allow("kms:ListKeys")))
    assert "because no session policy allows" in refused(DENIED, narrow.kms.describe_key, KeyId=key)
    arns = []
    for action in ("kms:DescribeKey", "kms:ListKeys"):
        made = people.admin("policy", "create", "--name", people.name("session"),
                            people.file(allow(action)))
        arns.append({"arn": made["Policy"]["Arn"]})
    both = assume(people, alice, role, PolicyArns=arns)
    both.kms.describe_key(KeyId=key)
    both.kms.list_keys(Limit=1)
    refused(DENIED, both.kms.get_key_policy, KeyId=key, PolicyName="default")
    client = sts(people, alice)
    request = {"RoleArn": arn_of(role), "RoleSessionName": "night"}
    refused("MalformedPolicyDocument", client.assume_role, Policy="{}", **request)
    refused("MalformedPolicyDocument", client.assume_role, Policy=json.dumps(
        {**allow("kms:*"), "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "kms:*",
                                          "Resource": "*"}]}), **request)
    large = json.dumps(allow("kms:DescribeKey", Sid="S" * 2048))
    assert "Packed size" in refused("PackedPolicyTooLarge", client.assume_role, Policy=large,
                                    **request)


def test_tags(people, key, alice, role):
    """They are the caller's; transitive ones go down a chain, others do not."""
    tags = [{"Key": "Team", "Value": "a"}, {"Key": "Once", "Value": "b"}]
    first = assume(people, alice, role, Tags=tags, TransitiveTagKeys=["Team"])
    second = assume(people, first, role)
    for person, tag, value, there in ((first, "Team", "a", True), (first, "Once", "b", True),
                                      (second, "Team", "a", True), (second, "Once", "b", False)):
        people.put("role", role, {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": ["kms:*", "sts:*"], "Resource": "*"},
            {"Effect": "Deny", "Action": "kms:DescribeKey", "Resource": "*", "Condition": {
                "StringEquals": {f"aws:PrincipalTag/{tag}": value}}}]})
        if there:
            refused(DENIED, person.kms.describe_key, KeyId=key)
        else:
            person.kms.describe_key(KeyId=key)
    people.put("role", role, allow("kms:*", "sts:*"))
    plain = new_role(people, {"Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"})
    assume(people, alice, plain)
    assert "sts:TagSession" in refused("AccessDenied", sts(people, alice).assume_role, Tags=tags,
                                       RoleArn=arn_of(plain), RoleSessionName="night")
    for bad in ([{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}],
                [{"Key": str(i), "Value": ""} for i in range(51)]):
        refused("ValidationError", sts(people, alice).assume_role, Tags=bad, RoleArn=arn_of(role),
                RoleSessionName="night")


def test_a_source_identity(people, alice, role):
    session = assume(people, alice, role, SourceIdentity="carol")
    assert session.answer["SourceIdentity"] == "carol"
    assume(people, session, role, SourceIdentity="carol")
    assert "sts:SetSourceIdentity" in refused(
        "AccessDenied", sts(people, session).assume_role, RoleArn=arn_of(role),
        RoleSessionName="night", SourceIdentity="dave")
    plain = new_role(people, {"Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"})
    for person, more in ((alice, {"SourceIdentity": "carol"}), (session, {})):
        assert "sts:SetSourceIdentity" in refused(
            "AccessDenied", sts(people, person).assume_role, RoleArn=arn_of(plain),
            RoleSessionName="night", **more)


@pytest.mark.parametrize("change", [
    {"RoleArn": None}, {"RoleSessionName": None}, {"RoleSessionName": "x"},
    {"RoleSessionName": "x" * 65}, {"RoleSessionName": "a b"}, {"RoleSessionName": "a/b"},
    {"RoleArn": "x" * 19}, {"RoleArn": "x" * 2049}, {"ExternalId": "x"}, {"ExternalId": "a b"},
    {"ExternalId": "x" * 1225}, {"SourceIdentity": "x"}, {"SourceIdentity": "a:b"}, {"Policy": ""},
    {"Tags.member.1.Key": "a"}, {"Tags.member.1.Value": "a"},
    {"Tags.member.1.Key": "k" * 129, "Tags.member.1.Value": "v"},
    {"Tags.member.1.Key": "k", "Tags.member.1.Value": "v" * 257},
    {"SerialNumber": "x"}, {"TokenCode": "1234567"},
], ids=str)
def test_what_assume_role_refuses(alice, role, change):
    form = {"Action": "AssumeRole", "Version": VERSION, "RoleArn": arn_of(role),
            "RoleSessionName": "night"}
    assert post(alice, form)[0] == 200
    message = fails(alice, 400, "ValidationError",
                    {k: v for k, v in {**form, **change}.items() if v is not None})
    assert "failed to satisfy constraint" in message


def test_there_is_no_mfa(alice, role):
    form = {"Action": "AssumeRole", "Version": VERSION, "RoleArn": arn_of(role),
            "RoleSessionName": "night"}
    mfa = {"SerialNumber": f"arn:aws:iam::{ACCOUNT}:mfa/alice", "TokenCode": "123456"}
    fails(alice, 403, "AccessDenied", {**form, **mfa}, "MultiFactorAuthentication failed")
    fails(alice, 403, "AccessDenied", {"Action": "GetSessionToken", **mfa},
          "MultiFactorAuthentication failed")


def test_root_assumes_nothing(rig, people, role):
    refused("AccessDenied", sts(people, root(rig)).assume_role, RoleArn=arn_of(role),
            RoleSessionName="night")


# --- GetSessionToken ------------------------------------------------------------------------------


def test_sessions_of_a_user(people, key):
    user = people.user("own", allow("kms:DescribeKey"))
    client = sts(people, user)
    for more, seconds in (({}, 43200), ({"DurationSeconds": 900}, 900),
                          ({"DurationSeconds": 129600}, 129600)):
        made = client.get_session_token(**more)
        left = made["Credentials"]["Expiration"] - datetime.datetime.now(datetime.timezone.utc)
        assert abs(left.total_seconds() - seconds) < 120
    session = person_of(people, made)
    session.kms.describe_key(KeyId=key)
    refused(DENIED, session.kms.list_keys)
    assert sts(people, session).get_caller_identity()["Arn"] == user.arn
    refused("AccessDenied", sts(people, session).get_session_token)
    for seconds in ("899", "129601"):
        fails(user, 400, "ValidationError", {"Action": "GetSessionToken",
                                             "DurationSeconds": seconds})


def test_a_session_of_root_lasts_an_hour(rig, people):
    made = sts(people, root(rig)).get_session_token(DurationSeconds=43200)
    left = made["Credentials"]["Expiration"] - datetime.datetime.now(datetime.timezone.utc)
    assert left.total_seconds() <= 3600
    assert sts(people, person_of(people, made)).get_caller_identity()["Arn"] == ROOT


# --- tokens ---------------------------------------------------------------------------------------


def with_token(session, token, access_key=None, secret=None):
    return Person(session.rig, session.arn, None, access_key or session.credential.access_key,
                  secret or session.credential.secret, token)


def test_tokens_that_are_none(people, alice, role):
    """Whatever is wrong with one, the answer is the same, from both services."""
    session, other = assume(people, alice, role), assume(people, alice, role)
    assert post(session, ME)[0] == 200
    raw = base64.b64decode(session.token)
    flips = [b64(raw[:i] + bytes([raw[i] ^ 1 << i % 8]) + raw[i + 1:])
             for i in [*range(46), *range(46, len(raw) - 16, 29), *range(len(raw) - 16, len(raw))]]
    cuts = [b64(raw[:n]) for n in (1, 16, 17, 28, 29, 44, 45, len(raw) - 1)]
    shapes = [session.token[:-1], session.token + "A", "x", "A" * 8192, b64(raw + b"\0"),
              session.token.swapcase(), other.token]
    for token in flips + cuts + shapes:
        person = with_token(session, token)
        fails(person, 403, "InvalidClientTokenId", ME, INVALID_TOKEN)
        assert person.refused("UnrecognizedClientException", "ListKeys") == INVALID_TOKEN
    fails(with_token(session, "A" * 8193), 403, "InvalidClientTokenId", ME)
    assert post(session, ME)[0] == 200


def test_a_token_and_its_access_key_belong_together(people, alice, role):
    session, other = assume(people, alice, role), assume(people, alice, role)
    user = people.user("long", allow("kms:*"))
    mixed = [with_token(session, None), with_token(session, session.token,
                                                   other.credential.access_key),
             with_token(session, session.token, user.credential.access_key,
                        user.credential.secret),
             with_token(session, session.token, "ASIA" + "A" * 16)]
    for person in mixed:
        fails(person, 403, "InvalidClientTokenId", ME, INVALID_TOKEN)
    fails(with_token(session, session.token, secret=other.credential.secret), 403,
          "SignatureDoesNotMatch", ME)


def test_a_token_of_another_installation(people, new_rig, alice, role):
    session = assume(people, alice, role)
    foreign = People(new_rig())
    user = foreign.user(name=alice.name, policy=allow("sts:*"))
    foreign.role(name=role)
    theirs = assume(foreign, user, role)
    assert post(theirs, ME)[0] == 200
    for person, rig in ((session, foreign.rig), (theirs, people.rig)):
        moved = with_token(person, person.token)
        moved.rig = rig
        fails(moved, 403, "InvalidClientTokenId", ME, INVALID_TOKEN)


def test_tokens_survive_restart_and_kill(new_rig):
    people = People(new_rig())
    user = people.user("stable", allow("sts:*"))
    role = people.role(allow("kms:*"))
    session = assume(people, user, role)
    ended = assume(people, user, role)
    time.sleep(0.01)
    people.admin("revoke-sessions", "--role", role)
    session = assume(people, user, role)
    for again in ("restart", "kill"):
        if again == "restart":
            people.rig.restart()
        else:
            people.rig.kill()
            people.rig.start()
        assert post(session, ME)[1]["Arn"] == session.arn
        fails(ended, 403, "ExpiredToken", ME, EXPIRED_TOKEN)
        assert ended.refused("ExpiredTokenException", "ListKeys") == EXPIRED_TOKEN
        assert session.ask("ListKeys").status == 200


@pytest.mark.faketime
@pytest.mark.any_listener
def test_tokens_expire(new_rig):
    """Also under a sealing key that has been renewed, while the token lasts."""
    people = People(new_rig(tls=False))
    user = people.user("waiting", allow("sts:*", "kms:*"))
    role = new_role(people, {"Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"})
    session = assume(people, user, role)
    made = sts(people, user).get_session_token(DurationSeconds=129600)
    own = person_of(people, made)

    def later(**ahead):
        span = datetime.timedelta(**ahead)
        people.rig.stop()
        people.rig.start(env=clock.moved(f"FAKETIME=+{int(span.total_seconds())}s"))
        return signing_clock(span)

    with later(minutes=55):
        assert post(session, ME)[0] == post(own, ME)[0] == 200
    with later(minutes=61):
        fails(session, 403, "ExpiredToken", ME, EXPIRED_TOKEN)
        assert session.refused("ExpiredTokenException", "ListKeys") == EXPIRED_TOKEN
        assert post(own, ME)[0] == 200
    with later(hours=35):
        assert post(user, {"Action": "GetSessionToken"})[0] == 200  # seals with a new key
        assert post(own, ME)[0] == 200
    with later(hours=37):
        fails(own, 403, "ExpiredToken", ME, EXPIRED_TOKEN)
        assert post(user, ME)[0] == 200


# --- signatures and forms -------------------------------------------------------------------------


def test_errors_of_signatures(rig, alice):
    body = urllib.parse.urlencode(ME).encode()
    fails(alice, 403, "SignatureDoesNotMatch", ME, "valid region", region="eu-west-1")
    fails(alice, 403, "SignatureDoesNotMatch", ME, "correct service: 'sts'", service="iam")
    wrong = Person(rig, alice.arn, None, alice.credential.access_key, "x" * 40)
    fails(wrong, 403, "SignatureDoesNotMatch", ME, "Check your AWS Secret Access Key")
    unknown = Person(rig, alice.arn, None, "AKIAAAAAAAAAAAAAAAAA", "x" * 40)
    fails(unknown, 403, "InvalidClientTokenId", ME, INVALID_TOKEN)
    for minutes, text in ((-6, "Signature expired"), (6, "Signature not yet current")):
        with signing_clock(datetime.timedelta(minutes=minutes)):
            fails(alice, 403, "SignatureDoesNotMatch", ME, text)
    headers = signed(alice, body)
    status, found = elements(rig.send(headers, body + b"&x=y"))
    assert (status, found["Code"]) == (403, "SignatureDoesNotMatch")
    status, found = elements(rig.send({"Content-Type": FORM}, body))
    assert (status, found["Code"]) == (403, "MissingAuthenticationToken")
    broken = {**headers, "Authorization": "AWS4-HMAC-SHA256 Credential=x"}
    status, found = elements(rig.send(broken, body))
    assert (status, found["Code"]) == (400, "IncompleteSignature")


@pytest.mark.parametrize("form, code", [
    ({"Action": "GetCallerIdentity", "Version": "2010-05-08"}, "InvalidAction"),
    ({"Action": "GetCallerIdentity", "Version": ""}, "InvalidAction"),
    ({"Action": "GetFederationToken", "Version": VERSION, "Name": "x"}, "InvalidAction"),
    ({"Action": "AssumeRoleWithWebIdentity", "Version": VERSION}, "InvalidAction"),
    ({"Action": "getcalleridentity", "Version": VERSION}, "InvalidAction"),
    ({"Version": VERSION}, "InvalidAction"),
    (b"", "InvalidAction"),
    (b"Action=GetCallerIdentity&Action=GetCallerIdentity", "MalformedQueryString"),
    (b"Action=GetCallerIdentity&Version=2011-06-15&Version=2011-06-15", "MalformedQueryString"),
    (b"Action=GetCallerIdentity&%zz=1", "MalformedQueryString"),
    (b"Action=GetCallerIdentity&a=%4", "MalformedQueryString"),
    (b"Action=GetCallerIdentity&a=%00", "MalformedQueryString"),
    (b"Action=GetCallerIdentity&=x", "MalformedQueryString"),
    (b"Action=GetCallerIdentity&a.b=1&a=2", "MalformedQueryString"),
    (b"Action=GetCallerIdentity&a.member.2=1", "MalformedQueryString"),
    (b"Action=GetCallerIdentity&" + b"n" * 129 + b"=1", "MalformedQueryString"),
    (b"&".join([b"Action=GetCallerIdentity"] + [b"a%d=1" % i for i in range(400)]),
     "MalformedQueryString"),
], ids=range(17))
def test_forms_that_are_none(alice, form, code):
    fails(alice, 400, code, form)
    assert post(alice, ME)[0] == 200


def test_form_types(rig, alice):
    """Only what says that it is a form is one."""
    body = urllib.parse.urlencode(ME).encode()
    for text in (FORM, FORM + "; charset=utf-8", FORM.upper(), FORM + ";charset=UTF-8"):
        assert post(alice, ME, content_type=text)[0] == 200
    for text in ("text/plain", "application/json", "multipart/form-data", FORM + "x", "x" + FORM):
        answer = rig.send(signed(alice, body, content_type=text), body)
        assert answer.status == 400 and b"<Arn>" not in answer.body


def test_large_forms(rig, alice):
    big = b"Action=GetCallerIdentity&a=" + b"x" * 60000
    assert post(alice, big)[0] in (200, 400)
    body = b"Action=GetCallerIdentity&a=" + b"x" * (2 << 20)
    try:
        answer = rig.send(signed(alice, body), body)
    except ConnectionError:
        answer = None  # refused by its announced length, before it was read
    assert answer is None or answer.status == 413
    assert post(alice, ME)[0] == 200


def test_other_methods(rig, alice):
    """There is one way to ask: a signed form that is posted."""
    query = urllib.parse.urlencode(ME)
    for method, path in (("GET", "/?" + query), ("GET", "/"), ("PUT", "/"), ("POST", "/?" + query),
                         ("POST", "/sts")):
        body = b"" if method == "GET" else query.encode()
        answer = rig.send(signed(alice, body), body, method=method, path=path)
        assert 400 <= answer.status < 500 and b"<Arn>" not in answer.body
