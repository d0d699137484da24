"""Bad input in every field of every operation: always refused, never with an effect.

A row is an operation, parameters that would succeed, and the kind of each field. The bad values
are derived from the kinds, so a new field costs one word.
"""

import json

import pytest

from kms import NO_SUCH_KEY, b64

VALIDATION, SERIALIZATION = "ValidationException", "SerializationException"

# kind: values and what they are answered; each kind also gets the values of another JSON type
WRONG_TYPES = {
    "text": (1, True, {}, [], 1.5),
    "blob": (1, True, {}, [], "not base64!", "YQ", "YQ==\n", "Y!==", "\u00e9\u00e9", "YR==", "YQ= =",
             "-_8="),
    "int": ("1", {}, [], True, 1.5, "x"), "bool": ("true", 1, {}, []), "map": ("x", 1, [], True),
    "list": ("x", 1, {}, True),
}
OUT_OF_RANGE = {
    "key": ["", "x" * 2049], "alias": ["", "x" * 257], "description": ["d" * 8193],
    "policy": ["", "x" * 131073], "policy_name": ["x" * 129], "enum": ["", "nonsense", "é"],
    "limit": [0, -1, 1001], "marker": ["", "m" * 1025], "plain": ["", b64(b"x" * 4097)],
    "blob": ["", b64(b"x" * 6145)], "bytes": [0, -1, 1025], "days": [0, 6, 31],
    "period": [0, 89, 2561], "tags": [], "tag_keys": [], "context": [], "bool": [], "tokens": [],
}
JSON_TYPE_OF = {
    "key": "text", "alias": "text", "description": "text", "policy": "text", "policy_name": "text",
    "enum": "text", "limit": "int", "marker": "text", "plain": "blob", "blob": "blob", "bytes": "int",
    "days": "int", "period": "int", "tags": "list", "tag_keys": "list", "context": "map",
    "bool": "bool", "tokens": "list",
}

# "!" marks a required field
ROWS = [
    ("CreateKey", {}, {"Description": "description", "KeyUsage": "enum", "KeySpec": "enum",
                       "CustomerMasterKeySpec": "enum", "Origin": "enum", "MultiRegion": "bool",
                       "Tags": "tags", "Policy": "policy", "BypassPolicyLockoutSafetyCheck": "bool"}),
    ("DescribeKey", {"KeyId": None}, {"KeyId": "key!", "GrantTokens": "tokens"}),
    ("ListKeys", {}, {"Limit": "limit", "Marker": "marker"}),
    ("UpdateKeyDescription", {"KeyId": None, "Description": "new"},
     {"KeyId": "key!", "Description": "description!"}),
    ("EnableKey", {"KeyId": None}, {"KeyId": "key!"}),
    ("DisableKey", {"KeyId": None}, {"KeyId": "key!"}),
    ("ScheduleKeyDeletion", {"KeyId": None}, {"KeyId": "key!", "PendingWindowInDays": "days"}),
    ("CancelKeyDeletion", {"KeyId": None}, {"KeyId": "key!"}),
    ("Encrypt", {"KeyId": None, "Plaintext": b64(b"x")},
     {"KeyId": "key!", "Plaintext": "plain!", "EncryptionContext": "context",
      "GrantTokens": "tokens", "EncryptionAlgorithm": "enum", "DryRun": "bool"}),
    ("Decrypt", {"CiphertextBlob": b64(b"x")},
     {"KeyId": "key", "CiphertextBlob": "blob", "EncryptionContext": "context",
      "GrantTokens": "tokens", "EncryptionAlgorithm": "enum", "DryRun": "bool"}),
    ("ReEncrypt", {"CiphertextBlob": b64(b"x"), "DestinationKeyId": None},
     {"DestinationKeyId": "key!", "SourceKeyId": "key", "CiphertextBlob": "blob",
      "SourceEncryptionContext": "context", "DestinationEncryptionContext": "context",
      "SourceEncryptionAlgorithm": "enum", "DestinationEncryptionAlgorithm": "enum",
      "DryRun": "bool"}),
    ("GenerateDataKey", {"KeyId": None, "NumberOfBytes": 32},
     {"KeyId": "key!", "NumberOfBytes": "bytes", "EncryptionContext": "context",
      "GrantTokens": "tokens", "DryRun": "bool"}),
    ("GenerateDataKeyWithoutPlaintext", {"KeyId": None, "KeySpec": "AES_256"},
     {"KeyId": "key!", "KeySpec": "enum", "EncryptionContext": "context", "DryRun": "bool"}),
    ("GenerateRandom", {"NumberOfBytes": 8}, {"NumberOfBytes": "bytes!"}),
    ("CreateAlias", {"AliasName": "alias/errors", "TargetKeyId": None},
     {"AliasName": "alias!", "TargetKeyId": "key!"}),
    ("UpdateAlias", {"AliasName": "alias/errors", "TargetKeyId": None},
     {"AliasName": "alias!", "TargetKeyId": "key!"}),
    ("DeleteAlias", {"AliasName": "alias/errors"}, {"AliasName": "alias!"}),
    ("ListAliases", {}, {"KeyId": "key", "Limit": "limit", "Marker": "marker"}),
    ("GetKeyPolicy", {"KeyId": None}, {"KeyId": "key!", "PolicyName": "policy_name"}),
    ("PutKeyPolicy", {"KeyId": None, "Policy": "{}"},
     {"KeyId": "key!", "Policy": "policy!", "PolicyName": "policy_name",
      "BypassPolicyLockoutSafetyCheck": "bool"}),
    ("ListKeyPolicies", {"KeyId": None}, {"KeyId": "key!", "Limit": "limit", "Marker": "marker"}),
    ("TagResource", {"KeyId": None, "Tags": [{"TagKey": "a", "TagValue": "b"}]},
     {"KeyId": "key!", "Tags": "tags!"}),
    ("UntagResource", {"KeyId": None, "TagKeys": ["a"]}, {"KeyId": "key!", "TagKeys": "tag_keys!"}),
    ("ListResourceTags", {"KeyId": None}, {"KeyId": "key!", "Limit": "limit", "Marker": "marker"}),
    ("EnableKeyRotation", {"KeyId": None}, {"KeyId": "key!", "RotationPeriodInDays": "period"}),
    ("DisableKeyRotation", {"KeyId": None}, {"KeyId": "key!"}),
    ("GetKeyRotationStatus", {"KeyId": None}, {"KeyId": "key!"}),
    ("RotateKeyOnDemand", {"KeyId": None}, {"KeyId": "key!"}),
    ("ListKeyRotations", {"KeyId": None},
     {"KeyId": "key!", "Limit": "limit", "Marker": "marker", "IncludeKeyMaterial": "enum"}),
]


