"""Asymmetric and HMAC keys: whatever the service gives out is checked by another implementation."""

import hashlib
import hmac
import time

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from kms import NO_SUCH_KEY, b64, unb64

SIGN, MAC, AGREE, CRYPT = "SIGN_VERIFY", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT", "ENCRYPT_DECRYPT"
USAGE = "InvalidKeyUsageException"
VALIDATION = "ValidationException"
UNSUPPORTED = "UnsupportedOperationException"
BAD_SIGNATURE = "KMSInvalidSignatureException"
BAD_MAC = "KMSInvalidMacException"
BAD_CIPHERTEXT = "InvalidCiphertextException"

HASHES = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
CURVES = {"ECC_NIST_P256": (ec.SECP256R1, "256"), "ECC_NIST_P384": (ec.SECP384R1, "384"),
          "ECC_NIST_P521": (ec.SECP521R1, "512"), "ECC_SECG_P256K1": (ec.SECP256K1, "256")}
RSA_SIGNS = [f"RSASSA_{kind}_SHA_{bits}" for kind in ("PKCS1_V1_5", "PSS")
             for bits in ("256", "384", "512")]
RSA_CRYPTS = ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"]
OTHER_RSA = [pytest.param(spec, marks=pytest.mark.slow) for spec in ("RSA_3072", "RSA_4096")]
RSA_SPECS = ["RSA_2048", *OTHER_RSA]
MESSAGE = b"what is to be signed"


def signs_with(spec):
    """Signing algorithms of a spec."""
    if spec.startswith("RSA"):
        return RSA_SIGNS
    return [f"ECDSA_SHA_{CURVES[spec][1]}"] if spec in CURVES else ["ED25519_SHA_512"]


@pytest.fixture(name="keys", scope="module")
def keys_fixture(rig):
    """One key per spec and usage, made when it is first asked for."""
    made = {}

    def get(spec, usage):
        if (spec, usage) not in made:
            made[spec, usage] = rig.key(KeySpec=spec, KeyUsage=usage)
        return made[spec, usage]
    return get


def public(rig, key):
    """The public key, read by another implementation."""
    return serialization.load_der_public_key(unb64(rig.ok("GetPublicKey", KeyId=key)["PublicKey"]))


def check_signature(key, algorithm, message, signature):
    """Raises InvalidSignature."""
    if algorithm == "ED25519_SHA_512":
        return key.verify(signature, message)
    chosen = HASHES[algorithm[-3:]]()
    if algorithm.startswith("ECDSA"):
        return key.verify(signature, message, ec.ECDSA(chosen))
    filling = padding.PKCS1v15() if "PKCS1" in algorithm else \
        padding.PSS(padding.MGF1(chosen), chosen.digest_size)
    return key.verify(signature, message, filling, chosen)


def sign(rig, key, algorithm, message=MESSAGE, **more):
    answer = rig.ok("Sign", KeyId=key, Message=b64(message), SigningAlgorithm=algorithm, **more)
    assert set(answer) == {"KeyId", "Signature", "SigningAlgorithm"}
    assert answer["KeyId"] == key.arn and answer["SigningAlgorithm"] == algorithm
    return unb64(answer["Signature"])


def verify(rig, key, algorithm, signature, message=MESSAGE, **more):
    return rig.call("Verify", {"KeyId": key, "Message": b64(message), "Signature": b64(signature),
                               "SigningAlgorithm": algorithm, **more})


def flipped(data, place=-1):
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


# --- metadata ------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec,usage,member,algorithms", [
    ("RSA_2048", SIGN, "SigningAlgorithms", RSA_SIGNS),
    ("RSA_2048", CRYPT, "EncryptionAlgorithms", RSA_CRYPTS),
    ("ECC_NIST_P256", SIGN, "SigningAlgorithms", ["ECDSA_SHA_256"]),
    ("ECC_NIST_P384", AGREE, "KeyAgreementAlgorithms", ["ECDH"]),
    ("ECC_SECG_P256K1", SIGN, "SigningAlgorithms", ["ECDSA_SHA_256"]),
    ("ECC_NIST_EDWARDS25519", SIGN, "SigningAlgorithms", ["ED25519_SHA_512"]),
    ("HMAC_224", MAC, "MacAlgorithms", ["HMAC_SHA_224"]),
    ("HMAC_512", MAC, "MacAlgorithms", ["HMAC_SHA_512"])])
def test_metadata(rig, keys, spec, usage, member, algorithms):
    key = keys(spec, usage)
    metadata = rig.ok("DescribeKey", KeyId=key)["KeyMetadata"]
    assert metadata == key.metadata
    assert metadata["KeySpec"] == metadata["CustomerMasterKeySpec"] == spec
    assert metadata["KeyUsage"] == usage and metadata["Enabled"] and not metadata["MultiRegion"]
    assert metadata[member] == algorithms
    assert [name for name in metadata if name.endswith("Algorithms")] == [member]
    assert "CurrentKeyMaterialId" not in metadata


