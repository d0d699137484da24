"""Key material that clients bring: wrapped by ordinary libraries, used, taken away, brought back."""

import datetime
import json
import os
import random
import subprocess
import time

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes, hmac, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

import clock
from kms import b64, signing_clock, unb64
from test_grants import People
from test_token_proof import files, found, memory, needles

WRONG = "IncorrectKeyMaterialException"
STATE = "KMSInvalidStateException"
UNSUPPORTED = "UnsupportedOperationException"
ALGORITHMS = ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1",
              "RSA_AES_KEY_WRAP_SHA_256")
SPECS = ("RSA_2048", "RSA_3072", "RSA_4096")
NEVER = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}


@pytest.fixture(scope="module")
def place():
    """A service of this suite alone: what is said of every key of the shared one is not true of
    keys whose value somebody else has."""
    import kms
    from conftest import end
    service = kms.Rig()
    yield service
    end(service)


def external(rig, **parameters):
    return rig.key(Origin="EXTERNAL", **parameters)


def oaep(algorithm):
    kind = hashes.SHA1() if algorithm.endswith("SHA_1") else hashes.SHA256()
    return padding.OAEP(mgf=padding.MGF1(algorithm=kind), algorithm=kind, label=None)


def wrap(parameters, material, algorithm):
    """What a client does with the answer of GetParametersForImport."""
    public = serialization.load_der_public_key(unb64(parameters["PublicKey"]))
    if algorithm.startswith("RSAES"):
        return public.encrypt(material, oaep(algorithm))
    inner = os.urandom(32)
    return public.encrypt(inner, oaep(algorithm)) + keywrap.aes_key_wrap_with_padding(inner, material)


def prepared(rig, key, material, algorithm="RSAES_OAEP_SHA_256", spec="RSA_2048"):
    """ImportToken and EncryptedKeyMaterial."""
    got = rig.ok("GetParametersForImport", KeyId=key, WrappingAlgorithm=algorithm, WrappingKeySpec=spec)
    return {"ImportToken": got["ImportToken"],
            "EncryptedKeyMaterial": b64(wrap(got, material, algorithm))}


def fitting(material):
    """A wrapping that has room for it."""
    return "RSAES_OAEP_SHA_256" if len(material) < 190 else "RSA_AES_KEY_WRAP_SHA_256"


def bring(rig, key, material, **more):
    return rig.ok("ImportKeyMaterial", KeyId=key,
                  **{**prepared(rig, key, material, fitting(material)), **NEVER, **more})


def refuse(rig, error, key, material, **more):
    return rig.refuses(error, "ImportKeyMaterial",
                       {"KeyId": key, **prepared(rig, key, material, fitting(material)), **NEVER, **more})


def describe(rig, key):
    return rig.ok("DescribeKey", KeyId=key)["KeyMetadata"]


def state(rig, key):
    return describe(rig, key)["KeyState"]


def data_key(rig, key):
    return rig.ok("GenerateDataKey", KeyId=key, KeySpec="AES_256")


def opens(rig, made):
    return rig.ok("Decrypt", CiphertextBlob=made["CiphertextBlob"])["Plaintext"] == made["Plaintext"]


def materials_are_none(rig, key):
    """Nothing came of what was refused, as far as a client can see."""
    return "ExpirationModel" not in describe(rig, key)


def materials(rig, key):
    return rig.ok("ListKeyRotations", KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]


# --- the way of a key ---------------------------------------------------------------------------


def test_a_key_without_material(place):
    key = external(place)
    assert key.metadata["KeyState"] == "PendingImport" and key.metadata["Origin"] == "EXTERNAL"
    assert key.metadata["Enabled"] is False
    assert not {"CurrentKeyMaterialId", "ExpirationModel", "ValidTo"} & set(key.metadata)
    for operation, more in (("Encrypt", {"Plaintext": b64(b"x")}), ("EnableKey", {}), ("DisableKey", {}),
                            ("GenerateDataKey", {"KeySpec": "AES_256"}), ("RotateKeyOnDemand", {}),
                            ("CreateGrant", {"GranteePrincipal": "arn:aws:iam::000000000000:root",
                                             "Operations": ["Encrypt"]})):
        answer = place.refuses(STATE, operation, {"KeyId": key, **more})
        assert answer.message == f"{key.arn} is pending import."
    for operation in ("EnableKeyRotation", "DisableKeyRotation"):
        answer = place.refuses(UNSUPPORTED, operation, {"KeyId": key})
        assert answer.message == f"{key.arn} origin is EXTERNAL which is not valid for this operation."
    assert place.ok("GetKeyRotationStatus", KeyId=key) == {"KeyId": key.arn, "KeyRotationEnabled": False}
    assert materials(place, key) == []
    place.ok("UpdateKeyDescription", KeyId=key, Description="still to come")
    place.ok("CreateAlias", AliasName="alias/still-to-come", TargetKeyId=key)
    place.ok("TagResource", KeyId=key, Tags=[{"TagKey": "a", "TagValue": "b"}])
    assert place.ok("DeleteImportedKeyMaterial", KeyId=key) == {"KeyId": key.arn}
    place.ok("ScheduleKeyDeletion", KeyId=key)
    assert state(place, key) == "PendingDeletion"
    place.refuses(STATE, "GetParametersForImport", {"KeyId": key, "WrappingAlgorithm": ALGORITHMS[0],
                                                    "WrappingKeySpec": "RSA_2048"})
    place.ok("CancelKeyDeletion", KeyId=key)
    assert state(place, key) == "PendingImport"


