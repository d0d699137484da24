"""Multi-Region keys: one family in several regions of one service, from birth to the last deletion."""

import datetime
import http.client
import json
import pathlib
import time
import uuid

import pytest
from botocore.exceptions import ClientError

import clock
import faults
import kms

HOME, SECOND, THIRD = "us-east-1", "eu-west-1", "ap-south-1"
REGIONS = (HOME, SECOND, THIRD)
CONTEXT = {"bucket": "photos"}
ACCOUNT_ROOT = "arn:aws:iam::{}:root"


def serve(service, *regions):
    """Starts the service again with other regions."""
    path = pathlib.Path(service.dir) / "hsmkms.conf"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(f"regions = {' '.join(regions)}" if line.startswith("regions = ")
                              else line for line in lines) + "\n")
    return service.start(check=False)


def make_world(new_rig, **arguments):
    service = new_rig(**arguments)
    service.stop()
    assert serve(service, *REGIONS) == 0
    return World(service)


class World:
    """A service and a client in each of its regions."""

    def __init__(self, service):
        self.service = service
        self.clients = {name: service.boto(region_name=name) for name in REGIONS}

    def __getitem__(self, region):
        return self.clients[region]

    def call(self, region, operation, **parameters):
        """A raw call: the packaged client does not know the newest operations and members."""
        return self.service.call(operation, parameters,
                                 credential=self.service.credential.but(region=region))

    def ok(self, region, operation, **parameters):
        answer = self.call(region, operation, **parameters)
        assert answer.status == 200, answer.text
        return answer.json

    def material(self, region, name):
        return self.ok(region, "DescribeKey", KeyId=name)["KeyMetadata"]["CurrentKeyMaterialId"]

    def primary(self, **parameters):
        return self[HOME].create_key(MultiRegion=True, **parameters)["KeyMetadata"]["KeyId"]

    def family(self, *replicas, **parameters):
        """A primary at home and replicas elsewhere."""
        name = self.primary(**parameters)
        for region in replicas:
            self[HOME].replicate_key(KeyId=name, ReplicaRegion=region)
        return name

    def metadata(self, region, name):
        return self[region].describe_key(KeyId=name)["KeyMetadata"]

    def states(self, name, *regions):
        return [self.metadata(region, name)["KeyState"] for region in regions]


@pytest.fixture(scope="module")
def shared():
    service = kms.Rig()
    service.stop()
    assert serve(service, *REGIONS) == 0
    yield World(service)
    alive, log = service.running(), service.log()
    if kms.SANITIZED:
        service.stop()
        log = service.log()
    service.down()
    assert alive, log[-3000:]
    assert "Sanitizer" not in log, log[-8000:]


