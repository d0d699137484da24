"""A request that succeeds, for every operation about a key: what suites then spoil in one way each."""

import contextlib
import sqlite3

from kms import b64

ROOT = "arn:aws:iam::000000000000:root"
PLAIN = {"Plaintext": b64(b"x")}
SIGN = {"Message": b64(b"m"), "SigningAlgorithm": "ECDSA_SHA_256"}
MAC = {"Message": b64(b"m"), "MacAlgorithm": "HMAC_SHA_256"}
POLICY = ('{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"%s"},'
          '"Action":"kms:*","Resource":"*"}]}' % ROOT)

# kind: how such a key is made, and what can be granted for it
KINDS = {
    "symmetric": ({}, "Encrypt"),
    "signs": ({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}, "Sign"),
    "macs": ({"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"}, "GenerateMac"),
    "agrees": ({"KeySpec": "ECC_NIST_P256", "KeyUsage": "KEY_AGREEMENT"}, "DeriveSharedSecret"),
}


class Subject:
    """A key with all that its operations take, made while it was enabled."""

    def __init__(self, rig, kind, other=None):
        parameters, granted = KINDS[kind]
        self.rig, self.kind = rig, kind
        self.key = rig.key(**parameters)
        self.other = other or rig.key()
        self.alias = f"alias/subject-{self.key}"
        rig.ok("CreateAlias", AliasName=self.alias, TargetKeyId=self.key)
        grant = rig.ok("CreateGrant", KeyId=self.key, GranteePrincipal=ROOT, RetiringPrincipal=ROOT,
                       Operations=[granted])
        self.grant, self.grant_token = grant["GrantId"], grant["GrantToken"]
        getattr(self, f"prepare_{kind}")()

    def prepare_symmetric(self):
        self.blob = self.rig.ok("Encrypt", KeyId=self.key, **PLAIN)["CiphertextBlob"]
        self.foreign_blob = self.rig.ok("Encrypt", KeyId=self.other, **PLAIN)["CiphertextBlob"]

    def prepare_signs(self):
        self.signature = self.rig.ok("Sign", KeyId=self.key, **SIGN)["Signature"]

    def prepare_macs(self):
        self.mac = self.rig.ok("GenerateMac", KeyId=self.key, **MAC)["Mac"]

    def prepare_agrees(self):
        self.public = self.rig.ok("GetPublicKey", KeyId=self.key)["PublicKey"]

    def request(self, call):
        """Parameters of a row of CALLS."""
        return CALLS[call][1](self)


def with_key(**more):
    return lambda s: {"KeyId": s.key, **more}


