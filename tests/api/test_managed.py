"""Keys behind alias/aws/SERVICE: made when first described or used, and nobody's to change."""

import concurrent.futures

import pytest


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
