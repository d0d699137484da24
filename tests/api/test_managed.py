"""Keys behind alias/aws/SERVICE: made when first described or used, and nobody's to change."""

import concurrent.futures

import pytest

from kms import b64


@pytest.fixture(scope="module")
def managed(rig):
    return rig.ok("DescribeKey", KeyId="alias/aws/s3")["KeyMetadata"]


def test_metadata(rig, managed):
    assert managed["KeyManager"] == "AWS" and managed["KeyState"] == "Enabled"
    assert rig.ok("DescribeKey", KeyId="alias/aws/s3")["KeyMetadata"] == managed
    names = {a["AliasName"]: a for a in rig.ok("ListAliases", Limit=100)["Aliases"]}
    assert names["alias/aws/s3"]["TargetKeyId"] == managed["KeyId"]
    assert managed["KeyId"] in [k["KeyId"] for k in rig.ok("ListKeys", Limit=1000)["Keys"]]
    assert rig.ok("GetKeyRotationStatus", KeyId=managed["KeyId"])["KeyRotationEnabled"] is True


def test_made_once_by_many_at_once(new_rig):
    rig = new_rig()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        ids = set(pool.map(lambda _: rig.ok("DescribeKey", KeyId="alias/aws/s3")["KeyMetadata"]["KeyId"],
                           range(64)))
    assert len(ids) == 1 and len(rig.ok("ListKeys")["Keys"]) == 1
    rig.kill()
    rig.start()
    assert rig.ok("DescribeKey", KeyId="alias/aws/s3")["KeyMetadata"]["KeyId"] in ids


def test_it_works_as_a_default_key(rig, managed):
    made = rig.ok("GenerateDataKey", KeyId="alias/aws/s3", KeySpec="AES_256",
                  EncryptionContext={"aws:s3:arn": "arn:aws:s3:::b/k"})
    assert made["KeyId"] == managed["Arn"]
    opened = rig.ok("Decrypt", CiphertextBlob=made["CiphertextBlob"],
                    EncryptionContext={"aws:s3:arn": "arn:aws:s3:::b/k"})
    assert opened["Plaintext"] == made["Plaintext"]


CHANGES = [
    ("DisableKey", {}), ("EnableKey", {}), ("ScheduleKeyDeletion", {"PendingWindowInDays": 7}),
    ("CancelKeyDeletion", {}), ("UpdateKeyDescription", {"Description": "mine"}),
    ("PutKeyPolicy", {"Policy": '{"Version":"2012-10-17","Statement":[]}'}),
    ("TagResource", {"Tags": [{"TagKey": "a", "TagValue": "b"}]}), ("UntagResource", {"TagKeys": ["a"]}),
    ("EnableKeyRotation", {}), ("DisableKeyRotation", {}), ("RotateKeyOnDemand", {}),
]


@pytest.mark.parametrize("operation,parameters", CHANGES, ids=[c[0] for c in CHANGES])
def test_nobody_changes_it(rig, managed, operation, parameters):
    before = rig.details(managed["KeyId"])
    rig.refuses(("AccessDeniedException", "UnsupportedOperationException"), operation,
                {"KeyId": managed["KeyId"], **parameters})
    assert rig.details(managed["KeyId"]) == before


def test_its_alias_stays(rig, managed, key):
    assert rig.call("DeleteAlias", {"AliasName": "alias/aws/s3"}).status == 400
    assert rig.call("UpdateAlias", {"AliasName": "alias/aws/s3", "TargetKeyId": key}).status == 400
    assert rig.call("CreateAlias", {"AliasName": f"alias/to-{key}",
                                    "TargetKeyId": managed["KeyId"]}).status == 400
    assert rig.ok("DescribeKey", KeyId="alias/aws/s3")["KeyMetadata"] == managed


def test_no_such_service(rig):
    before = rig.ok("ListKeys", Limit=1000)
    for name in ("alias/aws/no-such-service", "alias/aws/", "alias/aws/S3", "alias/aws/s3/x"):
        answer = rig.call("DescribeKey", {"KeyId": name})
        assert answer.status == 400, f"{name}: {answer.text}"
    assert rig.ok("ListKeys", Limit=1000) == before


