"""Grants: who may make, use, list and end them, and what is refused, through boto3 and raw calls."""

import json
import time

import pytest

from kms import NO_SUCH_KEY
from principals import (ACCOUNT, DENIED, DRY, INVALID, NO_SUCH_GRANT, OTHER, ROOT, People, Person,
                        allow, blob, grants, make, refused)


@pytest.fixture(scope="module")
def people(rig):
    return People(rig)


@pytest.fixture(scope="module")
def alice(people):
    """A user without any policy: what she may, a grant gives her."""
    return people.user("alice")


# --- making and using -----------------------------------------------------------------------------


def test_a_grant_gives_and_its_end_takes(rig, key, alice):
    sealed = blob(rig, key)
    message = refused(DENIED, alice.kms.decrypt, CiphertextBlob=sealed)
    assert alice.arn in message and "kms:Decrypt" in message
    made = make(rig, key, alice)
    assert set(made) == {"GrantToken", "GrantId"} and len(made["GrantId"]) == 64
    assert alice.kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"x"
    refused(DENIED, alice.kms.encrypt, KeyId=key, Plaintext=b"x")
    refused(DENIED, alice.kms.describe_key, KeyId=key)
    rig.ok("RevokeGrant", KeyId=key, GrantId=made["GrantId"])
    refused(DENIED, alice.kms.decrypt, CiphertextBlob=sealed)


def test_what_lists_show(rig, key, alice, people):
    role = people.role()
    made = make(rig, key.arn, alice, ["Decrypt", "Encrypt", "Decrypt"], Name="a/b:c_d-1",
                RetiringPrincipal=f"arn:aws:iam::{ACCOUNT}:role/{role}",
                Constraints={"EncryptionContextSubset": {"App": "x", "b": ""}})
    entry = grants(rig, key)[0]
    created = entry.pop("CreationDate")
    assert abs(created - time.time()) < 60
    assert sorted(entry.pop("Operations")) == ["Decrypt", "Encrypt"]
    assert entry == {"KeyId": key.arn, "GrantId": made["GrantId"], "Name": "a/b:c_d-1",
                     "GranteePrincipal": alice.arn, "IssuingAccount": ROOT,
                     "RetiringPrincipal": f"arn:aws:iam::{ACCOUNT}:role/{role}",
                     "Constraints": {"EncryptionContextSubset": {"App": "x", "b": ""}}}
    plain = make(rig, key, alice)
    entry = grants(rig, key, GrantId=plain["GrantId"])[0]
    assert entry["Name"] == "" and "RetiringPrincipal" not in entry and "Constraints" not in entry


def test_same_name_is_one_grant(rig, key, alice):
    first = make(rig, key, alice, Name="n")
    second = make(rig, key, alice, Name="n")
    assert first["GrantId"] == second["GrantId"] and first["GrantToken"] != second["GrantToken"]
    assert make(rig, key, alice, ["Encrypt"], Name="n")["GrantId"] != first["GrantId"]
    assert make(rig, key, ROOT, Name="n")["GrantId"] != first["GrantId"]
    assert make(rig, rig.key(), alice, Name="n")["GrantId"] != first["GrantId"]
    assert make(rig, key, alice)["GrantId"] != make(rig, key, alice)["GrantId"]
    assert len(grants(rig, key)) == 5
    for token in (first["GrantToken"],):  # either ends it
        rig.ok("RetireGrant", GrantToken=token)
    rig.refuses("NotFoundException", "RetireGrant", {"GrantToken": second["GrantToken"]})


