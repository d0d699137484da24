"""Condition keys end to end: what is allowed with the right value is denied with another.

A row is a condition key, a condition that holds and one that does not, and the call that carries
the fact. Each row is asked four ways: allowed and denied, by an Allow and by a Deny. One test
compares the rows with the list of all condition keys, so that none is forgotten.
"""

import re

import pytest

from kms import ROOT as SOURCE
from kms import b64
from principals import ACCOUNT, DENIED, DRY, OTHER, ROOT, People, allow

# condition keys whose facts another suite makes: what carries them is not carried by a plain call
OF_SESSIONS = {"aws:SourceIdentity", "aws:TokenIssueTime", "aws:MultiFactorAuthPresent",
               "sts:ExternalId", "sts:RoleSessionName", "sts:SourceIdentity", "sts:TransitiveTagKeys"}
OF_CERTIFICATES = {"hsmkms:ClientCertSpki", "hsmkms:ClientCertSubject", "hsmkms:ClientCertSan"}
OF_HEADERS = {"aws:UserAgent", "aws:Referer"}
OF_OTHER_OPERATIONS = {"kms:ExpirationModel", "kms:ValidTo", "kms:WrappingAlgorithm",
                       "kms:WrappingKeySpec", "kms:TrailingDaysWithoutKeyUsage",
                       "kms:PrimaryRegion", "kms:ReplicaRegion", "kms:MultiRegionKeyType"}
ABSENT = {"kms:ViaService", "aws:MultiFactorAuthAge", "kms:GrantConstraintSourceArn",
          "kms:GranteeServicePrincipal", "kms:RetiringServicePrincipal"}


class Things:
    """Keys and ciphertexts that rows are about, made once."""

    def __init__(self, rig, people):
        self.rig, self.people = rig, people
        self.key = rig.key(Tags=[{"TagKey": "Env", "TagValue": "prod"}])
        self.alias = "alias/" + people.name("condition")
        rig.ok("CreateAlias", AliasName=self.alias, TargetKeyId=self.key)
        self.other = rig.key()
        self.rsa = rig.key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")
        self.signer = rig.key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
        self.mac = rig.key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
        self.sealed = rig.ok("Encrypt", KeyId=self.key, Plaintext="eA==")["CiphertextBlob"]
        self.policy = rig.ok("GetKeyPolicy", KeyId=self.key)["Policy"]

    def new_key(self):
        return self.rig.key()

    def grant(self):
        return self.rig.ok("CreateGrant", KeyId=self.key, GranteePrincipal=ROOT,
                           Operations=["Decrypt"])["GrantId"]


@pytest.fixture(scope="module")
def people(rig):
    return People(rig)


@pytest.fixture(scope="module")
def things(rig, people):
    return Things(rig, people)


@pytest.fixture(scope="module")
def alice(people):
    """Her policy is another one for each question."""
    alice = people.user("asker")
    people.admin("tag", "set", "--user", alice.name, "Team", "storage")
    alice.id = people.admin("user", "show", alice.name)["User"]["UserId"]
    return alice


def encrypt(things, **more):
    return "Encrypt", {"KeyId": things.key, "Plaintext": "eA==", **more}


def encrypt_context(things):
    return encrypt(things, EncryptionContext={"App": "x", "Zone": "1"})


def encrypt_by_alias(things):
    return encrypt(things, KeyId=things.alias)


def encrypt_rsa(things):
    return encrypt(things, KeyId=things.rsa, EncryptionAlgorithm="RSAES_OAEP_SHA_256")


def decrypt(things):
    return "Decrypt", {"CiphertextBlob": things.sealed}


def data_key(things):
    return "GenerateDataKey", {"KeyId": things.key, "KeySpec": "AES_256"}


def data_key_pair(things):
    return "GenerateDataKeyPairWithoutPlaintext", {"KeyId": things.key,
                                                   "KeyPairSpec": "ECC_NIST_P256"}


def re_encrypt(things):
    return "ReEncrypt", {"CiphertextBlob": things.sealed, "DestinationKeyId": things.key}


