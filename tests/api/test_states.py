"""What each key state allows: every operation about a key against every state that a client, or a
token that lost an object, can bring about.

The table follows the AWS KMS Developer Guide, Key states of AWS KMS keys. Three cells are ours:
AWS knows Unavailable only for keys in custom key stores, which neither sign nor rotate; here any key
may lose its token object, and what needs the object is refused like a decryption.
"""

import pytest

import calls
import conftest
import kms
import model
from calls import Subject
from kms import NO_SUCH_KEY, b64

DISABLED, STATE = "DisabledException", "KMSInvalidStateException"
USAGE, ORIGIN = "InvalidKeyUsageException", "UnsupportedOperationException"

YES = None
OFF = (DISABLED, "is disabled.")
DUE = (STATE, "is pending deletion.")
NOT_DUE = (STATE, "is not pending deletion.")
AWAY = (STATE, "is unavailable.")
OTHER_USE = (USAGE, "key usage is ENCRYPT_DECRYPT which is not valid for")
NOT_FOR_IT = (ORIGIN, "")  # of a key that is neither imported nor in several Regions

STATES = ["Enabled", "Disabled", "PendingDeletion", "Unavailable"]
TABLE = {
    #                                       Enabled     Disabled    PendingDeletion Unavailable
    "Encrypt":                             (YES,        OFF,        DUE,            AWAY),
    "Decrypt":                             (YES,        OFF,        DUE,            AWAY),
    "ReEncrypt:from":                      (YES,        OFF,        DUE,            AWAY),
    "ReEncrypt:to":                        (YES,        OFF,        DUE,            AWAY),
    "GenerateDataKey":                     (YES,        OFF,        DUE,            AWAY),
    "GenerateDataKeyWithoutPlaintext":     (YES,        OFF,        DUE,            AWAY),
    "GenerateDataKeyPair":                 (YES,        OFF,        DUE,            AWAY),
    "GenerateDataKeyPairWithoutPlaintext": (YES,        OFF,        DUE,            AWAY),
    "Sign":                                (YES,        OFF,        DUE,            AWAY),
    "Verify":                              (YES,        OFF,        DUE,            AWAY),
    "GenerateMac":                         (YES,        OFF,        DUE,            AWAY),
    "VerifyMac":                           (YES,        OFF,        DUE,            AWAY),
    "GetPublicKey":                        (YES,        OFF,        DUE,            AWAY),
    "DeriveSharedSecret":                  (YES,        OFF,        DUE,            AWAY),
    "CreateGrant":                         (YES,        OFF,        DUE,            YES),
    "ListGrants":                          (YES,        YES,        YES,            YES),
    "RetireGrant:token":                   (YES,        YES,        YES,            YES),
    "RetireGrant:id":                      (YES,        YES,        YES,            YES),
    "RevokeGrant":                         (YES,        YES,        YES,            YES),
    "DescribeKey":                         (YES,        YES,        YES,            YES),
    "GetKeyLastUsage":                     (YES,        YES,        YES,            YES),
    "GetKeyPolicy":                        (YES,        YES,        YES,            YES),
    "PutKeyPolicy":                        (YES,        YES,        YES,            YES),
    "ListKeyPolicies":                     (YES,        YES,        YES,            YES),
    "ListResourceTags":                    (YES,        YES,        YES,            YES),
    "ListAliases":                         (YES,        YES,        YES,            YES),
    "ListKeyRotations":                    (YES,        YES,        YES,            YES),
    "DeleteAlias":                         (YES,        YES,        YES,            YES),
    "CreateAlias":                         (YES,        YES,        DUE,            YES),
    "UpdateAlias:from":                    (YES,        YES,        YES,            YES),
    "UpdateAlias:to":                      (YES,        YES,        DUE,            YES),
    "TagResource":                         (YES,        YES,        DUE,            YES),
    "UntagResource":                       (YES,        YES,        DUE,            YES),
    "UpdateKeyDescription":                (YES,        YES,        DUE,            YES),
    "EnableKey":                           (YES,        YES,        DUE,            YES),
    "DisableKey":                          (YES,        YES,        DUE,            YES),
    "ScheduleKeyDeletion":                 (YES,        YES,        DUE,            YES),
    "CancelKeyDeletion":                   (NOT_DUE,    NOT_DUE,    YES,            NOT_DUE),
    "EnableKeyRotation":                   (YES,        OFF,        DUE,            AWAY),
    "DisableKeyRotation":                  (YES,        OFF,        DUE,            AWAY),
    "GetKeyRotationStatus":                (YES,        YES,        YES,            YES),
    "RotateKeyOnDemand":                   (YES,        OFF,        DUE,            AWAY),
    "Encapsulate":                         (OTHER_USE,  OFF,        DUE,            AWAY),
    "Decapsulate":                         (OTHER_USE,  OFF,        DUE,            AWAY),
    "GetParametersForImport":              (NOT_FOR_IT, NOT_FOR_IT, DUE,            NOT_FOR_IT),
    "ImportKeyMaterial":                   (NOT_FOR_IT, NOT_FOR_IT, DUE,            NOT_FOR_IT),
    "DeleteImportedKeyMaterial":           (NOT_FOR_IT, NOT_FOR_IT, NOT_FOR_IT,     NOT_FOR_IT),
    "ReplicateKey":                        (NOT_FOR_IT, OFF,        DUE,            AWAY),
    "UpdatePrimaryRegion":                 (NOT_FOR_IT, OFF,        DUE,            AWAY),
}
# no key, a list of all, or a grant's principal instead of one
ABOUT_NO_KEY = {"CreateKey", "ListKeys", "ListRetirableGrants", "GenerateRandom"}