# name: kind of the key, parameters; a name with a colon is a second way to call an operation
CALLS = {
    "Encrypt": ("symmetric", with_key(**PLAIN)),
    "Decrypt": ("symmetric", lambda s: {"CiphertextBlob": s.blob}),
    "ReEncrypt:from": ("symmetric", lambda s: {"CiphertextBlob": s.blob, "DestinationKeyId": s.other}),
    "ReEncrypt:to": ("symmetric",
                     lambda s: {"CiphertextBlob": s.foreign_blob, "DestinationKeyId": s.key}),
    "GenerateDataKey": ("symmetric", with_key(KeySpec="AES_256")),
    "GenerateDataKeyWithoutPlaintext": ("symmetric", with_key(NumberOfBytes=9)),
    "GenerateDataKeyPair": ("symmetric", with_key(KeyPairSpec="ECC_NIST_P256")),
    "GenerateDataKeyPairWithoutPlaintext": ("symmetric", with_key(KeyPairSpec="ECC_NIST_P256")),
    "Sign": ("signs", with_key(**SIGN)),
    "Verify": ("signs", lambda s: {"KeyId": s.key, "Signature": s.signature, **SIGN}),
    "GenerateMac": ("macs", with_key(**MAC)),
    "VerifyMac": ("macs", lambda s: {"KeyId": s.key, "Mac": s.mac, **MAC}),
    "GetPublicKey": ("signs", with_key()),
    "DeriveSharedSecret": ("agrees", lambda s: {"KeyId": s.key, "KeyAgreementAlgorithm": "ECDH",
                                                "PublicKey": s.public}),
    "CreateGrant": ("symmetric", with_key(GranteePrincipal=ROOT, Operations=["Decrypt"])),
    "ListGrants": ("symmetric", with_key()),
    "RetireGrant:token": ("symmetric", lambda s: {"GrantToken": s.grant_token}),
    "RetireGrant:id": ("symmetric", lambda s: {"KeyId": s.key.arn, "GrantId": s.grant}),
    "RevokeGrant": ("symmetric", lambda s: {"KeyId": s.key, "GrantId": s.grant}),
    "DescribeKey": ("symmetric", with_key()),
    "GetKeyLastUsage": ("symmetric", with_key()),
    "GetKeyPolicy": ("symmetric", with_key()),
    "PutKeyPolicy": ("symmetric", with_key(Policy=POLICY)),
    "ListKeyPolicies": ("symmetric", with_key()),
    "ListResourceTags": ("symmetric", with_key()),
    "ListAliases": ("symmetric", with_key()),
    "ListKeyRotations": ("symmetric", with_key()),
    "DeleteAlias": ("symmetric", lambda s: {"AliasName": s.alias}),
    "CreateAlias": ("symmetric", lambda s: {"AliasName": f"{s.alias}-2", "TargetKeyId": s.key}),
    "UpdateAlias:from": ("symmetric", lambda s: {"AliasName": s.alias, "TargetKeyId": s.other}),
    "UpdateAlias:to": ("symmetric", lambda s: {"AliasName": s.alias, "TargetKeyId": s.key}),
    "TagResource": ("symmetric", with_key(Tags=[{"TagKey": "a", "TagValue": "b"}])),
    "UntagResource": ("symmetric", with_key(TagKeys=["a"])),
    "UpdateKeyDescription": ("symmetric", with_key(Description="new")),
    "EnableKey": ("symmetric", with_key()),
    "DisableKey": ("symmetric", with_key()),
    "ScheduleKeyDeletion": ("symmetric", with_key(PendingWindowInDays=7)),
    "CancelKeyDeletion": ("symmetric", with_key()),
    "EnableKeyRotation": ("symmetric", with_key()),
    "DisableKeyRotation": ("symmetric", with_key()),
    "GetKeyRotationStatus": ("symmetric", with_key()),
    "RotateKeyOnDemand": ("symmetric", with_key()),
    # what such a key is not for
    "Encapsulate": ("symmetric", with_key(EncapsulationAlgorithm="ML_KEM")),
    "Decapsulate": ("symmetric", with_key(EncapsulationAlgorithm="ML_KEM",
                                          SharedSecretCiphertextBlob=b64(b"x" * 768))),
    "GetParametersForImport": ("symmetric", with_key(WrappingAlgorithm="RSAES_OAEP_SHA_256",
                                                     WrappingKeySpec="RSA_2048")),
    "ImportKeyMaterial": ("symmetric", with_key(ImportToken=b64(b"x"), EncryptedKeyMaterial=b64(b"x"),
                                                ExpirationModel="KEY_MATERIAL_DOES_NOT_EXPIRE")),
    "DeleteImportedKeyMaterial": ("symmetric", with_key()),
    "ReplicateKey": ("symmetric", with_key(ReplicaRegion="eu-west-1")),
    "UpdatePrimaryRegion": ("symmetric", with_key(PrimaryRegion="eu-west-1")),
}


def operation(call):
    """The operation of a row."""
    return call.partition(":")[0]


# Settings of a service that writes to its database only because of a request.
QUIET = """
[keys]
last_use_save = 86400
[audit]
checkpoint_time = 86400
checkpoint_records = 1000000
"""


def state(rig):
    """What a request could have changed: every write has a number, and clients see keys and aliases."""
    with contextlib.closing(sqlite3.connect(f"file:{rig.dir}/state/hsmkms.db?mode=ro", uri=True)) as db:
        sequence, = db.execute("SELECT sequence FROM state_root").fetchone()
    return sequence, rig.ok("ListKeys"), rig.ok("ListAliases")