def test_the_way_of_boto3(place):
    client = place.boto()
    key = client.create_key(Origin="EXTERNAL")["KeyMetadata"]["KeyId"]
    got = client.get_parameters_for_import(KeyId=key, WrappingAlgorithm="RSAES_OAEP_SHA_256",
                                           WrappingKeySpec="RSA_2048")
    until = got["ParametersValidTo"] - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(hours=23) < until <= datetime.timedelta(hours=24)
    public = serialization.load_der_public_key(got["PublicKey"])
    assert public.key_size == 2048
    sealed = public.encrypt(os.urandom(32), oaep("RSAES_OAEP_SHA_256"))
    valid_to = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=30)
    client.import_key_material(KeyId=key, ImportToken=got["ImportToken"], EncryptedKeyMaterial=sealed,
                               ValidTo=valid_to)
    metadata = client.describe_key(KeyId=key)["KeyMetadata"]
    assert metadata["KeyState"] == "Enabled" and metadata["Enabled"]
    assert metadata["ExpirationModel"] == "KEY_MATERIAL_EXPIRES"
    assert abs(metadata["ValidTo"] - valid_to) < datetime.timedelta(seconds=2)
    made = client.encrypt(KeyId=key, Plaintext=b"hello", EncryptionContext={"a": "b"})
    opened = client.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"a": "b"})
    assert opened["Plaintext"] == b"hello"
    client.delete_imported_key_material(KeyId=key)
    with pytest.raises(ClientError, match="is pending import"):
        client.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"a": "b"})


