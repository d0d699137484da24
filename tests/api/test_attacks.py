"""Attacks on the decision: each is refused, and nothing has happened.

Who asks: eve, of a further account that is served here and may do everything there; bob, of the
account of the keys, without any permission; and users and sessions with exactly one way in.
"""

import base64
import json
import socket
import threading
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import conftest
import kms
from kms import JSON_TYPE, NO_SUCH_KEY, b64
from principals import (ACCOUNT, DENIED, INVALID, NO_SUCH_GRANT, OTHER, ROOT, People, allow, blob, grants,
                        make)

MALFORMED = "MalformedPolicyDocumentException"
FOREIGN = "on this resource because the resource does not exist in this Region"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def place():
    service = kms.Rig()
    yield service
    conftest.end(service)


@pytest.fixture(scope="module")
def people(place):
    people = People(place)
    people.admin("account", "add", OTHER)
    return people


@pytest.fixture(scope="module")
def eve(people):
    eve = people.user("eve", account=OTHER)
    people.admin("policy", "put", "--user", eve.name, "--account", OTHER, "--name", "p",
                 people.file(allow("kms:*", "sts:*")))
    return eve


@pytest.fixture(scope="module")
def bob(people):
    return people.user("bob")


@pytest.fixture()
def key(place):
    return place.key()


def ask(rig, person, operation, raw=None, token=None, **parameters):
    """A signed call of a person; the whole answer."""
    body = raw if raw is not None else json.dumps(parameters).encode()
    request = AWSRequest(method="POST", url=rig.url + "/", data=body, headers={
        "Content-Type": JSON_TYPE, "X-Amz-Target": f"TrentService.{operation}"})
    SigV4Auth(Credentials(person.credential.access_key, person.credential.secret,
                          token or person.token), "kms", "us-east-1").add_auth(request)
    return rig.send(dict(request.headers.items()), body)


def post(rig, person, form):
    """A form as it is, to STS; status, code and message, or status and the answer's elements."""
    body = form if isinstance(form, bytes) else form.encode()
    request = AWSRequest(method="POST", url=rig.url + "/", data=body, headers={
        "Content-Type": FORM})
    SigV4Auth(Credentials(person.credential.access_key, person.credential.secret, person.token),
              "sts", "us-east-1").add_auth(request)
    answer = rig.send(dict(request.headers.items()), body)
    tree = ElementTree.fromstring(answer.body)  # well-formed in any case
    found = {e.tag.rsplit("}", 1)[1]: e.text for e in tree.iter()}
    return answer.status, found


def assume_form(role, **more):
    return urllib.parse.urlencode({
        "Action": "AssumeRole", "Version": "2011-06-15", "RoleSessionName": "s1",
        "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/{role}", **more})


def same(answers):
    """Nobody can tell these answers apart."""
    seen = {(a.status, a.body) for a in answers}
    assert len(seen) == 1, seen
    return answers[0]


def missing(key):
    return key.arn.replace(str(key), NO_SUCH_KEY)


def policy(*statements):
    return {"Version": "2012-10-17", "Statement": list(statements)}


def statement(effect, principal, *actions, **more):
    return {"Effect": effect, "Principal": principal, "Action": list(actions), "Resource": "*",
            **more}


OWNER = statement("Allow", {"AWS": ROOT}, "kms:*")


def put_policy(rig, key, *statements):
    rig.ok("PutKeyPolicy", KeyId=key, Policy=json.dumps(policy(OWNER, *statements)),
           BypassPolicyLockoutSafetyCheck=True)


# --- what is there is no business of another account's --------------------------------------------


@pytest.mark.parametrize("operation, more", [
    ("DescribeKey", {}), ("GetPublicKey", {}), ("Encrypt", {"Plaintext": "eA=="}),
    ("Encrypt", {"Plaintext": "eA==", "DryRun": True}),
    ("Encrypt", {"Plaintext": "eA==", "GrantTokens": ["x"]}),
    ("GenerateDataKey", {"KeySpec": "AES_256"}),
    ("Sign", {"Message": "eA==", "SigningAlgorithm": "ECDSA_SHA_256"}),
    ("GenerateMac", {"Message": "eA==", "MacAlgorithm": "HMAC_SHA_256"}),
    ("EnableKey", {}), ("DisableKey", {}), ("ScheduleKeyDeletion", {}), ("CancelKeyDeletion", {}),
    ("UpdateKeyDescription", {"Description": "x"}), ("GetKeyPolicy", {}), ("ListKeyPolicies", {}),
    ("GetKeyPolicy", {"PolicyName": "x"}),
    ("PutKeyPolicy", {"Policy": json.dumps(policy(OWNER))}), ("PutKeyPolicy", {"Policy": "{"}),
    ("TagResource", {"Tags": [{"TagKey": "a", "TagValue": "b"}]}),
    ("TagResource", {"Tags": [{"TagKey": "aws:a", "TagValue": "b"}]}),
    ("UntagResource", {"TagKeys": ["a"]}), ("ListResourceTags", {}), ("EnableKeyRotation", {}),
    ("DisableKeyRotation", {}), ("GetKeyRotationStatus", {}), ("RotateKeyOnDemand", {}),
    ("ListKeyRotations", {}), ("ListGrants", {"Marker": "x"}), ("ListAliases", {}),
    ("CreateGrant", {"GranteePrincipal": "arn:aws:iam::000000000000:user/nobody",
                     "Operations": ["Decrypt"]}),
    ("RetireGrant", {"GrantId": NO_SUCH_GRANT}), ("RevokeGrant", {"GrantId": NO_SUCH_GRANT}),
])
def test_a_key_of_another_account_is_as_good_as_missing(place, eve, key, operation, more):
    answer = same([ask(place, eve, operation, KeyId=k, **more) for k in (key.arn, missing(key))])
    assert answer.type == DENIED and FOREIGN in answer.message
    before = place.details(key)
    assert place.details(key) == before and before[0]["KeyState"] == "Enabled"


def test_a_key_beside_a_ciphertext_is_not_given_away(place, eve, key):
    """Whatever the ciphertext is, a key of another account is there no more than a missing one."""
    for sealed in (b64(blob(place, key)), b64(blob(place, place.key())), b64(b"junk" * 20)):
        answer = same([ask(place, eve, "Decrypt", CiphertextBlob=sealed, KeyId=k)
                       for k in (key.arn, missing(key))])
        assert answer.type == DENIED
        same([ask(place, eve, "ReEncrypt", CiphertextBlob=sealed, SourceKeyId=k,
                  DestinationKeyId=key.arn) for k in (key.arn, missing(key))])


