"""GetKeyLastUsage: what counts as a use, what is told of it, and what a stop or a crash leaves."""

import json
import time

import pytest

from calls import state
from kms import NO_SUCH_KEY, b64

PLAIN = {"Plaintext": b64(b"x")}
P256 = {"KeySpec": "ECC_NIST_P256"}
SIGNING = {**P256, "KeyUsage": "SIGN_VERIFY"}
SIGN = {"Message": b64(b"m"), "SigningAlgorithm": "ECDSA_SHA_256"}
MAC = {"Message": b64(b"m"), "MacAlgorithm": "HMAC_SHA_256"}


def usage(rig, key):
    return rig.ok("GetKeyLastUsage", KeyId=key)


def last(rig, key):
    return usage(rig, key)["KeyLastUsage"]


def check_told(rig, key, operation, answer):
    """The last use is this answer's."""
    told = last(rig, key)
    assert sorted(told) == ["CloudTrailEventId", "KmsRequestId", "Operation", "Timestamp"]
    assert (told["Operation"], told["KmsRequestId"]) == (operation, answer.request_id)
    assert abs(told["Timestamp"] - time.time()) < 600
    record, = [r for r in rig.audit() if r.get("requestID") == answer.request_id]
    assert (record["eventID"], record["eventName"]) == (told["CloudTrailEventId"], operation)


def done(rig, operation, **parameters):
    answer = rig.call(operation, parameters)
    assert answer.status == 200, answer.text
    return answer


def test_a_new_key(rig, key):
    assert usage(rig, key) == {"KeyId": key, "KeyLastUsage": {},
                               "TrackingStartDate": key.metadata["CreationDate"],
                               "KeyCreationDate": key.metadata["CreationDate"]}


@pytest.mark.parametrize("operation,parameters", [
    ("Encrypt", PLAIN), ("GenerateDataKey", {"KeySpec": "AES_128"}),
    ("GenerateDataKeyWithoutPlaintext", {"NumberOfBytes": 7}),
    ("GenerateDataKeyPair", {"KeyPairSpec": "ECC_NIST_P256"}),
    ("GenerateDataKeyPairWithoutPlaintext", {"KeyPairSpec": "ECC_NIST_P256"})])
def test_symmetric_operations(rig, key, operation, parameters):
    check_told(rig, key, operation, done(rig, operation, KeyId=key, **parameters))


def test_decrypt_and_re_encrypt(rig, key):
    other = rig.key()
    blob = rig.ok("Encrypt", KeyId=key, **PLAIN)["CiphertextBlob"]
    check_told(rig, key, "Decrypt", done(rig, "Decrypt", CiphertextBlob=blob))
    answer = done(rig, "ReEncrypt", CiphertextBlob=blob, DestinationKeyId=other)
    check_told(rig, key, "ReEncrypt", answer)
    check_told(rig, other, "ReEncrypt", answer)


def test_signatures(rig):
    key = rig.key(**SIGNING)
    answer = done(rig, "Sign", KeyId=key, **SIGN)
    check_told(rig, key, "Sign", answer)
    signature = answer.json["Signature"]
    verified = done(rig, "Verify", KeyId=key, Signature=signature, **SIGN)
    check_told(rig, key, "Verify", verified)
    rig.refuses("KMSInvalidSignatureException", "Verify",
                {"KeyId": key, "Signature": signature, **SIGN, "Message": b64(b"other")})
    rig.ok("GetPublicKey", KeyId=key)
    check_told(rig, key, "Verify", verified)


def test_macs(rig):
    key = rig.key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    answer = done(rig, "GenerateMac", KeyId=key, **MAC)
    check_told(rig, key, "GenerateMac", answer)
    mac = answer.json["Mac"]
    rig.refuses("KMSInvalidMacException", "VerifyMac", {"KeyId": key, "Mac": b64(b"no"), **MAC})
    check_told(rig, key, "GenerateMac", answer)
    check_told(rig, key, "VerifyMac", done(rig, "VerifyMac", KeyId=key, Mac=mac, **MAC))