USER = f"arn:aws:iam::{ACCOUNT}:user/nobody"
ROWS = [
    ({"KeyId": NO_SUCH_KEY}, "NotFoundException"),
    ({"KeyId": "alias/aws/s3"}, ("NotFoundException", "InvalidArnException", INVALID)),
    ({"KeyId": "arn:aws:kms"}, "InvalidArnException"),
    ({"KeyId": None}, INVALID),
    ({"Operations": None}, INVALID),
    ({"Operations": []}, INVALID),
    ({"Operations": ["Teleport"]}, INVALID),
    ({"Operations": ["decrypt"]}, INVALID),
    ({"Operations": ["ReEncrypt"]}, INVALID),
    ({"Operations": ["PutKeyPolicy"]}, INVALID),
    ({"Operations": ["Decrypt", "Sign"]}, INVALID),
    ({"Operations": ["Verify"]}, INVALID),
    ({"Operations": ["GenerateMac"]}, INVALID),
    ({"Operations": ["DeriveSharedSecret"]}, INVALID),
    ({"Operations": ["GetPublicKey"]}, INVALID),
    ({"Operations": "Decrypt"}, "SerializationException"),
    ({"GranteePrincipal": None}, INVALID),
    ({"GranteePrincipal": ""}, INVALID),
    ({"GranteePrincipal": "a b"}, INVALID),
    ({"GranteePrincipal": "*"}, INVALID),
    ({"GranteePrincipal": "x" * 257}, INVALID),
    ({"GranteePrincipal": USER}, "InvalidArnException"),
    ({"GranteePrincipal": "nobody"}, "InvalidArnException"),
    ({"GranteePrincipal": f"arn:aws:iam::{ACCOUNT}:group/g"}, "InvalidArnException"),
    ({"GranteePrincipal": "arn:aws:iam::999999999999:root"}, "InvalidArnException"),
    ({"RetiringPrincipal": USER}, "InvalidArnException"),
    ({"RetiringPrincipal": "x y"}, INVALID),
    ({"Name": ""}, INVALID),
    ({"Name": "a b"}, INVALID),
    ({"Name": "x" * 257}, INVALID),
    ({"GranteeServicePrincipal": "s3.amazonaws.com"}, "UnsupportedOperationException"),
    ({"GranteePrincipal": None, "GranteeServicePrincipal": "s3.amazonaws.com"},
     "UnsupportedOperationException"),
    ({"RetiringServicePrincipal": "s3.amazonaws.com"}, "UnsupportedOperationException"),
    ({"Constraints": {"SourceArn": "arn:aws:s3:us-east-1:000000000000:b"}},
     "UnsupportedOperationException"),
    ({"Constraints": {"EncryptionContextSubset": {"a": "1"}, "EncryptionContextEquals": {"a": "1"}}},
     INVALID),
    ({"Constraints": {"EncryptionContextSubset": {str(i): "" for i in range(9)}}}, INVALID),
    ({"Constraints": {"EncryptionContextEquals": {"a": "x" * 385}}}, INVALID),
    ({"Constraints": {"EncryptionContextEquals": {"": "x"}}}, INVALID),
    ({"Constraints": {"EncryptionContextEquals": {"App": "1", "app": "2"}}}, INVALID),
    ({"Constraints": {"EncryptionContextEquals": {"a": 1}}}, "SerializationException"),
    ({"Constraints": []}, "SerializationException"),
    ({"GrantTokens": ["forged"]}, "InvalidGrantTokenException"),
    ({"GrantTokens": ["x"] * 11}, INVALID),
    ({"GrantTokens": ["x" * 8193]}, INVALID),
]


@pytest.mark.parametrize("change,expected", ROWS, ids=range(len(ROWS)))
@pytest.mark.parametrize("dry", [False, True])
def test_what_create_grant_refuses(rig, key, change, expected, dry):
    request = {"KeyId": key, "GranteePrincipal": ROOT, "Operations": ["Decrypt"], "DryRun": dry,
               **change}
    rig.refuses(expected, "CreateGrant", {k: v for k, v in request.items() if v is not None})
    assert grants(rig, key) == []


def test_largest_grant(rig, key):
    constraint = {f"{i}" + "n" * 60: "ü" * 384 for i in range(8)}
    make(rig, key, ROOT, ["Decrypt"], Name="x" * 256,
         Constraints={"EncryptionContextEquals": constraint})
    entry = grants(rig, key)[0]
    assert entry["Constraints"] == {"EncryptionContextEquals": constraint}
    assert entry["Name"] == "x" * 256


def test_every_operation_that_fits(rig, key, alice):
    fits = ["Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey",
            "GenerateDataKeyWithoutPlaintext", "GenerateDataKeyPair",
            "GenerateDataKeyPairWithoutPlaintext", "CreateGrant", "DescribeKey", "RetireGrant"]
    make(rig, key, alice, fits)
    assert sorted(grants(rig, key)[0]["Operations"]) == sorted(fits)
    assert alice.kms.describe_key(KeyId=key)["KeyMetadata"]["KeyId"] == key
    sealed = alice.kms.generate_data_key(KeyId=key, KeySpec="AES_256")
    assert alice.kms.decrypt(CiphertextBlob=sealed["CiphertextBlob"])["Plaintext"] == sealed["Plaintext"]
    refused(DENIED, alice.kms.list_grants, KeyId=key)
    refused(DENIED, alice.kms.get_key_policy, KeyId=key, PolicyName="default")


def test_states_of_the_key(rig, alice):
    key = rig.key()
    made = make(rig, key, alice)
    sealed = blob(rig, key)
    rig.ok("DisableKey", KeyId=key)
    rig.refuses("DisabledException", "CreateGrant",
                {"KeyId": key, "GranteePrincipal": ROOT, "Operations": ["Decrypt"]})
    refused("DisabledException", alice.kms.decrypt, CiphertextBlob=sealed)
    assert len(grants(rig, key)) == 1
    rig.ok("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    rig.refuses("KMSInvalidStateException", "CreateGrant",
                {"KeyId": key, "GranteePrincipal": ROOT, "Operations": ["Decrypt"]})
    assert len(grants(rig, key)) == 1
    rig.ok("RevokeGrant", KeyId=key, GrantId=made["GrantId"])
    assert grants(rig, key) == []


# --- constraints ----------------------------------------------------------------------------------

CASES = [  # kind, constraint, context of the request, whether it holds
    ("Subset", {"App": "x"}, {"App": "x"}, True),
    ("Subset", {"App": "x"}, {"aPP": "x"}, True),
    ("Subset", {"App": "x"}, {"App": "x", "More": "y"}, True),
    ("Subset", {"App": "x"}, {"App": "X"}, False),
    ("Subset", {"App": "x"}, {}, False),
    ("Subset", {"App": "x"}, {"More": "x"}, False),
    ("Subset", {"App": "x"}, {"App": "x", "app": "y"}, False),
    ("Equals", {"App": "x", "B": "1"}, {"b": "1", "app": "x"}, True),
    ("Equals", {"App": "x"}, {"App": "x", "More": "y"}, False),
    ("Equals", {"App": "x", "B": "1"}, {"App": "x"}, False),
]