def made(call):
    """The operation has a row."""
    return calls.operation(call) in model.rows()


def bring(rig, subject, state):
    if state == "Disabled":
        rig.ok("DisableKey", KeyId=subject.key)
    elif state == "PendingDeletion":
        rig.ok("ScheduleKeyDeletion", KeyId=subject.key, PendingWindowInDays=7)


def view(rig, subject):
    """The key as clients see it, with its aliases and grants."""
    key = subject.key
    rotation = rig.call("GetKeyRotationStatus", {"KeyId": key}).json
    return [rig.ok(o, KeyId=key) for o in ("DescribeKey", "GetKeyPolicy", "ListResourceTags",
                                           "ListAliases", "ListGrants")] + [rotation]


def check(rig, subject, call, expected):
    operation, parameters = calls.operation(call), subject.request(call)
    if expected is YES:
        answer = rig.call(operation, parameters)
        assert answer.status == 200, answer.text
        return
    before = view(rig, subject)
    name, text = expected
    answer = rig.refuses(name, operation, parameters)
    if text:
        assert answer.message.startswith(f"{subject.key.arn} {text}"), answer.message
    assert view(rig, subject) == before


@pytest.mark.parametrize("state", STATES[:3])
@pytest.mark.parametrize("call", TABLE)
def test_state(rig, call, state):
    if not made(call):
        pytest.skip("no such operation here")
    subject = Subject(rig, calls.CALLS[call][0])
    bring(rig, subject, state)
    check(rig, subject, call, TABLE[call][STATES.index(state)])


@pytest.fixture(scope="module")
def ruins():
    """A service whose token lost the objects of some keys, a subject for each row."""
    service = kms.Rig()
    try:
        other = service.key()
        folder = next((service.dir / "token").iterdir())
        before = set(folder.glob("*.object"))
        subjects = {call: Subject(service, calls.CALLS[call][0], other) for call in TABLE}
        service.stop()
        for path in set(folder.glob("*.object")) - before:
            path.unlink()
        service.start()
        yield service, subjects
    finally:
        conftest.end(service)


@pytest.mark.parametrize("call", TABLE)
def test_state_of_a_key_without_its_object(ruins, call):
    if not made(call):
        pytest.skip("no such operation here")
    service, subjects = ruins
    metadata = service.ok("DescribeKey", KeyId=subjects[call].key)["KeyMetadata"]
    assert (metadata["KeyState"], metadata["Enabled"]) == ("Unavailable", False)
    check(service, subjects[call], call, TABLE[call][STATES.index("Unavailable")])


def test_every_operation_about_a_key_is_in_the_table():
    about_keys = {o for o in model.rows() if o not in ABOUT_NO_KEY and "CustomKeyStore" not in o}
    assert about_keys <= {calls.operation(call) for call in TABLE}
    assert set(TABLE) == set(calls.CALLS)


def key_in(rig, state):
    key = rig.key()
    if state == "Disabled":
        rig.ok("DisableKey", KeyId=key)
    else:
        rig.ok("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    return key


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
    subjects = {kind: Subject(rig, kind) for kind in calls.KINDS}
    for call, (kind, _) in calls.CALLS.items():
        parameters = subjects[kind].request(call)
        if not made(call) or "KeyId" not in parameters or "GrantId" in parameters:
            continue
        answer = rig.refuses("NotFoundException", calls.operation(call),
                             {**parameters, "KeyId": NO_SUCH_KEY})
        assert "does not exist" in answer.message