@pytest.mark.parametrize("spec,usage", [
    ("RSA_2048", MAC), ("RSA_4096", AGREE), ("ECC_NIST_P256", CRYPT), ("ECC_SECG_P256K1", AGREE),
    ("ECC_NIST_EDWARDS25519", AGREE), ("HMAC_256", SIGN), ("HMAC_256", CRYPT),
    ("SYMMETRIC_DEFAULT", MAC), ("ML_DSA_44", CRYPT), ("ML_KEM_512", SIGN)])
def test_usage_that_does_not_fit(rig, spec, usage):
    answer = rig.refuses(VALIDATION, "CreateKey", {"KeySpec": spec, "KeyUsage": usage})
    assert answer.message == f"KeyUsage {usage} is not compatible with KeySpec {spec}"


@pytest.mark.parametrize("spec,usage", [
    ("ML_DSA_44", SIGN), ("ML_DSA_65", SIGN), ("ML_DSA_87", SIGN), ("SM2", SIGN), ("SM2", AGREE),
    ("ML_KEM_512", "ENCAPSULATE_DECAPSULATE"), ("ML_KEM_1024", "ENCAPSULATE_DECAPSULATE")])
def test_spec_that_is_not_offered(rig, spec, usage):
    answer = rig.refuses(UNSUPPORTED, "CreateKey", {"KeySpec": spec, "KeyUsage": usage})
    assert spec in answer.message


def test_old_name_of_the_spec(rig):
    metadata = rig.boto().create_key(CustomerMasterKeySpec="ECC_NIST_P256",
                                     KeyUsage=SIGN)["KeyMetadata"]
    assert metadata["KeySpec"] == "ECC_NIST_P256"


def test_usage_is_required(rig):
    rig.refuses(VALIDATION, "CreateKey", {"KeySpec": "ECC_NIST_P256"})


# --- public keys ---------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [*RSA_SPECS, *CURVES, "ECC_NIST_EDWARDS25519"])
def test_public_key(rig, keys, spec):
    key = keys(spec, SIGN)
    answer = rig.ok("GetPublicKey", KeyId=key)
    assert set(answer) == {"KeyId", "PublicKey", "KeySpec", "CustomerMasterKeySpec", "KeyUsage",
                           "SigningAlgorithms"}
    assert answer["KeySpec"] == spec and answer["KeyUsage"] == SIGN
    assert answer["SigningAlgorithms"] == signs_with(spec)
    loaded = serialization.load_der_public_key(unb64(answer["PublicKey"]))
    if spec.startswith("RSA"):
        assert loaded.key_size == int(spec[4:]) and loaded.public_numbers().e == 65537
    elif spec in CURVES:
        assert isinstance(loaded.curve, CURVES[spec][0])
    else:
        assert isinstance(loaded, ed25519.Ed25519PublicKey)
    again = loaded.public_bytes(serialization.Encoding.DER,
                                serialization.PublicFormat.SubjectPublicKeyInfo)
    assert again == unb64(answer["PublicKey"])


def test_public_key_of_other_usages(rig, keys):
    agrees = rig.ok("GetPublicKey", KeyId=keys("ECC_NIST_P384", AGREE))
    assert agrees["KeyAgreementAlgorithms"] == ["ECDH"] and "SigningAlgorithms" not in agrees
    crypts = rig.ok("GetPublicKey", KeyId=keys("RSA_2048", CRYPT))
    assert crypts["EncryptionAlgorithms"] == RSA_CRYPTS


def test_public_key_of_secret_keys(rig, key, keys):
    rig.refuses(UNSUPPORTED, "GetPublicKey", {"KeyId": key})
    rig.refuses(UNSUPPORTED, "GetPublicKey", {"KeyId": keys("HMAC_256", MAC)})
    rig.refuses("NotFoundException", "GetPublicKey", {"KeyId": NO_SUCH_KEY})