def test_a_ciphertext_tells_nothing_without_permission(place, bob, eve, key):
    sealed = blob(place, key)
    bad = sealed[:-1] + bytes([sealed[-1] ^ 1])
    version = sealed[:44] + bytes([sealed[44] ^ 1]) + sealed[45:]
    for person in (bob, eve):
        for more in ({}, {"EncryptionContext": {"a": "b"}}, {"DryRun": True}):
            answer = same([ask(place, person, "Decrypt", CiphertextBlob=b64(b), **more)
                           for b in (sealed, bad, version)])
            assert answer.type == DENIED
        answers = [ask(place, person, "Decrypt", CiphertextBlob=b64(b), KeyId=key.arn)
                   for b in (sealed, bad, b"junk" * 20, blob(place, place.key()))]
        assert same(answers).type == DENIED


def test_a_destination_is_not_given_away(place, eve, key):
    other = place.key()
    for sealed in (blob(place, key), blob(place, other)):
        same([ask(place, eve, "ReEncrypt", CiphertextBlob=b64(sealed), DestinationKeyId=d)
              for d in (key.arn, missing(key), key.arn.split("key/")[0] + "alias/aws/s3")])
    put_policy(place, key, statement("Allow", {"AWS": eve.arn}, "kms:ReEncryptFrom"))
    answer = same([ask(place, eve, "ReEncrypt", CiphertextBlob=b64(blob(place, key)),
                       DestinationKeyId=d) for d in (other.arn, missing(key))])
    assert answer.type == DENIED and "kms:ReEncryptTo" in answer.message


def test_aliases_of_another_account_are_not_given_away(place, eve, key):
    place.ok("CreateAlias", AliasName="alias/hidden", TargetKeyId=key)
    for operation, more in (("DeleteAlias", {}), ("UpdateAlias", {"TargetKeyId": key.arn}),
                            ("UpdateAlias", {"TargetKeyId": missing(key)})):
        there = ask(place, eve, operation, AliasName="alias/hidden", **more)
        gone = ask(place, eve, operation, AliasName="alias/absent", **more)
        assert there.text.replace("hidden", "absent") == gone.text
        assert ACCOUNT not in gone.text
    assert place.ok("DescribeKey", KeyId="alias/hidden")["KeyMetadata"]["KeyId"] == key


def test_managed_keys_of_another_account_are_not_given_away(place, eve):
    place.ok("DescribeKey", KeyId="alias/aws/s3")
    for operation, more in (("DescribeKey", {}), ("Encrypt", {"Plaintext": "eA=="})):
        for prefix in ("", f"arn:aws:kms:us-east-1:{ACCOUNT}:"):
            made = ask(place, eve, operation, KeyId=prefix + "alias/aws/s3", **more)
            unmade = ask(place, eve, operation, KeyId=prefix + "alias/aws/rds", **more)
            assert made.text.replace("/s3", "/rds") == unmade.text
    names = [a["AliasName"] for a in place.ok("ListAliases")["Aliases"]]
    assert "alias/aws/rds" not in names


def test_lists_of_another_account_are_empty(place, eve, key):
    assert ask(place, eve, "ListKeys").json["Keys"] == []
    assert ask(place, eve, "ListAliases").json["Aliases"] == []
    marker = place.ok("ListKeys", Limit=1).get("NextMarker")
    if marker:
        assert ask(place, eve, "ListKeys", Marker=marker).json.get("Keys", []) == []


# --- nothing is made for nothing ------------------------------------------------------------------


def test_who_may_nothing_changes_nothing(place, bob, key):
    before = place.details(key), place.ok("ListAliases", KeyId=key)
    place_count = len(place.ok("ListKeys", Limit=1000)["Keys"])
    for operation, more in (
            ("CreateKey", {}), ("CreateKey", {"Tags": [{"TagKey": "a", "TagValue": "b"}]}),
            ("DisableKey", {"KeyId": key}), ("ScheduleKeyDeletion", {"KeyId": key}),
            ("PutKeyPolicy", {"KeyId": key, "Policy": json.dumps(policy(OWNER)),
                              "BypassPolicyLockoutSafetyCheck": True}),
            ("CreateAlias", {"AliasName": "alias/mine", "TargetKeyId": key}),
            ("TagResource", {"KeyId": key, "Tags": [{"TagKey": "a", "TagValue": "b"}]}),
            ("RotateKeyOnDemand", {"KeyId": key}), ("GenerateRandom", {"NumberOfBytes": 8}),
            ("ListKeys", {}), ("ListAliases", {}), ("ListAliases", {"KeyId": key}),
            ("ListRetirableGrants", {"RetiringPrincipal": bob.arn}),
            ("CreateGrant", {"KeyId": key, "GranteePrincipal": bob.arn, "Operations": ["Decrypt"]}),
            ("DescribeKey", {"KeyId": "alias/aws/ebs"}),
            ("GenerateDataKey", {"KeyId": "alias/aws/ebs", "KeySpec": "AES_256"})):
        assert ask(place, bob, operation, **more).type == DENIED, operation
        assert ask(place, bob, operation, DryRun=True, **more).type == DENIED, operation
    assert (place.details(key), place.ok("ListAliases", KeyId=key)) == before
    assert len(place.ok("ListKeys", Limit=1000)["Keys"]) == place_count


def test_a_dry_run_is_no_oracle(place, bob, key):
    """What a dry run would say to somebody who may is not said to somebody who may not."""
    place.ok("DisableKey", KeyId=key)
    usual = ask(place, bob, "Encrypt", KeyId=key, Plaintext="eA==")
    dry = ask(place, bob, "Encrypt", KeyId=key, Plaintext="eA==", DryRun=True)
    assert usual.body == dry.body and usual.type == DENIED
    place.refuses("DisabledException", "Encrypt", {"KeyId": key, "Plaintext": "eA==",
                                                   "DryRun": True})


def test_an_alias_takes_three_permissions(place, people, key):
    new = place.key()
    name = "alias/" + people.name("moved")
    place.ok("CreateAlias", AliasName=name, TargetKeyId=key)
    arn = key.arn.split("key/")[0] + name
    for left_out in (arn, key.arn, new.arn):
        may = [r for r in (arn, key.arn, new.arn) if r != left_out]
        user = people.user("mover", allow("kms:UpdateAlias", resource=may))
        answer = ask(place, user, "UpdateAlias", AliasName=name, TargetKeyId=new)
        assert answer.type == DENIED and left_out in answer.message
    for left_out in (arn, key.arn):
        may = [r for r in (arn, key.arn) if r != left_out]
        user = people.user("ender", allow("kms:DeleteAlias", resource=may))
        assert ask(place, user, "DeleteAlias", AliasName=name).type == DENIED
    assert place.ok("DescribeKey", KeyId=name)["KeyMetadata"]["KeyId"] == key