def bad_inputs(fields):
    """(field, value, expected names); value ... stands for a field left out."""
    for field, kind in fields.items():
        required, kind = kind.endswith("!"), kind.rstrip("!")
        if required:
            yield field, ..., VALIDATION
            yield field, None, VALIDATION
        for value in WRONG_TYPES[JSON_TYPE_OF[kind]]:
            yield field, value, SERIALIZATION
        for value in OUT_OF_RANGE[kind]:
            yield field, value, VALIDATION


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_bad_values(rig, row):
    operation, good, fields = row
    key = rig.key()
    keys, details = rig.ok("ListKeys", Limit=1000), rig.details(key)
    wrong = []
    for field, value, expected in bad_inputs(fields):
        parameters = {k: (key if v is None else v) for k, v in good.items()}
        parameters[field] = value
        if value is ...:
            del parameters[field]
        answer = rig.call(operation, parameters)
        if answer.status != 400 or answer.type != expected:
            wrong.append(f"{field}={str(value)[:30]!r}: {answer.status} {answer.text[:140]}"
                         f" instead of {expected}")
    assert not wrong, "\n".join(wrong)
    assert rig.ok("ListKeys", Limit=1000) == keys
    assert rig.details(key) == details


BAD_KEYS = [
    (NO_SUCH_KEY, "NotFoundException"), ("not-a-key", "NotFoundException"),
    (NO_SUCH_KEY.replace("-", ""), "NotFoundException"), (NO_SUCH_KEY.upper() + "F", "NotFoundException"),
    ("alias/there-is-none", "NotFoundException"), ("../../etc/passwd", "NotFoundException"),
    ("%s%s%n", "NotFoundException"), ("' OR 1=1 --", "NotFoundException"), (" ", "NotFoundException"),
    ("arn:aws:kms:us-east-1:000000000000:key/" + NO_SUCH_KEY, "NotFoundException"),
    ("arn:aws:kms:eu-west-9:000000000000:key/" + NO_SUCH_KEY, "NotFoundException"),
    ("arn:aws:kms:us-east-1:111122223333:key/" + NO_SUCH_KEY, "AccessDeniedException"),
    ("arn:aws:s3:::bucket", "InvalidArnException"), ("arn:", "InvalidArnException"),
    ("arn:aws:kms:us-east-1:000000000000:", "InvalidArnException"),
]