# --- signatures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [*RSA_SPECS, *CURVES, "ECC_NIST_EDWARDS25519"])
def test_sign_and_verify(rig, keys, spec):
    key = keys(spec, SIGN)
    theirs = public(rig, key)
    for algorithm in signs_with(spec):
        for message in (MESSAGE, b"\0", b"x" * 4096):
            signature = sign(rig, key, algorithm, message)
            check_signature(theirs, algorithm, message, signature)
            answer = verify(rig, key, algorithm, signature, message)
            assert answer.json == {"KeyId": key.arn, "SignatureValid": True,
                                   "SigningAlgorithm": algorithm}
        with pytest.raises(InvalidSignature):
            check_signature(theirs, algorithm, flipped(message), signature)


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P256", "ECC_NIST_EDWARDS25519"])
def test_a_wrong_signature_is_an_error_without_words(rig, keys, spec):
    key = keys(spec, SIGN)
    other = rig.key(KeySpec=spec, KeyUsage=SIGN)
    for algorithm in signs_with(spec):
        good = sign(rig, key, algorithm)
        wrong = [flipped(good), flipped(good, 0), flipped(good, len(good) // 2), good[:-1],
                 good + b"\0", b"\0" + good, b"\0" * len(good), b"\xff" * len(good), b"x",
                 b"x" * 6144, sign(rig, other, algorithm)]
        for bad in wrong:
            answer = verify(rig, key, algorithm, bad)
            assert (answer.status, answer.json) == (400, {"__type": BAD_SIGNATURE}), bad.hex()
        assert verify(rig, key, algorithm, good, flipped(MESSAGE)).type == BAD_SIGNATURE


def test_signatures_of_other_algorithms(rig, keys):
    key = keys("RSA_2048", SIGN)
    for made in RSA_SIGNS:
        signature = sign(rig, key, made)
        for asked in RSA_SIGNS:
            assert (verify(rig, key, asked, signature).status == 200) == (asked == made)


def test_salt_is_as_long_as_the_digest(rig, keys):
    """A PSS signature with another salt is none, as with AWS: its length is part of the name."""
    key = keys("RSA_2048", SIGN)
    theirs = public(rig, key)
    signature = sign(rig, key, "RSASSA_PSS_SHA_256")
    theirs.verify(signature, MESSAGE, padding.PSS(padding.MGF1(hashes.SHA256()), 32),
                  hashes.SHA256())
    with pytest.raises(InvalidSignature):
        theirs.verify(signature, MESSAGE, padding.PSS(padding.MGF1(hashes.SHA256()), 20),
                      hashes.SHA256())


@pytest.mark.parametrize("spec", ["RSA_2048", *CURVES])
def test_digest_and_message_give_the_same(rig, keys, spec):
    key = keys(spec, SIGN)
    for algorithm in signs_with(spec):
        digest = hashlib.new("sha" + algorithm[-3:], MESSAGE).digest()
        signature = sign(rig, key, algorithm, digest, MessageType="DIGEST")
        check_signature(public(rig, key), algorithm, MESSAGE, signature)
        assert verify(rig, key, algorithm, signature).status == 200
        assert verify(rig, key, algorithm, signature, MessageType="RAW").status == 200
        raw = sign(rig, key, algorithm)
        assert verify(rig, key, algorithm, raw, digest, MessageType="DIGEST").status == 200
        assert verify(rig, key, algorithm, raw, digest).type == BAD_SIGNATURE


def test_digest_length(rig, keys):
    key = keys("ECC_NIST_P256", SIGN)
    for length in (1, 20, 31, 33, 48, 64, 4096):
        for operation in ("Sign", "Verify"):
            answer = rig.refuses(VALIDATION, operation, {
                "KeyId": key, "Message": b64(b"x" * length), "MessageType": "DIGEST",
                "SigningAlgorithm": "ECDSA_SHA_256", "Signature": b64(b"x")})
            assert answer.message == "Digest is invalid length for algorithm ECDSA_SHA_256."


def test_message_types_that_do_not_fit(rig, keys):
    edwards, rsa_key = keys("ECC_NIST_EDWARDS25519", SIGN), keys("RSA_2048", SIGN)
    rows = [(edwards, "ED25519_SHA_512", "DIGEST", VALIDATION),
            (edwards, "ED25519_SHA_512", "EXTERNAL_MU", VALIDATION),
            (rsa_key, "RSASSA_PSS_SHA_512", "EXTERNAL_MU", VALIDATION),
            (rsa_key, "RSASSA_PSS_SHA_512", "OTHER", VALIDATION),
            (edwards, "ED25519_PH_SHA_512", "DIGEST", UNSUPPORTED)]
    for key, algorithm, kind, error in rows:
        answer = rig.refuses(error, "Sign", {"KeyId": key, "Message": b64(b"x" * 64),
                                             "SigningAlgorithm": algorithm, "MessageType": kind})
        assert answer.message


def test_message_sizes(rig, keys):
    key = keys("ECC_NIST_P256", SIGN)
    for length in (0, 4097):
        answer = rig.refuses(VALIDATION, "Sign", {"KeyId": key, "Message": b64(b"x" * length),
                                                  "SigningAlgorithm": "ECDSA_SHA_256"})
        assert "'message' failed to satisfy constraint" in answer.message
    for missing in ("KeyId", "Message", "SigningAlgorithm", "Signature"):
        row = {"KeyId": key, "Message": "eA==", "SigningAlgorithm": "ECDSA_SHA_256",
               "Signature": "eA=="}
        del row[missing]
        assert "must not be null" in rig.refuses(VALIDATION, "Verify", row).message


@pytest.mark.parametrize("spec,algorithm", [
    ("RSA_2048", "ECDSA_SHA_256"), ("ECC_NIST_P256", "ECDSA_SHA_384"),
    ("ECC_NIST_P521", "RSASSA_PSS_SHA_256"), ("ECC_SECG_P256K1", "ED25519_SHA_512"),
    ("ECC_NIST_EDWARDS25519", "ECDSA_SHA_512"), ("RSA_2048", "ML_DSA_SHAKE_256"),
    ("RSA_2048", "SM2DSA")])
def test_algorithm_that_does_not_fit(rig, keys, spec, algorithm):
    for operation in ("Sign", "Verify"):
        answer = rig.refuses(USAGE, operation, {
            "KeyId": keys(spec, SIGN), "Message": "eA==", "SigningAlgorithm": algorithm,
            "Signature": "eA=="})
        assert answer.message == f"Algorithm {algorithm} is incompatible with key spec {spec}."


def test_ecdsa_der_is_minimal(rig, keys):
    """r and s with every length that their top bits give; 40 signatures show each of them."""
    for spec in CURVES:
        for _ in range(40):
            signature = sign(rig, keys(spec, SIGN), signs_with(spec)[0])
            assert utils.encode_dss_signature(*utils.decode_dss_signature(signature)) == signature


# --- MACs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", ["224", "256", "384", "512"])
def test_mac(rig, keys, bits):
    key, algorithm = keys(f"HMAC_{bits}", MAC), f"HMAC_SHA_{bits}"
    row = {"KeyId": key, "Message": b64(MESSAGE), "MacAlgorithm": algorithm}
    answer = rig.ok("GenerateMac", **row)
    mac = unb64(answer["Mac"])
    assert answer == {"KeyId": key.arn, "MacAlgorithm": algorithm, "Mac": answer["Mac"]}
    assert len(mac) == int(bits) // 8
    assert rig.ok("GenerateMac", **row) == answer
    assert rig.ok("VerifyMac", **row, Mac=b64(mac)) == {"KeyId": key.arn, "MacValid": True,
                                                       "MacAlgorithm": algorithm}
    for bad in (flipped(mac), flipped(mac, 0), mac[:-1], mac + b"\0", b"x", b"x" * 6144):
        wrong = rig.call("VerifyMac", {**row, "Mac": b64(bad)})
        assert (wrong.status, wrong.json) == (400, {"__type": BAD_MAC})
    assert rig.call("VerifyMac", {**row, "Message": b64(flipped(MESSAGE)), "Mac": b64(mac)}).type == \
        BAD_MAC
    other = rig.key(KeySpec=f"HMAC_{bits}", KeyUsage=MAC)
    assert rig.call("VerifyMac", {**row, "KeyId": other, "Mac": b64(mac)}).type == BAD_MAC


def test_mac_refusals(rig, keys):
    key = keys("HMAC_256", MAC)
    row = {"KeyId": key, "Message": "eA==", "MacAlgorithm": "HMAC_SHA_256", "Mac": "eA=="}
    for operation in ("GenerateMac", "VerifyMac"):
        answer = rig.refuses(USAGE, operation, {**row, "MacAlgorithm": "HMAC_SHA_512"})
        assert answer.message == "Algorithm HMAC_SHA_512 is incompatible with key spec HMAC_256."
        rig.refuses(VALIDATION, operation, {**row, "MacAlgorithm": "HMAC_SHA_1"})
        rig.refuses(VALIDATION, operation, {**row, "Message": ""})
        rig.refuses(VALIDATION, operation, {**row, "Message": b64(b"x" * 4097)})
        rig.refuses("NotFoundException", operation, {**row, "KeyId": NO_SUCH_KEY})
    rig.ok("GenerateMac", **{**row, "Message": b64(b"x" * 4096)})
    rig.refuses(VALIDATION, "VerifyMac", {**row, "Mac": ""})


# --- agreement -----------------------------------------------------------------------------------

NIST = ["ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"]


def spki(key):
    return key.public_bytes(serialization.Encoding.DER,
                            serialization.PublicFormat.SubjectPublicKeyInfo)


def agree(rig, key, der, **more):
    return rig.call("DeriveSharedSecret", {"KeyId": key, "KeyAgreementAlgorithm": "ECDH",
                                           "PublicKey": b64(der), **more})


@pytest.mark.parametrize("spec", NIST)
def test_agreement(rig, keys, spec):
    key = keys(spec, AGREE)
    ours = public(rig, key)
    for _ in range(5):
        peer = ec.generate_private_key(CURVES[spec][0]())
        answer = agree(rig, key, spki(peer.public_key())).json
        assert unb64(answer["SharedSecret"]) == peer.exchange(ec.ECDH(), ours)
        del answer["SharedSecret"]
        assert answer == {"KeyId": key.arn, "KeyAgreementAlgorithm": "ECDH", "KeyOrigin": "AWS_KMS"}


def test_agreement_of_two_keys(rig):
    first, second = (rig.key(KeySpec="ECC_NIST_P384", KeyUsage=AGREE) for _ in range(2))
    one = agree(rig, first, spki(public(rig, second))).json["SharedSecret"]
    assert agree(rig, second, spki(public(rig, first))).json["SharedSecret"] == one


def test_peers_that_are_none(rig, keys):
    key = keys("ECC_NIST_P256", AGREE)
    good = spki(ec.generate_private_key(ec.SECP256R1()).public_key())
    others = [spki(ec.generate_private_key(curve()).public_key())
              for curve in (ec.SECP384R1, ec.SECP256K1)]
    rows = [flipped(good), good[:-1], good + b"\0", b"x", b"\x30\x00", good[26:], *others,
            spki(rsa.generate_private_key(65537, 2048).public_key()),
            spki(ed25519.Ed25519PrivateKey.generate().public_key()), good[:27] + b"\0" * 64]
    for row in rows:
        answer = agree(rig, key, row)
        assert (answer.status, answer.json) == (400, {"__type": VALIDATION}), row.hex()
        assert agree(rig, key, row, DryRun=True).json == {"__type": VALIDATION}
    assert agree(rig, key, b"x" * 8193).type == VALIDATION
    assert agree(rig, key, good, KeyAgreementAlgorithm="X25519").type == VALIDATION
    assert agree(rig, key, good, Recipient={}).type == UNSUPPORTED


# --- RSA encryption ------------------------------------------------------------------------------


def oaep(algorithm):
    chosen = hashes.SHA1() if algorithm.endswith("_1") else hashes.SHA256()
    return padding.OAEP(padding.MGF1(chosen), chosen, None)


def encrypt(rig, key, algorithm, plain):
    answer = rig.ok("Encrypt", KeyId=key, Plaintext=b64(plain), EncryptionAlgorithm=algorithm)
    assert set(answer) == {"CiphertextBlob", "KeyId", "EncryptionAlgorithm"}
    return unb64(answer["CiphertextBlob"])


def decrypt(rig, key, algorithm, blob, **more):
    return rig.call("Decrypt", {"KeyId": key, "CiphertextBlob": b64(blob),
                                "EncryptionAlgorithm": algorithm, **more})


@pytest.mark.parametrize("algorithm", RSA_CRYPTS)
@pytest.mark.parametrize("spec", RSA_SPECS)
def test_rsa_encryption(rig, keys, spec, algorithm):
    key, size = keys(spec, CRYPT), int(spec[4:]) // 8
    most = size - (42 if algorithm.endswith("_1") else 66)
    theirs = public(rig, key)
    for plain in (b"x", MESSAGE, b"\0" * most):
        for blob in (encrypt(rig, key, algorithm, plain), theirs.encrypt(plain, oaep(algorithm))):
            assert len(blob) == size
            answer = decrypt(rig, key, algorithm, blob)
            assert answer.json == {"KeyId": key.arn, "Plaintext": b64(plain),
                                   "EncryptionAlgorithm": algorithm}
    assert encrypt(rig, key, algorithm, b"x") != encrypt(rig, key, algorithm, b"x")
    for length in (most + 1, 4096):
        for dry in (True, False):
            answer = rig.refuses(VALIDATION, "Encrypt", {
                "KeyId": key, "Plaintext": b64(b"x" * length), "EncryptionAlgorithm": algorithm,
                "DryRun": dry})
            assert answer.message == f"Algorithm {algorithm} and key spec {spec} cannot encrypt " \
                                     f"data larger than {most} bytes."


def test_every_bad_ciphertext_is_alike(rig, keys):
    key = keys("RSA_2048", CRYPT)
    theirs = public(rig, key)
    other = public(rig, rig.key(KeySpec="RSA_2048", KeyUsage=CRYPT))
    n = theirs.public_numbers().n
    for algorithm in RSA_CRYPTS:
        wrong = [name for name in RSA_CRYPTS if name != algorithm][0]
        good = theirs.encrypt(MESSAGE, oaep(algorithm))
        rows = [flipped(good), flipped(good, 5), good[:-1], good + b"\0", b"\0" + good, b"x",
                b"x" * 6144, b"\0" * 256, n.to_bytes(256, "big"), b"\xff" * 256,
                (n - 1).to_bytes(256, "big"), theirs.encrypt(MESSAGE, oaep(wrong)),
                theirs.encrypt(MESSAGE, padding.PKCS1v15()), theirs.encrypt(b"", oaep(algorithm)),
                other.encrypt(MESSAGE, oaep(algorithm))]
        for row in rows:
            answer = decrypt(rig, key, algorithm, row)
            assert (answer.status, answer.json) == (400, {"__type": BAD_CIPHERTEXT}), row.hex()
            assert decrypt(rig, key, algorithm, row, DryRun=True).json == {"__type": BAD_CIPHERTEXT}
        assert decrypt(rig, key, algorithm, good).status == 200


def test_rsa_encryption_refusals(rig, key, keys):
    crypts, signs = keys("RSA_2048", CRYPT), keys("RSA_2048", SIGN)
    blob = encrypt(rig, crypts, RSA_CRYPTS[0], MESSAGE)
    sealed = unb64(rig.ok("Encrypt", KeyId=key, Plaintext=b64(MESSAGE))["CiphertextBlob"])
    # without a key a bare block says nothing
    rig.refuses(BAD_CIPHERTEXT, "Decrypt", {"CiphertextBlob": b64(blob),
                                            "EncryptionAlgorithm": RSA_CRYPTS[0]})
    # the algorithm is part of the request
    answer = rig.refuses(USAGE, "Decrypt", {"KeyId": crypts, "CiphertextBlob": b64(blob)})
    assert answer.message == "Algorithm SYMMETRIC_DEFAULT is incompatible with key spec RSA_2048."
    rig.refuses(USAGE, "Encrypt", {"KeyId": crypts, "Plaintext": "eA=="})
    assert decrypt(rig, crypts, "SM2PKE", blob).type == USAGE
    # a symmetric ciphertext belongs to its own key
    for other in (crypts, signs, keys("HMAC_256", MAC)):
        for algorithm in ("SYMMETRIC_DEFAULT", RSA_CRYPTS[1]):
            assert decrypt(rig, other, algorithm, sealed).type == "IncorrectKeyException"
    assert decrypt(rig, key, RSA_CRYPTS[0], sealed).type == USAGE
    # usage
    assert decrypt(rig, signs, RSA_CRYPTS[0], blob).message == \
        f"{signs.arn} key usage is SIGN_VERIFY which is not valid for Decrypt."
    rig.refuses(USAGE, "Encrypt", {"KeyId": signs, "Plaintext": "eA==",
                                   "EncryptionAlgorithm": RSA_CRYPTS[0]})
    # an encryption context cannot be bound
    context = {"EncryptionContext": {"a": "b"}}
    rig.refuses(VALIDATION, "Encrypt", {"KeyId": crypts, "Plaintext": "eA==",
                                        "EncryptionAlgorithm": RSA_CRYPTS[0], **context})
    assert decrypt(rig, crypts, RSA_CRYPTS[0], blob, **context).type == VALIDATION
    assert decrypt(rig, crypts, RSA_CRYPTS[0], blob, EncryptionContext={}).status == 200


def test_re_encrypt_between_kinds(rig, key, keys):
    crypts, second = keys("RSA_2048", CRYPT), rig.key(KeySpec="RSA_2048", KeyUsage=CRYPT)
    blob = encrypt(rig, crypts, RSA_CRYPTS[1], MESSAGE)
    inward = rig.ok("ReEncrypt", CiphertextBlob=b64(blob), SourceKeyId=crypts,
                    SourceEncryptionAlgorithm=RSA_CRYPTS[1], DestinationKeyId=key,
                    DestinationEncryptionContext={"a": "b"})
    assert set(inward) == {"CiphertextBlob", "SourceKeyId", "KeyId", "SourceEncryptionAlgorithm",
                           "DestinationEncryptionAlgorithm", "DestinationKeyMaterialId"}
    opened = rig.ok("Decrypt", CiphertextBlob=inward["CiphertextBlob"],
                    EncryptionContext={"a": "b"})
    assert unb64(opened["Plaintext"]) == MESSAGE
    outward = rig.ok("ReEncrypt", CiphertextBlob=inward["CiphertextBlob"],
                     SourceEncryptionContext={"a": "b"}, DestinationKeyId=second,
                     DestinationEncryptionAlgorithm=RSA_CRYPTS[0])
    assert "DestinationKeyMaterialId" not in outward and outward["SourceKeyMaterialId"]
    assert decrypt(rig, second, RSA_CRYPTS[0], unb64(outward["CiphertextBlob"])).json[
        "Plaintext"] == b64(MESSAGE)
    across = rig.ok("ReEncrypt", CiphertextBlob=b64(blob), SourceKeyId=crypts,
                    SourceEncryptionAlgorithm=RSA_CRYPTS[1], DestinationKeyId=second,
                    DestinationEncryptionAlgorithm=RSA_CRYPTS[1])
    assert not [name for name in across if name.endswith("MaterialId")]
    large = rig.ok("Encrypt", KeyId=key, Plaintext=b64(b"x" * 215))["CiphertextBlob"]
    rig.refuses(VALIDATION, "ReEncrypt", {"CiphertextBlob": large, "DestinationKeyId": second,
                                          "DestinationEncryptionAlgorithm": RSA_CRYPTS[0]})
    rig.refuses(USAGE, "ReEncrypt", {"CiphertextBlob": large, "DestinationKeyId": second})
    rig.refuses(USAGE, "ReEncrypt", {"CiphertextBlob": large,
                                     "DestinationKeyId": keys("RSA_2048", SIGN)})


# --- data key pairs ------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [*RSA_SPECS, *CURVES, "ECC_NIST_EDWARDS25519"])
def test_data_key_pair(rig, key, spec):
    row = {"KeyId": key, "KeyPairSpec": spec, "EncryptionContext": {"a": "b"}}
    answer = rig.ok("GenerateDataKeyPair", **row)
    assert set(answer) == {"PrivateKeyCiphertextBlob", "PrivateKeyPlaintext", "PublicKey", "KeyId",
                           "KeyPairSpec", "KeyMaterialId"}
    assert answer["KeyId"] == key.arn and answer["KeyPairSpec"] == spec
    private = unb64(answer["PrivateKeyPlaintext"])
    loaded = serialization.load_der_private_key(private, None)
    assert spki(loaded.public_key()) == unb64(answer["PublicKey"])
    assert loaded.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8,
                                serialization.NoEncryption()) == private
    opened = rig.ok("Decrypt", CiphertextBlob=answer["PrivateKeyCiphertextBlob"],
                    EncryptionContext={"a": "b"})
    assert opened["Plaintext"] == answer["PrivateKeyPlaintext"]
    rig.refuses(BAD_CIPHERTEXT, "Decrypt", {"CiphertextBlob": answer["PrivateKeyCiphertextBlob"]})

    sealed = rig.ok("GenerateDataKeyPairWithoutPlaintext", **row)
    assert set(sealed) == set(answer) - {"PrivateKeyPlaintext"}
    assert sealed["PublicKey"] != answer["PublicKey"]
    opened = rig.ok("Decrypt", CiphertextBlob=sealed["PrivateKeyCiphertextBlob"],
                    EncryptionContext={"a": "b"})
    loaded = serialization.load_der_private_key(unb64(opened["Plaintext"]), None)
    assert spki(loaded.public_key()) == unb64(sealed["PublicKey"])