def test_a_tag_at_birth_takes_its_permission(place, people):
    user = people.user("maker", allow("kms:CreateKey"))
    count = len(place.ok("ListKeys", Limit=1000)["Keys"])
    tags = [{"TagKey": "a", "TagValue": "b"}]
    assert "kms:TagResource" in ask(place, user, "CreateKey", Tags=tags).message
    assert len(place.ok("ListKeys", Limit=1000)["Keys"]) == count


def test_each_half_of_reencrypt_has_its_own_context(place, people, key):
    other = place.key()
    user = people.user("mover")
    from_x = {"StringEquals": {"kms:EncryptionContext:App": "x"}}
    to_y = {"StringEquals": {"kms:EncryptionContext:App": "y"}}
    put_policy(place, key, statement("Allow", {"AWS": user.arn}, "kms:ReEncryptFrom",
                                     Condition=from_x))
    put_policy(place, other, statement("Allow", {"AWS": user.arn}, "kms:ReEncryptTo",
                                       Condition=to_y))
    x, y = b64(blob(place, key, App="x")), b64(blob(place, key, App="y"))
    call = {"DestinationKeyId": other}
    good = ask(place, user, "ReEncrypt", CiphertextBlob=x, SourceEncryptionContext={"App": "x"},
               DestinationEncryptionContext={"App": "y"}, **call)
    assert good.status == 200
    for sealed, source, destination in ((x, "x", "x"), (y, "y", "y"), (y, "y", "x")):
        answer = ask(place, user, "ReEncrypt", CiphertextBlob=sealed,
                     SourceEncryptionContext={"App": source},
                     DestinationEncryptionContext={"App": destination}, **call)
        assert answer.type == DENIED
    answer = ask(place, user, "ReEncrypt", CiphertextBlob=y, SourceEncryptionContext={"App": "x"},
                 DestinationEncryptionContext={"App": "y"}, **call)
    assert answer.type == "InvalidCiphertextException"


# --- key policies ---------------------------------------------------------------------------------


def test_nobody_locks_themselves_out_unseen(place, people, key):
    alice = people.user("alice")
    put_policy(place, key, statement("Allow", {"AWS": alice.arn}, "kms:PutKeyPolicy"))
    before = place.ok("GetKeyPolicy", KeyId=key)
    mine = statement("Allow", {"AWS": alice.arn}, "kms:PutKeyPolicy")
    for bad in (policy(OWNER),
                policy(OWNER, mine, statement("Deny", "*", "kms:Put*")),
                policy(OWNER, {**mine, "Condition": {"Bool": {
                    "kms:BypassPolicyLockoutSafetyCheck": "true"}}}),
                policy(OWNER, {**mine, "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}}),
                policy({k: v for k, v in mine.items() if k != "Resource"})):
        answer = ask(place, alice, "PutKeyPolicy", KeyId=key, Policy=json.dumps(bad))
        assert answer.type == MALFORMED, bad
        answer = ask(place, alice, "PutKeyPolicy", KeyId=key, Policy=json.dumps(bad),
                     BypassPolicyLockoutSafetyCheck=False)
        assert answer.type == MALFORMED, bad
    # a grant is no way to keep the right to write policies
    assert place.ok("GetKeyPolicy", KeyId=key) == before


def test_hostile_policies_are_refused(place, key):
    before = place.ok("GetKeyPolicy", KeyId=key)
    allow_me = statement("Allow", {"AWS": ROOT}, "kms:*")
    text = json.dumps(policy(allow_me))
    bad = [text.replace('"Effect": "Allow"', '"Effect": "Deny", "Effect": "Allow"'),
           text.replace('"Effect"', '"effect"'), text.replace("2012-10-17", "2012-10-18"),
           json.dumps(policy({**allow_me, "Condition": {"StringEqualz": {"a": "b"}}})),
           json.dumps(policy({**allow_me, "Condition": {"IpAddress": {"aws:SourceIp": "x"}}})),
           json.dumps(policy({**allow_me, "NotPrincipal": {"AWS": ROOT}})),
           json.dumps(policy({**allow_me, "NotAction": "kms:Encrypt"})),
           json.dumps(policy({**allow_me, "Principal": {"AWS": ROOT[:-4] + "*"}})),
           json.dumps(policy({**allow_me, "Principal": {"AWS": "arn:aws:iam::*:root"}})),
           json.dumps(policy({**allow_me, "Principal": {"AWS": []}})),
           json.dumps(policy({**allow_me, "Action": []})),
           json.dumps({**policy(allow_me), "Extra": 1}), "[" * 5000, text + " x", "null", '""']
    for document in bad:
        answer = place.call("PutKeyPolicy", {"KeyId": key, "Policy": document,
                                             "BypassPolicyLockoutSafetyCheck": True})
        assert answer.status == 400 and answer.type == MALFORMED, document[:200]
    assert place.ok("GetKeyPolicy", KeyId=key) == before


def test_a_namesake_inherits_nothing(place, people, key):
    """Of a user or role that was deleted and made again: key policies, grants, trust, sessions."""
    alice = people.user("heir")
    role = people.role(allow("kms:DescribeKey"))
    session = people.session(role)
    role_arn = f"arn:aws:iam::{ACCOUNT}:role/{role}"
    trusting = people.name("trusting")
    people.admin("role", "create", trusting, "--trust", people.file(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
                                                 "Principal": {"AWS": alice.arn}}]}))
    put_policy(place, key, statement("Allow", {"AWS": [alice.arn, role_arn, session.arn]},
                                     "kms:Decrypt"))
    make(place, key, alice, ["Encrypt"], RetiringPrincipal=alice.arn)
    made = make(place, key, role_arn, ["Encrypt"])
    sealed = b64(blob(place, key))
    for person in (alice, session):
        assert ask(place, person, "Decrypt", CiphertextBlob=sealed).status == 200
        assert ask(place, person, "Encrypt", KeyId=key, Plaintext="eA==").status == 200
    assert post(place, alice, assume_form(trusting))[0] == 200

    people.forget(alice)
    people.admin("policy", "delete", "--role", role, "--name", "p")
    people.admin("role", "delete", role)
    people.role(name=role)
    again = people.user(name=alice.name)
    new = people.session(role)
    for person in (again, new):
        assert ask(place, person, "Decrypt", CiphertextBlob=sealed).type == DENIED
        assert ask(place, person, "Encrypt", KeyId=key, Plaintext="eA==").type == DENIED
        answer = ask(place, person, "RetireGrant", KeyId=key.arn, GrantId=made["GrantId"])
        assert answer.type == DENIED
    assert post(place, again, assume_form(trusting))[1]["Code"] == "AccessDenied"
    for person in (alice, session):
        answer = ask(place, person, "Decrypt", CiphertextBlob=sealed)
        assert answer.type == "UnrecognizedClientException"
    assert "heir" not in place.ok("GetKeyPolicy", KeyId=key)["Policy"]
    assert len(grants(place, key)) == 2