@pytest.mark.parametrize("kind,constraint,context,holds", CASES, ids=range(len(CASES)))
def test_constraints(rig, key, alice, kind, constraint, context, holds):
    make(rig, key, alice, ["Encrypt", "Decrypt", "DescribeKey"],
         Constraints={f"EncryptionContext{kind}": constraint})
    sealed = blob(rig, key, **context)
    if holds:
        assert alice.kms.decrypt(CiphertextBlob=sealed, EncryptionContext=context)["Plaintext"] == b"x"
        alice.kms.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=context)
    else:
        refused(DENIED, alice.kms.decrypt, CiphertextBlob=sealed, EncryptionContext=context)
        refused(DENIED, alice.kms.encrypt, KeyId=key, Plaintext=b"x", EncryptionContext=context)
    assert alice.kms.describe_key(KeyId=key)["KeyMetadata"]["KeyId"] == key


def test_halves_of_re_encrypt(rig, alice):
    source, destination = rig.key(), rig.key()
    sealed = blob(rig, source, App="old")
    request = {"CiphertextBlob": sealed, "SourceEncryptionContext": {"App": "old"},
               "DestinationKeyId": destination, "DestinationEncryptionContext": {"App": "new"}}
    make(rig, source, alice, ["ReEncryptFrom"],
         Constraints={"EncryptionContextEquals": {"App": "old"}})
    assert "kms:ReEncryptTo" in refused(DENIED, alice.kms.re_encrypt, **request)
    wrong = make(rig, destination, alice, ["ReEncryptTo"],
                 Constraints={"EncryptionContextEquals": {"App": "old"}})
    assert "kms:ReEncryptTo" in refused(DENIED, alice.kms.re_encrypt, **request)
    rig.ok("RevokeGrant", KeyId=destination, GrantId=wrong["GrantId"])
    make(rig, destination, alice, ["ReEncryptTo"],
         Constraints={"EncryptionContextEquals": {"App": "new"}})
    assert alice.kms.re_encrypt(**request)["KeyId"] == destination.arn


# --- kinds of grantees ----------------------------------------------------------------------------


def test_role_and_session_grantees(rig, key, people):
    role = people.role()
    sealed = blob(rig, key)
    one, two = people.session(role, "one"), people.session(role, "two")
    for person in (one, two):
        refused(DENIED, person.kms.decrypt, CiphertextBlob=sealed)
    make(rig, key, one.arn)
    one.kms.decrypt(CiphertextBlob=sealed)
    refused(DENIED, two.kms.decrypt, CiphertextBlob=sealed)
    make(rig, key, f"arn:aws:iam::{ACCOUNT}:role/{role}")
    two.kms.decrypt(CiphertextBlob=sealed)


def test_session_policies_limit_what_a_role_is_granted(rig, key, people):
    role = people.role()
    sealed = blob(rig, key)
    narrow = people.session(role, "narrow", allow("kms:Encrypt"))
    wide = people.session(role, "wide", allow("kms:Decrypt"))
    make(rig, key, f"arn:aws:iam::{ACCOUNT}:role/{role}")
    refused(DENIED, narrow.kms.decrypt, CiphertextBlob=sealed)
    wide.kms.decrypt(CiphertextBlob=sealed)
    make(rig, key, narrow.arn)
    narrow.kms.decrypt(CiphertextBlob=sealed)


def test_account_grantee_needs_an_identity_policy(rig, key, people, alice):
    policy = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Resource": "*",
         "Action": ["kms:PutKeyPolicy", "kms:CreateGrant", "kms:Encrypt", "kms:ListGrants"]}]}
    bob = people.user("bob", allow("kms:Decrypt"))
    sealed = blob(rig, key)
    rig.ok("PutKeyPolicy", KeyId=key, PolicyName="default", Policy=json.dumps(policy))
    refused(DENIED, bob.kms.decrypt, CiphertextBlob=sealed)
    make(rig, key, ACCOUNT)
    bob.kms.decrypt(CiphertextBlob=sealed)
    refused(DENIED, alice.kms.decrypt, CiphertextBlob=sealed)
    assert grants(rig, key)[0]["GranteePrincipal"] == ROOT


def test_deny_beats_a_grant(rig, key, people):
    denied = people.user("denied", allow("kms:Decrypt", effect="Deny"))
    make(rig, key, denied)
    message = refused(DENIED, denied.kms.decrypt, CiphertextBlob=blob(rig, key))
    assert "explicit deny" in message


def test_namesakes(rig, key, people):
    before = people.user("twin")
    sealed = blob(rig, key)
    made = make(rig, key, before, RetiringPrincipal=before.arn)
    before.kms.decrypt(CiphertextBlob=sealed)
    people.forget(before)
    entry = grants(rig, key)[0]
    assert entry["GranteePrincipal"].startswith("AIDA") and entry["RetiringPrincipal"].startswith("AIDA")
    after = people.user(name=before.name)
    assert after.arn == before.arn
    refused(DENIED, after.kms.decrypt, CiphertextBlob=sealed)
    refused(DENIED, after.kms.retire_grant, GrantToken=made["GrantToken"])
    assert grants(rig, key)[0]["GranteePrincipal"] == entry["GranteePrincipal"]
    assert grants(rig, key, GranteePrincipal=before.arn) == []
    assert len(grants(rig, key, GranteePrincipal=entry["GranteePrincipal"])) == 1
    assert rig.ok("ListRetirableGrants", RetiringPrincipal=before.arn)["Grants"] == []
    make(rig, key, after)
    after.kms.decrypt(CiphertextBlob=sealed)