@pytest.mark.parametrize("operation,more", [("DescribeKey", {}), ("Encrypt", {"Plaintext": "aGk="}),
                                            ("GenerateDataKey", {"KeySpec": "AES_256"})])
def test_bad_key_identifiers(rig, operation, more):
    for identifier, expected in BAD_KEYS:
        rig.refuses(expected, operation, {"KeyId": identifier, **more})


BODIES = [
    (b"", VALIDATION), (b"{", SERIALIZATION), (b"[]", SERIALIZATION), (b"null", SERIALIZATION),
    (b'"x"', SERIALIZATION), (b"{}{}", SERIALIZATION), (b"\xef\xbb\xbf{}", SERIALIZATION),
    (b'{"KeyId":"x","KeyId":"y"}', SERIALIZATION), (b'{"KeyId":"\xff"}', SERIALIZATION),
    (b'{"KeyId":"\xc0\xaf"}', SERIALIZATION), (b'{"KeyId":"a\\u0000b"}',
                                             (SERIALIZATION, VALIDATION, "NotFoundException")),
    (b'{"KeyId":"' + b"\0" + b'"}', SERIALIZATION), (b'{"a":' * 5000 + b"1" + b"}" * 5000, SERIALIZATION),
    (b"[" * 100000, SERIALIZATION), (b'{"KeyId":1e400}', SERIALIZATION),
    (json.dumps({f"k{i}": 1 for i in range(20000)}).encode(), VALIDATION),
    (b"\x1f\x8b\x08\x00", SERIALIZATION),
]


@pytest.mark.parametrize("body,expected", BODIES, ids=range(len(BODIES)))
def test_bad_bodies(rig, body, expected):
    rig.refuses(expected, "DescribeKey", body)


def test_unknown_members_are_ignored(rig, key):
    rig.ok("DescribeKey", KeyId=key, NoSuchMember={"deep": [1, 2]})


def test_empty_body_where_nothing_is_required(rig):
    assert rig.call("ListKeys", b"").status == 200


def test_body_too_large(rig):
    body = b'{"KeyId":"' + b"x" * (600 * 1024) + b'"}'
    try:
        answer = rig.call("DescribeKey", body, connection=rig.connect())
        assert (answer.status, answer.type) == (413, "RequestEntityTooLargeException")
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused before the body was read
    assert rig.ok("ListKeys")


def test_operations_that_do_not_exist(rig):
    for name in ("NoSuchThing", "", "listkeys", "List Keys", "ListKeys.", "x" * 5000):
        rig.refuses("UnknownOperationException", name)
    for target in ("ListKeys", "TrentService", "OtherService.ListKeys", "TrentService.ListKeys.x"):
        rig.refuses("UnknownOperationException", "x", headers={"X-Amz-Target": target})
    # without the header there is nothing that could have been signed
    rig.refuses(("UnknownOperationException", "InvalidSignatureException"), "x",
                headers={"X-Amz-Target": None})


def test_all_violations_in_one_message(rig):
    answer = rig.refuses(VALIDATION, "Encrypt", {"KeyId": "", "Plaintext": ""})
    assert answer.message.startswith("2 validation errors detected: ")
    answer = rig.refuses(VALIDATION, "Encrypt", {})
    assert "Value null at 'keyId' failed to satisfy constraint: Member must not be null" in \
        answer.message


def test_what_is_not_supported_is_refused_by_create_key(rig):
    before = rig.ok("ListKeys", Limit=1000)
    rows = [{"KeySpec": "ML_DSA_65", "KeyUsage": "SIGN_VERIFY"}, {"KeySpec": "ECC_NIST_P256"},
            {"KeyUsage": "SIGN_VERIFY"}, {"Origin": "AWS_CLOUDHSM"}, {"Origin": "EXTERNAL_KEY_STORE"},
            {"KeySpec": "SYMMETRIC_DEFAULT", "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT"},
            {"CustomKeyStoreId": "cks-1"}]
    for row in rows:
        answer = rig.call("CreateKey", row)
        assert answer.status == 400, f"{row}: {answer.text}"
    assert rig.ok("ListKeys", Limit=1000) == before