def refused(code, call, **parameters):
    """The text of a refusal."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    error = caught.value.response["Error"]
    assert error["Code"] == code, error
    return error["Message"]


# --- regions as such ------------------------------------------------------------------------------

def test_regions_have_keys_and_aliases_of_their_own(shared):
    first = shared[HOME].create_key()["KeyMetadata"]
    second = shared[SECOND].create_key()["KeyMetadata"]
    assert first["Arn"].split(":")[3] == HOME and second["Arn"].split(":")[3] == SECOND
    assert not first["MultiRegion"] and "MultiRegionConfiguration" not in first
    listed = {r: {k["KeyId"] for k in shared[r].list_keys(Limit=1000)["Keys"]} for r in REGIONS}
    assert first["KeyId"] in listed[HOME] - listed[SECOND] - listed[THIRD]
    assert second["KeyId"] in listed[SECOND] - listed[HOME] - listed[THIRD]
    for region, key in ((HOME, first), (SECOND, second)):
        shared[region].create_alias(AliasName="alias/twin", TargetKeyId=key["KeyId"])
    for region, key in ((HOME, first), (SECOND, second)):
        assert shared.metadata(region, "alias/twin")["KeyId"] == key["KeyId"]
        aliases = shared[region].list_aliases()["Aliases"]
        assert [(a["AliasArn"].split(":")[3], a["TargetKeyId"]) for a in aliases
                if a["AliasName"] == "alias/twin"] == [(region, key["KeyId"])]
    refused("NotFoundException", shared[THIRD].describe_key, KeyId="alias/twin")
    shared[HOME].delete_alias(AliasName="alias/twin")
    assert shared.metadata(SECOND, "alias/twin")["KeyId"] == second["KeyId"]
    shared[SECOND].delete_alias(AliasName="alias/twin")


def test_a_single_region_key_is_nowhere_else(shared):
    key = shared[HOME].create_key()["KeyMetadata"]
    blob = shared[HOME].encrypt(KeyId=key["KeyId"], Plaintext=b"here")["CiphertextBlob"]
    text = refused("NotFoundException", shared[SECOND].describe_key, KeyId=key["KeyId"])
    assert text == f"Key '{key['Arn'].replace(HOME, SECOND)}' does not exist"
    assert refused("NotFoundException", shared[SECOND].describe_key,
                   KeyId=key["Arn"]) == f"Invalid arn {HOME}"
    refused("AccessDeniedException", shared[SECOND].decrypt, CiphertextBlob=blob)
    other = shared[SECOND].create_key()["KeyMetadata"]["KeyId"]
    refused("IncorrectKeyException", shared[SECOND].decrypt, CiphertextBlob=blob, KeyId=other)
    refused("NotFoundException", shared[HOME].describe_key,
            KeyId="mrk-" + key["KeyId"].replace("-", ""))
    refused("UnsupportedOperationException", shared[HOME].replicate_key, KeyId=key["KeyId"],
            ReplicaRegion=SECOND)
    refused("UnsupportedOperationException", shared[HOME].update_primary_region, KeyId=key["KeyId"],
            PrimaryRegion=SECOND)


def test_regions_that_are_not_served(shared):
    rig = shared.service
    answer = rig.refuses("InvalidSignatureException", "ListKeys",
                         credential=rig.credential.but(region="us-west-2"))
    assert "us-west-2" in answer.message
    name = shared.primary()
    refused("UnsupportedOperationException", shared[HOME].replicate_key, KeyId=name,
            ReplicaRegion="us-west-2")
    refused("NotFoundException", shared[HOME].update_primary_region, KeyId=name,
            PrimaryRegion="us-west-2")


# --- birth ----------------------------------------------------------------------------------------

def test_a_lone_primary(shared):
    metadata = shared[HOME].create_key(MultiRegion=True, Description="lone")["KeyMetadata"]
    name = metadata["KeyId"]
    assert name.startswith("mrk-") and len(name) == 36 and int(name[4:], 16)
    assert metadata["MultiRegion"] and metadata["MultiRegionConfiguration"] == {
        "MultiRegionKeyType": "PRIMARY", "PrimaryKey": {"Arn": metadata["Arn"], "Region": HOME},
        "ReplicaKeys": []}
    assert shared.metadata(HOME, name) == metadata == shared.metadata(HOME, metadata["Arn"])
    assert {"KeyId": name, "KeyArn": metadata["Arn"]} in shared[HOME].list_keys(Limit=1000)["Keys"]
    refused("NotFoundException", shared[SECOND].describe_key, KeyId=name)


def test_a_replica_shares_material_and_nothing_else(shared):
    name = shared.primary(Description="first", Tags=[{"TagKey": "a", "TagValue": "1"}])
    shared[HOME].create_alias(AliasName="alias/only-at-home", TargetKeyId=name)
    policy = json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}]})
    answer = shared[HOME].replicate_key(KeyId=name, ReplicaRegion=SECOND, Description="second",
                                        Policy=policy, Tags=[{"TagKey": "b", "TagValue": "2"}])
    made = answer["ReplicaKeyMetadata"]
    assert json.loads(answer["ReplicaPolicy"]) == json.loads(policy)
    assert answer["ReplicaTags"] == [{"TagKey": "b", "TagValue": "2"}]
    assert made == shared.metadata(SECOND, name) and made["KeyState"] == "Enabled"
    primary = shared.metadata(HOME, name)
    assert made["KeyId"] == name and made["Arn"] == primary["Arn"].replace(HOME, SECOND)
    assert made["Description"] == "second" and primary["Description"] == "first"
    assert shared.material(SECOND, name) == shared.material(HOME, name)
    entries = [{"Arn": key["Arn"], "Region": region}
               for key, region in ((primary, HOME), (made, SECOND))]
    for key, role in ((primary, "PRIMARY"), (made, "REPLICA")):
        assert key["MultiRegionConfiguration"] == {
            "MultiRegionKeyType": role, "PrimaryKey": entries[0], "ReplicaKeys": entries[1:]}
    assert shared[HOME].list_resource_tags(KeyId=name)["Tags"] == [{"TagKey": "a", "TagValue": "1"}]
    assert shared[SECOND].list_aliases(KeyId=name)["Aliases"] == []
    assert json.loads(shared[SECOND].get_key_policy(KeyId=name, PolicyName="default")["Policy"]) == json.loads(policy)
    assert "key-default-1" in shared[HOME].get_key_policy(KeyId=name, PolicyName="default")["Policy"]


def test_a_replica_has_defaults_of_its_own(shared):
    name = shared.primary(Description="not copied", Tags=[{"TagKey": "a", "TagValue": "1"}])
    answer = shared[HOME].replicate_key(KeyId=name, ReplicaRegion=THIRD)
    assert answer["ReplicaKeyMetadata"]["Description"] == ""
    assert answer["ReplicaTags"] == [] and "key-default-1" in answer["ReplicaPolicy"]


def test_what_cannot_be_replicated(shared):
    name = shared.family(SECOND)
    arn = shared.metadata(HOME, name)["Arn"]
    text = refused("UnsupportedOperationException", shared[SECOND].replicate_key, KeyId=name,
                   ReplicaRegion=THIRD)
    assert text == f"{arn.replace(HOME, SECOND)} is not a multi-region primary key."
    text = refused("AlreadyExistsException", shared[HOME].replicate_key, KeyId=name,
                   ReplicaRegion=SECOND)
    assert arn.replace(HOME, SECOND) in text
    refused("ValidationException", shared[HOME].replicate_key, KeyId=name, ReplicaRegion=HOME)
    refused("ValidationException", shared[HOME].replicate_key, KeyId=name, ReplicaRegion="No Region")
    refused("NotFoundException", shared[HOME].replicate_key, KeyId="mrk-" + 32 * "0",
            ReplicaRegion=THIRD)
    refused("NotFoundException", shared[HOME].replicate_key, KeyId="alias/none", ReplicaRegion=THIRD)
    refused("NotFoundException", shared[HOME].replicate_key, KeyId=arn.replace(HOME, SECOND),
            ReplicaRegion=THIRD)
    refused("InvalidArnException", shared[HOME].replicate_key, KeyId="arn:aws:kms:bad",
            ReplicaRegion=THIRD)
    refused("MalformedPolicyDocumentException", shared[HOME].replicate_key, KeyId=name,
            ReplicaRegion=THIRD, Policy="{}")
    refused("TagException", shared[HOME].replicate_key, KeyId=name, ReplicaRegion=THIRD,
            Tags=[{"TagKey": "x", "TagValue": ""}] * 2)
    shared[HOME].disable_key(KeyId=name)
    refused("DisabledException", shared[HOME].replicate_key, KeyId=name, ReplicaRegion=THIRD)
    shared[HOME].enable_key(KeyId=name)
    shared[HOME].schedule_key_deletion(KeyId=name)
    text = refused("KMSInvalidStateException", shared[HOME].replicate_key, KeyId=name,
                   ReplicaRegion=THIRD)
    assert text == f"{arn} is pending replica deletion."
    refused("NotFoundException", shared[THIRD].describe_key, KeyId=name)


def test_no_multi_region_keys_of_other_origins(shared):
    for origin in ("EXTERNAL", "AWS_CLOUDHSM"):
        refused("UnsupportedOperationException", shared[HOME].create_key, MultiRegion=True,
                Origin=origin)


# --- use ------------------------------------------------------------------------------------------

def test_ciphertext_opens_in_every_region_of_the_family(shared):
    name = shared.family(SECOND)
    for here, there in ((HOME, SECOND), (SECOND, HOME)):
        blob = shared[here].encrypt(KeyId=name, Plaintext=b"data",
                                    EncryptionContext=CONTEXT)["CiphertextBlob"]
        opened = shared[there].decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT)
        assert opened["Plaintext"] == b"data"
        assert opened["KeyId"] == shared.metadata(there, name)["Arn"]
        shared[there].decrypt(CiphertextBlob=blob, EncryptionContext=CONTEXT, KeyId=name)
        refused("InvalidCiphertextException", shared[there].decrypt, CiphertextBlob=blob,
                EncryptionContext={"bucket": "other"})
        refused("AccessDeniedException", shared[THIRD].decrypt, CiphertextBlob=blob,
                EncryptionContext=CONTEXT)
    stranger = shared.primary()
    refused("IncorrectKeyException", shared[HOME].decrypt, CiphertextBlob=blob,
            EncryptionContext=CONTEXT, KeyId=stranger)
    made = shared[SECOND].generate_data_key(KeyId=name, KeySpec="AES_256")
    assert shared[HOME].decrypt(CiphertextBlob=made["CiphertextBlob"])["Plaintext"] == made["Plaintext"]
    moved = shared[HOME].re_encrypt(CiphertextBlob=made["CiphertextBlob"], DestinationKeyId=stranger)
    assert shared[HOME].decrypt(CiphertextBlob=moved["CiphertextBlob"])["KeyId"].endswith(stranger)


def test_pairs_and_mac_keys(shared):
    signer = shared.family(SECOND, KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    request = {"Message": b"text", "SigningAlgorithm": "ECDSA_SHA_256"}
    signature = shared[SECOND].sign(KeyId=signer, **request)["Signature"]
    assert shared[HOME].verify(KeyId=signer, Signature=signature, **request)["SignatureValid"]
    keys = [shared[r].get_public_key(KeyId=signer) for r in (HOME, SECOND)]
    assert keys[0]["PublicKey"] == keys[1]["PublicKey"] and keys[0]["KeyId"] != keys[1]["KeyId"]

    decrypter = shared.family(SECOND, KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")
    request = {"KeyId": decrypter, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}
    sealed = shared[HOME].encrypt(Plaintext=b"text", **request)["CiphertextBlob"]
    assert shared[SECOND].decrypt(CiphertextBlob=sealed, **request)["Plaintext"] == b"text"

    tagger = shared.family(SECOND, KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    request = {"KeyId": tagger, "Message": b"text", "MacAlgorithm": "HMAC_SHA_256"}
    mac = shared[HOME].generate_mac(**request)["Mac"]
    assert shared[SECOND].verify_mac(Mac=mac, **request)["MacValid"]
    refused("NotFoundException", shared[THIRD].verify_mac, Mac=mac, **request)


def test_states_texts_tags_and_aliases_are_a_regions_own(shared):
    name = shared.family(SECOND)
    shared[HOME].disable_key(KeyId=name)
    assert shared.states(name, HOME, SECOND) == ["Disabled", "Enabled"]
    blob = shared[SECOND].encrypt(KeyId=name, Plaintext=b"x")["CiphertextBlob"]
    refused("DisabledException", shared[HOME].decrypt, CiphertextBlob=blob)
    shared[HOME].enable_key(KeyId=name)
    assert shared[HOME].decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    shared[SECOND].update_key_description(KeyId=name, Description="there")
    shared[SECOND].tag_resource(KeyId=name, Tags=[{"TagKey": "t", "TagValue": "v"}])
    shared[SECOND].create_alias(AliasName="alias/there", TargetKeyId=name)
    assert shared.metadata(HOME, name)["Description"] == ""
    assert shared[HOME].list_resource_tags(KeyId=name)["Tags"] == []
    refused("NotFoundException", shared[HOME].encrypt, KeyId="alias/there", Plaintext=b"x")
    shared[SECOND].encrypt(KeyId="alias/there", Plaintext=b"x")
    grant = shared[SECOND].create_grant(KeyId=name, Operations=["Decrypt"], GranteePrincipal=(
        ACCOUNT_ROOT.format(shared.metadata(HOME, name)["AWSAccountId"])))
    assert [g["GrantId"] for g in shared[SECOND].list_grants(KeyId=name)["Grants"]] == [grant["GrantId"]]
    assert shared[HOME].list_grants(KeyId=name)["Grants"] == []
    refused("NotFoundException", shared[HOME].revoke_grant, KeyId=name, GrantId=grant["GrantId"])
    shared[SECOND].revoke_grant(KeyId=name, GrantId=grant["GrantId"])


# --- rotation -------------------------------------------------------------------------------------

def test_the_primary_rotates_for_all(shared):
    name = shared.family(SECOND)
    arn = shared.metadata(SECOND, name)["Arn"]
    old = shared[SECOND].encrypt(KeyId=name, Plaintext=b"old")["CiphertextBlob"]
    first = shared.material(HOME, name)
    for operation in ("RotateKeyOnDemand", "EnableKeyRotation", "DisableKeyRotation"):
        answer = shared.call(SECOND, operation, KeyId=name)
        assert answer.type == "UnsupportedOperationException"
        assert answer.message == f"{arn} is not a multi-region primary key."
    assert shared.material(SECOND, name) == first
    shared.ok(HOME, "RotateKeyOnDemand", KeyId=name)
    second = shared.material(HOME, name)
    assert second == shared.material(SECOND, name) != first
    new = shared[SECOND].encrypt(KeyId=name, Plaintext=b"new")["CiphertextBlob"]
    for region in (HOME, SECOND):
        for blob, material in ((old, first), (new, second)):
            opened = shared.ok(region, "Decrypt", CiphertextBlob=kms.b64(blob))
            assert opened["KeyMaterialId"] == material
    rotations = [shared.ok(r, "ListKeyRotations", KeyId=name)["Rotations"] for r in (HOME, SECOND)]
    assert rotations[0] == rotations[1] and len(rotations[0]) == 1 and rotations[0][0]["KeyId"] == name
    shared.ok(HOME, "EnableKeyRotation", KeyId=name, RotationPeriodInDays=100)
    status = [shared.ok(r, "GetKeyRotationStatus", KeyId=name) for r in (HOME, SECOND)]
    assert status[0]["NextRotationDate"] == status[1]["NextRotationDate"]
    assert [s["RotationPeriodInDays"] for s in status] == [100, 100]
    shared[HOME].replicate_key(KeyId=name, ReplicaRegion=THIRD)
    assert shared.material(THIRD, name) == second
    assert shared[THIRD].get_key_rotation_status(KeyId=name)["KeyRotationEnabled"]
    assert shared[THIRD].decrypt(CiphertextBlob=old)["Plaintext"] == b"old"
    shared[HOME].disable_key_rotation(KeyId=name)
    assert not shared[THIRD].get_key_rotation_status(KeyId=name)["KeyRotationEnabled"]


# --- the primary moves ----------------------------------------------------------------------------

def test_the_primary_moves(shared):
    name = shared.family(SECOND, THIRD)
    refused("ValidationException", shared[HOME].update_primary_region, KeyId=name, PrimaryRegion=HOME)
    refused("UnsupportedOperationException", shared[SECOND].update_primary_region, KeyId=name,
            PrimaryRegion=THIRD)
    shared[SECOND].disable_key(KeyId=name)
    refused("DisabledException", shared[HOME].update_primary_region, KeyId=name, PrimaryRegion=SECOND)
    shared[SECOND].enable_key(KeyId=name)
    shared[HOME].update_primary_region(KeyId=name, PrimaryRegion=SECOND)
    for region, role in ((HOME, "REPLICA"), (SECOND, "PRIMARY"), (THIRD, "REPLICA")):
        configuration = shared.metadata(region, name)["MultiRegionConfiguration"]
        assert configuration["MultiRegionKeyType"] == role
        assert configuration["PrimaryKey"]["Region"] == SECOND
        assert [r["Region"] for r in configuration["ReplicaKeys"]] == [HOME, THIRD]
    assert shared.call(HOME, "RotateKeyOnDemand", KeyId=name).type == "UnsupportedOperationException"
    shared.ok(SECOND, "RotateKeyOnDemand", KeyId=name)
    assert shared.material(HOME, name) == shared.material(SECOND, name)
    refused("UnsupportedOperationException", shared[HOME].update_primary_region, KeyId=name,
            PrimaryRegion=THIRD)
    lone = shared.primary()
    refused("NotFoundException", shared[HOME].update_primary_region, KeyId=lone, PrimaryRegion=SECOND)


# --- deletion is scheduled ------------------------------------------------------------------------

def test_a_primary_waits_for_its_replicas(shared):
    name = shared.family(SECOND)
    answer = shared[HOME].schedule_key_deletion(KeyId=name, PendingWindowInDays=9)
    assert answer["KeyState"] == "PendingReplicaDeletion" and "DeletionDate" not in answer
    assert answer["PendingWindowInDays"] == 9
    metadata = shared.metadata(HOME, name)
    assert metadata["KeyState"] == "PendingReplicaDeletion" and not metadata["Enabled"]
    assert metadata["PendingDeletionWindowInDays"] == 9 and "DeletionDate" not in metadata
    arn = metadata["Arn"]
    for operation, parameters in (("Encrypt", {"Plaintext": "eA=="}), ("ScheduleKeyDeletion", {}),
                                  ("EnableKey", {}), ("RotateKeyOnDemand", {})):
        answer = shared.call(HOME, operation, KeyId=name, **parameters)
        assert (answer.type, answer.message) == ("KMSInvalidStateException",
                                                 f"{arn} is pending replica deletion.")
    assert not shared[HOME].get_key_rotation_status(KeyId=name)["KeyRotationEnabled"]
    blob = shared[SECOND].encrypt(KeyId=name, Plaintext=b"x")["CiphertextBlob"]
    shared[SECOND].decrypt(CiphertextBlob=blob)
    pending = shared[SECOND].schedule_key_deletion(KeyId=name, PendingWindowInDays=7)
    assert pending["KeyState"] == "PendingDeletion" and pending["DeletionDate"]
    assert shared.states(name, HOME, SECOND) == ["PendingReplicaDeletion", "PendingDeletion"]
    shared[SECOND].cancel_key_deletion(KeyId=name)
    shared[HOME].cancel_key_deletion(KeyId=name)
    assert shared.states(name, HOME, SECOND) == ["Disabled", "Disabled"]
    assert "PendingDeletionWindowInDays" not in shared.metadata(HOME, name)
    lone = shared.primary()
    assert shared[HOME].schedule_key_deletion(KeyId=lone)["KeyState"] == "PendingDeletion"


# --- who may --------------------------------------------------------------------------------------

def allow(action, resource="*", **condition):
    """A statement; condition: operator=(key, value)."""
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    if condition:
        statement["Condition"] = {operator: dict([pair]) for operator, pair in condition.items()}
    return statement


def user(shared, *statements):
    """Clients of a new user who may only this, by region."""
    rig = shared.service
    name = "user-" + uuid.uuid4().hex[:8]
    path = pathlib.Path(rig.dir) / f"{name}.json"
    path.write_text(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))
    rig.admin("user", "create", name)
    rig.admin("policy", "put", "--user", name, "--name", "p", str(path))
    made = json.loads(rig.admin("key", "create", "--user", name).stdout)
    secrets = {"aws_access_key_id": made["AccessKeyId"],
               "aws_secret_access_key": made["SecretAccessKey"]}
    return {region: rig.boto(region_name=region, **secrets) for region in REGIONS}


def test_a_policy_counts_in_its_region(shared):
    name = shared.family(SECOND)
    account = shared.metadata(HOME, name)["AWSAccountId"]
    someone = user(shared, allow("kms:Encrypt"))
    policy = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": ACCOUNT_ROOT.format(account)}, "Action": "kms:*",
         "Resource": "*"},
        {"Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*"}]}
    shared[SECOND].put_key_policy(KeyId=name, PolicyName="default", Policy=json.dumps(policy))
    someone[HOME].encrypt(KeyId=name, Plaintext=b"x")
    refused("AccessDeniedException", someone[SECOND].encrypt, KeyId=name, Plaintext=b"x")
    shared[HOME].put_key_policy(KeyId=name, PolicyName="default", Policy=json.dumps(policy))
    policy["Statement"].pop()
    shared[SECOND].put_key_policy(KeyId=name, PolicyName="default", Policy=json.dumps(policy))
    refused("AccessDeniedException", someone[HOME].encrypt, KeyId=name, Plaintext=b"x")
    someone[SECOND].encrypt(KeyId=name, Plaintext=b"x")


def test_arns_and_regions_tell_related_keys_apart(shared):
    name = shared.family(SECOND)
    arn = shared.metadata(SECOND, name)["Arn"]
    by_arn = user(shared, allow("kms:Encrypt", arn))
    by_region = user(shared, allow("kms:Encrypt", StringEquals=("aws:RequestedRegion", SECOND)))
    by_role = user(shared, allow("kms:Encrypt", StringEquals=("kms:MultiRegionKeyType", "REPLICA")))
    for someone in (by_arn, by_region, by_role):
        someone[SECOND].encrypt(KeyId=name, Plaintext=b"x")
        refused("AccessDeniedException", someone[HOME].encrypt, KeyId=name, Plaintext=b"x")
    shared[HOME].update_primary_region(KeyId=name, PrimaryRegion=SECOND)
    by_role[HOME].encrypt(KeyId=name, Plaintext=b"x")
    refused("AccessDeniedException", by_role[SECOND].encrypt, KeyId=name, Plaintext=b"x")


def test_grants_count_in_their_region(shared):
    name = shared.family(SECOND)
    someone = user(shared, allow("kms:ListKeys"))
    arn = json.loads(shared.service.admin("user", "list").stdout)
    mine = [u["Arn"] for u in (arn if isinstance(arn, list) else arn["Users"])][-1]
    shared[SECOND].create_grant(KeyId=name, Operations=["Encrypt"], GranteePrincipal=mine,
                                RetiringPrincipal=mine)
    names = {r: len(shared[r].list_grants(KeyId=name)["Grants"]) for r in (HOME, SECOND)}
    assert names == {HOME: 0, SECOND: 1}
    for region in (HOME, SECOND):
        found = shared[region].list_retirable_grants(RetiringPrincipal=mine)["Grants"]
        assert [g["KeyId"] for g in found] == (
            [shared.metadata(SECOND, name)["Arn"]] if region == SECOND else [])
    refused("AccessDeniedException", someone[HOME].encrypt, KeyId=name, Plaintext=b"x")


def test_who_may_make_multi_region_keys(shared):
    single = user(shared, allow("kms:CreateKey", Bool=("kms:MultiRegion", "false")))
    single[HOME].create_key()
    refused("AccessDeniedException", single[HOME].create_key, MultiRegion=True)
    multi = user(shared, allow("kms:CreateKey", StringEquals=("kms:MultiRegionKeyType", "PRIMARY")))
    multi[HOME].create_key(MultiRegion=True)
    refused("AccessDeniedException", multi[HOME].create_key)
    primaries = user(shared, allow("kms:DescribeKey", Bool=("kms:MultiRegion", "true")))
    primaries[HOME].describe_key(KeyId=shared.primary())
    refused("AccessDeniedException", primaries[HOME].describe_key,
            KeyId=shared[HOME].create_key()["KeyMetadata"]["KeyId"])


def test_who_may_replicate(shared):
    replicating = allow("kms:ReplicateKey", StringEquals=("kms:ReplicaRegion", SECOND))
    creating = allow("kms:CreateKey", StringEquals=("aws:RequestedRegion", SECOND))
    as_replica = allow("kms:CreateKey", StringEquals=("kms:MultiRegionKeyType", "REPLICA"))
    managing = allow(["kms:PutKeyPolicy", "kms:TagResource"])
    name = shared.primary()
    for statements in ((replicating,), (creating,), (replicating, allow(
            "kms:CreateKey", StringEquals=("aws:RequestedRegion", HOME)))):
        text = refused("AccessDeniedException", user(shared, *statements)[HOME].replicate_key,
                       KeyId=name, ReplicaRegion=SECOND)
        assert ("kms:ReplicateKey" in text) == (statements == (creating,))
    able = user(shared, replicating, creating)
    refused("AccessDeniedException", able[HOME].replicate_key, KeyId=name, ReplicaRegion=THIRD)
    refused("AccessDeniedException", able[HOME].replicate_key, KeyId=name, ReplicaRegion=SECOND,
            Tags=[{"TagKey": "a", "TagValue": "b"}])
    refused("NotFoundException", shared[SECOND].describe_key, KeyId=name)
    able[HOME].replicate_key(KeyId=name, ReplicaRegion=SECOND)
    other = shared.primary()
    user(shared, replicating, as_replica, managing)[HOME].replicate_key(
        KeyId=other, ReplicaRegion=SECOND, Tags=[{"TagKey": "a", "TagValue": "b"}])


def test_a_replicas_policy_must_not_lock_its_maker_out(shared):
    name = shared.primary()
    maker = user(shared, allow(["kms:ReplicateKey", "kms:CreateKey"]),
                 allow("kms:PutKeyPolicy", StringEquals=("aws:RequestedRegion", THIRD)))
    policy = shared[HOME].get_key_policy(KeyId=name, PolicyName="default")["Policy"]
    request = {"KeyId": name, "Policy": policy}
    refused("MalformedPolicyDocumentException", maker[HOME].replicate_key, ReplicaRegion=SECOND,
            **request)
    maker[HOME].replicate_key(ReplicaRegion=THIRD, **request)
    maker[HOME].replicate_key(ReplicaRegion=SECOND, BypassPolicyLockoutSafetyCheck=True, **request)


def test_who_may_move_the_primary(shared):
    name = shared.family(SECOND, THIRD)
    arns = {region: shared.metadata(region, name)["Arn"] for region in REGIONS}
    for missing in (HOME, SECOND):
        statements = [allow("kms:UpdatePrimaryRegion", arn) for region, arn in arns.items()
                      if region != missing]
        refused("AccessDeniedException", user(shared, *statements)[HOME].update_primary_region,
                KeyId=name, PrimaryRegion=SECOND)
    able = user(shared, allow("kms:UpdatePrimaryRegion",
                              StringEquals=("kms:PrimaryRegion", SECOND)))
    refused("AccessDeniedException", able[HOME].update_primary_region, KeyId=name,
            PrimaryRegion=THIRD)
    able[HOME].update_primary_region(KeyId=name, PrimaryRegion=SECOND)
    refused("AccessDeniedException", able[SECOND].update_primary_region, KeyId=name,
            PrimaryRegion=HOME)


# --- the trail ------------------------------------------------------------------------------------

def test_records_name_their_region(shared):
    name = shared.primary()
    shared[HOME].replicate_key(KeyId=name, ReplicaRegion=SECOND, Description="noted")
    shared[SECOND].encrypt(KeyId=name, Plaintext=b"x")
    home, second = (shared.metadata(region, name)["Arn"] for region in (HOME, SECOND))
    shared[HOME].update_primary_region(KeyId=name, PrimaryRegion=SECOND)
    found = {}
    for record in shared.service.audit():
        arns = [r["ARN"] for r in record.get("resources") or []]
        if home in arns or second in arns:
            found.setdefault(record["eventName"], []).append((record, arns))
    record, arns = found["ReplicateKey"][-1]
    assert record["awsRegion"] == HOME and arns == [home, second]
    assert record["requestParameters"]["replicaRegion"] == SECOND
    assert record["responseElements"]["replicaKeyMetadata"]["arn"] == second
    assert found["Encrypt"][-1][0]["awsRegion"] == SECOND and found["Encrypt"][-1][1] == [second]
    record, arns = found["UpdatePrimaryRegion"][-1]
    assert set(arns) == {home, second} and record["requestParameters"]["primaryRegion"] == SECOND
    shared.service.audit_verify()


# --- what outlives the process --------------------------------------------------------------------

def test_a_family_outlives_a_restart(new_rig):
    world = make_world(new_rig)
    name = world.family(SECOND, THIRD, Description="family")
    world[SECOND].create_alias(AliasName="alias/a", TargetKeyId=name)
    world[HOME].create_alias(AliasName="alias/a", TargetKeyId=world.primary())
    world[THIRD].disable_key(KeyId=name)
    world.ok(HOME, "RotateKeyOnDemand", KeyId=name)
    blob = world[SECOND].encrypt(KeyId="alias/a", Plaintext=b"kept")["CiphertextBlob"]
    before = [world.metadata(region, name) for region in REGIONS]
    world.service.restart()
    assert [world.metadata(region, name) for region in REGIONS] == before
    assert world[HOME].decrypt(CiphertextBlob=blob)["Plaintext"] == b"kept"
    assert world.metadata(SECOND, "alias/a")["KeyId"] == name != world.metadata(HOME, "alias/a")["KeyId"]
    refused("DisabledException", world[THIRD].decrypt, CiphertextBlob=blob)


def test_a_region_with_keys_cannot_be_left_out(new_rig):
    world = make_world(new_rig)
    name = world.family(SECOND)
    world.service.stop()
    assert serve(world.service, HOME, THIRD) != 0
    assert SECOND in world.service.log()
    for regions in ((HOME, HOME), ()):
        assert serve(world.service, *regions) != 0
    assert serve(world.service, SECOND, HOME, THIRD) == 0
    assert world.states(name, HOME, SECOND) == ["Enabled", "Enabled"]
    assert world.metadata(HOME, name)["MultiRegionConfiguration"]["PrimaryKey"]["Region"] == HOME
    world.service.stop()
    assert serve(world.service, HOME, SECOND) == 0  # the third never had any


def check_after_a_kill(world, name, blob, acknowledged):
    """The replica is there, whole, or not at all; the primary never suffers."""
    answer = world.call(SECOND, "DescribeKey", KeyId=name)
    there = answer.status == 200
    assert there or answer.type == "NotFoundException"
    assert there or not acknowledged
    primary = world.metadata(HOME, name)
    assert primary["KeyState"] == "Enabled"
    replicas = [r["Region"] for r in primary["MultiRegionConfiguration"]["ReplicaKeys"]]
    assert replicas == ([SECOND] if there else [])
    assert world[HOME].decrypt(CiphertextBlob=blob)["Plaintext"] == b"kept"
    if there:
        assert answer.json["KeyMetadata"]["KeyState"] == "Enabled"
        assert world[SECOND].decrypt(CiphertextBlob=blob)["Plaintext"] == b"kept"
        tags = world[SECOND].list_resource_tags(KeyId=name)["Tags"]
        assert tags == [{"TagKey": "a", "TagValue": "b"}]
    else:
        world[HOME].replicate_key(KeyId=name, ReplicaRegion=SECOND)
    return there


def replicate_into_a_kill(world, name):
    try:
        answer = world.call(HOME, "ReplicateKey", KeyId=name, ReplicaRegion=SECOND,
                            Tags=[{"TagKey": "a", "TagValue": "b"}])
    except (OSError, http.client.HTTPException):
        return False
    return answer.status == 200


def died(service, seconds=10):
    until = time.monotonic() + seconds
    while service.running() and time.monotonic() < until:
        time.sleep(0.02)
    return not service.running()


@pytest.mark.lengthy
def test_killed_while_a_replica_is_made(request):
    """Dies before and after each MAC that the token makes for the rows of the change."""
    service = faults.FaultyRig()
    request.addfinalizer(service.down)
    service.stop()
    assert serve(service, *REGIONS) == 0
    world = World(service)
    deaths, seen = 0, set()
    for what in ("die", "die-after"):
        for after in range(5):
            name = world.primary()
            blob = world[HOME].encrypt(KeyId=name, Plaintext=b"kept")["CiphertextBlob"]
            service.rules(f"C_Sign {what} after={after} times=1")
            acknowledged = replicate_into_a_kill(world, name)
            deaths += died(service, 3)
            service.rules()
            service.start()
            seen.add(check_after_a_kill(world, name, blob, acknowledged))
    assert deaths >= 5 and False in seen
    service.audit_verify()


def test_killed_when_a_replica_was_acknowledged(new_rig):
    world = make_world(new_rig)
    for _ in range(3):
        name = world.primary()
        blob = world[HOME].encrypt(KeyId=name, Plaintext=b"kept")["CiphertextBlob"]
        assert replicate_into_a_kill(world, name)
        world.service.kill()
        world.service.start()
        assert check_after_a_kill(world, name, blob, True)
    world.service.audit_verify()


# --- to the end -----------------------------------------------------------------------------------

class Later:
    """A world so many days ahead."""

    def __init__(self, world, days):
        self.world, self.days = world, days
        world.service.stop()
        world.service.start(env=clock.moved(f"FAKETIME=+{days}d"))

    def call(self, region, operation, **parameters):
        with kms.signing_clock(datetime.timedelta(days=self.days)):
            return self.world.call(region, operation, **parameters)

    def state(self, region, name):
        answer = self.call(region, "DescribeKey", KeyId=name)
        return answer.json["KeyMetadata"]["KeyState"] if answer.status == 200 else answer.type

    def becomes(self, region, name, state):
        for _ in range(120):
            if self.state(region, name) == state:
                return
            time.sleep(0.25)
        raise AssertionError(f"{self.state(region, name)} and not {state}")

    def opens(self, region, blob):
        return self.call(region, "Decrypt", CiphertextBlob=kms.b64(blob)).status == 200


@pytest.mark.faketime
@pytest.mark.any_listener
def test_the_primary_goes_last(new_rig):
    world = make_world(new_rig, tls=False, conf="[keys]\ndue_check = 1\ndeletion_hold = 0")
    name = world.family(SECOND, THIRD)
    gone = "NotFoundException"
    blob = world[SECOND].encrypt(KeyId=name, Plaintext=b"x")["CiphertextBlob"]
    world.ok(HOME, "RotateKeyOnDemand", KeyId=name)
    world[SECOND].create_alias(AliasName="alias/goes-too", TargetKeyId=name)
    world[HOME].schedule_key_deletion(KeyId=name, PendingWindowInDays=9)
    world[SECOND].schedule_key_deletion(KeyId=name, PendingWindowInDays=7)

    later = Later(world, 11)  # more than the primary's days: it does not count yet
    later.becomes(SECOND, name, gone)
    assert later.state(HOME, name) == "PendingReplicaDeletion"
    assert later.state(SECOND, "alias/goes-too") == gone
    assert later.opens(THIRD, blob) and not later.opens(SECOND, blob)
    answer = later.call(THIRD, "ScheduleKeyDeletion", KeyId=name, PendingWindowInDays=7)
    assert answer.json["KeyState"] == "PendingDeletion"

    later = Later(world, 19)
    later.becomes(THIRD, name, gone)
    later.becomes(HOME, name, "PendingDeletion")
    metadata = later.call(HOME, "DescribeKey", KeyId=name).json["KeyMetadata"]
    assert metadata["MultiRegionConfiguration"]["ReplicaKeys"] == []
    days = (metadata["DeletionDate"] - time.time()) / 86400
    assert 27.9 < days < 28.1

    later = Later(world, 27)
    assert later.state(HOME, name) == "PendingDeletion"
    later = Later(world, 29)
    later.becomes(HOME, name, gone)
    ends = [r for r in world.service.audit()
            if r["eventName"] == "DeleteKey" and r["phase"] == "result"]
    assert [r["awsRegion"] for r in ends] == [SECOND, THIRD, HOME]
    assert all(r["resources"][0]["ARN"].endswith(name) for r in ends)
    world.service.audit_verify()