# --- child grants ---------------------------------------------------------------------------------


def test_children_are_not_wider_than_their_parent(rig, key, people, alice):
    bob = people.user("child")
    make(rig, key, alice, ["CreateGrant", "Decrypt", "DescribeKey"],
         Constraints={"EncryptionContextSubset": {"App": "x"}})

    def create(operations, **constraints):
        return {"KeyId": key, "GranteePrincipal": bob.arn, "Operations": operations,
                **({"Constraints": constraints} if constraints else {})}

    wide = [create(["Decrypt"]), create(["Encrypt"], EncryptionContextSubset={"App": "x"}),
            create(["Decrypt", "RetireGrant"], EncryptionContextSubset={"App": "x"}),
            create(["Decrypt"], EncryptionContextSubset={"App": "y"}),
            create(["Decrypt"], EncryptionContextSubset={"More": "y"}),
            create(["Decrypt"], EncryptionContextEquals={"More": "y"})]
    for request in wide:
        refused(DENIED, alice.kms.create_grant, **request)
        alice.refused(DENIED, "CreateGrant", DryRun=True, **request)
    assert len(grants(rig, key)) == 1
    for constraints in ({"EncryptionContextSubset": {"app": "x"}},
                        {"EncryptionContextSubset": {"App": "x", "More": "y"}},
                        {"EncryptionContextEquals": {"App": "x", "More": "y"}}):
        request = create(["Decrypt"], **constraints)
        alice.refused(DRY, "CreateGrant", DryRun=True, **request)
        alice.kms.create_grant(**request)
    assert len(grants(rig, key)) == 4
    bob.kms.decrypt(CiphertextBlob=blob(rig, key, App="x"), EncryptionContext={"App": "x"})
    refused(DENIED, bob.kms.decrypt, CiphertextBlob=blob(rig, key))


def test_children_outlive_their_parent(rig, key, people, alice):
    bob = people.user("orphan")
    parent = make(rig, key, alice, ["CreateGrant", "Decrypt"])
    alice.kms.create_grant(KeyId=key, GranteePrincipal=bob.arn, Operations=["Decrypt"])
    rig.ok("RevokeGrant", KeyId=key, GrantId=parent["GrantId"])
    bob.kms.decrypt(CiphertextBlob=blob(rig, key))
    refused(DENIED, alice.kms.create_grant, KeyId=key, GranteePrincipal=bob.arn,
            Operations=["Decrypt"])


def test_policies_let_issue_what_the_issuer_lacks(rig, key, people, alice):
    issuer = people.user("issuer", allow("kms:CreateGrant"))
    make(rig, key, issuer, ["CreateGrant"])  # the policy's wider right counts
    issuer.kms.create_grant(KeyId=key, GranteePrincipal=alice.arn, Operations=["Encrypt", "Decrypt"])
    alice.kms.decrypt(CiphertextBlob=blob(rig, key))


@pytest.mark.parametrize("condition,request_change,allowed", [
    ({"ForAllValues:StringEquals": {"kms:GrantOperations": ["Decrypt"]}}, {}, True),
    ({"ForAllValues:StringEquals": {"kms:GrantOperations": ["Encrypt"]}}, {}, False),
    ({"StringEquals": {"kms:GranteePrincipal": ROOT}}, {}, True),
    ({"StringEquals": {"kms:GranteePrincipal": ROOT}}, {"GranteePrincipal": ACCOUNT}, False),
    ({"StringEquals": {"kms:RetiringPrincipal": ROOT}}, {}, False),
    ({"StringEquals": {"kms:RetiringPrincipal": ROOT}}, {"RetiringPrincipal": ROOT}, True),
    ({"StringEquals": {"kms:GrantConstraintType": "EncryptionContextEquals"}}, {}, False),
    ({"StringEquals": {"kms:GrantConstraintType": "EncryptionContextEquals"}},
     {"Constraints": {"EncryptionContextSubset": {"App": "x"}}}, False),
    ({"StringEquals": {"kms:GrantConstraintType": "EncryptionContextEquals"}},
     {"Constraints": {"EncryptionContextEquals": {"App": "x"}}}, True),
    ({"StringEquals": {"kms:EncryptionContext:app": "x"}},
     {"Constraints": {"EncryptionContextEquals": {"App": "x"}}}, True),
    ({"StringEquals": {"kms:EncryptionContext:app": "x"}}, {}, False),
    ({"Bool": {"kms:GrantIsForAWSResource": "true"}}, {}, False),
    ({"Bool": {"kms:GrantIsForAWSResource": "false"}}, {}, True),
], ids=range(13))
def test_conditions(rig, key, people, condition, request_change, allowed):
    issuer = people.user("conditional", allow("kms:CreateGrant", Condition=condition))
    request = {"KeyId": key, "GranteePrincipal": ROOT, "Operations": ["Decrypt"], **request_change}
    if allowed:
        issuer.kms.create_grant(**request)
    else:
        refused(DENIED, issuer.kms.create_grant, **request)


