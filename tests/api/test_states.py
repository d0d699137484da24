"""What each key state allows: every operation against every state a client can bring about."""

import pytest

from kms import NO_SUCH_KEY, b64

DISABLED, STATE = "DisabledException", "KMSInvalidStateException"

# operation, parameters beside KeyId, what a disabled and a pending key answer (None: success)
ROWS = [
    ("Encrypt", {"Plaintext": b64(b"x")}, DISABLED, STATE),
    ("GenerateDataKey", {"KeySpec": "AES_256"}, DISABLED, STATE),
    ("GenerateDataKeyWithoutPlaintext", {"KeySpec": "AES_256"}, DISABLED, STATE),
    ("DescribeKey", {}, None, None),
    ("GetKeyPolicy", {}, None, None),
    ("ListKeyPolicies", {}, None, None),
    ("ListResourceTags", {}, None, None),
    ("ListAliases", {}, None, None),
    ("ListKeyRotations", {}, None, None),
    ("GetKeyRotationStatus", {}, None, None),
    ("UpdateKeyDescription", {"Description": "d"}, None, STATE),
    ("TagResource", {"Tags": [{"TagKey": "a", "TagValue": "b"}]}, None, STATE),
    ("UntagResource", {"TagKeys": ["a"]}, None, STATE),
    ("EnableKeyRotation", {}, DISABLED, STATE),
    ("DisableKeyRotation", {}, DISABLED, STATE),
    ("RotateKeyOnDemand", {}, DISABLED, STATE),
    ("CancelKeyDeletion", {}, STATE, None),
    ("DisableKey", {}, None, STATE),
    ("EnableKey", {}, None, STATE),
    ("ScheduleKeyDeletion", {"PendingWindowInDays": 7}, None, STATE),
]


def key_in(rig, state):
    key = rig.key()
    if state == "Disabled":
        rig.ok("DisableKey", KeyId=key)
    else:
        rig.ok("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    return key


def text_of(key, state, operation):
    if operation == "CancelKeyDeletion":
        return f"{key.arn} is not pending deletion."
    return f"{key.arn} is disabled." if state == "Disabled" else f"{key.arn} is pending deletion."


@pytest.mark.parametrize("state", ["Disabled", "PendingDeletion"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_state(rig, row, state):
    operation, parameters, disabled, pending = row
    key = key_in(rig, state)
    expected = disabled if state == "Disabled" else pending
    if expected is None:
        answer = rig.call(operation, {"KeyId": key, **parameters})
        assert answer.status == 200, answer.text
    else:
        before = rig.details(key)
        answer = rig.refuses(expected, operation, {"KeyId": key, **parameters})
        assert answer.message == text_of(key, state, operation)
        assert rig.details(key) == before


def test_blobs_follow_the_state(rig, key):
    blob = rig.ok("Encrypt", KeyId=key, Plaintext=b64(b"x"))["CiphertextBlob"]
    target = rig.key()
    rig.ok("DisableKey", KeyId=key)
    rig.refuses(DISABLED, "Decrypt", {"CiphertextBlob": blob})
    rig.refuses(DISABLED, "ReEncrypt", {"CiphertextBlob": blob, "DestinationKeyId": target})
    rig.ok("EnableKey", KeyId=key)
    rig.ok("Decrypt", CiphertextBlob=blob)
    rig.ok("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    rig.refuses(STATE, "Decrypt", {"CiphertextBlob": blob})
    assert rig.ok("CancelKeyDeletion", KeyId=key)["KeyId"] == key.arn
    assert rig.ok("DescribeKey", KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"
    rig.refuses(DISABLED, "Decrypt", {"CiphertextBlob": blob})
    rig.ok("EnableKey", KeyId=key)
    rig.ok("Decrypt", CiphertextBlob=blob)


def test_reencrypt_to_a_disabled_key(rig, key):
    blob = rig.ok("Encrypt", KeyId=key, Plaintext=b64(b"x"))["CiphertextBlob"]
    rig.refuses(DISABLED, "ReEncrypt",
                {"CiphertextBlob": blob, "DestinationKeyId": key_in(rig, "Disabled")})


def test_metadata_of_each_state(rig, key):
    def metadata():
        return rig.ok("DescribeKey", KeyId=key)["KeyMetadata"]

    assert (metadata()["KeyState"], metadata()["Enabled"]) == ("Enabled", True)
    assert "DeletionDate" not in metadata()
    rig.ok("DisableKey", KeyId=key)
    assert (metadata()["KeyState"], metadata()["Enabled"]) == ("Disabled", False)
    answer = rig.ok("ScheduleKeyDeletion", KeyId=key)
    assert answer["PendingWindowInDays"] == 30 and answer["KeyId"] == key.arn
    assert answer["KeyState"] == "PendingDeletion"
    assert (metadata()["KeyState"], metadata()["Enabled"]) == ("PendingDeletion", False)
    assert metadata()["DeletionDate"] == answer["DeletionDate"]
    assert abs(answer["DeletionDate"] - metadata()["CreationDate"] - 30 * 86400) < 600


def test_deletion_window_bounds(rig, key):
    for days in (-1, 0, 6, 31, 365, 10**6):
        rig.refuses("ValidationException", "ScheduleKeyDeletion",
                    {"KeyId": key, "PendingWindowInDays": days})
    assert rig.ok("DescribeKey", KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"


def test_alias_of_a_pending_key(rig, key):
    name = f"alias/pending-{key}"
    rig.ok("CreateAlias", AliasName=name, TargetKeyId=key)
    pending = key_in(rig, "PendingDeletion")
    rig.refuses(STATE, "CreateAlias", {"AliasName": name + "2", "TargetKeyId": pending})
    rig.refuses(STATE, "UpdateAlias", {"AliasName": name, "TargetKeyId": pending})
    rig.ok("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    rig.ok("DeleteAlias", AliasName=name)


def test_void_operations_answer_with_no_body(rig, key):
    for operation in ("DisableKey", "EnableKey", "EnableKeyRotation", "DisableKeyRotation"):
        answer = rig.call(operation, {"KeyId": key})
        assert (answer.status, answer.body) == (200, b""), answer.text
        assert answer.headers["content-length"] == "0"


def test_unknown_key_everywhere(rig):
    for operation, parameters, _, _ in ROWS:
        answer = rig.refuses("NotFoundException", operation, {"KeyId": NO_SUCH_KEY, **parameters})
        assert "does not exist" in answer.message