# --- grants ---------------------------------------------------------------------------------------


def test_a_child_grant_is_never_wider(place, people, key):
    alice = people.user("parent")
    friend = people.user("friend")
    make(place, key, alice, ["CreateGrant", "Decrypt"],
         Constraints={"EncryptionContextSubset": {"App": "x"}})
    tries = [
        (["Decrypt"], None), (["Encrypt"], {"EncryptionContextSubset": {"App": "x"}}),
        (["Decrypt", "Decrypt", "DescribeKey"], {"EncryptionContextSubset": {"App": "x"}}),
        (["Decrypt"], {}), (["Decrypt"], {"EncryptionContextSubset": {}}),
        (["Decrypt"], {"EncryptionContextEquals": {}}),
        (["Decrypt"], {"EncryptionContextSubset": {"App": "X"}}),
        (["Decrypt"], {"EncryptionContextSubset": {"App": ""}}),
        (["Decrypt"], {"EncryptionContextSubset": {"app": "y"}}),
        (["Decrypt"], {"EncryptionContextSubset": {"App": "x", "app": "y"}}),
        (["Decrypt"], {"EncryptionContextSubset": {"App": "x"},
                       "EncryptionContextEquals": {"b": "c"}}),
        (["Decrypt"], {"EncryptionContextEquals": {"b": "x"}}),
        (["Decrypt"], {"EncryptionContextSubset": {str(i): "" for i in range(9)}}),
    ]
    count = len(grants(place, key))
    for operations, constraints in tries:
        more = {} if constraints is None else {"Constraints": constraints}
        answer = ask(place, alice, "CreateGrant", KeyId=key, GranteePrincipal=friend.arn,
                     Operations=operations, **more)
        assert answer.status == 400 and answer.type in (DENIED, INVALID), (operations, more)
        answer = ask(place, alice, "CreateGrant", KeyId=key, GranteePrincipal=friend.arn,
                     Operations=operations, DryRun=True, **more)
        assert answer.type in (DENIED, INVALID), (operations, more)
    assert len(grants(place, key)) == count


def test_a_child_comes_of_the_grant_that_lets_make_it(place, people, key):
    """Not of one that names the caller only as one of the account, whom no policy lets."""
    alice = people.user("two-ways")
    make(place, key, alice, ["CreateGrant", "Encrypt"])
    make(place, key, ROOT, ["CreateGrant", "Decrypt"])
    answer = ask(place, alice, "CreateGrant", KeyId=key, GranteePrincipal=alice.arn,
                 Operations=["Decrypt"])
    assert answer.type == DENIED and len(grants(place, key)) == 2
    assert ask(place, alice, "Decrypt", CiphertextBlob=b64(blob(place, key))).type == DENIED


def test_a_grant_gives_a_session_no_more_than_its_policy(place, people, key):
    role = people.role()
    make(place, key, f"arn:aws:iam::{ACCOUNT}:role/{role}", ["Decrypt", "CreateGrant"])
    narrow = people.session(role, policy=allow("kms:Encrypt"))
    assert ask(place, narrow, "Decrypt", CiphertextBlob=b64(blob(place, key))).type == DENIED
    answer = ask(place, narrow, "CreateGrant", KeyId=key, GranteePrincipal=narrow.arn,
                 Operations=["Decrypt"])
    assert answer.type == DENIED and len(grants(place, key)) == 1


def test_colliding_names_open_no_grant(place, people, key):
    alice = people.user("collider")
    for kind in ("EncryptionContextSubset", "EncryptionContextEquals"):
        make(place, key, alice, ["Encrypt"], Constraints={kind: {"App": "x"}})
    assert ask(place, alice, "Encrypt", KeyId=key, Plaintext="eA==",
               EncryptionContext={"app": "x"}).status == 200
    for context in ({"App": "x", "app": "y"}, {"App": "y", "APP": "x"}, {"App": "X"},
                    {"App ": "x"}, {"App": "x "}, {"Ａpp": "x"}, {}):
        answer = ask(place, alice, "Encrypt", KeyId=key, Plaintext="eA==",
                     EncryptionContext=context)
        assert answer.type == DENIED, context


def test_who_may_not_end_a_grant(place, people, eve, bob, key):
    alice = people.user("grantee")
    made = make(place, key, alice, ["Decrypt"])
    for person in (alice, bob, eve):
        for more in ({"GrantToken": made["GrantToken"]},
                     {"KeyId": key.arn, "GrantId": made["GrantId"]}):
            assert ask(place, person, "RetireGrant", **more).type == DENIED
            assert ask(place, person, "RetireGrant", DryRun=True, **more).type == DENIED
        assert ask(place, person, "RevokeGrant", KeyId=key.arn,
                   GrantId=made["GrantId"]).type == DENIED
    put_policy(place, key, statement("Allow", {"AWS": bob.arn}, "kms:RetireGrant"))
    assert ask(place, bob, "RetireGrant", KeyId=key.arn, GrantId=made["GrantId"]).type == DENIED
    assert len(grants(place, key)) == 1


# --- conditions -----------------------------------------------------------------------------------