def re_encrypt_elsewhere(things):
    return "ReEncrypt", {"CiphertextBlob": things.sealed, "DestinationKeyId": things.other}


def sign(things):
    return "Sign", {"KeyId": things.signer, "Message": b64(b"\1" * 32), "MessageType": "DIGEST",
                    "SigningAlgorithm": "ECDSA_SHA_256"}


def sign_raw(things):
    return "Sign", {"KeyId": things.signer, "Message": "eA==", "SigningAlgorithm": "ECDSA_SHA_256"}


def verify(things):
    answer = things.rig.ok("Sign", **sign(things)[1])
    return "Verify", {**sign(things)[1], "Signature": answer["Signature"]}


def mac(things):
    return "GenerateMac", {"KeyId": things.mac, "Message": "eA==", "MacAlgorithm": "HMAC_SHA_256"}


def create_key(**parameters):
    return lambda things: ("CreateKey", parameters)


def create_grant(things):
    return "CreateGrant", {"KeyId": things.key, "GranteePrincipal": ROOT, "DryRun": True,
                           "RetiringPrincipal": ROOT, "Operations": ["Decrypt", "DescribeKey"],
                           "Constraints": {"EncryptionContextSubset": {"App": "x"}}}


def list_grants(things):
    return "ListGrants", {"KeyId": things.key, "Limit": 1}


def revoke_grant(things):
    return "RevokeGrant", {"KeyId": things.key, "GrantId": things.grant()}


def put_policy(things):
    return "PutKeyPolicy", {"KeyId": things.key, "Policy": things.policy,
                            "BypassPolicyLockoutSafetyCheck": True}


def put_policy_checked(things):
    return "PutKeyPolicy", {"KeyId": things.key, "Policy": things.policy}


def rotate(**parameters):
    return lambda things: ("EnableKeyRotation", {"KeyId": things.key, **parameters})


def schedule(**parameters):
    return lambda things: ("ScheduleKeyDeletion", {"KeyId": things.new_key(), **parameters})


def tag(things):
    return "TagResource", {"KeyId": things.other, "Tags": [{"TagKey": "Team", "TagValue": "a"}]}


def untag(things):
    return "UntagResource", {"KeyId": things.other, "TagKeys": ["Team"]}


