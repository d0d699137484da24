"""What PutKeyPolicy and CreateKey take for a policy, in AWS's words, and whom a policy means.

A refused document leaves the one before in force, letter for letter.
"""

import json

import pytest

from kms import NO_SUCH_KEY
from principals import ACCOUNT, DENIED, OTHER, ROOT, People, allow, blob, refused

MALFORMED = "MalformedPolicyDocumentException"
NO_PRINCIPAL = "Policy contains a statement with no principal."
BAD_PRINCIPAL = "Policy contains a statement with one or more invalid principals."
LOCKOUT = "The new key policy will not allow you to update the key policy in the future."
TOO_LARGE = "The key policy must not be larger than 32768 bytes."
PERMISSIVE = (
    "OverlyPermissiveCondition: Using the ForAllValues set operator with a single-valued condition "
    "key matches requests without the specified [encryption context or tag] or with an unspecified "
    "[encryption context or tag]. To fix, remove ForAllValues.")
OWNER = {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "kms:*", "Resource": "*"}


@pytest.fixture(scope="module")
def people(rig):
    return People(rig)


def policy(*statements, **more):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements), **more})


def but(**changes):
    """The owner's policy with a second statement that differs so; None takes a member away."""
    return policy(OWNER, {k: v for k, v in {**OWNER, **changes}.items() if v is not None})


def when(operator, key, *values):
    return but(Condition={operator: {key: list(values)}})


def of_size(size):
    document = policy(OWNER)
    return document + " " * (size - len(document))