# --- tokens ---------------------------------------------------------------------------------------


def test_grant_tokens_in_other_operations(rig, key, alice):
    made = make(rig, key, alice, ["Encrypt", "Decrypt", "DescribeKey", "GenerateDataKey"])
    gone = make(rig, key, alice)
    rig.ok("RetireGrant", GrantToken=gone["GrantToken"])
    tokens = [made["GrantToken"], gone["GrantToken"]] * 5
    sealed = alice.kms.encrypt(KeyId=key, Plaintext=b"x", GrantTokens=tokens)["CiphertextBlob"]
    alice.kms.decrypt(CiphertextBlob=sealed, GrantTokens=tokens)
    alice.kms.describe_key(KeyId=key, GrantTokens=tokens)
    alice.kms.generate_data_key(KeyId=key, KeySpec="AES_256", GrantTokens=tokens)
    swapped = made["GrantToken"].swapcase()
    for bad in ("x", swapped, made["GrantToken"][:-1], made["GrantToken"] + "A"):
        for call, more in ((alice.kms.decrypt, {"CiphertextBlob": sealed}),
                           (alice.kms.encrypt, {"KeyId": key, "Plaintext": b"x"}),
                           (alice.kms.describe_key, {"KeyId": key})):
            refused("InvalidGrantTokenException", call, GrantTokens=[made["GrantToken"], bad], **more)
    refused(INVALID, alice.kms.decrypt, CiphertextBlob=sealed, GrantTokens=tokens + tokens[:1])


def test_a_token_gives_nobody_a_right(rig, key, people, alice):
    made = make(rig, key, alice)
    thief = people.user("thief")
    sealed = blob(rig, key)
    refused(DENIED, thief.kms.decrypt, CiphertextBlob=sealed, GrantTokens=[made["GrantToken"]])
    refused(DENIED, thief.kms.retire_grant, GrantToken=made["GrantToken"])
    refused(DENIED, alice.kms.retire_grant, GrantToken=made["GrantToken"])
    assert len(grants(rig, key)) == 1


# --- retiring -------------------------------------------------------------------------------------


def retires(rig, key, person, made, allowed):
    """Whether a person may retire a grant, both ways and dry; it is gone afterwards."""
    by_id = {"KeyId": key.arn, "GrantId": made["GrantId"]}
    by_token = {"GrantToken": made["GrantToken"]}
    for names in (by_id, by_token):
        person.refused(DRY if allowed else DENIED, "RetireGrant", DryRun=True, **names)
    assert len(grants(rig, key, GrantId=made["GrantId"])) == 1
    if allowed:
        person.kms.retire_grant(**by_token)
        refused("NotFoundException", person.kms.retire_grant, **by_id)
    else:
        refused(DENIED, person.kms.retire_grant, **by_token)
        rig.ok("RevokeGrant", **by_id)
    assert grants(rig, key, GrantId=made["GrantId"]) == []


def test_retire_by_retiring_principal(rig, key, people, alice):
    role = people.role()
    session, narrow = people.session(role), people.session(role, "nn", allow("kms:Encrypt"))
    stranger = people.user("stranger")
    retires(rig, key, stranger, make(rig, key, ROOT, RetiringPrincipal=alice.arn), False)
    retires(rig, key, alice, make(rig, key, ROOT, RetiringPrincipal=alice.arn), True)
    arn = f"arn:aws:iam::{ACCOUNT}:role/{role}"
    retires(rig, key, session, make(rig, key, ROOT, RetiringPrincipal=arn), True)
    retires(rig, key, narrow, make(rig, key, ROOT, RetiringPrincipal=arn), False)
    retires(rig, key, narrow, make(rig, key, ROOT, RetiringPrincipal=narrow.arn), True)


def test_retire_by_grantee(rig, key, alice):
    retires(rig, key, alice, make(rig, key, alice, ["Decrypt"]), False)
    retires(rig, key, alice, make(rig, key, alice, ["Decrypt", "RetireGrant"]), True)
    constrained = make(rig, key, alice, ["Decrypt", "RetireGrant"],
                       Constraints={"EncryptionContextEquals": {"App": "x"}})
    retires(rig, key, alice, constrained, True)


def test_retire_by_issuing_account(rig, key, people, alice):
    root = Person(rig, ROOT, rig.boto(), rig.credential.access_key, rig.credential.secret)
    identity = people.user("retirer", allow("kms:RetireGrant"))
    elsewhere = people.user("elsewhere", allow("kms:RetireGrant", resource=rig.key().arn))
    retires(rig, key, root, make(rig, key, alice), True)
    retires(rig, key, identity, make(rig, key, alice), True)
    retires(rig, key, elsewhere, make(rig, key, alice), False)