def test_small_data_key_pairs_of_every_length(rig, key):
    """Scalars with zeros in front keep their length."""
    for spec, length in (("ECC_NIST_P256", 138), ("ECC_NIST_P521", 241)):
        for _ in range(60):
            answer = rig.ok("GenerateDataKeyPair", KeyId=key, KeyPairSpec=spec)
            assert len(unb64(answer["PrivateKeyPlaintext"])) == length


def test_data_key_pair_refusals(rig, key, keys):
    for operation in ("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"):
        for spec in ("SM2", "ML_KEM_768"):
            assert spec in rig.refuses(UNSUPPORTED, operation, {"KeyId": key,
                                                                "KeyPairSpec": spec}).message
        rig.refuses(VALIDATION, operation, {"KeyId": key, "KeyPairSpec": "AES_256"})
        rig.refuses(VALIDATION, operation, {"KeyId": key})
        rig.refuses(USAGE, operation, {"KeyId": keys("RSA_2048", CRYPT),
                                       "KeyPairSpec": "ECC_NIST_P256"})
        rig.refuses(USAGE, operation, {"KeyId": keys("HMAC_256", MAC),
                                       "KeyPairSpec": "ECC_NIST_P256"})
    rig.refuses(UNSUPPORTED, "GenerateDataKeyPair", {"KeyId": key, "KeyPairSpec": "ECC_NIST_P256",
                                                     "Recipient": {}})