BAD = [
    # document, error (None: it is taken), message (...: whatever)
    (when("StringEqualz", "aws:username", "a"), MALFORMED, None),
    (when("StringEqualsIfExistsIfExists", "aws:username", "a"), MALFORMED, None),
    (when("ForSomeValues:StringEquals", "aws:TagKeys", "a"), MALFORMED, None),
    (when("NullIfExists", "aws:username", "true"), MALFORMED, None),
    (when("IpAddress", "aws:SourceIp", "10.0.0.0/33"), MALFORMED, None),
    (when("NumericEquals", "kms:RotationPeriodInDays", "90x"), MALFORMED, None),
    (when("DateLessThan", "aws:CurrentTime", "yesterday"), MALFORMED, None),
    (when("Bool", "aws:SecureTransport", "yes"), MALFORMED, None),
    (when("Null", "aws:username", "no"), MALFORMED, None),
    (when("StringEquals", "aws:username"), MALFORMED, None),
    (but(Condition={"StringEquals": {}}), None, None),
    (but(Condition={"StringEquals": {"aws:username": {"a": "b"}}}), MALFORMED, None),
    (when("ForAllValues:StringEquals", "kms:EncryptionContext:App", "x"), MALFORMED, PERMISSIVE),
    (when("ForAllValues:StringEquals", "aws:RequestTag/Team", "x"), MALFORMED, PERMISSIVE),
    (policy(OWNER)[:-1] + ', "Version": "2008-10-17"}', MALFORMED, None),
    ('{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": "*",'
     ' "Action": "kms:*", "Action": "kms:Decrypt", "Resource": "*"}}', MALFORMED, None),
    (of_size(32769), "LimitExceededException", TOO_LARGE),
    (of_size(131072), "LimitExceededException", TOO_LARGE),
    (of_size(131073), "ValidationException", ...),
    ("", "ValidationException", ...),
    (policy(OWNER).replace("}]", "}]\u0100"), "ValidationException", ...),
    (policy(OWNER, Id=1), MALFORMED, None),
    (policy(), MALFORMED, None),
    (policy(OWNER, *[OWNER] * 100), MALFORMED, None),
    (but(Principal=None), MALFORMED, NO_PRINCIPAL),
    (but(Principal={}), MALFORMED, NO_PRINCIPAL),
    (but(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:user/nobody-here"}), MALFORMED, BAD_PRINCIPAL),
    (but(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:role/nobody-here"}), MALFORMED, BAD_PRINCIPAL),
    (but(Principal={"AWS": f"arn:aws:sts::{ACCOUNT}:assumed-role/nobody-here/s1"}), MALFORMED,
     BAD_PRINCIPAL),
    (but(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:group/staff"}), MALFORMED, BAD_PRINCIPAL),
    (but(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:user/*"}), MALFORMED, BAD_PRINCIPAL),
    (but(Principal={"AWS": "999988887777"}), MALFORMED, BAD_PRINCIPAL),
    (but(Principal={"AWS": "arn:aws:iam::99998888777:root"}), MALFORMED, BAD_PRINCIPAL),
    (but(Principal={"AWS": "nobody"}), MALFORMED, BAD_PRINCIPAL),
    (but(Principal={"AWS": [ROOT, "nobody"]}), MALFORMED, BAD_PRINCIPAL),
    (but(Effect="allow"), MALFORMED, None),
    (but(Effect=None), MALFORMED, None),
    (but(Resource=[]), MALFORMED, None),
    (but(Sid=7), MALFORMED, None),
    (policy({**OWNER, "Sid": "a"}, {**OWNER, "Sid": "a"}), MALFORMED, None),
    (policy({**OWNER, "Action": "kms:Decrypt"}), MALFORMED, LOCKOUT),
    (but(Effect="Deny", Action="kms:PutKeyPolicy"), MALFORMED, LOCKOUT),
    (but(Effect="Deny", Action="kms:Put*", Principal="*"), MALFORMED, LOCKOUT),
    (policy({**OWNER, "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.1"}}}), MALFORMED,
     LOCKOUT),
]


def message_of(answer):
    return answer.json.get("message", answer.json.get("Message")) or None


@pytest.mark.parametrize("document, error, message", BAD, ids=range(len(BAD)))
def test_what_is_no_policy(rig, key, document, error, message):
    before = rig.ok("GetKeyPolicy", KeyId=key)
    count = len(rig.ok("ListKeys", Limit=1000)["Keys"]) if error else 0
    for operation, parameters in (("PutKeyPolicy", {"KeyId": key}), ("CreateKey", {})):
        answer = rig.call(operation, {"Policy": document, **parameters})
        if error is None:
            assert answer.status == 200, answer.text
            continue
        assert answer.status == 400 and answer.type == error, answer.text
        assert message is ... or message_of(answer) == message
    if error:
        assert rig.ok("GetKeyPolicy", KeyId=key) == before
        assert len(rig.ok("ListKeys", Limit=1000)["Keys"]) == count


def test_the_largest_policy(rig, key):
    rig.ok("PutKeyPolicy", KeyId=key, Policy=of_size(32768))
    assert rig.ok("GetKeyPolicy", KeyId=key)["Policy"] == of_size(32768)


def test_names_of_policies(rig, key):
    good = policy(OWNER)
    assert rig.refuses("UnsupportedOperationException", "PutKeyPolicy", {
        "KeyId": key, "PolicyName": "other", "Policy": good}).message == \
        "The only valid policy name is default."
    assert rig.refuses("NotFoundException", "GetKeyPolicy", {
        "KeyId": key, "PolicyName": "other"}).message == "No such policy exists"
    rig.refuses("ValidationException", "PutKeyPolicy", {"KeyId": key, "PolicyName": "a b",
                                                        "Policy": good})
    rig.refuses("NotFoundException", "PutKeyPolicy", {"KeyId": NO_SUCH_KEY, "Policy": good})
    rig.ok("PutKeyPolicy", KeyId=key, PolicyName="default", Policy=good)
    assert rig.ok("GetKeyPolicy", KeyId=key, PolicyName="default") == {"Policy": good,
                                                                       "PolicyName": "default"}
    assert rig.ok("ListKeyPolicies", KeyId=key)["PolicyNames"] == ["default"]


def test_the_text_is_kept(rig, key):
    """Letter for letter, white space and all."""
    text = '\n{ "Statement" :\t[' + json.dumps(OWNER, indent=3) + ' ],\r\n"Id":"ü \\u00e9",' \
        '"Version":"2012-10-17" }'
    rig.ok("PutKeyPolicy", KeyId=key, Policy=text)
    assert rig.ok("GetKeyPolicy", KeyId=key)["Policy"] == text


@pytest.mark.parametrize("bypass", [None, False, True])
def test_the_lockout_check(rig, people, key, bypass):
    """It is about who asks, and can be told to be left out."""
    keeper = people.user("keeper", allow("kms:*"))
    locked = policy({**OWNER, "Principal": {"AWS": keeper.arn}})
    request = {"KeyId": key, "Policy": locked}
    if bypass is not None:
        request["BypassPolicyLockoutSafetyCheck"] = bypass
    answer = rig.call("PutKeyPolicy", request)
    if not bypass:
        assert answer.type == MALFORMED and answer.message == LOCKOUT
        keeper.kms.put_key_policy(KeyId=key, PolicyName="default", Policy=locked)  # who may
    rig.refuses(DENIED, "GetKeyPolicy", {"KeyId": key})
    assert keeper.kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"] == locked
    people.admin("key-policy", "reset", key)  # the operator's way out
    assert "keeper" not in rig.ok("GetKeyPolicy", KeyId=key)["Policy"]
    assert keeper.kms.describe_key(KeyId=key)["KeyMetadata"]["KeyId"] == key


def test_the_lockout_check_of_a_key_to_be(rig, people):
    maker = people.user("maker", allow("kms:CreateKey"))
    own = policy({**OWNER, "Principal": {"AWS": maker.arn}})
    assert refused(MALFORMED, maker.kms.create_key, Policy=policy(OWNER)) == LOCKOUT
    made = maker.kms.create_key(Policy=own)["KeyMetadata"]
    assert maker.kms.get_key_policy(KeyId=made["KeyId"], PolicyName="default")["Policy"] == own
    rig.refuses(DENIED, "DescribeKey", {"KeyId": made["KeyId"]})
    left = maker.kms.create_key(Policy=policy(OWNER), BypassPolicyLockoutSafetyCheck=True)
    refused(DENIED, maker.kms.describe_key, KeyId=left["KeyMetadata"]["KeyId"])


def test_the_lockout_check_of_a_session(rig, people, key):
    """A policy that names the role lets its sessions write the next one."""
    role = people.role(allow("kms:*"))
    session = people.session(role, "editor")
    for principal in (f"arn:aws:iam::{ACCOUNT}:role/{role}", session.arn, ROOT):
        session.kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy(
            {**OWNER, "Principal": {"AWS": principal}}))
    elsewhere = session.arn.replace("editor", "another")
    assert refused(MALFORMED, session.kms.put_key_policy, KeyId=key, PolicyName="default",
                   Policy=policy({**OWNER, "Principal": {"AWS": elsewhere}})) == LOCKOUT
    narrow = people.session(role, "narrow", policy=allow("kms:PutKeyPolicy", resource=key.arn))
    narrow.kms.put_key_policy(KeyId=key, PolicyName="default", Policy=policy(OWNER))


def test_a_storm_of_stars(rig, people, key):
    """Patterns that cost a naive matcher for ever: an answer comes, and others are served."""
    user = people.user("stormy")
    storm = "*a" * 200 + "*b"
    rig.ok("PutKeyPolicy", KeyId=key, Policy=policy(OWNER, {
        "Effect": "Allow", "Principal": {"AWS": user.arn}, "Action": "kms:Encrypt", "Resource": "*",
        "Condition": {"StringLike": {"kms:EncryptionContext:k": [storm] * 5}}}))
    for text, allowed in (("a" * 4000, False), ("a" * 4000 + "b", True), ("b", False)):
        answer = user.ask("Encrypt", KeyId=key, Plaintext="eA==", EncryptionContext={"k": text})
        assert (answer.status == 200) == allowed, answer.text
        assert allowed or answer.type == DENIED
    rig.ok("Encrypt", KeyId=key, Plaintext="eA==")


def test_pinned_principals(rig, people, key):
    """A user made again under the old name is somebody else; the policy shows the old unique id."""
    user, role = people.user("pinned"), people.role()
    user_id = people.admin("user", "show", user.name)["User"]["UserId"]
    role_id = people.admin("role", "show", role)["Role"]["RoleId"]
    text = policy(OWNER, {**OWNER, "Action": "kms:Decrypt", "Principal": {
        "AWS": [user.arn, f"arn:aws:iam::{ACCOUNT}:role/{role}"]}})
    rig.ok("PutKeyPolicy", KeyId=key, Policy=text)
    sealed = blob(rig, key)
    user.kms.decrypt(CiphertextBlob=sealed)
    assert rig.ok("GetKeyPolicy", KeyId=key)["Policy"] == text

    people.forget(user)
    people.admin("role", "delete", role)
    shown = json.loads(rig.ok("GetKeyPolicy", KeyId=key)["Policy"])
    assert shown["Statement"][1]["Principal"]["AWS"] == [user_id, role_id]

    again = people.user(name=user.name)
    people.role(name=role)
    assert again.arn == user.arn
    refused(DENIED, again.kms.decrypt, CiphertextBlob=sealed)
    refused(DENIED, people.session(role).kms.decrypt, CiphertextBlob=sealed)
    assert json.loads(rig.ok("GetKeyPolicy", KeyId=key)["Policy"]) == shown
    rig.ok("PutKeyPolicy", KeyId=key, Policy=json.dumps(shown))  # as it is shown: of no use to them
    refused(DENIED, again.kms.decrypt, CiphertextBlob=sealed)
    rig.ok("PutKeyPolicy", KeyId=key, Policy=text)  # written again, it means who is there now
    again.kms.decrypt(CiphertextBlob=sealed)


def test_pins_survive_a_kill(new_rig):
    rig = new_rig()
    people = People(rig)
    user, key = people.user("pinned"), rig.key()
    user_id = people.admin("user", "show", user.name)["User"]["UserId"]
    text = policy(OWNER, {**OWNER, "Action": "kms:DescribeKey", "Principal": {"AWS": user.arn}})
    rig.ok("PutKeyPolicy", KeyId=key, Policy=text)
    people.forget(user)
    again = people.user(name=user.name)
    rig.kill()
    rig.start()
    refused(DENIED, people.client("kms", again.credential.access_key,
                                  again.credential.secret).describe_key, KeyId=key)
    shown = json.loads(rig.ok("GetKeyPolicy", KeyId=key)["Policy"])
    assert shown["Statement"][1]["Principal"]["AWS"] == user_id


def test_accounts_that_are_known(new_rig):
    """A policy can name an account once an operator has said that there is one."""
    rig = new_rig()
    people = People(rig)
    key = rig.key()
    text = policy(OWNER, {**OWNER, "Action": "kms:Decrypt", "Principal": {"AWS": OTHER}})
    person = policy(OWNER, {**OWNER, "Principal": {"AWS": f"arn:aws:iam::{OTHER}:user/eve"}})
    for document in (text, person):
        assert rig.refuses(MALFORMED, "PutKeyPolicy", {
            "KeyId": key, "Policy": document}).message == BAD_PRINCIPAL
    people.admin("account", "add", OTHER, "--foreign")
    for document in (text, person):
        rig.ok("PutKeyPolicy", KeyId=key, Policy=document)
        assert rig.ok("GetKeyPolicy", KeyId=key)["Policy"] == document