def test_retire_and_the_key_policy(rig, key, people, alice):
    """Its Allow does nothing, its Deny does."""
    friend = people.user("friend")
    default = rig.ok("GetKeyPolicy", KeyId=key, PolicyName="default")["Policy"]

    def put(*statements):
        policy = json.loads(default)
        policy["Statement"] += statements
        rig.ok("PutKeyPolicy", KeyId=key, PolicyName="default", Policy=json.dumps(policy))

    put({"Effect": "Allow", "Principal": {"AWS": friend.arn}, "Action": "kms:*", "Resource": "*"})
    retires(rig, key, friend, make(rig, key, alice), False)
    put({"Effect": "Deny", "Principal": {"AWS": alice.arn}, "Action": "kms:RetireGrant",
         "Resource": "*"})
    retires(rig, key, alice, make(rig, key, ROOT, RetiringPrincipal=alice.arn), False)
    denied = people.user("noretire", allow("kms:RetireGrant", effect="Deny"))
    retires(rig, key, denied, make(rig, key, ROOT, RetiringPrincipal=denied.arn), False)


def test_what_retire_grant_refuses(rig, key, alice):
    made = make(rig, key, alice)
    other = rig.key()
    token = made["GrantToken"]
    rows = [({}, INVALID), ({"KeyId": key}, INVALID), ({"GrantId": made["GrantId"]}, INVALID),
            ({"GrantToken": token, "KeyId": key, "GrantId": made["GrantId"]}, INVALID),
            ({"GrantToken": "x"}, "InvalidGrantTokenException"),
            ({"GrantToken": token[:-1] + ("A" if token[-1] != "A" else "B")},
             "InvalidGrantTokenException"),
            ({"GrantToken": ""}, INVALID), ({"GrantToken": "x" * 8193}, INVALID),
            ({"KeyId": key, "GrantId": NO_SUCH_GRANT}, "NotFoundException"),
            ({"KeyId": other, "GrantId": made["GrantId"]}, "NotFoundException"),
            ({"KeyId": key, "GrantId": "x"}, "InvalidGrantIdException"),
            ({"KeyId": key, "GrantId": made["GrantId"].upper()}, "InvalidGrantIdException"),
            ({"KeyId": key, "GrantId": token[:128]}, "InvalidGrantIdException"),
            ({"KeyId": NO_SUCH_KEY, "GrantId": made["GrantId"]}, "NotFoundException"),
            ({"KeyId": "arn:aws:kms", "GrantId": made["GrantId"]}, "InvalidArnException")]
    for parameters, expected in rows:
        rig.refuses(expected, "RetireGrant", parameters)
        rig.refuses(expected, "RetireGrant", {**parameters, "DryRun": True})
    assert len(grants(rig, key)) == 1
    rig.ok("RetireGrant", KeyId=key, GrantId=made["GrantId"])  # a plain key id works as well
    answer = rig.refuses("NotFoundException", "RetireGrant", {"GrantToken": token})
    assert answer.message == f"Grant ID {made['GrantId']} not found"


# --- revoking -------------------------------------------------------------------------------------


def test_revoke(rig, key, people, alice):
    revoker = people.user("revoker", allow("kms:RevokeGrant"))
    made = make(rig, key, alice, ["Decrypt", "RetireGrant"], RetiringPrincipal=alice.arn)
    request = {"KeyId": key, "GrantId": made["GrantId"]}
    refused(DENIED, alice.kms.revoke_grant, **request)
    revoker.refused(DRY, "RevokeGrant", DryRun=True, **request)
    assert len(grants(rig, key)) == 1
    answer = rig.call("RevokeGrant", request, credential=revoker.credential)
    assert answer.status == 200 and answer.body == b""
    assert grants(rig, key) == []
    assert refused("NotFoundException", revoker.kms.revoke_grant, **request) == \
        f"Grant ID {made['GrantId']} not found"


def test_what_revoke_grant_refuses(rig, key, alice):
    made = make(rig, key, alice)
    rows = [({"KeyId": key}, INVALID), ({"GrantId": made["GrantId"]}, INVALID),
            ({"KeyId": key, "GrantId": ""}, INVALID), ({"KeyId": key, "GrantId": "x" * 129}, INVALID),
            ({"KeyId": key, "GrantId": "x"}, "InvalidGrantIdException"),
            ({"KeyId": key, "GrantId": made["GrantToken"][:128]}, "InvalidGrantIdException"),
            ({"KeyId": key, "GrantId": NO_SUCH_GRANT}, "NotFoundException"),
            ({"KeyId": rig.key(), "GrantId": made["GrantId"]}, "NotFoundException"),
            ({"KeyId": NO_SUCH_KEY, "GrantId": made["GrantId"]}, "NotFoundException")]
    for parameters, expected in rows:
        rig.refuses(expected, "RevokeGrant", parameters)
        rig.refuses(expected, "RevokeGrant", {**parameters, "DryRun": True})
    assert len(grants(rig, key)) == 1


# --- lists ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full(rig, people, alice):
    """A key with 250 grants, every tenth for alice, all retirable by one user; and a few elsewhere."""
    key, other, retirer = rig.key(), rig.key(), people.user("many", allow("kms:ListRetirableGrants"))
    for i in range(250):
        make(rig, key, alice if i % 10 == 0 else ROOT, RetiringPrincipal=retirer.arn)
    for _ in range(3):
        make(rig, other, ROOT, RetiringPrincipal=retirer.arn)
        make(rig, other, ROOT)
    return key, other, retirer