def test_encryption_context_tricks(place, people, key):
    """One pair is allowed and one denied; none of these spellings passes."""
    alice = people.user("context")
    put_policy(place, key,
               statement("Allow", {"AWS": alice.arn}, "kms:Encrypt", Condition={
                   "StringEquals": {"kms:EncryptionContext:App": "x"}}),
               statement("Deny", {"AWS": alice.arn}, "kms:Encrypt", Condition={
                   "StringEquals": {"kms:EncryptionContext:Bad": "1"}}))

    def encrypt(context):
        raw = b'{"KeyId":"%s","Plaintext":"eA==","EncryptionContext":%s}' % (key.encode(), context)
        return ask(place, alice, "Encrypt", raw=raw)

    assert encrypt(b'{"App":"x"}').status == 200
    for context in (b'{}', b'null', b'{"App":""}', b'{"App":"X"}', b'{"App":"y","app":"x"}',
                    b'{"App":"x","app":"y"}', b'{"App":"x","Bad":"1"}', b'{"App":"x","bAD":"1"}',
                    b'{"App":"x","Bad":"0","bad":"1"}', b'{"App":"x","Bad":"1","bad":"0"}',
                    b'{"App\\u0000":"x"}', b'{"App":"x\\u0000"}', b'{"App":"x","App":"y"}',
                    b'{"App":"y","App":"x"}', b'{"App":["x"]}', b'{"App":{"x":"x"}}', b'{"App":1}',
                    b'["App","x"]', b'"App"', b'{"App":null}', b'{"\xef\xbc\xa1pp":"x"}',
                    b'{"App":"\xff"}', b'{"A\\u0070p":"x","app":"x"}',
                    b'{"App":"x"},"EncryptionContext":{"App":"y"}',
                    b'{"App":"y"},"EncryptionContext":{"App":"x"}'):
        answer = encrypt(context)
        assert answer.status == 400, (context, answer.text)
    huge = json.dumps({"App": "x", **{str(i): "v" for i in range(5000)}}).encode()
    assert encrypt(huge).status in (400, 413)


def test_facts_that_are_missing_let_nobody_in(place, people, key):
    for condition in ({"StringEquals": {"hsmkms:ClientCertSpki": "*"}},
                      {"StringLike": {"hsmkms:ClientCertSubject": "*"}},
                      {"ForAnyValue:StringLike": {"hsmkms:ClientCertSan": "*"}},
                      {"StringLike": {"aws:SourceVpce": "*"}}, {"StringLike": {"kms:ViaService": "*"}},
                      {"StringLike": {"aws:PrincipalTag/a": "*"}}, {"Bool": {"aws:ViaAWSService": "true"}},
                      {"StringLike": {"kms:RequestAlias": "alias/*"}},
                      {"StringLike": {"aws:SourceIdentity": "*"}},
                      {"Null": {"aws:TokenIssueTime": "false"}},
                      {"StringEquals": {"kms:EncryptionContextKeys": "App"}},
                      {"StringNotEquals": {"kms:EncryptionContextKeys": "Zed"}},
                      {"StringEquals": {"kms:ResourceAliases": "alias/trick"}}):
        alice = people.user("facts")
        put_policy(place, key, statement("Allow", {"AWS": alice.arn}, "kms:Encrypt",
                                         Condition=condition))
        for alias in (None, "alias/x"):
            answer = ask(place, alice, "Encrypt", KeyId=key, Plaintext="eA==",
                         EncryptionContext={"App": "x"})
            assert answer.type == DENIED, condition


