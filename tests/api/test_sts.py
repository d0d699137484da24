"""AWS STS: who am I, and sessions of roles and of users.

Through boto3, the AWS command line and forms of our own. What a session may not do is in
test_attacks.py, what trust policies can ask about in test_conditions.py, tokens and forms that are
not what they seem in test_sts_tokens.py.
"""

import datetime
import json
import re
import subprocess

import pytest

import kms
from principals import ACCOUNT, DENIED, OTHER, ROOT, People, allow, refused
from sts_forms import ME, VERSION, arn_of, assume, fails, new_role, person_of, post, root, sts


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
        assert post(person, {"Action": "GetCallerIdentity"})[0] == 200  # without a version, too


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
    assumed = [r for r in records if r.get("eventName") == "AssumeRole"][-1]
    assert assumed["eventSource"] == "sts.amazonaws.com" and not assumed.get("errorCode")
    used = [r for r in records if r.get("eventName") == "DescribeKey"][-1]["userIdentity"]
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
    refused("AccessDenied", sts(people, eve).assume_role, RoleArn=arn_of(role),
            RoleSessionName="s1")
    people.admin("policy", "put", "--user", eve.name, "--account", OTHER, "--name", "p",
                 people.file(allow("sts:AssumeRole")))
    session = assume(people, eve, role)
    session.kms.describe_key(KeyId=rig.key())
    people.admin("role", "trust", role, people.file({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}]}))
    refused("AccessDenied", sts(people, eve).assume_role, RoleArn=arn_of(role),
            RoleSessionName="s1")


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
    wide = assume(people, alice, role, Policy=json.dumps(allow("kms:DescribeKey")))
    wide.kms.describe_key(KeyId=key)
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


def test_the_command_line(people, key, alice):
    """An awscli user assumes a role, then works as its session."""
    role = new_role(people, {"Principal": {"AWS": alice.arn}, "Action": "sts:AssumeRole",
                             "Condition": {"StringEquals": {"sts:ExternalId": "tenant-7"}}},
                    policy=allow("kms:DescribeKey"))

    def aws(person, *words):
        command = [kms.AWS, "--endpoint-url", people.rig.url, "--output", "json", *words]
        environment = people.rig.env(AWS_ACCESS_KEY_ID=person.credential.access_key,
                                     AWS_SECRET_ACCESS_KEY=person.credential.secret,
                                     **({"AWS_SESSION_TOKEN": person.token} if person.token else {}))
        return subprocess.run(command, check=False, env=environment, timeout=120, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    words = ("sts", "assume-role", "--role-arn", arn_of(role), "--role-session-name", "cli")
    assert "(AccessDenied)" in aws(alice, *words, "--external-id", "tenant-8").stderr
    made = json.loads(aws(alice, *words, "--external-id", "tenant-7").stdout)
    session = person_of(people, made)
    shown = json.loads(aws(session, "kms", "describe-key", "--key-id", key).stdout)
    assert shown["KeyMetadata"]["KeyId"] == key
    assert "(AccessDeniedException)" in aws(session, "kms", "list-keys").stderr
    session.token = session.token[:-4] + "AAAA"
    assert "(InvalidClientTokenId)" in aws(session, "sts", "get-caller-identity").stderr


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