SEALED = b64(b"no ciphertext of ours at all")
UNMADE = "alias/aws/ebs"
REFUSED = [
    ("Encrypt", {"Plaintext": b64(b"x"), "DryRun": True}, "DryRunOperationException"),
    ("Encrypt", {"Plaintext": b64(b"x"), "EncryptionAlgorithm": "SM2PKE"}, "InvalidKeyUsageException"),
    ("GenerateDataKey", {}, "ValidationException"),
    ("GenerateDataKey", {"KeySpec": "AES_256", "NumberOfBytes": 32}, "ValidationException"),
    ("GenerateDataKey", {"KeySpec": "AES_256", "DryRun": True}, "DryRunOperationException"),
    ("GenerateDataKey", {"KeySpec": "AES_256", "Recipient": {}}, "UnsupportedOperationException"),
    ("GenerateDataKeyWithoutPlaintext", {}, "ValidationException"),
    ("GenerateDataKeyWithoutPlaintext", {"NumberOfBytes": 16, "DryRun": True},
     "DryRunOperationException"),
    ("Decrypt", {"DryRun": True, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}, "DryRunOperationException"),
    ("Decrypt", {"CiphertextBlob": SEALED}, "InvalidCiphertextException"),
    ("Decrypt", {"CiphertextBlob": None}, "IncorrectKeyException"),
]


@pytest.mark.parametrize("name", [UNMADE, "arn:aws:kms:us-east-1:000000000000:" + UNMADE])
def test_a_refused_request_makes_no_key(rig, key, name):
    mine = rig.ok("Encrypt", KeyId=key, Plaintext=b64(b"x"))["CiphertextBlob"]
    before = rig.ok("ListKeys", Limit=1000), rig.ok("ListAliases", Limit=100)
    assert UNMADE not in [a["AliasName"] for a in before[1]["Aliases"]]
    for operation, parameters, expected in REFUSED:
        filled = {k: mine if v is None else v for k, v in parameters.items()}
        rig.refuses(expected, operation, {"KeyId": name, **filled})
    for operation, more, expected in (
            ("ReEncrypt", {"DryRun": True}, "DryRunOperationException"),
            ("ReEncrypt", {"DestinationEncryptionAlgorithm": "SM2PKE"}, "InvalidKeyUsageException"),
            ("ReEncrypt", {"SourceEncryptionContext": {"not": "this"}}, "InvalidCiphertextException"),
            ("ReEncrypt", {"SourceKeyId": name}, "IncorrectKeyException")):
        rig.refuses(expected, operation, {"CiphertextBlob": mine, "DestinationKeyId": name, **more})
    rig.refuses("DryRunOperationException", "ReEncrypt",
                {"SourceKeyId": name, "DestinationKeyId": name, "DryRun": True,
                 "DryRunModifiers": ["IGNORE_CIPHERTEXT"]})
    assert (rig.ok("ListKeys", Limit=1000), rig.ok("ListAliases", Limit=100)) == before


def test_every_operation_that_names_one_makes_it(rig, key):
    """Whichever comes first: no operation meets a key that is not there."""
    mine = rig.ok("Encrypt", KeyId=key, Plaintext=b64(b"x"))["CiphertextBlob"]
    made = [
        rig.ok("Encrypt", KeyId="alias/aws/sqs", Plaintext=b64(b"x"))["KeyId"],
        rig.ok("GenerateDataKey", KeyId="alias/aws/sns", KeySpec="AES_256")["KeyId"],
        rig.ok("GenerateDataKeyWithoutPlaintext", KeyId="alias/aws/rds", KeySpec="AES_256")["KeyId"],
        rig.ok("ReEncrypt", CiphertextBlob=mine, DestinationKeyId="alias/aws/lambda")["KeyId"],
        rig.ok("DescribeKey", KeyId="alias/aws/dynamodb")["KeyMetadata"]["Arn"],
    ]
    assert len(set(made)) == len(made)
    for arn in made:
        assert rig.ok("DescribeKey", KeyId=arn)["KeyMetadata"]["KeyManager"] == "AWS"
