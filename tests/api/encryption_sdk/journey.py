"""A file through the AWS Encryption SDK: its KMS keyring, and its own master key provider.

    journey.py ARN OTHER-ARN FILE

Finds its packages by PYTHONPATH, its configuration in the environment. Exit status 0: all as
expected.
"""

import os
import sys

import aws_encryption_sdk
import boto3
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import (CreateAwsKmsKeyringInput,
                                                             CreateAwsKmsMultiKeyringInput)
from aws_encryption_sdk.exceptions import AWSEncryptionSDKClientError

CONTEXT = {"purpose": "test", "café": "ü"}


def refused(call, **arguments):
    """What must not open; the keyring's errors have no common class."""
    try:
        call(**arguments)
    except Exception as error:  # pylint: disable=broad-except
        return error
    raise AssertionError("it was not refused")


def keyrings(kms, arn, other):
    """A keyring of one key, of the other, and one that seals under both."""
    mpl = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
    one, two = (mpl.create_aws_kms_keyring(input=CreateAwsKmsKeyringInput(kms_key_id=k, kms_client=kms))
                for k in (arn, other))
    both = mpl.create_aws_kms_multi_keyring(
        input=CreateAwsKmsMultiKeyringInput(generator=arn, kms_key_ids=[other]))
    return one, two, both


def main():
    arn, other, path = sys.argv[1:]
    kms = boto3.client("kms", endpoint_url=os.environ["AWS_ENDPOINT_URL_KMS"])
    client = aws_encryption_sdk.EncryptionSDKClient()
    with open(path, "rb") as file:
        plain = file.read()
    one, two, both = keyrings(kms, arn, other)

    sealed, _ = client.encrypt(source=plain, keyring=one, encryption_context=CONTEXT)
    kms.rotate_key_on_demand(KeyId=arn)
    assert client.decrypt(source=sealed, keyring=one, encryption_context=CONTEXT)[0] == plain
    refused(client.decrypt, source=sealed, keyring=two)
    refused(client.decrypt, source=sealed, keyring=one, encryption_context={**CONTEXT, "café": "u"})
    refused(client.decrypt, source=sealed[:-1] + bytes([sealed[-1] ^ 1]), keyring=one)

    shared, _ = client.encrypt(source=plain, keyring=both, encryption_context=CONTEXT)
    kms.disable_key(KeyId=arn)  # Encrypt under the second key has sealed the data key once more
    assert client.decrypt(source=shared, keyring=two)[0] == plain
    refused(client.decrypt, source=shared, keyring=one)
    kms.enable_key(KeyId=arn)

    provider = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[arn])
    stranger = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[other])
    assert client.decrypt(source=sealed, key_provider=provider)[0] == plain
    again, header = client.encrypt(source=plain, key_provider=provider, encryption_context=CONTEXT)
    assert [k.key_provider.key_info for k in header.encrypted_data_keys] == [arn.encode()]
    assert client.decrypt(source=again, keyring=one)[0] == plain
    error = refused(client.decrypt, source=again, key_provider=stranger)
    assert isinstance(error, AWSEncryptionSDKClientError), error
    print(f"aws-encryption-sdk {aws_encryption_sdk.__version__}: ok")


main()