# --- all of them ---------------------------------------------------------------------------------


def uses_of(rig, keys):
    """Operation, key and a request that succeeds, for each that needs an enabled key."""
    signs, macs = keys("ECC_NIST_P256", SIGN), keys("HMAC_256", MAC)
    agrees, crypts = keys("ECC_NIST_P256", AGREE), keys("RSA_2048", CRYPT)
    signed = {"KeyId": signs, "Message": "eA==", "SigningAlgorithm": "ECDSA_SHA_256"}
    maced = {"KeyId": macs, "Message": "eA==", "MacAlgorithm": "HMAC_SHA_256"}
    peer = spki(ec.generate_private_key(ec.SECP256R1()).public_key())
    sealed = {"KeyId": crypts, "EncryptionAlgorithm": RSA_CRYPTS[0]}
    return [("Sign", signed),
            ("Verify", {**signed, "Signature": b64(sign(rig, signs, "ECDSA_SHA_256", b"x"))}),
            ("GenerateMac", maced),
            ("VerifyMac", {**maced, "Mac": rig.ok("GenerateMac", **maced)["Mac"]}),
            ("DeriveSharedSecret", {"KeyId": agrees, "KeyAgreementAlgorithm": "ECDH",
                                    "PublicKey": b64(peer)}),
            ("Encrypt", {**sealed, "Plaintext": "eA=="}),
            ("Decrypt", {**sealed, "CiphertextBlob": b64(encrypt(rig, crypts, RSA_CRYPTS[0],
                                                                 b"x"))})]


