"""Multi-Region keys: what related keys share, what is a region's own, and what is refused."""

import json

import kms
from regions import ACCOUNT_ROOT, HOME, REGIONS, SECOND, THIRD, refused

CONTEXT = {"bucket": "photos"}

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
    refused("UnsupportedOperationException", shared[HOME].create_key, MultiRegion=True,
            Origin="EXTERNAL")
    refused("UnsupportedOperationException", shared[HOME].create_key, MultiRegion=True,
            Origin="AWS_CLOUDHSM", CustomKeyStoreId="cks-1234567890abcdef0")


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