def test_the_way_of_the_command_line(place, tmp_path):
    """awscli and openssl, step by step as AWS's guide has it."""
    def openssl(*arguments):
        subprocess.run(["/usr/bin/openssl", *arguments], check=True, timeout=60,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    key = place.aws("create-key", "--origin", "EXTERNAL")["KeyMetadata"]["KeyId"]
    got = place.aws("get-parameters-for-import", "--key-id", key, "--wrapping-algorithm",
                    "RSAES_OAEP_SHA_256", "--wrapping-key-spec", "RSA_2048")
    public, token, plain, sealed = (tmp_path / name for name in ("public", "token", "plain", "sealed"))
    public.write_bytes(unb64(got["PublicKey"]))
    token.write_bytes(unb64(got["ImportToken"]))
    openssl("rand", "-out", str(plain), "32")
    openssl("pkeyutl", "-encrypt", "-in", str(plain), "-out", str(sealed), "-pubin", "-keyform", "DER",
            "-inkey", str(public), "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256",
            "-pkeyopt", "rsa_mgf1_md:sha256")
    place.aws("import-key-material", "--key-id", key, "--encrypted-key-material", f"fileb://{sealed}",
              "--import-token", f"fileb://{token}", "--expiration-model", "KEY_MATERIAL_DOES_NOT_EXPIRE")
    assert opens(place, data_key(place, key))
    place.aws("delete-imported-key-material", "--key-id", key)
    assert state(place, key) == "PendingImport"


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_wrapping(place, algorithm, spec):
    """The same bytes, wrapped in every way, are the same material."""
    key, material = external(place), os.urandom(32)
    first = bring(place, key, material)
    made = data_key(place, key)
    place.ok("DeleteImportedKeyMaterial", KeyId=key)
    again = place.ok("ImportKeyMaterial", KeyId=key, **prepared(place, key, material, algorithm, spec),
                     **NEVER)
    assert again == first
    assert opens(place, made)
    place.refuses(WRONG, "ImportKeyMaterial",
                  {"KeyId": key, **prepared(place, key, os.urandom(32), algorithm, spec), **NEVER})


@pytest.mark.parametrize("bits", [224, 256, 384, 512])
def test_mac_keys(place, bits):
    key = external(place, KeySpec=f"HMAC_{bits}", KeyUsage="GENERATE_VERIFY_MAC")
    material, algorithm = os.urandom(bits // 8), f"HMAC_SHA_{bits}"
    assert bring(place, key, material) == {"KeyId": key.arn}
    mac = hmac.HMAC(material, getattr(hashes, f"SHA{bits}")())
    mac.update(b"message")
    expected = mac.finalize()
    made = place.ok("GenerateMac", KeyId=key, Message=b64(b"message"), MacAlgorithm=algorithm)
    assert unb64(made["Mac"]) == expected
    place.ok("DeleteImportedKeyMaterial", KeyId=key)
    assert state(place, key) == "PendingImport"
    place.refuses(STATE, "VerifyMac", {"KeyId": key, "Message": b64(b"message"), "Mac": b64(expected),
                                       "MacAlgorithm": algorithm})
    for other in (os.urandom(bits // 8), material[:-1], material + b"\0"):
        refuse(place, WRONG, key, other)
    refuse(place, WRONG, key, material, ImportType="NEW_KEY_MATERIAL")
    bring(place, key, material)
    assert place.ok("VerifyMac", KeyId=key, Message=b64(b"message"), Mac=b64(expected),
                    MacAlgorithm=algorithm)["MacValid"]
    place.refuses(UNSUPPORTED, "RotateKeyOnDemand", {"KeyId": key})


CURVES = {"ECC_NIST_P256": ec.SECP256R1(), "ECC_NIST_P384": ec.SECP384R1(), "ECC_NIST_P521": ec.SECP521R1(),
          "ECC_SECG_P256K1": ec.SECP256K1()}
DIGESTS = {"ECC_NIST_P384": (hashes.SHA384(), "ECDSA_SHA_384"),
           "ECC_NIST_P521": (hashes.SHA512(), "ECDSA_SHA_512")}


def pkcs8(private):
    return private.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8,
                                 serialization.NoEncryption())


def spki(private):
    return private.public_key().public_bytes(serialization.Encoding.DER,
                                             serialization.PublicFormat.SubjectPublicKeyInfo)


def comes_and_goes(rig, key, private, other):
    """What is the same for every pair, beside its use."""
    assert rig.ok("GetPublicKey", KeyId=key)["PublicKey"] == b64(spki(private))
    rig.ok("DeleteImportedKeyMaterial", KeyId=key)
    rig.refuses(STATE, "GetPublicKey", {"KeyId": key})
    refuse(rig, WRONG, key, pkcs8(other))
    refuse(rig, WRONG, key, pkcs8(private), ImportType="NEW_KEY_MATERIAL")
    assert bring(rig, key, pkcs8(private)) == {"KeyId": key.arn}
    assert rig.ok("GetPublicKey", KeyId=key)["PublicKey"] == b64(spki(private))


@pytest.mark.parametrize("spec", CURVES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_curves_that_sign(place, spec, algorithm):
    private, other = (ec.generate_private_key(CURVES[spec]) for _ in range(2))
    digest, name = DIGESTS.get(spec, (hashes.SHA256(), "ECDSA_SHA_256"))
    key = external(place, KeySpec=spec, KeyUsage="SIGN_VERIFY")
    place.ok("ImportKeyMaterial", KeyId=key, **NEVER,
             **prepared(place, key, pkcs8(private), algorithm, "RSA_3072"))
    sign = {"KeyId": key, "Message": b64(b"message"), "SigningAlgorithm": name}
    for _ in range(2):
        made = unb64(place.ok("Sign", **sign)["Signature"])
        private.public_key().verify(made, b"message", ec.ECDSA(digest))
        assert place.ok("Verify", **sign, Signature=b64(private.sign(b"message", ec.ECDSA(digest))))
        comes_and_goes(place, key, private, other)


@pytest.mark.parametrize("spec", [s for s in CURVES if "NIST" in s])
def test_curves_that_agree(place, spec):
    private, other, peer = (ec.generate_private_key(CURVES[spec]) for _ in range(3))
    key = external(place, KeySpec=spec, KeyUsage="KEY_AGREEMENT")
    bring(place, key, pkcs8(private))
    comes_and_goes(place, key, private, other)
    made = place.ok("DeriveSharedSecret", KeyId=key, KeyAgreementAlgorithm="ECDH", PublicKey=b64(spki(peer)))
    assert unb64(made["SharedSecret"]) == private.exchange(ec.ECDH(), peer.public_key())
    assert made["KeyOrigin"] == "EXTERNAL"


@pytest.fixture(scope="module")
def rsa_keys():
    return {bits: [rsa.generate_private_key(65537, bits) for _ in range(2)] for bits in (2048, 3072, 4096)}


@pytest.mark.parametrize("algorithm", ALGORITHMS[2:])
@pytest.mark.parametrize("bits", [2048, *(pytest.param(n, marks=pytest.mark.slow) for n in (3072, 4096))])
def test_rsa_that_signs(place, rsa_keys, bits, algorithm):
    private, other = rsa_keys[bits]
    key = external(place, KeySpec=f"RSA_{bits}", KeyUsage="SIGN_VERIFY")
    place.ok("ImportKeyMaterial", KeyId=key, **NEVER, **prepared(place, key, pkcs8(private), algorithm))
    comes_and_goes(place, key, private, other)
    for name, how in (("RSASSA_PKCS1_V1_5_SHA_256", padding.PKCS1v15()),
                      ("RSASSA_PSS_SHA_256", padding.PSS(padding.MGF1(hashes.SHA256()), 32))):
        made = place.ok("Sign", KeyId=key, Message=b64(b"message"), SigningAlgorithm=name)
        private.public_key().verify(unb64(made["Signature"]), b"message", how, hashes.SHA256())


def test_rsa_that_decrypts(place, rsa_keys):
    private, other = rsa_keys[2048]
    key = external(place, KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")
    bring(place, key, pkcs8(private))
    comes_and_goes(place, key, private, other)
    for name in ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"):
        sealed = private.public_key().encrypt(b"hello", oaep(name))
        opened = place.ok("Decrypt", KeyId=key, CiphertextBlob=b64(sealed), EncryptionAlgorithm=name)
        assert opened["Plaintext"] == b64(b"hello")


def test_numbers_that_are_no_key(place, rsa_keys):
    """Right in form and size, and yet no key: the token finds out before anything is kept."""
    private, other = rsa_keys[2048]
    good, strange = private.private_numbers(), other.private_numbers()
    key = external(place, KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")
    der = pkcs8(private)
    for number in (good.d, good.p, good.q, good.dmp1, good.dmq1, good.iqmp):
        raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
        bad = der.replace(raw, raw[:-1] + bytes([raw[-1] ^ 4]))
        assert bad != der
        refuse(place, WRONG, key, bad)
    mixed = der.replace(good.public_numbers.n.to_bytes(256, "big"),
                        strange.public_numbers.n.to_bytes(256, "big"))
    small = rsa.generate_private_key(3, 2048)
    for bad in (mixed, pkcs8(rsa_keys[3072][0]), pkcs8(small), der[:-1], der + b"\0", b"", spki(private),
                pkcs8(ec.generate_private_key(ec.SECP256R1())),
                private.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL,
                                      serialization.NoEncryption())):
        if bad:
            refuse(place, WRONG, key, bad)
    assert state(place, key) == "PendingImport" and materials_are_none(place, key)
    bring(place, key, der)


def test_scalars_that_are_no_key(place):
    private, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    key = external(place, KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    der, raw = pkcs8(private), private.private_numbers().private_value.to_bytes(32, "big")
    order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551
    for scalar in (bytes(32), b"\xff" * 32, order.to_bytes(32, "big"), raw[:-1] + bytes([raw[-1] ^ 1])):
        refuse(place, WRONG, key, der.replace(raw, scalar))
    for wrong in (other, ec.generate_private_key(ec.SECP256K1()), ec.generate_private_key(ec.SECP384R1()),
                  ed25519.Ed25519PrivateKey.generate()):
        bad = pkcs8(wrong)
        refuse(place, WRONG, key, bad if wrong is not other else der.replace(raw, other.private_numbers()
               .private_value.to_bytes(32, "big")))
    bring(place, key, der)


def test_scalars_without_their_point(place):
    """RFC 5915 lets the public key be left out."""
    private = ec.generate_private_key(ec.SECP256R1())
    raw = private.private_numbers().private_value.to_bytes(32, "big")
    inner = bytes.fromhex("3025020101") + b"\x04\x20" + raw
    der = bytes.fromhex("020100301306072a8648ce3d020106082a8648ce3d030107") + b"\x04" + bytes([len(inner)]) + inner
    der = b"\x30" + bytes([len(der)]) + der
    key = external(place, KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551
    for scalar in (bytes(32), b"\xff" * 32, order.to_bytes(32, "big")):
        refuse(place, WRONG, key, der.replace(raw, scalar))
    bring(place, key, der)
    comes_and_goes(place, key, private, ec.generate_private_key(ec.SECP256R1()))
    made = place.ok("Sign", KeyId=key, Message=b64(bytes(32)), MessageType="DIGEST",
                    SigningAlgorithm="ECDSA_SHA_256")
    private.public_key().verify(unb64(made["Signature"]), bytes(32), ec.ECDSA(utils.Prehashed(hashes.SHA256())))


# --- what is refused ----------------------------------------------------------------------------


def test_only_external_keys(place):
    key = place.key()
    given = {"ImportToken": b64(b"t"), "EncryptedKeyMaterial": b64(b"m"), **NEVER}
    parameters = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
    for operation, more in (("GetParametersForImport", parameters), ("ImportKeyMaterial", given),
                            ("DeleteImportedKeyMaterial", {})):
        answer = place.refuses(UNSUPPORTED, operation, {"KeyId": key, **more})
        assert answer.message == f"{key.arn} origin is AWS_KMS which is not valid for this operation."
    assert state(place, key) == "Enabled"


@pytest.mark.parametrize("spec, usage", [("ECC_NIST_EDWARDS25519", "SIGN_VERIFY"),
                                         ("ML_DSA_44", "SIGN_VERIFY")])
def test_specs_that_nobody_can_bring(place, spec, usage):
    answer = place.refuses(UNSUPPORTED, "CreateKey",
                           {"Origin": "EXTERNAL", "KeySpec": spec, "KeyUsage": usage})
    assert spec in answer.message


@pytest.mark.parametrize("algorithm, spec", [("SM2PKE", "SM2"), ("RSAES_PKCS1_V1_5", "RSA_2048"),
                                             ("RSAES_OAEP_SHA_256", "SM2"), ("SM2PKE", "RSA_2048")])
def test_wrappings_that_are_not_offered(place, algorithm, spec):
    place.refuses(UNSUPPORTED, "GetParametersForImport",
                  {"KeyId": external(place), "WrappingAlgorithm": algorithm, "WrappingKeySpec": spec})


def test_parameters_are_checked(place):
    key = external(place)
    good = {"KeyId": key, **prepared(place, key, os.urandom(32))}
    now = datetime.datetime.now().timestamp()
    answer = place.refuses("ValidationException", "ImportKeyMaterial", good)
    assert answer.message == "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES"
    for bad in ({"ValidTo": now - 10}, {"ValidTo": now + 366 * 86400}, {"ValidTo": 0}, {"ValidTo": -5},
                {"ValidTo": 1e300}, {**NEVER, "ValidTo": now + 100}, {"ExpirationModel": "SOMETIMES"},
                {**NEVER, "ImportType": "OLD"}, {**NEVER, "KeyMaterialId": "ab"},
                {**NEVER, "KeyMaterialId": "g" * 64}, {**NEVER, "KeyMaterialDescription": "a;b"},
                {**NEVER, "KeyMaterialDescription": "a" * 257},
                {**NEVER, "ImportType": "NEW_KEY_MATERIAL", "KeyMaterialId": "a" * 64}):
        place.refuses("ValidationException", "ImportKeyMaterial", {**good, **bad})
    for bad in ({"ValidTo": "soon"}, {"ValidTo": "2031-01-01T00:00:00Z"}, {"ImportToken": "!"}):
        place.refuses("SerializationException", "ImportKeyMaterial", {**good, **NEVER, **bad})
    for missing in ("KeyId", "ImportToken", "EncryptedKeyMaterial"):
        place.refuses("ValidationException", "ImportKeyMaterial",
                      {**{k: v for k, v in good.items() if k != missing}, **NEVER})
    assert state(place, key) == "PendingImport" and materials(place, key) == []
    place.ok("ImportKeyMaterial", **good, ValidTo=now + 365 * 86400 - 60)


def test_import_tokens_are_authentic_and_for_one_key(place):
    key, other = external(place), external(place)
    given = {"KeyId": key, **prepared(place, key, os.urandom(32)), **NEVER}
    token = unb64(given["ImportToken"])
    for i in random.sample(range(len(token)), 12):
        changed = token[:i] + bytes([token[i] ^ 1]) + token[i + 1:]
        place.refuses("InvalidImportTokenException", "ImportKeyMaterial",
                      {**given, "ImportToken": b64(changed)})
    for changed in (token[:-1], token + b"\0", token[:3], b"x", os.urandom(len(token))):
        place.refuses("InvalidImportTokenException", "ImportKeyMaterial",
                      {**given, "ImportToken": b64(changed)})
    place.refuses("InvalidImportTokenException", "ImportKeyMaterial", {**given, "KeyId": other})
    assert state(place, key) == state(place, other) == "PendingImport"
    place.ok("ImportKeyMaterial", **given)
    place.ok("ImportKeyMaterial", **given)  # a token is good for a day, not for one use


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_bad_wrappings(place, algorithm):
    """Whatever is wrong with the wrapping, the answer is the same and says nothing."""
    key, material = external(place), os.urandom(32)
    got = place.ok("GetParametersForImport", KeyId=key, WrappingAlgorithm=algorithm,
                   WrappingKeySpec="RSA_2048")
    good = wrap(got, material, algorithm)
    other = ALGORITHMS[ALGORITHMS.index(algorithm) ^ 1]
    bad = [good[:-1], good + b"\0", good[:200], b"m", bytes(len(good)), b"\xff" * len(good),
           os.urandom(len(good)), wrap(got, material, other)]
    bad += [good[:i] + bytes([good[i] ^ 1]) + good[i + 1:] for i in random.sample(range(len(good)), 8)]
    for sealed in bad:
        answer = place.refuses("InvalidCiphertextException", "ImportKeyMaterial",
                               {"KeyId": key, "ImportToken": got["ImportToken"],
                                "EncryptedKeyMaterial": b64(sealed), **NEVER})
        assert not answer.message
    for size in (1, 16, 31, 33, 64):
        place.refuses(WRONG, "ImportKeyMaterial",
                      {"KeyId": key, "ImportToken": got["ImportToken"], **NEVER,
                       "EncryptedKeyMaterial": b64(wrap(got, os.urandom(size), algorithm))})
    assert state(place, key) == "PendingImport" and materials(place, key) == []
    place.ok("ImportKeyMaterial", KeyId=key, ImportToken=got["ImportToken"], **NEVER,
             EncryptedKeyMaterial=b64(good))


def iso(seconds):
    return datetime.datetime.utcfromtimestamp(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_condition_keys(place):
    """A policy that lets a user import only what expires soon, wrapped in one way."""
    people = People(place)
    user = people.user("importer")
    now = time.time()
    may = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "kms:*",
         "Resource": "*"},
        {"Effect": "Allow", "Principal": {"AWS": user.arn}, "Resource": "*",
         "Action": "kms:GetParametersForImport", "Condition": {"StringEquals": {
             "kms:WrappingAlgorithm": "RSAES_OAEP_SHA_256", "kms:WrappingKeySpec": "RSA_3072",
             "kms:KeyOrigin": "EXTERNAL"}}},
        {"Effect": "Allow", "Principal": {"AWS": user.arn}, "Resource": "*", "Action": "kms:ImportKeyMaterial",
         "Condition": {"StringEquals": {"kms:ExpirationModel": "KEY_MATERIAL_EXPIRES"},
                       "DateLessThan": {"kms:ValidTo": iso(now + 30 * 86400)}}}]}
    key = external(place, Policy=json.dumps(may))

    def parameters(algorithm, spec):
        return place.call("GetParametersForImport", {"KeyId": key, "WrappingAlgorithm": algorithm,
                                                     "WrappingKeySpec": spec}, credential=user.credential)

    denied = "AccessDeniedException"
    assert parameters("RSAES_OAEP_SHA_1", "RSA_3072").type == denied
    assert parameters("RSAES_OAEP_SHA_256", "RSA_2048").type == denied
    got = parameters("RSAES_OAEP_SHA_256", "RSA_3072")
    assert got.status == 200, got.text
    given = {"KeyId": key, "ImportToken": got.json["ImportToken"],
             "EncryptedKeyMaterial": b64(wrap(got.json, os.urandom(32), "RSAES_OAEP_SHA_256"))}
    for more in (NEVER, {"ValidTo": now + 40 * 86400}, {"ExpirationModel": "KEY_MATERIAL_EXPIRES"}):
        place.refuses(denied, "ImportKeyMaterial", {**given, **more}, credential=user.credential)
    place.refuses(denied, "DeleteImportedKeyMaterial", {"KeyId": key}, credential=user.credential)
    answer = place.call("ImportKeyMaterial", {**given, "ValidTo": now + 20 * 86400}, credential=user.credential)
    assert answer.status == 200, answer.text


def test_condition_key_of_origin(place):
    people = People(place)
    user = people.user("maker", {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "kms:CreateKey", "Resource": "*",
         "Condition": {"StringEquals": {"kms:KeyOrigin": "EXTERNAL"}}}]})
    place.refuses("AccessDeniedException", "CreateKey", {}, credential=user.credential)
    assert place.call("CreateKey", {"Origin": "EXTERNAL"}, credential=user.credential).status == 200


# --- the same material, further materials -------------------------------------------------------


def test_only_the_same_material_comes_back(place):
    key, material = external(place), os.urandom(32)
    name = bring(place, key, material, KeyMaterialDescription="from the vault")["KeyMaterialId"]
    made = data_key(place, key)
    assert made["KeyMaterialId"] == name == describe(place, key)["CurrentKeyMaterialId"]
    refuse(place, WRONG, key, os.urandom(32))
    refuse(place, WRONG, key, os.urandom(32), ImportType="EXISTING_KEY_MATERIAL")
    refuse(place, WRONG, key, material, ImportType="NEW_KEY_MATERIAL")
    refuse(place, WRONG, key, material, KeyMaterialId="0" * 64)
    soon = datetime.datetime.now().timestamp() + 1000
    bring(place, key, material, ExpirationModel="KEY_MATERIAL_EXPIRES", ValidTo=soon)
    assert describe(place, key)["ValidTo"] == pytest.approx(soon, abs=0.01)
    bring(place, key, material, ImportType="EXISTING_KEY_MATERIAL", KeyMaterialId=name)
    assert describe(place, key)["ExpirationModel"] == "KEY_MATERIAL_DOES_NOT_EXPIRE"
    deleted = place.ok("DeleteImportedKeyMaterial", KeyId=key, KeyMaterialId=name)
    assert deleted == {"KeyId": key.arn, "KeyMaterialId": name}
    metadata = describe(place, key)
    assert metadata["KeyState"] == "PendingImport" and metadata["CurrentKeyMaterialId"] == name
    assert "ExpirationModel" not in metadata
    answer = place.refuses(STATE, "Decrypt", {"CiphertextBlob": made["CiphertextBlob"]})
    assert answer.message == f"{key.arn} is pending import."
    assert place.ok("DeleteImportedKeyMaterial", KeyId=key)["KeyMaterialId"] == name
    place.refuses("NotFoundException", "DeleteImportedKeyMaterial", {"KeyId": key, "KeyMaterialId": "0" * 64})
    refuse(place, WRONG, key, os.urandom(32))
    assert state(place, key) == "PendingImport"
    assert bring(place, key, material)["KeyMaterialId"] == name
    assert opens(place, made)
    assert materials(place, key) == [
        {"KeyId": key, "KeyMaterialId": name, "KeyMaterialState": "CURRENT", "ImportState": "IMPORTED",
         "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE", "KeyMaterialDescription": "from the vault"}]


def test_the_same_bytes_in_two_keys(place):
    material = os.urandom(32)
    one, other = external(place), external(place)
    assert bring(place, one, material)["KeyMaterialId"] != bring(place, other, material)["KeyMaterialId"]
    made = data_key(place, one)
    place.refuses("IncorrectKeyException", "Decrypt",
                  {"KeyId": other, "CiphertextBlob": made["CiphertextBlob"]})


def test_rotation_to_the_next_material(place):
    key, first, second = external(place), os.urandom(32), os.urandom(32)
    old_name = bring(place, key, first)["KeyMaterialId"]
    old = data_key(place, key)
    answer = place.refuses(STATE, "RotateKeyOnDemand", {"KeyId": key})
    assert answer.message == f"No available key material pending rotation for the key: {key.arn}."

    new_name = bring(place, key, second, ImportType="NEW_KEY_MATERIAL")["KeyMaterialId"]
    assert new_name != old_name == data_key(place, key)["KeyMaterialId"]
    assert [(m["KeyMaterialId"], m["KeyMaterialState"]) for m in materials(place, key)] == \
        [(old_name, "CURRENT"), (new_name, "PENDING_ROTATION")]
    assert place.ok("ListKeyRotations", KeyId=key)["Rotations"] == []
    third = os.urandom(32)
    answer = refuse(place, STATE, key, third, ImportType="NEW_KEY_MATERIAL")
    assert answer.message == (f"New key material cannot be imported into KMS key {key.arn}, because another "
                              f"key material (id: {new_name}) is pending rotation.")

    assert place.ok("RotateKeyOnDemand", KeyId=key) == {"KeyId": key.arn}
    new = data_key(place, key)
    assert new["KeyMaterialId"] == new_name == describe(place, key)["CurrentKeyMaterialId"]
    assert opens(place, old) and opens(place, new)
    [rotation] = place.ok("ListKeyRotations", KeyId=key)["Rotations"]
    assert rotation["RotationType"] == "ON_DEMAND" and rotation["ImportState"] == "IMPORTED"
    assert [m["KeyMaterialState"] for m in materials(place, key)] == ["NON_CURRENT", "CURRENT"]

    place.ok("DeleteImportedKeyMaterial", KeyId=key, KeyMaterialId=old_name)  # any missing one stops all
    assert [m["ImportState"] for m in materials(place, key)] == ["PENDING_IMPORT", "IMPORTED"]
    for made in (old, new):
        place.refuses(STATE, "Decrypt", {"CiphertextBlob": made["CiphertextBlob"]})
    place.ok("DeleteImportedKeyMaterial", KeyId=key)
    bring(place, key, second)
    assert state(place, key) == "PendingImport"
    assert bring(place, key, first)["KeyMaterialId"] == old_name
    assert state(place, key) == "Enabled"
    assert opens(place, old) and opens(place, new)


def test_waiting_material_that_is_taken_away(place):
    key = external(place)
    bring(place, key, os.urandom(32))
    made, second = data_key(place, key), os.urandom(32)
    waiting = bring(place, key, second, ImportType="NEW_KEY_MATERIAL")["KeyMaterialId"]
    place.ok("DeleteImportedKeyMaterial", KeyId=key, KeyMaterialId=waiting)
    assert state(place, key) == "Enabled" and opens(place, made)
    place.refuses(STATE, "RotateKeyOnDemand", {"KeyId": key})
    assert bring(place, key, second)["KeyMaterialId"] == waiting
    place.ok("DeleteImportedKeyMaterial", KeyId=key, KeyMaterialId=waiting)
    other = bring(place, key, os.urandom(32), ImportType="NEW_KEY_MATERIAL")["KeyMaterialId"]
    place.ok("RotateKeyOnDemand", KeyId=key)
    assert describe(place, key)["CurrentKeyMaterialId"] == other and opens(place, made)


def test_a_disabled_key(place):
    key, material = external(place), os.urandom(32)
    bring(place, key, material)
    place.ok("DisableKey", KeyId=key)
    bring(place, key, material)
    assert state(place, key) == "Disabled"
    place.ok("DeleteImportedKeyMaterial", KeyId=key)
    assert state(place, key) == "PendingImport"
    bring(place, key, material)
    assert state(place, key) == "Enabled"


def test_deletion_of_the_key(place):
    key, material = external(place), os.urandom(32)
    bring(place, key, material)
    given = prepared(place, key, material)
    place.ok("ScheduleKeyDeletion", KeyId=key)
    place.refuses(STATE, "ImportKeyMaterial", {"KeyId": key, **given, **NEVER})
    place.ok("DeleteImportedKeyMaterial", KeyId=key)
    assert state(place, key) == "PendingDeletion"
    place.ok("CancelKeyDeletion", KeyId=key)
    assert state(place, key) == "PendingImport"
    bring(place, key, material)
    place.ok("ScheduleKeyDeletion", KeyId=key)
    place.ok("CancelKeyDeletion", KeyId=key)
    assert state(place, key) == "Disabled"


# --- crashes ------------------------------------------------------------------------------------


def test_restart_and_kill(new_rig):
    rig = new_rig()
    first, second, gone = os.urandom(32), os.urandom(32), os.urandom(32)
    key, empty, absent = external(rig), external(rig), external(rig)
    pair = external(rig, KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    bring(rig, pair, pkcs8(ec.generate_private_key(ec.SECP256R1())))
    sign = {"KeyId": pair, "Message": b64(b"m"), "SigningAlgorithm": "ECDSA_SHA_256"}
    bring(rig, key, first)
    old = data_key(rig, key)
    bring(rig, key, second, ImportType="NEW_KEY_MATERIAL")
    bring(rig, absent, gone)
    lost = data_key(rig, absent)
    rig.ok("DeleteImportedKeyMaterial", KeyId=absent)
    given = prepared(rig, empty, os.urandom(32), "RSA_AES_KEY_WRAP_SHA_256", "RSA_4096")

    def killed():
        rig.kill()
        while rig.running():  # a process that ends may take a moment to be gone
            time.sleep(0.05)
        rig.start()

    for again in (rig.restart, killed):
        again()
        assert state(rig, key) == "Enabled" and opens(rig, old)
        assert [m["KeyMaterialState"] for m in materials(rig, key)] == ["CURRENT", "PENDING_ROTATION"]
        assert state(rig, empty) == state(rig, absent) == "PendingImport"
        refuse(rig, WRONG, absent, os.urandom(32))
        rig.ok("Verify", **sign, Signature=rig.ok("Sign", **sign)["Signature"])
    rig.ok("ImportKeyMaterial", KeyId=empty, **given, **NEVER)  # a token outlives the process
    bring(rig, absent, gone)
    assert opens(rig, lost)
    rig.ok("RotateKeyOnDemand", KeyId=key)
    assert opens(rig, old)
    rig.restart()
    assert opens(rig, data_key(rig, key)) and opens(rig, old) and opens(rig, lost)
    rig.audit_verify()


# --- time ---------------------------------------------------------------------------------------


def ahead(rig, days, operation, **parameters):
    with signing_clock(datetime.timedelta(days=days)):
        return rig.call(operation, parameters)


def shifted(rig, days):
    rig.stop()
    rig.start(env=clock.moved(f"FAKETIME=+{days}d"))


def wait_until_deleted(rig):
    for _ in range(120):
        if any(r.get("eventName") == "DeleteExpiredKeyMaterial" and r.get("phase") != "intent"
               for r in rig.audit()):
            return
        time.sleep(0.25)
    raise AssertionError("nothing expired")


@pytest.mark.faketime
@pytest.mark.any_listener
def test_material_expires(new_rig):
    rig = new_rig(tls=False, conf="[keys]\ndue_check = 1\ndeletion_hold = 0")
    key, forever, material = external(rig), external(rig), os.urandom(32)
    valid_to = datetime.datetime.now().timestamp() + 10 * 86400
    bring(rig, key, material, ExpirationModel="KEY_MATERIAL_EXPIRES", ValidTo=valid_to)
    bring(rig, forever, os.urandom(32))
    made, kept = data_key(rig, key), data_key(rig, forever)
    given = prepared(rig, key, material)
    shifted(rig, 9)
    assert ahead(rig, 9, "Decrypt", CiphertextBlob=made["CiphertextBlob"]).json["Plaintext"]
    answer = ahead(rig, 9, "ImportKeyMaterial", KeyId=key, **given, **NEVER)
    assert answer.type in ("ExpiredImportTokenException", "InvalidImportTokenException"), answer.text
    shifted(rig, 11)
    answer = ahead(rig, 11, "Decrypt", CiphertextBlob=made["CiphertextBlob"])
    assert answer.type == STATE and answer.message == f"{key.arn} is pending import."
    wait_until_deleted(rig)
    metadata = ahead(rig, 11, "DescribeKey", KeyId=key).json["KeyMetadata"]
    assert metadata["KeyState"] == "PendingImport" and "ValidTo" not in metadata
    opened = ahead(rig, 11, "Decrypt", CiphertextBlob=kept["CiphertextBlob"])
    assert opened.json["Plaintext"] == kept["Plaintext"]
    rig.restart()  # at the true time: what is gone stays gone
    rig.refuses(STATE, "Decrypt", {"CiphertextBlob": made["CiphertextBlob"]})
    bring(rig, key, material)
    assert opens(rig, made)
    rig.audit_verify()


@pytest.mark.faketime
@pytest.mark.any_listener
def test_a_wrong_clock_takes_nothing_away(new_rig):
    rig = new_rig(tls=False, conf="[keys]\ndue_check = 1")
    key = external(rig)
    valid_to = datetime.datetime.now().timestamp() + 10 * 86400
    bring(rig, key, os.urandom(32), ExpirationModel="KEY_MATERIAL_EXPIRES", ValidTo=valid_to)
    made = data_key(rig, key)
    shifted(rig, 400)
    assert ahead(rig, 400, "Decrypt", CiphertextBlob=made["CiphertextBlob"]).type == STATE
    assert ahead(rig, 400, "DescribeKey", KeyId=key).json["KeyMetadata"]["KeyState"] == "PendingImport"
    time.sleep(3)
    rig.restart()  # at the true time
    assert opens(rig, made)


@pytest.mark.faketime
@pytest.mark.any_listener
def test_import_tokens_expire(new_rig):
    rig = new_rig(tls=False, conf="[keys]\ndue_check = 1")
    key, material = external(rig), os.urandom(32)
    given = prepared(rig, key, material)
    shifted(rig, 1.01)
    assert ahead(rig, 1.01, "ImportKeyMaterial", KeyId=key, **given, **NEVER).type == \
        "ExpiredImportTokenException"
    fresh = ahead(rig, 1.01, "GetParametersForImport", KeyId=key, WrappingAlgorithm="RSAES_OAEP_SHA_256",
                  WrappingKeySpec="RSA_2048").json
    sealed = b64(wrap(fresh, material, "RSAES_OAEP_SHA_256"))
    assert ahead(rig, 1.01, "ImportKeyMaterial", KeyId=key, ImportToken=fresh["ImportToken"],
                 EncryptedKeyMaterial=sealed, **NEVER).status == 200


# --- what is left of the bytes ------------------------------------------------------------------


def remains(rig, wanted):
    """Where the daemon's memory or a file of the rig has any of these."""
    time.sleep(1)
    left = [f"{n} in {line}" for line, data in memory(rig.pid) for n in found(data, wanted)]
    left += [f"{n} in {p}" for p in files(rig) for n in found(p.read_bytes(), wanted)]
    return f"{len(left)} traces:\n" + "\n".join(left[:30]) if left else ""


def number(value):
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


@pytest.mark.memory
@pytest.mark.lengthy
@pytest.mark.any_listener
def test_nothing_is_left_behind_of_pairs(new_rig):
    rig, wanted = new_rig(), {}
    for i in range(4):
        for spec, private in (("ECC_NIST_P256", ec.generate_private_key(ec.SECP256R1())),
                              ("ECC_NIST_P384", ec.generate_private_key(ec.SECP384R1())),
                              ("RSA_2048", rsa.generate_private_key(65537, 2048))):
            key = external(rig, KeySpec=spec, KeyUsage="SIGN_VERIFY")
            given = {"KeyId": key, **prepared(rig, key, pkcs8(private), ALGORITHMS[2 + i % 2]), **NEVER}
            rig.ok("ImportKeyMaterial", **given)
            numbers = private.private_numbers()
            for name in ("private_value", "d", "p", "q", "dmp1", "dmq1", "iqmp"):
                if hasattr(numbers, name):
                    wanted.update(needles(f"{name} of {spec} {i}", number(getattr(numbers, name))))
            rig.refuses(WRONG, "ImportKeyMaterial", {**given, "ImportType": "NEW_KEY_MATERIAL"})
            rig.ok("DeleteImportedKeyMaterial", KeyId=key)
    left = remains(rig, wanted)
    assert not left, left


@pytest.mark.memory
@pytest.mark.lengthy
@pytest.mark.any_listener
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_nothing_is_left_behind(new_rig, algorithm):
    """Taken away again, the bytes are nowhere; while in use, SoftHSM may have them and nobody else."""
    rig, wanted = new_rig(), {}
    for i in range(6):
        key, material = external(rig), os.urandom(32)
        wanted.update(needles(f"material {i}", material))
        given = prepared(rig, key, material, algorithm)
        rig.ok("ImportKeyMaterial", KeyId=key, **given, **NEVER)
        data_key(rig, key)
        rig.refuses(WRONG, "ImportKeyMaterial", {"KeyId": key, **given, **NEVER, "ImportType": "NEW_KEY_MATERIAL"})
        rig.ok("DeleteImportedKeyMaterial", KeyId=key)
    left = remains(rig, wanted)
    assert not left, left


def test_the_trail_shows_the_import(place):
    key, material = external(place), os.urandom(32)
    given = prepared(place, key, material)
    place.ok("ImportKeyMaterial", KeyId=key, **given, **NEVER)
    records = [r for r in place.audit() if r.get("eventName") == "ImportKeyMaterial" and
               (r.get("requestParameters") or {}).get("keyId") == key]
    assert records
    for record in records:
        assert record["requestParameters"] == {"keyId": key, "expirationModel": NEVER["ExpirationModel"]}
    trail = "".join(str(r) for r in place.audit())
    assert given["ImportToken"] not in trail and given["EncryptedKeyMaterial"] not in trail


@pytest.mark.parametrize("spec, usage, origin, outside", [
    ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "AWS_KMS", {}),
    ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "EXTERNAL", {"Imported": "Host"}),
    ("RSA_2048", "SIGN_VERIFY", "AWS_KMS", {}),
    ("RSA_2048", "ENCRYPT_DECRYPT", "AWS_KMS", {"Padding": "Host"}),  # SoftHSM2 has OAEP with SHA-1 alone
    ("HMAC_256", "GENERATE_VERIFY_MAC", "AWS_KMS", {})])
def test_an_operator_sees_what_is_done_outside_of_the_token(place, spec, usage, origin, outside):
    key = place.key(KeySpec=spec, KeyUsage=usage, Origin=origin)
    if origin == "EXTERNAL":
        bring(place, key, os.urandom(32))
    version, = json.loads(place.admin("key-uses", key).stdout)["Versions"]
    shown = {name: version[name] for name in ("Imported", "Padding")}
    assert shown == {"Imported": None, "Padding": None, **outside}