def test_dry_run(rig, key, keys):
    pair = {"KeyId": key, "KeyPairSpec": "ECC_NIST_P256"}
    for operation, row in [*uses_of(rig, keys), ("GenerateDataKeyPair", pair),
                           ("GenerateDataKeyPairWithoutPlaintext", pair)]:
        answer = rig.refuses("DryRunOperationException", operation, {**row, "DryRun": True})
        assert answer.message == \
            "The request would have succeeded, but the DryRun option is set."
        rig.ok(operation, **row)
        rig.refuses("InvalidGrantTokenException", operation, {**row, "GrantTokens": ["x"]})


def test_wrong_usage(rig, key, keys):
    others = [key, keys("ECC_NIST_P256", SIGN), keys("HMAC_256", MAC),
              keys("ECC_NIST_P256", AGREE), keys("RSA_2048", CRYPT)]
    for operation, row in uses_of(rig, keys):
        if operation in ("Encrypt", "Decrypt"):
            continue
        for other in others:
            if other == row["KeyId"]:
                continue
            usage = other.metadata["KeyUsage"]
            answer = rig.refuses(USAGE, operation, {**row, "KeyId": other})
            assert answer.message == \
                f"{other.arn} key usage is {usage} which is not valid for {operation}."
    for other in others[1:]:
        for operation in ("GenerateDataKey", "GenerateDataKeyWithoutPlaintext"):
            rig.refuses(USAGE, operation, {"KeyId": other, "KeySpec": "AES_256"})