def test_where_from_is_not_what_a_header_says(place, people, key):
    alice = people.user("far")
    put_policy(place, key, statement("Allow", {"AWS": alice.arn}, "kms:DescribeKey", Condition={
        "IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}))
    body = json.dumps({"KeyId": key}).encode()
    for header in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "Client-IP", "True-Client-IP"):
        value = "for=192.0.2.1" if header == "Forwarded" else "192.0.2.1"
        answer = place.send(place.signed("DescribeKey", body, alice.credential, {header: value}), body)
        assert answer.type == DENIED


def test_an_alias_is_what_was_asked_for(place, people, key):
    """kms:RequestAlias is the alias of the request, and of this half of it."""
    good, bad = "alias/" + people.name("good"), "alias/" + people.name("bad")
    place.ok("CreateAlias", AliasName=good, TargetKeyId=key)
    place.ok("CreateAlias", AliasName=bad, TargetKeyId=key)
    alice = people.user("alias", allow("kms:*", Condition={
        "StringEquals": {"kms:RequestAlias": good}}))
    assert ask(place, alice, "Encrypt", KeyId=good, Plaintext="eA==").status == 200
    for identifier in (bad, str(key), key.arn, good.upper(), good + " ", good + "/", f"{good}:{bad}",
                       key.arn + ":" + good, key.arn.replace("key/" + key, bad)):
        answer = ask(place, alice, "Encrypt", KeyId=identifier, Plaintext="eA==")
        assert answer.status == 400, identifier
    sealed = b64(blob(place, key))
    for source, destination in ((good, bad), (bad, good), (None, good), (good, str(key))):
        more = {"SourceKeyId": source} if source else {}
        answer = ask(place, alice, "ReEncrypt", CiphertextBlob=sealed, DestinationKeyId=destination,
                     **more)
        assert answer.type == DENIED, (source, destination)


def test_tags_that_differ_in_case_open_nothing(place, people):
    key = place.key(Tags=[{"TagKey": "Env", "TagValue": "prod"}])
    alice = people.user("tagger", policy(
        {"Effect": "Allow", "Resource": "*", "Action": ["kms:Encrypt", "kms:DescribeKey"],
         "Condition": {"StringEquals": {"aws:ResourceTag/Env": "dev"}}},
        {"Effect": "Allow", "Resource": "*", "Action": "kms:TagResource",
         "Condition": {"StringEquals": {"aws:RequestTag/Team": "a"}}}))
    tags = [{"TagKey": "Team", "TagValue": "a"}, {"TagKey": "team", "TagValue": "b"}]
    assert ask(place, alice, "TagResource", KeyId=key, Tags=tags).type == DENIED
    tags = [{"TagKey": "Team", "TagValue": "a"}, {"TagKey": "env", "TagValue": "dev"}]
    ask(place, alice, "TagResource", KeyId=key, Tags=tags)
    assert ask(place, alice, "Encrypt", KeyId=key, Plaintext="eA==").type == DENIED


def test_a_grants_context_is_asked_of_create_grant(place, people, key):
    alice = people.user("issuer")
    put_policy(place, key, statement("Allow", {"AWS": alice.arn}, "kms:CreateGrant", Condition={
        "StringEquals": {"kms:EncryptionContext:App": "x"},
        "ForAllValues:StringEquals": {"kms:GrantOperations": ["Decrypt"]}}))
    for operations, constraints in ((["Decrypt"], {}), (["Encrypt"], {"App": "x"}),
                                    (["Decrypt", "Encrypt"], {"App": "x"}),
                                    (["Decrypt"], {"App": "y"}), (["Decrypt"], {"App": "x", "app": "y"})):
        answer = ask(place, alice, "CreateGrant", KeyId=key, GranteePrincipal=alice.arn,
                     Operations=operations,
                     Constraints={"EncryptionContextSubset": constraints} if constraints else {})
        assert answer.type == DENIED, (operations, constraints)
    assert not grants(place, key)


# --- sessions -------------------------------------------------------------------------------------


def test_forged_tokens(place, people, key):
    role = people.role(allow("kms:*"))
    one, two = people.session(role, "one"), people.session(role, "two")
    assert ask(place, one, "DescribeKey", KeyId=key).status == 200
    raw = base64.b64decode(one.token)
    other = base64.b64decode(two.token)
    forged = [two.token, one.token[:-4], one.token + "AAAA", one.token + "=", "A", "=" * 8,
              one.token[:40], b64(raw[:17]), b64(raw[:1] + other[1:17][::-1] + raw[17:]),
              b64(b"\2" + raw[1:]), b64(raw[:-1] + bytes([raw[-1] ^ 1])),
              b64(raw[:40] + bytes([raw[40] ^ 1]) + raw[41:]), b64(raw[:17] + other[17:]),
              b64(raw[:29] + other[29:]), "A" * 6000, one.token.replace("A", "B"), "\u00e9"]
    for token in forged:
        answer = ask(place, one, "DescribeKey", KeyId=key, token=token) if token.isascii() else None
        assert answer is None or answer.status in (400, 403, 431), token[:60]
        assert answer is None or answer.type in ("UnrecognizedClientException", "", DENIED,
                                                 "InvalidSignatureException"), answer.text
    long_lived = people.user("plain", allow("kms:*"))
    answer = ask(place, long_lived, "DescribeKey", KeyId=key, token=one.token)
    assert answer.status != 200
    one.token, token = None, one.token
    assert ask(place, one, "DescribeKey", KeyId=key).status != 200
    one.token = token
    assert post(place, one, "Action=GetSessionToken&Version=2011-06-15")[1]["Code"] == "AccessDenied"


def test_a_session_ends_with_its_owner(place, people, key):
    """Also one that is cached, and its signing key with it."""
    role = people.role(allow("kms:*"))
    session = people.session(role)
    user = people.user("ending", allow("kms:*"))
    _, made = post(place, user, "Action=GetSessionToken&Version=2011-06-15")
    own = type(user)(place, user.arn, None, made["AccessKeyId"], made["SecretAccessKey"],
                     made["SessionToken"])

    def answers():
        return [ask(place, p, "DescribeKey", KeyId=key).type for p in (session, user, own)]

    refused_ = "UnrecognizedClientException"
    assert answers() == ["", "", ""]
    people.admin("role", "disable", role)
    people.admin("user", "disable", user.name)
    assert answers() == [refused_] * 3
    people.admin("role", "enable", role)
    people.admin("user", "enable", user.name)
    assert answers() == ["", "", ""]
    time.sleep(0.01)
    people.admin("revoke-sessions", "--role", role)
    people.admin("revoke-sessions", "--user", user.name)
    assert answers() == ["ExpiredTokenException", "", "ExpiredTokenException"]
    people.admin("key", "disable", user.credential.access_key)
    assert answers()[1] == refused_
    people.admin("policy", "put", "--role", role, "--name", "p", people.file(allow("kms:ListKeys")))
    assert ask(place, people.session(role), "DescribeKey", KeyId=key).type == DENIED


def test_root_that_is_disabled_has_no_sessions(place, people):
    people.user("admin", allow("*"))
    _, made = post(place, people_root(place), "Action=GetSessionToken&Version=2011-06-15")
    root = people_root(place)
    session = type(root)(place, ROOT, None, made["AccessKeyId"], made["SecretAccessKey"],
                         made["SessionToken"])
    assert ask(place, session, "ListKeys").status == 200
    people.admin("root", "disable")
    try:
        for person in (session, root):
            assert ask(place, person, "ListKeys").type == "UnrecognizedClientException"
            assert post(place, person, "Action=GetCallerIdentity&Version=2011-06-15")[0] == 403
    finally:
        people.admin("root", "enable")
    assert ask(place, root, "ListKeys").status == 200


def test_a_root_session_ends_with_its_time(place, people):
    """One of an earlier time in which root was enabled is none of the next."""
    people.user("keeper", allow("*"))
    root = people_root(place)
    _, made = post(place, root, "Action=GetSessionToken&Version=2011-06-15")
    session = Root(place, ROOT, None, made["AccessKeyId"], made["SecretAccessKey"],
                   made["SessionToken"])
    assert ask(place, session, "ListKeys").status == 200
    time.sleep(0.01)
    people.admin("root", "disable")
    people.admin("root", "enable")
    assert ask(place, root, "ListKeys").status == 200
    assert ask(place, session, "ListKeys").status == 400


class Root:
    def __init__(self, rig, arn, client, access_key, secret, token=None):
        self.rig, self.arn, self.kms, self.token = rig, arn, client, token
        self.credential = kms.Credential(access_key, secret)


def people_root(place):
    return Root(place, ROOT, None, place.credential.access_key, place.credential.secret)


def test_session_policies_are_not_dropped(place, people, key):
    """However the form spells them, they count or the call is refused."""
    user = people.user("former", allow("sts:*"))
    role = people.role(allow("kms:*"))
    sealed = b64(blob(place, key))
    none = json.dumps(allow("kms:ListKeys"))
    name = people.name("none")
    people.admin("policy", "create", "--name", name, people.file(allow("kms:ListKeys")))
    arn = f"arn:aws:iam::{ACCOUNT}:policy/{name}"
    quoted = urllib.parse.quote(none)
    base = assume_form(role)
    for more in ("Policy=" + quoted, "PolicyArns.member.1.arn=" + arn, "PolicyArns.member.1=" + arn,
                 "PolicyArns.member.2.arn=" + arn, "PolicyArns.member.0.arn=" + arn,
                 "PolicyArns.member.01.arn=" + arn, "PolicyArns.member.1.Arn=" + arn,
                 "PolicyArns.Member.1.arn=" + arn, "PolicyArns.1.arn=" + arn, "PolicyArns=" + arn,
                 "PolicyArns.arn=" + arn, "PolicyArns.member.arn=" + arn,
                 "PolicyArns.member.1.arn.x=" + arn, "PolicyArns.member=" + arn,
                 "Policy.member.1=" + quoted, "Policy.x=" + quoted, "Policy=&Policy=" + quoted,
                 "Policy=" + quoted + "&Policy=", "P%6flicy=" + quoted, "Policy=%00" + quoted,
                 "Policy=" + quoted + "%00", "Policy", "Policy=", "PolicyArns.member.1.arn=",
                 "PolicyArns.member.1.arn=" + arn + "x", "PolicyArns.member.4294967297.arn=" + arn,
                 "PolicyArns.member.1.arn=" + arn + "&PolicyArns=",
                 "PolicyArns.member.-1.arn=" + arn, "PolicyArns.member.1.arn=" + arn + "&PolicyArns.x=y"):
        status, found = post(place, user, base + "&" + more)
        if status == 200:
            session = Root(place, "", None, found["AccessKeyId"], found["SecretAccessKey"],
                           found["SessionToken"])
            assert ask(place, session, "Decrypt", CiphertextBlob=sealed).type == DENIED, more
            assert ask(place, session, "ListKeys").status == 200, more
        else:
            assert status in (400, 403), (more, found)
    for n in (100, 2000, 20000):
        status, _ = post(place, user, base + "".join(f"&Tags.member.{i}.Key=k{i}" for i in range(1, n)))
        assert status in (400, 413)
    status, _ = post(place, user, base + "&" + "a." * 60 + "b=1")
    assert status in (200, 400)


def test_tags_and_identity_of_a_chain(place, people, key):
    """What a session hands on cannot be changed by the next one."""
    user = people.user("chainer", allow("sts:*"))
    everybody = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:*"}]}
    roles = [people.role(allow("sts:*", "kms:*")) for _ in range(2)]
    for role in roles:
        people.admin("role", "trust", role, people.file(everybody))
    status, found = post(place, user, assume_form(roles[0], **{
        "Tags.member.1.Key": "Team", "Tags.member.1.Value": "a", "TransitiveTagKeys.member.1": "team",
        "SourceIdentity": "chainer"}))
    assert status == 200, found
    session = Root(place, "", None, found["AccessKeyId"], found["SecretAccessKey"],
                   found["SessionToken"])
    for more in ({"Tags.member.1.Key": "Team", "Tags.member.1.Value": "b"},
                 {"Tags.member.1.Key": "TEAM", "Tags.member.1.Value": "b"},
                 {"Tags.member.1.Key": "x", "Tags.member.1.Value": "b", "Tags.member.2.Key": "X",
                  "Tags.member.2.Value": "b"},
                 {"SourceIdentity": "root"}, {"DurationSeconds": "3601"}):
        status, found = post(place, session, assume_form(roles[1], **more))
        assert status in (400, 403), (more, found)
    status, found = post(place, session, assume_form(roles[1]))
    assert status == 200
    second = Root(place, "", None, found["AccessKeyId"], found["SecretAccessKey"],
                  found["SessionToken"])
    put_policy(place, key, statement("Deny", "*", "kms:DescribeKey", Condition={"StringEquals": {
        "aws:PrincipalTag/Team": "a", "aws:SourceIdentity": "chainer"}}))
    answer = ask(place, second, "DescribeKey", KeyId=key)
    assert answer.type == DENIED and "explicit deny" in answer.message
    put_policy(place, key)
    people.admin("role", "trust", roles[1], people.file(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": ACCOUNT},
                                                 "Action": "sts:AssumeRole"}]}))
    status, found = post(place, session, assume_form(roles[1]))  # a role must take the identity over
    assert (status, found["Code"]) == (403, "AccessDenied")