def pages(rig, operation, limit=None, **parameters):
    marker, seen = {}, []
    for _ in range(300):
        page = rig.ok(operation, **parameters, **marker, **({"Limit": limit} if limit else {}))
        assert page["Truncated"] == ("NextMarker" in page)
        seen.append([g["GrantId"] for g in page["Grants"]])
        if not page["Truncated"]:
            return seen
        marker = {"Marker": page["NextMarker"]}
    raise AssertionError("the list does not end")


@pytest.mark.parametrize("limit", [None, 1, 7, 50, 100, 249, 1000])
def test_pages_of_grants(rig, full, alice, limit):
    key, _, retirer = full
    whole = sorted(g["GrantId"] for g in rig.boto().get_paginator("list_grants").paginate(
        KeyId=key).build_full_result()["Grants"])
    assert len(whole) == len(set(whole)) == 250
    size = min(limit or 50, 100)
    parts = pages(rig, "ListGrants", limit, KeyId=key)
    assert sorted(sum(parts, [])) == whole and all(len(p) == size for p in parts[:-1])
    mine = sum(pages(rig, "ListGrants", limit, KeyId=key, GranteePrincipal=alice.arn), [])
    assert len(mine) == len(set(mine)) == 25 and set(mine) < set(whole)
    parts = pages(rig, "ListRetirableGrants", limit, RetiringPrincipal=retirer.arn)
    found = sum(parts, [])
    assert len(found) == len(set(found)) == 253 and set(whole) < set(found)
    assert all(len(p) == size for p in parts[:-1])


def test_a_page_that_is_just_full(rig, key):
    for _ in range(3):
        make(rig, key, ROOT)
    assert [len(p) for p in pages(rig, "ListGrants", 3, KeyId=key)] == [3]
    assert [len(p) for p in pages(rig, "ListGrants", 2, KeyId=key)] == [2, 1]


def test_markers(rig, full):
    key, other, retirer = full
    of_key = rig.ok("ListGrants", KeyId=key, Limit=1)["NextMarker"]
    retirable = rig.ok("ListRetirableGrants", RetiringPrincipal=retirer.arn, Limit=1)["NextMarker"]
    rows = [("ListGrants", {"KeyId": other}, of_key), ("ListGrants", {"KeyId": key}, retirable),
            ("ListGrants", {"KeyId": key}, of_key[:-1]), ("ListGrants", {"KeyId": key}, "x"),
            ("ListRetirableGrants", {"RetiringPrincipal": ROOT}, retirable),
            ("ListRetirableGrants", {"RetiringPrincipal": retirer.arn}, of_key)]
    for operation, parameters, marker in rows:
        rig.refuses("InvalidMarkerException", operation, {**parameters, "Marker": marker})
    for operation, parameters in (("ListGrants", {"KeyId": key}),
                                  ("ListRetirableGrants", {"RetiringPrincipal": ROOT})):
        for change in ({"Limit": 0}, {"Limit": 1001}, {"Marker": ""}, {"Marker": "x" * 1025}):
            rig.refuses(INVALID, operation, {**parameters, **change})


def test_marker_survives_the_end_of_its_grant(rig, key):
    for _ in range(6):
        make(rig, key, ROOT)
    page = rig.ok("ListGrants", KeyId=key, Limit=3)
    for entry in page["Grants"]:
        rig.ok("RevokeGrant", KeyId=key, GrantId=entry["GrantId"])
    rest = rig.ok("ListGrants", KeyId=key, Marker=page["NextMarker"])["Grants"]
    assert len(rest) == 3 and rest == grants(rig, key)


def test_what_list_grants_refuses(rig, key, people, alice):
    rows = [({}, INVALID), ({"KeyId": NO_SUCH_KEY}, "NotFoundException"),
            ({"KeyId": "arn:aws:kms"}, "InvalidArnException"),
            ({"KeyId": key, "GrantId": "x"}, "InvalidGrantIdException"),
            ({"KeyId": key, "GranteePrincipal": "nobody"}, "InvalidArnException"),
            ({"KeyId": key, "GranteePrincipal": "a b"}, INVALID),
            ({"KeyId": key, "GranteeServicePrincipal": "s3.amazonaws.com"},
             "UnsupportedOperationException")]
    for parameters, expected in rows:
        rig.refuses(expected, "ListGrants", parameters)
    assert grants(rig, key, GrantId=NO_SUCH_GRANT) == []
    assert grants(rig, key, GranteePrincipal=USER) == []
    refused(DENIED, alice.kms.list_grants, KeyId=key)
    people.user("lister", allow("kms:ListGrants")).kms.list_grants(KeyId=key)


def test_list_retirable_grants_is_about_the_principal(rig, people, alice):
    mine = people.user("mine", allow("kms:ListRetirableGrants", resource=alice.arn))
    assert mine.kms.list_retirable_grants(RetiringPrincipal=alice.arn)["Grants"] == []
    refused(DENIED, mine.kms.list_retirable_grants, RetiringPrincipal=mine.arn)
    refused(DENIED, alice.kms.list_retirable_grants, RetiringPrincipal=alice.arn)
    rows = [({}, INVALID), ({"RetiringPrincipal": "nobody"}, "InvalidArnException"),
            ({"RetiringPrincipal": "AIDAAAAAAAAAAAAAAAAA"}, "InvalidArnException"),
            ({"RetiringPrincipal": "a b"}, INVALID),
            ({"RetiringServicePrincipal": "s3.amazonaws.com"}, "UnsupportedOperationException"),
            ({"RetiringPrincipal": f"arn:aws:iam::{OTHER}:user/eve"}, DENIED)]
    for parameters, expected in rows:
        rig.refuses(expected, "ListRetirableGrants", parameters)