def test_agreement(rig):
    key = rig.key(**P256, KeyUsage="KEY_AGREEMENT")
    public = rig.ok("GetPublicKey", KeyId=key)["PublicKey"]
    assert last(rig, key) == {}
    check_told(rig, key, "DeriveSharedSecret", done(
        rig, "DeriveSharedSecret", KeyId=key, KeyAgreementAlgorithm="ECDH", PublicKey=public))


def test_what_is_no_use(rig, key):
    used = done(rig, "Encrypt", KeyId=key, **PLAIN)
    rig.refuses("DryRunOperationException", "GenerateDataKey",
                {"KeyId": key, "KeySpec": "AES_256", "DryRun": True})
    rig.refuses("ValidationException", "GenerateDataKey", {"KeyId": key})
    rig.refuses("InvalidKeyUsageException", "Sign", {"KeyId": key, **SIGN})
    rig.refuses("InvalidCiphertextException", "Decrypt",
                {"CiphertextBlob": used.json["CiphertextBlob"], "EncryptionContext": {"a": "b"}})
    for operation in ("DescribeKey", "RotateKeyOnDemand", "DisableKey"):
        rig.ok(operation, KeyId=key)
    rig.refuses("DisabledException", "Encrypt", {"KeyId": key, **PLAIN})
    check_told(rig, key, "Encrypt", used)


def test_bad_names(rig, key):
    rig.refuses("NotFoundException", "GetKeyLastUsage", {"KeyId": NO_SUCH_KEY})
    rig.ok("CreateAlias", AliasName=f"alias/usage-{key}", TargetKeyId=key)
    rig.refuses("NotFoundException", "GetKeyLastUsage", {"KeyId": f"alias/usage-{key}"})
    rig.refuses("ValidationException", "GetKeyLastUsage", {})
    assert usage(rig, key.arn)["KeyId"] == key


def test_policy_decides(rig):
    statement = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
                 "Action": ["kms:PutKeyPolicy", "kms:Encrypt", "kms:DescribeKey"], "Resource": "*"}
    key = rig.key(Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    rig.ok("Encrypt", KeyId=key, **PLAIN)
    rig.refuses("AccessDeniedException", "GetKeyLastUsage", {"KeyId": key})


def test_a_stop_keeps_it(new_rig):
    rig = new_rig()
    key = rig.key()
    answer = done(rig, "GenerateDataKey", KeyId=key, KeySpec="AES_256")
    rig.restart()
    check_told(rig, key, "GenerateDataKey", answer)


def test_an_operator_sees_each_version(rig, key):
    blob = rig.ok("Encrypt", KeyId=key, **PLAIN)["CiphertextBlob"]
    rig.ok("RotateKeyOnDemand", KeyId=key)
    answer = done(rig, "Decrypt", CiphertextBlob=blob)
    told = json.loads(rig.admin("key-uses", key).stdout)
    old, new = told["Versions"]
    assert (told["KeyId"], old["Number"], new["Number"]) == (key.arn, 1, 2)
    assert (old["Current"], new["Current"], new["LastUse"]) == (False, True, None)
    assert (old["LastUse"]["Operation"], old["LastUse"]["RequestId"]) == ("Decrypt", answer.request_id)
    assert old["KeyMaterialId"] == answer.json["KeyMaterialId"]
    assert rig.admin("key-uses", NO_SUCH_KEY, check=False).returncode != 0
    assert rig.admin("key-uses", check=False).returncode != 0


def test_a_crash_loses_what_was_not_written_yet(new_rig):
    rig = new_rig(conf="[keys]\nlast_use_save = 1\n")
    key = rig.key()
    before = state(rig)[0]
    answer = done(rig, "Encrypt", KeyId=key, **PLAIN)
    for _ in range(120):  # looked at every five seconds
        if state(rig)[0] > before:
            break
        time.sleep(0.5)
    rig.kill()
    rig.start()
    check_told(rig, key, "Encrypt", answer)
    rig.ok("GenerateDataKey", KeyId=key, KeySpec="AES_256")
    rig.kill()
    rig.start()
    assert last(rig, key)["Operation"] in ("Encrypt", "GenerateDataKey")