def test_who_may_not_assume(place, people, eve, bob):
    role = people.role(allow("kms:*"))
    for person in (bob, eve, people_root(place)):
        there = post(place, person, assume_form(role))
        gone = post(place, person, assume_form("x" * len(role)))
        assert there[0] == gone[0] == 403
        assert there[1]["Message"].replace(role, "x" * len(role)) == gone[1]["Message"]


def test_errors_of_sts_are_text(place, bob):
    for value in ("<x/>", "]]>", "&amp;&lt;", "\"'", "\x01\x1f", "é" * 600, "a\nb", "x" * 5000,
                  "<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]>", "\ufffe"):
        for name in ("Action", "Version", "RoleArn", "RoleSessionName", "Policy", "ExternalId", value):
            form = {"Action": "AssumeRole", "Version": "2011-06-15", "RoleSessionName": "s1",
                    "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/nobody", name: value}
            status, found = post(place, bob, urllib.parse.urlencode(form))
            assert status in (400, 403) and found["Code"], form
            assert "x" not in found and "RequestId" in found


# --- administration -------------------------------------------------------------------------------


def admin_line(place, line):
    """One line to the administration socket; what comes back."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(place.dir / "state" / "admin.sock"))
        sock.sendall(line)
        got = b""
        while chunk := sock.recv(65536):
            got += chunk
    return got


def test_hostile_administration(place, people, bob):
    before = place.admin("export").stdout
    commands = ["user create", "role create", "policy put", "policy create", "attach", "tag set",
                "boundary set", "key create", "import", "export", "root enable", "account add",
                "revoke-sessions", "explain", "lint", "status", "\u0000", "x" * 300]
    for command in commands:
        for value in (1, None, True, [], {}, [1], {"a": 1}, "\u0000", "x" * 100000):
            names = ("Command", "command", "UserName", "RoleName", "PolicyDocument", "Document", "Name",
                     "AccountId", "PolicyArn", "Key", "Value", "Minutes")
            line = json.dumps({**{n: value for n in names}, "Command": command, "command": command})
            try:
                admin_line(place, line.encode() + b"\n")
            except ConnectionError:
                pass
    for data in (b'{"command":"status","command":"export"}\n', b"[]\n", b"1\n", b"{}\n{}\n",
                 b"[" * 100000 + b"\n", b'{"a":' * 50000 + b"\n", b"\xff" * 100 + b"\n"):
        try:
            admin_line(place, data)
        except ConnectionError:
            pass
    threads = [threading.Thread(target=lambda: place.admin("user", "list", check=False))
               for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert place.admin("export").stdout == before and place.running()


def test_hostile_imports(place, people):
    """What an import refuses leaves nobody with more than the document says."""
    name = people.name("imported")
    users = [{"UserName": name, "UserPolicyList": [{"PolicyName": "p", "PolicyDocument": allow("kms:*")}],
              "PermissionsBoundary": {"PermissionsBoundaryArn": "arn:aws:iam::aws:policy/NoSuch"}}]
    hostile = [{"UserDetailList": [{"UserName": n} for n in ("../x", "a b", "", "x" * 65, None, 1, [])]},
               {"UserDetailList": {"a": 1}}, {"UserDetailList": [1, None, [], "x"]}, {"Policies": [{}]},
               {"RoleDetailList": [{"RoleName": people.name("r"), "MaxSessionDuration": 2**62}]},
               {"RoleDetailList": [{"RoleName": people.name("r"), "AssumeRolePolicyDocument": 7}]},
               {"Policies": [{"PolicyName": "x", "Path": "//", "PolicyVersionList": [{}]}]}]
    for document in hostile:
        place.admin("import", people.file(document), check=False)
    listed = place.admin("export").stdout
    assert "../x" not in listed and place.running()
    place.admin("import", people.file({"UserDetailList": users}), check=False)
    shown = json.loads(place.admin("export").stdout)
    mine = [u for u in shown["UserDetailList"] if u["UserName"] == name]
    assert not mine or not mine[0]["UserPolicyList"]
    off = people.name("off")
    place.admin("import", people.file({"UserDetailList": [{"UserName": off, "Enabled": False}]}))
    shown = json.loads(place.admin("export").stdout)["UserDetailList"]
    assert [u["Enabled"] for u in shown if u["UserName"] == off] == [False]


# --- denial of service ----------------------------------------------------------------------------


def test_a_policy_that_takes_too_long_denies(place, people, key):
    alice = people.user("bomber")
    pattern = "*" + "a" * 500 + "b"
    conditions = {"StringLike": {"kms:EncryptionContext:k": [pattern + str(i) for i in range(50)]}}
    put_policy(place, key, statement("Allow", {"AWS": alice.arn}, "kms:Encrypt"),
               statement("Deny", {"AWS": alice.arn}, "kms:Encrypt", Condition=conditions))
    begun = time.monotonic()
    answer = ask(place, alice, "Encrypt", KeyId=key, Plaintext="eA==",
                 EncryptionContext={"k": "a" * 8000})
    assert answer.type == DENIED and time.monotonic() - begun < 60
    assert ask(place, alice, "Encrypt", KeyId=key, Plaintext="eA==").status == 200


# --- changes while others ask ---------------------------------------------------------------------


def test_aliases_of_a_key_open_no_key_policy(place, people, key):
    """Who may name a key must not thereby come to use it."""
    name = "alias/" + people.name("chosen")
    place.ok("CreateAlias", AliasName=name, TargetKeyId=key)
    alice = people.user("namer")
    put_policy(place, key, statement("Allow", {"AWS": alice.arn}, "kms:Encrypt", Condition={
        "ForAnyValue:StringEquals": {"kms:ResourceAliases": name}}))
    for identifier in (str(key), name):
        assert ask(place, alice, "Encrypt", KeyId=identifier, Plaintext="eA==").type == DENIED


def test_a_session_lives_by_its_policies_as_they_are_now(place, people, key):
    """Also one whose token was opened before: changed, taken away, and of the role behind it."""
    user = people.user("policies", allow("sts:*"))
    role = people.role(allow("kms:*"))
    name = people.name("managed")
    people.admin("policy", "create", "--name", name, people.file(allow("kms:DescribeKey")))
    arn = f"arn:aws:iam::{ACCOUNT}:policy/{name}"
    _, found = post(place, user, assume_form(role, **{"PolicyArns.member.1.arn": arn}))
    session = Root(place, "", None, found["AccessKeyId"], found["SecretAccessKey"],
                   found["SessionToken"])
    assert ask(place, session, "DescribeKey", KeyId=key).status == 200
    people.admin("policy", "create", "--name", name, people.file(allow("kms:ListKeys")))
    assert ask(place, session, "DescribeKey", KeyId=key).type == DENIED
    people.admin("policy", "remove", arn)
    assert ask(place, session, "ListKeys").type == DENIED
    session = people.session(role)
    assert ask(place, session, "DescribeKey", KeyId=key).status == 200
    people.admin("policy", "put", "--role", role, "--name", "q",
                 people.file(allow("kms:DescribeKey", effect="Deny")))
    assert ask(place, session, "DescribeKey", KeyId=key).type == DENIED


def test_a_signature_is_for_one_service(place, bob):
    answer = place.call("ListKeys", credential=place.credential.but(service="sts"))
    assert answer.type == "InvalidSignatureException"
    form = b"Action=GetCallerIdentity&Version=2011-06-15"
    request = AWSRequest(method="POST", url=place.url + "/", data=form,
                         headers={"Content-Type": FORM})
    SigV4Auth(Credentials(bob.credential.access_key, bob.credential.secret), "kms",
              "us-east-1").add_auth(request)
    answer = place.send(dict(request.headers.items()), form)
    assert answer.status == 403 and b"SignatureDoesNotMatch" in answer.body


def test_sts_has_no_operations_of_kms(place, people):
    user = people.user("wrong-door", allow("*"))
    for action in ("Decrypt", "ListKeys", "CreateKey", "assumerole", "", "GetCallerIdentity%00"):
        status, found = post(place, user, f"Action={action}&Version=2011-06-15&KeyId=x")
        assert status == 400 and found["Code"] in ("InvalidAction", "MalformedQueryString")
    for operation in ("AssumeRole", "GetSessionToken", "GetCallerIdentity"):
        assert ask(place, user, operation).type == "UnknownOperationException"


def test_every_decision_is_of_one_policy(place, people, key):
    """While policies change, nobody passes whom neither of them lets pass."""
    alice, mallory = people.user("flip"), people.user("flop")
    both = [statement("Allow", {"AWS": alice.arn}, "kms:Encrypt"),
            statement("Deny", {"AWS": mallory.arn}, "kms:Encrypt"),
            statement("Allow", {"AWS": mallory.arn}, "kms:Encrypt")]
    put_policy(place, key, *both[:1])
    wrong, stop = [], threading.Event()

    def hammer(person, expected):
        while not stop.is_set():
            answer = ask(place, person, "Encrypt", KeyId=key, Plaintext="eA==")
            if answer.type != expected:
                wrong.append(answer.text)

    threads = [threading.Thread(target=hammer, args=a) for a in ((alice, ""), (mallory, DENIED)) * 2]
    for thread in threads:
        thread.start()
    for i in range(40):
        put_policy(place, key, *(both if i % 2 else both[:1]))
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[0]


def test_the_daemon_is_whole(place):
    assert place.running()
    assert place.audit_verify()