# --- other accounts, restarts, audit --------------------------------------------------------------


def test_other_accounts(new_rig):
    rig = new_rig()
    people = People(rig)
    people.admin("account", "add", OTHER)
    eve = people.user("eve", account=OTHER)
    mallory = people.user("mallory", account=OTHER)
    key = rig.key()
    sealed = blob(rig, key)
    refused(DENIED, eve.kms.decrypt, CiphertextBlob=sealed, KeyId=key.arn)
    made = make(rig, key, eve, ["Decrypt", "RetireGrant", "CreateGrant"])
    eve.kms.decrypt(CiphertextBlob=sealed, KeyId=key.arn)  # no identity policy is needed
    refused(DENIED, mallory.kms.decrypt, CiphertextBlob=sealed, KeyId=key.arn)
    child = eve.kms.create_grant(KeyId=key.arn, GranteePrincipal=mallory.arn, Operations=["Decrypt"])
    mallory.kms.decrypt(CiphertextBlob=sealed, KeyId=key.arn)
    entry = grants(rig, key, GrantId=child["GrantId"])[0]
    assert entry["IssuingAccount"] == f"arn:aws:iam::{OTHER}:root"
    # neither a missing key nor a missing grant is told apart from a forbidden one
    texts = {refused(DENIED, mallory.kms.retire_grant, KeyId=arn, GrantId=grant)
             for arn, grant in ((key.arn, made["GrantId"]), (key.arn, NO_SUCH_GRANT),
                                (key.arn.replace(str(key), NO_SUCH_KEY), NO_SUCH_GRANT))}
    assert len(texts) == 1
    # what another account issued is not for the root of the keys' account to retire
    rig.refuses(DENIED, "RetireGrant", {"GrantToken": child["GrantToken"]})
    eve.kms.retire_grant(GrantToken=made["GrantToken"])
    refused(DENIED, eve.kms.decrypt, CiphertextBlob=sealed, KeyId=key.arn)
    mallory.kms.decrypt(CiphertextBlob=sealed, KeyId=key.arn)


def test_grants_survive_a_kill(new_rig):
    rig = new_rig()
    alice = People(rig).user("alice")
    key = rig.key()
    sealed = blob(rig, key)
    kept, gone = make(rig, key, alice, Name="n"), make(rig, key, alice)
    rig.ok("RetireGrant", GrantToken=gone["GrantToken"])
    before = grants(rig, key)
    rig.kill()
    rig.start()
    assert grants(rig, key) == before and len(before) == 1
    alice.kms.decrypt(CiphertextBlob=sealed)
    assert make(rig, key, alice, Name="n")["GrantId"] == kept["GrantId"]
    rig.ok("RetireGrant", GrantToken=kept["GrantToken"])


def test_audit(rig, key, alice):
    made = make(rig, key, alice, Name="n", RetiringPrincipal=ROOT,
                Constraints={"EncryptionContextEquals": {"KeyId": "V"}},
                GrantTokens=[make(rig, key, alice)["GrantToken"]])
    rig.ok("RetireGrant", GrantToken=made["GrantToken"])
    other = make(rig, key, alice)
    rig.ok("RevokeGrant", KeyId=key, GrantId=other["GrantId"])
    rig.refuses(DRY, "CreateGrant", {"KeyId": key, "GranteePrincipal": ROOT,
                                     "Operations": ["Decrypt"], "DryRun": True})
    records = [r for r in rig.audit() if any(x["ARN"] == key.arn for x in r.get("resources") or [])]
    text = json.dumps(records)
    assert made["GrantToken"] not in text and other["GrantToken"] not in text
    created = [r for r in records if r["eventName"] == "CreateGrant" and r.get("responseElements")
               and r["responseElements"]["grantId"] == made["GrantId"]]
    assert len(created) == 1 and not created[0]["readOnly"]
    assert created[0]["responseElements"] == {"grantId": made["GrantId"], "keyId": key.arn}
    assert created[0]["requestParameters"] == {
        "keyId": str(key), "granteePrincipal": alice.arn, "retiringPrincipal": ROOT, "name": "n",
        "operations": ["Decrypt"], "constraints": {"encryptionContextEquals": {"KeyId": "V"}}}
    retired = [r for r in records if r["eventName"] == "RetireGrant"]
    assert retired and all(r["requestParameters"] is None and r["responseElements"] is None
                           and r["additionalEventData"]["grantId"] == made["GrantId"]
                           for r in retired)
    revoked = [r for r in records if r["eventName"] == "RevokeGrant"]
    assert revoked[-1]["requestParameters"] == {"keyId": str(key), "grantId": other["GrantId"]}
    assert revoked[-1]["responseElements"] == {"keyId": key.arn}
    assert any(r.get("errorCode") == DRY for r in records)
    rig.audit_verify()
