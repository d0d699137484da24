"""The main job with the clients people have: boto3 and the AWS command line."""

import base64
import os
import pathlib
import tempfile

import botocore.exceptions
import pytest

import kms


def test_boto3_journey(rig):
    client = rig.boto()
    metadata = client.create_key(Description="journey", Tags=[{"TagKey": "a", "TagValue": "b"}])
    key = metadata["KeyMetadata"]
    assert key["KeyState"] == "Enabled" and key["Enabled"] is True
    assert key["KeySpec"] == "SYMMETRIC_DEFAULT" and key["KeyUsage"] == "ENCRYPT_DECRYPT"
    assert key["Arn"] == f"arn:aws:kms:us-east-1:000000000000:key/{key['KeyId']}"
    client.create_alias(AliasName="alias/journey", TargetKeyId=key["KeyId"])

    context = {"aws:s3:arn": "arn:aws:s3:::bucket/object"}
    made = client.generate_data_key(KeyId="alias/journey", KeySpec="AES_256",
                                    EncryptionContext=context)
    assert len(made["Plaintext"]) == 32 and made["KeyId"] == key["Arn"]
    opened = client.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=context)
    assert opened["Plaintext"] == made["Plaintext"] and opened["KeyId"] == key["Arn"]
    assert opened["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"

    rig.ok("RotateKeyOnDemand", KeyId=key["KeyId"])
    again = client.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=context,
                           KeyId="alias/journey")
    assert again["Plaintext"] == made["Plaintext"]

    blob = client.encrypt(KeyId=key["Arn"], Plaintext=b"small secret")["CiphertextBlob"]
    moved = client.re_encrypt(CiphertextBlob=blob, DestinationKeyId=key["KeyId"],
                              DestinationEncryptionContext={"now": "with context"})
    assert moved["SourceKeyId"] == moved["KeyId"] == key["Arn"]
    plain = client.decrypt(CiphertextBlob=moved["CiphertextBlob"],
                           EncryptionContext={"now": "with context"})["Plaintext"]
    assert plain == b"small secret"

    sealed = client.generate_data_key_without_plaintext(KeyId=key["KeyId"], NumberOfBytes=1024)
    assert "Plaintext" not in sealed
    assert len(client.decrypt(CiphertextBlob=sealed["CiphertextBlob"])["Plaintext"]) == 1024
    assert len(client.generate_random(NumberOfBytes=17)["Plaintext"]) == 17

    client.disable_key(KeyId=key["KeyId"])
    with pytest.raises(client.exceptions.DisabledException):
        client.encrypt(KeyId=key["KeyId"], Plaintext=b"x")
    client.delete_alias(AliasName="alias/journey")
    pending = client.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
    assert pending["KeyState"] == "PendingDeletion"


def test_boto3_error_shapes(rig):
    client = rig.boto()
    with pytest.raises(client.exceptions.NotFoundException) as caught:
        client.describe_key(KeyId=kms.NO_SUCH_KEY)
    arn = f"arn:aws:kms:us-east-1:000000000000:key/{kms.NO_SUCH_KEY}"
    assert caught.value.response["Error"]["Message"] == f"Key '{arn}' does not exist"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    with pytest.raises(client.exceptions.InvalidCiphertextException) as caught:
        client.decrypt(CiphertextBlob=b"nonsense")
    assert not caught.value.response["Error"].get("Message")
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        client.encrypt(KeyId=kms.NO_SUCH_KEY, Plaintext=b"x" * 4097)
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_awscli_journey(rig):
    key = rig.aws("create-key", "--description", "made by hand")["KeyMetadata"]
    rig.aws("create-alias", "--alias-name", "alias/by-hand", "--target-key-id", key["KeyId"])
    made = rig.aws("generate-data-key", "--key-id", "alias/by-hand", "--key-spec", "AES_256",
                   "--encryption-context", "z=1,a=2")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "blob"
        path.write_bytes(base64.b64decode(made["CiphertextBlob"]))
        opened = rig.aws("decrypt", "--ciphertext-blob", f"fileb://{path}",
                         "--encryption-context", "a=2,z=1")
        assert opened["Plaintext"] == made["Plaintext"]
        refused = rig.aws("decrypt", "--ciphertext-blob", f"fileb://{path}", check=False)
        assert refused.returncode and "InvalidCiphertextException" in refused.stderr
    assert rig.aws("describe-key", "--key-id", "alias/by-hand")["KeyMetadata"]["Arn"] == key["Arn"]
    names = [a["AliasName"] for a in rig.aws("list-aliases", "--key-id", key["KeyId"])["Aliases"]]
    assert names == ["alias/by-hand"]
    rig.aws("enable-key-rotation", "--key-id", key["KeyId"])
    assert rig.aws("get-key-rotation-status", "--key-id", key["KeyId"])["KeyRotationEnabled"]
    rig.aws("delete-alias", "--alias-name", "alias/by-hand")
    refused = rig.aws("describe-key", "--key-id", "alias/by-hand", check=False)
    assert refused.returncode and "NotFoundException" in refused.stderr


def test_wrong_certificate_is_refused_by_the_client(rig):
    if not rig.tls:
        pytest.skip("plain listener")
    client = rig.boto(verify=True)
    with pytest.raises(botocore.exceptions.SSLError):
        client.list_keys()


@pytest.mark.parametrize("tls", [False, True])
def test_other_scheme_is_answered_by_no_plaintext(new_rig, tls):
    service = new_rig(tls=tls)
    client = service.boto(endpoint_url=service.url.replace("https", "http") if tls
                          else service.url.replace("http", "https"))
    with pytest.raises((botocore.exceptions.HTTPClientError, botocore.exceptions.SSLError)):
        client.list_keys()
    assert service.ok("ListKeys")["Truncated"] is False


def test_two_rigs_side_by_side_share_nothing(rig, new_rig):
    other = new_rig()
    assert other.ok("ListKeys")["Keys"] == []
    key = rig.key()
    other.refuses("NotFoundException", "DescribeKey", {"KeyId": key})
    other.refuses("UnrecognizedClientException", "ListKeys", credential=rig.credential)
    assert os.path.samefile(other.dir, other.exports["HSMKMS_DIR"])