EQUALS, ANY, ALL = "StringEquals", "ForAnyValue:StringEquals", "ForAllValues:StringEquals"
TEAM = [{"TagKey": "Team", "TagValue": "a"}]
ROWS = [
    # condition key, operator, holds, does not hold, call
    ("kms:CallerAccount", EQUALS, ACCOUNT, OTHER, encrypt),
    ("aws:ResourceAccount", EQUALS, ACCOUNT, OTHER, encrypt),
    ("kms:KeySpec", EQUALS, "SYMMETRIC_DEFAULT", "RSA_2048", encrypt),
    ("kms:KeySpec", EQUALS, "ECC_NIST_P256", "SYMMETRIC_DEFAULT", sign),
    ("kms:KeySpec", EQUALS, "SYMMETRIC_DEFAULT", "HMAC_256", create_key()),
    ("kms:KeySpec", EQUALS, "HMAC_256", "SYMMETRIC_DEFAULT",
     create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")),
    ("kms:CustomerMasterKeySpec", EQUALS, "SYMMETRIC_DEFAULT", "RSA_2048", encrypt),
    ("kms:KeyUsage", EQUALS, "ENCRYPT_DECRYPT", "SIGN_VERIFY", encrypt),
    ("kms:KeyUsage", EQUALS, "ENCRYPT_DECRYPT", "SIGN_VERIFY", create_key()),
    ("kms:CustomerMasterKeyUsage", EQUALS, "SIGN_VERIFY", "ENCRYPT_DECRYPT", sign),
    ("kms:KeyOrigin", EQUALS, "AWS_KMS", "EXTERNAL", encrypt),
    ("kms:KeyOrigin", EQUALS, "AWS_KMS", "EXTERNAL", create_key()),
    ("kms:MultiRegion", "Bool", "false", "true", encrypt),
    ("kms:MultiRegion", "Bool", "false", "true", create_key()),
    ("aws:ResourceTag/Env", EQUALS, "prod", "dev", encrypt),
    ("kms:ResourceAliases", ANY, lambda t, a: t.alias, "alias/another", encrypt),
    ("kms:RequestAlias", EQUALS, lambda t, a: t.alias, "alias/another", encrypt_by_alias),
    ("kms:RequestAlias", "Null", "true", "false", encrypt),
    ("kms:EncryptionContext:App", EQUALS, "x", "y", encrypt_context),
    ("kms:EncryptionContext:aPP", EQUALS, "x", "X", encrypt_context),
    ("kms:EncryptionContextKeys", ALL, ["App", "Zone"], ["App"], encrypt_context),
    ("kms:EncryptionContextKeys", ANY, ["App"], ["app"], encrypt_context),
    ("kms:EncryptionAlgorithm", EQUALS, "SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_1", encrypt),
    ("kms:EncryptionAlgorithm", EQUALS, "SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_1", decrypt),
    ("kms:EncryptionAlgorithm", EQUALS, "SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_1", data_key),
    ("kms:EncryptionAlgorithm", EQUALS, "RSAES_OAEP_SHA_256", "SYMMETRIC_DEFAULT", encrypt_rsa),
    ("kms:DataKeyPairSpec", EQUALS, "ECC_NIST_P256", "RSA_2048", data_key_pair),
    ("kms:MacAlgorithm", EQUALS, "HMAC_SHA_256", "HMAC_SHA_512", mac),
    ("kms:SigningAlgorithm", EQUALS, "ECDSA_SHA_256", "ECDSA_SHA_384", sign),
    ("kms:SigningAlgorithm", EQUALS, "ECDSA_SHA_256", "ECDSA_SHA_384", verify),
    ("kms:MessageType", EQUALS, "DIGEST", "RAW", sign),
    ("kms:MessageType", EQUALS, "RAW", "DIGEST", sign_raw),
    ("kms:ReEncryptOnSameKey", "Bool", "true", "false", re_encrypt),
    ("kms:ReEncryptOnSameKey", "Bool", "false", "true", re_encrypt_elsewhere),
    ("kms:GrantConstraintType", EQUALS, "EncryptionContextSubset", "EncryptionContextEquals",
     create_grant),
    ("kms:GrantIsForAWSResource", "Bool", "false", "true", create_grant),
    ("kms:GrantIsForAWSResource", "Bool", "false", "true", list_grants),
    ("kms:GrantIsForAWSResource", "Bool", "false", "true", revoke_grant),
    ("kms:GrantOperations", ALL, ["Decrypt", "DescribeKey"], ["Decrypt"], create_grant),
    ("kms:GranteePrincipal", EQUALS, ROOT, "arn:aws:iam::000000000000:user/x", create_grant),
    ("kms:RetiringPrincipal", EQUALS, ROOT, "arn:aws:iam::000000000000:user/x", create_grant),
    ("kms:EncryptionContext:App", EQUALS, "x", "y", create_grant),
    ("kms:BypassPolicyLockoutSafetyCheck", "Bool", "true", "false", put_policy),
    ("kms:BypassPolicyLockoutSafetyCheck", "Null", "true", "false", put_policy_checked),
    ("kms:BypassPolicyLockoutSafetyCheck", "Bool", "true", "false",
     create_key(BypassPolicyLockoutSafetyCheck=True)),
    ("kms:RotationPeriodInDays", "NumericLessThanEquals", "90", "89", rotate(RotationPeriodInDays=90)),
    ("kms:RotationPeriodInDays", "NumericEquals", "365", "90", rotate()),
    ("kms:ScheduleKeyDeletionPendingWindowInDays", "NumericEquals", "7", "30",
     schedule(PendingWindowInDays=7)),
    ("kms:ScheduleKeyDeletionPendingWindowInDays", "NumericGreaterThan", "29", "30", schedule()),
    ("aws:SourceIp", "IpAddress", "127.0.0.0/8", "192.0.2.0/24", encrypt),
    ("aws:SourceIp", "NotIpAddress", ["192.0.2.0/24", "2001:db8::/32"], "127.0.0.1", encrypt),
    ("aws:SecureTransport", "Bool", lambda t, a: str(t.rig.tls).lower(),
     lambda t, a: str(not t.rig.tls).lower(), encrypt),
    ("hsmkms:Listener", EQUALS, lambda t, a: "https" if t.rig.tls else "http", "kes", encrypt),
    ("aws:PrincipalArn", "ArnLike", lambda t, a: a.arn[:-1] + "?", ROOT, encrypt),
    ("aws:PrincipalAccount", EQUALS, ACCOUNT, OTHER, encrypt),
    ("aws:PrincipalTag/Team", EQUALS, "storage", "Storage", encrypt),
    ("aws:PrincipalType", EQUALS, "User", "AssumedRole", encrypt),
    ("aws:username", EQUALS, lambda t, a: a.name, "another", encrypt),
    ("aws:userid", EQUALS, lambda t, a: a.id, "AIDAAAAAAAAAAAAAAAAAA", encrypt),
    ("aws:CurrentTime", "DateGreaterThan", "2020-01-01T00:00:00Z", "2120-01-01", encrypt),
    ("aws:EpochTime", "DateLessThan", "4733510400", "1577836800", encrypt),
    ("aws:EpochTime", "NumericGreaterThan", "1577836800", "4733510400", encrypt),
    ("aws:RequestedRegion", EQUALS, "us-east-1", "eu-central-1", encrypt),
    ("aws:ViaAWSService", "Bool", "false", "true", encrypt),
    ("aws:PrincipalIsAWSService", "Bool", "false", "true", encrypt),
    ("aws:RequestTag/Team", EQUALS, "a", "b", create_key(Tags=TEAM)),
    ("aws:RequestTag/team", EQUALS, "a", "A", tag),
    ("aws:TagKeys", ANY, ["Team"], ["team"], create_key(Tags=TEAM)),
    ("aws:TagKeys", ALL, ["Team", "x"], ["x"], tag),
    ("aws:TagKeys", ALL, ["Team", "x"], ["x"], untag),
]


def value_of(value, things, alice):
    return value(things, alice) if callable(value) else value


def ask_with(people, alice, document, call):
    """The type of the answer under this policy; "" where the call is allowed."""
    people.put("user", alice.name, document)
    operation, parameters = call
    answer = alice.ask(operation, **parameters)
    return "" if answer.status == 200 or answer.type == DRY else answer.type


@pytest.mark.parametrize("key, operator, right, wrong, make_call", ROWS,
                         ids=[f"{r[0]}-{i}" for i, r in enumerate(ROWS)])
def test_condition_key(people, things, alice, key, operator, right, wrong, make_call):
    holds = {operator: {key: value_of(right, things, alice)}}
    fails = {operator: {key: value_of(wrong, things, alice)}}

    def under(*statements):
        return ask_with(people, alice, {"Version": "2012-10-17", "Statement": [
            {"Action": "kms:*", "Resource": "*", **s} for s in statements]}, make_call(things))

    assert under({"Effect": "Allow", "Condition": holds}) == ""
    assert under({"Effect": "Allow", "Condition": fails}) == DENIED
    everything = {"Effect": "Allow"}
    assert under(everything, {"Effect": "Deny", "Condition": fails}) == ""
    assert under(everything, {"Effect": "Deny", "Condition": holds}) == DENIED


def test_every_condition_key_has_a_row():
    listed = set(re.findall(r'^SLOT\(\w+, *"([^"]+)"', (
        SOURCE / "hsmkms" / "iam" / "context_slots.def").read_text(), re.MULTILINE))
    rows = {r[0] for r in ROWS}
    agreement = {"kms:KeyAgreementAlgorithm"}
    assert len(listed) > 50
    assert listed - rows - OF_SESSIONS - OF_CERTIFICATES - OF_HEADERS - OF_OTHER_OPERATIONS \
        - ABSENT - agreement == set()


@pytest.mark.parametrize("key", sorted(ABSENT | OF_SESSIONS | OF_OTHER_OPERATIONS | OF_CERTIFICATES)
                         + ["aws:SourceVpce", "kms:Nonsense", "aws:PrincipalTag/None",
                            "aws:ResourceTag/None", "kms:EncryptionContext:None"])
def test_what_a_request_does_not_carry(people, things, alice, key):
    """Asked for, it gives nothing; asked not to be there, it is not there."""
    for condition, allowed in (({"StringLike": {key: "*"}}, False), ({"Null": {key: "false"}}, False),
                               ({"Null": {key: "true"}}, True), ({"StringNotLike": {key: "*"}}, True),
                               ({"StringLikeIfExists": {key: "x"}}, True)):
        got = ask_with(people, alice, allow("kms:*", Condition=condition), encrypt(things))
        assert (got == "") == allowed, condition


def test_key_agreement_algorithm(rig, people, alice):
    key = rig.key(KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT")
    other = rig.key(KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT")
    call = "DeriveSharedSecret", {"KeyId": key, "KeyAgreementAlgorithm": "ECDH",
                                  "PublicKey": rig.ok("GetPublicKey", KeyId=other)["PublicKey"]}
    for value, expected in (("ECDH", ""), ("ecdh", DENIED)):
        condition = {"StringEquals": {"kms:KeyAgreementAlgorithm": value}}
        assert ask_with(people, alice, allow("kms:*", Condition=condition), call) == expected


@pytest.mark.parametrize("key, header", [("aws:UserAgent", "User-Agent"), ("aws:Referer", "Referer")])
def test_headers(rig, people, things, alice, key, header):
    operation, parameters = encrypt(things)
    for condition, value, allowed in (
            ({"StringEquals": {key: "backup/1"}}, "backup/1", True),
            ({"StringEquals": {key: "backup/1"}}, "backup/2", False),
            ({"StringLike": {key: "backup/*"}}, "backup/2", True),
            ({"Null": {key: "false"}}, None, False), ({"Null": {key: "true"}}, None, True)):
        people.put("user", alice.name, allow("kms:*", Condition=condition))
        answer = rig.call(operation, parameters, credential=alice.credential,
                          headers={header: value})
        assert (answer.status == 200) == allowed, (condition, value, answer.text)


def test_facts_of_a_session(rig, people, things):
    """Issue time, no MFA, source identity, tags of the session before those of the role."""
    role = people.role()
    people.admin("tag", "set", "--role", role, "Team", "role")
    people.admin("tag", "set", "--role", role, "Only", "role")
    people.admin("role", "trust", role, people.file({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:*"}]}))
    user = people.user("sourced", allow("sts:*"))
    sts = people.client("sts", user.credential.access_key, user.credential.secret)
    made = sts.assume_role(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/{role}", RoleSessionName="night",
                           Tags=[{"Key": "team", "Value": "session"}], SourceIdentity="carol")
    secrets = [made["Credentials"][n] for n in ("AccessKeyId", "SecretAccessKey", "SessionToken")]
    client = people.client("kms", *secrets)
    for condition, allowed in (
            ({"DateGreaterThan": {"aws:TokenIssueTime": "2020-01-01"}}, True),
            ({"DateGreaterThan": {"aws:TokenIssueTime": "2120-01-01"}}, False),
            ({"Bool": {"aws:MultiFactorAuthPresent": "false"}}, True),
            ({"Bool": {"aws:MultiFactorAuthPresent": "true"}}, False),
            ({"StringEquals": {"aws:SourceIdentity": "carol"}}, True),
            ({"StringEquals": {"aws:SourceIdentity": "Carol"}}, False),
            ({"StringEquals": {"aws:PrincipalTag/Team": "session"}}, True),
            ({"StringEquals": {"aws:PrincipalTag/Team": "role"}}, False),
            ({"StringEquals": {"aws:PrincipalTag/Only": "role"}}, True),
            ({"StringEquals": {"aws:PrincipalType": "AssumedRole"}}, True),
            ({"StringEquals": {"aws:PrincipalType": "User"}}, False),
            ({"ArnEquals": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/{role}"}}, True),
            ({"ArnEquals": {"aws:PrincipalArn": made["AssumedRoleUser"]["Arn"]}}, False),
            ({"StringLike": {"aws:userid": "AROA*:night"}}, True),
            ({"StringLike": {"aws:userid": "AROA*:day"}}, False),
            ({"Null": {"aws:username": "true"}}, True),
            ({"Null": {"aws:username": "false"}}, False)):
        people.put("role", role, allow("kms:*", Condition=condition))
        try:
            client.encrypt(KeyId=things.key, Plaintext=b"x")
            assert allowed, condition
        except client.exceptions.ClientError as error:
            assert error.response["Error"]["Code"] == DENIED and not allowed, condition


@pytest.mark.parametrize("condition, allowed", [
    ({"StringEquals": {"sts:ExternalId": "e:/1"}}, True),
    ({"StringEquals": {"sts:ExternalId": "e:/2"}}, False),
    ({"Null": {"sts:ExternalId": "true"}}, False),
    ({"StringLike": {"sts:RoleSessionName": "night-*"}}, True),
    ({"StringLike": {"sts:RoleSessionName": "day-*"}}, False),
    ({"StringEquals": {"sts:SourceIdentity": "carol"}}, True),
    ({"StringEquals": {"sts:SourceIdentity": "${aws:username}"}}, False),
    ({"ForAllValues:StringEquals": {"sts:TransitiveTagKeys": ["Team"]}}, True),
    ({"ForAnyValue:StringEquals": {"sts:TransitiveTagKeys": ["Zone"]}}, False),
    ({"StringEquals": {"aws:RequestTag/Team": "a"}}, True),
    ({"StringEquals": {"aws:RequestTag/Team": "b"}}, False),
    ({"ForAllValues:StringEquals": {"aws:TagKeys": ["Team", "Zone"]}}, True),
    ({"ForAllValues:StringEquals": {"aws:TagKeys": ["Team"]}}, False),
    ({"StringEquals": {"aws:PrincipalType": "User"}}, True),
    ({"StringEquals": {"aws:PrincipalType": "AssumedRole"}}, False),
    ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, True),
    ({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, False),
    ({"StringEquals": {"aws:RequestedRegion": "us-east-1"}}, True),
    ({"StringEquals": {"aws:ResourceAccount": OTHER}}, False),
])
def test_facts_of_assume_role(people, condition, allowed):
    role = people.role()
    people.admin("role", "trust", role, people.file({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:*",
         "Condition": condition}]}))
    user = people.user("trusted", allow("sts:*"))
    sts = people.client("sts", user.credential.access_key, user.credential.secret)
    request = {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/{role}", "RoleSessionName": "night-1",
               "ExternalId": "e:/1", "SourceIdentity": "carol", "TransitiveTagKeys": ["Team"],
               "Tags": [{"Key": "Team", "Value": "a"}, {"Key": "Zone", "Value": "1"}]}
    try:
        sts.assume_role(**request)
        assert allowed
    except sts.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == "AccessDenied" and not allowed


def test_variables_of_policies(people, things, alice):
    """A variable is the caller's own text, letter for letter, and never a pattern."""
    people.admin("tag", "set", "--user", alice.name, "App", "x")
    rows = [("${aws:PrincipalTag/App}", True), ("${aws:PrincipalTag/Team}", False),
            ("${aws:PrincipalTag/None}", False), ("${aws:PrincipalTag/None, 'x'}", True),
            ("${*}", False)]
    for text, allowed in rows:
        condition = {"StringLike": {"kms:EncryptionContext:App": text}}
        got = ask_with(people, alice, allow("kms:*", Condition=condition), encrypt_context(things))
        assert (got == "") == allowed, text
    call = encrypt(things, EncryptionContext={"User": alice.name})
    own = allow("kms:*", Condition={"StringEquals": {
        "kms:EncryptionContext:User": "${aws:username}"}})
    for version, expected in (("2012-10-17", ""), ("2008-10-17", DENIED)):
        assert ask_with(people, alice, {**own, "Version": version}, call) == expected