def test_states(rig, keys):
    """Disabled and pending keys of every usage."""
    fresh = {}

    def own(spec, usage):
        if (spec, usage) not in fresh:
            fresh[spec, usage] = rig.key(KeySpec=spec, KeyUsage=usage)
        return fresh[spec, usage]

    rows = uses_of(rig, own)
    rows += [("GetPublicKey", {"KeyId": own("ECC_NIST_P256", SIGN)})]
    for operation, row in rows:
        arn = row["KeyId"].arn
        rig.ok("DisableKey", KeyId=row["KeyId"])
        assert rig.refuses("DisabledException", operation, row).message == f"{arn} is disabled."
        rig.ok("EnableKey", KeyId=row["KeyId"])
        rig.ok(operation, **row)
    for key in fresh.values():
        rig.ok("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    for operation, row in rows:
        answer = rig.refuses("KMSInvalidStateException", operation, row)
        assert answer.message == f"{row['KeyId'].arn} is pending deletion."
    for key in fresh.values():
        rig.ok("CancelKeyDeletion", KeyId=key)
        rig.ok("EnableKey", KeyId=key)
    for operation, row in rows:
        rig.ok(operation, **row)


@pytest.mark.parametrize("operation", [
    "EnableKeyRotation", "DisableKeyRotation", "GetKeyRotationStatus", "RotateKeyOnDemand",
    "ListKeyRotations"])
def test_no_rotation(rig, keys, operation):
    for key in (keys("ECC_NIST_P256", SIGN), keys("HMAC_256", MAC), keys("RSA_2048", CRYPT)):
        rig.refuses(UNSUPPORTED, operation, {"KeyId": key})


def test_by_alias_and_with_boto(rig, keys):
    """The ordinary client, a name instead of an id."""
    key, client = keys("RSA_2048", SIGN), rig.boto()
    alias = f"alias/signs-{time.monotonic_ns()}"
    rig.ok("CreateAlias", AliasName=alias, TargetKeyId=key)
    answer = client.sign(KeyId=alias, Message=MESSAGE, SigningAlgorithm="RSASSA_PSS_SHA_384")
    check_signature(serialization.load_der_public_key(client.get_public_key(KeyId=alias)["PublicKey"]),
                    "RSASSA_PSS_SHA_384", MESSAGE, answer["Signature"])
    assert client.verify(KeyId=alias, Message=MESSAGE, SigningAlgorithm="RSASSA_PSS_SHA_384",
                         Signature=answer["Signature"])["SignatureValid"]
    with pytest.raises(client.exceptions.KMSInvalidSignatureException):
        client.verify(KeyId=alias, Message=MESSAGE, SigningAlgorithm="RSASSA_PSS_SHA_384",
                      Signature=b"x")
    macs = keys("HMAC_384", MAC)
    with pytest.raises(client.exceptions.KMSInvalidMacException):
        client.verify_mac(KeyId=macs, Message=b"x", MacAlgorithm="HMAC_SHA_384", Mac=b"x")


def test_managed_alias_is_symmetric(rig):
    rig.refuses((USAGE, "AccessDeniedException"), "Sign", {"KeyId": "alias/aws/s3", "Message": "eA==",
                                                        "SigningAlgorithm": "ECDSA_SHA_256"})
    rig.refuses((UNSUPPORTED, "AccessDeniedException"), "GetPublicKey", {"KeyId": "alias/aws/s3"})


def test_after_a_restart(new_rig):
    """What was made before is there after; what is missing in the token is not made anew."""
    rig = new_rig()
    made = {}

    def keys(spec, usage):
        if (spec, usage) not in made:
            made[spec, usage] = rig.key(KeySpec=spec, KeyUsage=usage)
        return made[spec, usage]

    keys("ECC_NIST_EDWARDS25519", SIGN)
    rows = uses_of(rig, keys)
    before = {key: rig.ok("DescribeKey", KeyId=key) for key in made.values()}
    points = {key: rig.ok("GetPublicKey", KeyId=key)["PublicKey"] for key in made.values()
              if key.metadata["KeyUsage"] != MAC}
    mac = rig.ok("GenerateMac", **dict(rows)["GenerateMac"])
    for stop in (rig.stop, rig.kill):
        stop()
        rig.start()
        for operation, row in rows:
            rig.ok(operation, **row)
        assert {key: rig.ok("DescribeKey", KeyId=key) for key in before} == before
        assert {key: rig.ok("GetPublicKey", KeyId=key)["PublicKey"] for key in points} == points
        assert rig.ok("GenerateMac", **dict(rows)["GenerateMac"]) == mac


def test_audit_says_which_and_not_what(rig, keys):
    key = keys("ECC_NIST_P256", SIGN)
    secret = b"nobody else's business " + str(time.monotonic_ns()).encode()
    sign(rig, key, "ECDSA_SHA_256", secret)
    verify(rig, key, "ECDSA_SHA_256", b"x", secret)
    text = str(rig.audit())
    assert b64(secret) not in text and secret.decode() not in text
    records = [r for r in rig.audit() if r.get("eventName") in ("Sign", "Verify")
               and (r.get("requestParameters") or {}).get("keyId") == key]
    assert records[-2]["requestParameters"] == {"keyId": key, "messageType": "RAW",
                                                "signingAlgorithm": "ECDSA_SHA_256"}
    assert records[-1]["errorCode"] == BAD_SIGNATURE


def test_mac_keys_differ(rig):
    """Two keys, two MACs; neither is one under a key of zeros."""
    macs = set()
    for _ in range(3):
        key = rig.key(KeySpec="HMAC_256", KeyUsage=MAC)
        macs.add(rig.ok("GenerateMac", KeyId=key, Message="eA==",
                        MacAlgorithm="HMAC_SHA_256")["Mac"])
    assert len(macs) == 3
    assert b64(hmac.new(b"\0" * 32, b"x", "sha256").digest()) not in macs
