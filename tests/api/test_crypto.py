"""What a ciphertext is bound to, and that nothing else opens it."""

import unicodedata

import pytest

from kms import NO_SUCH_KEY, b64, unb64

CONTEXTS = [
    {"a": "b"},
    {"tenant": "x", "zeta": "1", "alpha": "é"},
    {"é": unicodedata.normalize("NFC", "é")},
    {"key": "\U0001f511 \U0001d11e"},
    {"x" * 100: "y" * 1000},
    {"empty value": ""},
    {f"k{i:02}": str(i) for i in range(63)},
]


def encrypt(rig, key, plain=b"secret", **more):
    return rig.ok("Encrypt", KeyId=key, Plaintext=b64(plain), **more)["CiphertextBlob"]


def decrypt(rig, blob, **more):
    return unb64(rig.ok("Decrypt", CiphertextBlob=blob, **more)["Plaintext"])


@pytest.mark.parametrize("context", CONTEXTS, ids=lambda c: str(c)[:20].encode("ascii", "replace"))
def test_context_must_be_the_same_pairs(rig, key, context):
    blob = encrypt(rig, key, EncryptionContext=context)
    backwards = dict(reversed(list(context.items())))
    assert decrypt(rig, blob, EncryptionContext=backwards) == b"secret"
    name, value = next(iter(context.items()))
    others = [None, {}, {**context, name: value + "x"}, {**context, "one more": "x"},
              {k: v for k, v in context.items() if k != name}, {**context, name: value.upper() + "Q"},
              {(k + "!" if k == name else k): v for k, v in context.items()}]
    for other in others:
        parameters = {"CiphertextBlob": blob}
        if other is not None:
            parameters["EncryptionContext"] = other
        answer = rig.refuses("InvalidCiphertextException", "Decrypt", parameters)
        assert answer.json == {"__type": "InvalidCiphertextException"}


def test_context_absent_equals_empty_and_null(rig, key):
    blob = encrypt(rig, key)
    assert decrypt(rig, blob, EncryptionContext={}) == b"secret"
    assert decrypt(rig, blob, EncryptionContext=None) == b"secret"
    blob = encrypt(rig, key, EncryptionContext={})
    assert decrypt(rig, blob) == b"secret"


def test_context_shifted_border_is_another_context(rig, key):
    blob = encrypt(rig, key, EncryptionContext={"ab": "c"})
    rig.refuses("InvalidCiphertextException", "Decrypt",
                {"CiphertextBlob": blob, "EncryptionContext": {"a": "bc"}})
    blob = encrypt(rig, key, EncryptionContext={"a": "1", "b": "2"})
    rig.refuses("InvalidCiphertextException", "Decrypt",
                {"CiphertextBlob": blob, "EncryptionContext": {"a": "1b2"}})


def test_context_escapes_and_raw_utf8_are_equal(rig, key):
    raw = '{"KeyId":"%s","Plaintext":"aGk=","EncryptionContext":{"\U0001f511é":"ß"}}' % key
    answer = rig.call("Encrypt", raw.encode("utf-8"))
    assert answer.status == 200, answer.text
    blob = answer.json["CiphertextBlob"]
    escaped = '{"CiphertextBlob":"%s","EncryptionContext":{"\\ud83d\\udd11\\u00e9":"\\u00DF"}}' % blob
    answer = rig.call("Decrypt", escaped.encode("ascii"))
    assert answer.status == 200, answer.text
    assert unb64(answer.json["Plaintext"]) == b"hi"


def test_context_normal_forms_differ(rig, key):
    composed, split = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    blob = encrypt(rig, key, EncryptionContext={"name": composed})
    rig.refuses("InvalidCiphertextException", "Decrypt",
                {"CiphertextBlob": blob, "EncryptionContext": {"name": split}})
    both = encrypt(rig, key, EncryptionContext={composed: "1", split: "2"})
    assert decrypt(rig, both, EncryptionContext={split: "2", composed: "1"}) == b"secret"


BAD_CONTEXTS = [
    (b'{"a":1}', "SerializationException"), (b'{"a":{"b":"c"}}', "SerializationException"),
    (b'["a"]', "SerializationException"), (b'"a"', "SerializationException"),
    (b'{"a":"b","a":"c"}', "SerializationException"), (b'{"a":"\xff"}', "SerializationException"),
    (b'{"a":"\\ud83d"}', "SerializationException"), (b'{"a":"\xed\xa0\xbd"}', "SerializationException"),
    (b'{"a":null}', ("SerializationException", "ValidationException")),
    (b'{"":"x"}', "ValidationException"),
    (b'{"a":"' + b"x" * 8190 + b'"}', "ValidationException"),
]


@pytest.mark.parametrize("context,expected", BAD_CONTEXTS, ids=[c[0][:14] for c in BAD_CONTEXTS])
def test_context_malformed(rig, key, context, expected):
    body = b'{"KeyId":"%s","Plaintext":"aGk=","EncryptionContext":%s}' % (key.encode(), context)
    rig.refuses(expected, "Encrypt", body)


def test_encrypt_sizes(rig, key):
    for size in (1, 2, 15, 16, 17, 4095, 4096):
        plain = bytes(i % 251 for i in range(size))
        assert decrypt(rig, encrypt(rig, key, plain)) == plain
    for size in (0, 4097, 5000):
        rig.refuses("ValidationException", "Encrypt", {"KeyId": key, "Plaintext": b64(b"x" * size)})
    # the length is looked at before the key
    rig.refuses("ValidationException", "Encrypt",
                {"KeyId": NO_SUCH_KEY, "Plaintext": b64(b"x" * 4097)})


def test_equal_plaintexts_give_different_blobs(rig, key):
    blobs = {encrypt(rig, key) for _ in range(20)}
    assert len(blobs) == 20


@pytest.mark.parametrize("operation", ["GenerateDataKey", "GenerateDataKeyWithoutPlaintext"])
def test_data_key_sizes(rig, key, operation):
    rows = [({"NumberOfBytes": 1}, 1), ({"NumberOfBytes": 1024}, 1024), ({"KeySpec": "AES_128"}, 16),
            ({"KeySpec": "AES_256"}, 32)]
    for parameters, size in rows:
        made = rig.ok(operation, KeyId=key, **parameters)
        plain = decrypt(rig, made["CiphertextBlob"])
        assert len(plain) == size
        assert made["KeyId"] == key.arn
        assert ("Plaintext" in made) == (operation == "GenerateDataKey")
        if "Plaintext" in made:
            assert unb64(made["Plaintext"]) == plain
    for bad in ({}, {"NumberOfBytes": 0}, {"NumberOfBytes": 1025}, {"NumberOfBytes": -1},
                {"KeySpec": "AES_192"}, {"KeySpec": "AES_256", "NumberOfBytes": 32},
                {"NumberOfBytes": 2**31}, {"NumberOfBytes": 2**32 + 32}):
        rig.refuses("ValidationException", operation, {"KeyId": key, **bad})


def test_generate_random(rig):
    seen = {rig.ok("GenerateRandom", NumberOfBytes=32)["Plaintext"] for _ in range(20)}
    assert len(seen) == 20
    assert len(unb64(rig.ok("GenerateRandom", NumberOfBytes=1024)["Plaintext"])) == 1024
    for bad in ({}, {"NumberOfBytes": 0}, {"NumberOfBytes": 1025}):
        rig.refuses("ValidationException", "GenerateRandom", bad)


def test_every_byte_of_a_blob_counts(rig, key):
    """Ids in the blob may lead to the refusal for unknown keys; nothing ever opens."""
    blob = bytearray(unb64(encrypt(rig, key, b"0123456789")))
    replaced = rig.metric("hsmkms_token_sessions_replaced_total")
    for position in range(len(blob)):
        changed = bytearray(blob)
        changed[position] ^= 1 << (position % 8)
        answer = rig.refuses(("InvalidCiphertextException", "AccessDeniedException"), "Decrypt",
                             {"CiphertextBlob": b64(changed)})
        # bytes 8..39 name installation and key: unknown ones are refused like forbidden ones
        names = 8 <= position < 40
        expected = "AccessDeniedException" if names else "InvalidCiphertextException"
        assert answer.type == expected, f"byte {position}: {answer.text}"
        answer = rig.refuses(("InvalidCiphertextException", "IncorrectKeyException"), "Decrypt",
                             {"CiphertextBlob": b64(changed), "KeyId": key})
        assert names or answer.type == "InvalidCiphertextException"
    assert rig.metric("hsmkms_token_sessions_replaced_total") == replaced, "bad ciphertexts cost token sessions"
    assert decrypt(rig, b64(blob)) == b"0123456789"


def test_truncated_and_extended_blobs(rig, key):
    blob = unb64(encrypt(rig, key, b"0123456789"))
    for end in range(1, len(blob)):
        rig.refuses("InvalidCiphertextException", "Decrypt", {"CiphertextBlob": b64(blob[:end])})
    for more in (b"\0", b"x" * 16, blob, b"x" * 4000):
        rig.refuses("InvalidCiphertextException", "Decrypt", {"CiphertextBlob": b64(blob + more)})
    rig.refuses("InvalidCiphertextException", "Decrypt", {"CiphertextBlob": b64(b"\0" + blob)})
    rig.refuses("ValidationException", "Decrypt", {"CiphertextBlob": ""})
    rig.refuses("ValidationException", "Decrypt", {"CiphertextBlob": b64(b"x" * 6145)})


def test_parts_of_two_blobs_do_not_mix(rig, key):
    one, two = (unb64(encrypt(rig, key, text)) for text in (b"one", b"two"))
    for cut in range(58, len(one)):
        rig.refuses("InvalidCiphertextException", "Decrypt",
                    {"CiphertextBlob": b64(one[:cut] + two[cut:])})


def test_blob_of_another_installation(rig, new_rig, key):
    other = new_rig()
    blob = encrypt(other, other.key())
    for parameters in ({}, {"KeyId": key}):
        rig.refuses(("InvalidCiphertextException", "AccessDeniedException", "IncorrectKeyException"),
                    "Decrypt", {"CiphertextBlob": blob, **parameters})


def test_wrong_key_id(rig, key):
    blob = encrypt(rig, key)
    other = rig.key()
    answer = rig.refuses("IncorrectKeyException", "Decrypt", {"CiphertextBlob": blob, "KeyId": other})
    assert answer.message == ("The key ID in the request does not identify a CMK that can perform "
                              "this operation.")
    rig.refuses("NotFoundException", "Decrypt", {"CiphertextBlob": blob, "KeyId": NO_SUCH_KEY})
    assert decrypt(rig, blob, KeyId=key.arn) == b"secret"


def test_alias_pointing_elsewhere(rig, key):
    name, other = f"alias/moved-{key}", rig.key()
    rig.ok("CreateAlias", AliasName=name, TargetKeyId=key)
    blob = encrypt(rig, name)
    rig.ok("UpdateAlias", AliasName=name, TargetKeyId=other)
    rig.refuses("IncorrectKeyException", "Decrypt", {"CiphertextBlob": blob, "KeyId": name})
    assert decrypt(rig, blob) == b"secret"
    assert rig.ok("Encrypt", KeyId=name, Plaintext="aGk=")["KeyId"] == other.arn


def test_reencrypt(rig, key):
    other = rig.key()
    blob = encrypt(rig, key, EncryptionContext={"a": "1"})
    result = rig.ok("ReEncrypt", CiphertextBlob=blob, SourceEncryptionContext={"a": "1"},
                    DestinationKeyId=other, DestinationEncryptionContext={"b": "2"})
    assert (result["SourceKeyId"], result["KeyId"]) == (key.arn, other.arn)
    assert decrypt(rig, result["CiphertextBlob"], EncryptionContext={"b": "2"}) == b"secret"
    base = {"CiphertextBlob": blob, "DestinationKeyId": other}
    rig.refuses("InvalidCiphertextException", "ReEncrypt", base)
    rig.refuses("IncorrectKeyException", "ReEncrypt",
                {**base, "SourceEncryptionContext": {"a": "1"}, "SourceKeyId": other})
    rig.refuses("NotFoundException", "ReEncrypt",
                {**base, "SourceEncryptionContext": {"a": "1"}, "DestinationKeyId": NO_SUCH_KEY})


def test_dry_run_has_no_output(rig, key):
    blob = encrypt(rig, key)
    rows = [("Encrypt", {"KeyId": key, "Plaintext": "aGk="}), ("Decrypt", {"CiphertextBlob": blob}),
            ("GenerateDataKey", {"KeyId": key, "KeySpec": "AES_256"}),
            ("GenerateDataKeyWithoutPlaintext", {"KeyId": key, "KeySpec": "AES_256"}),
            ("ReEncrypt", {"CiphertextBlob": blob, "DestinationKeyId": key})]
    for operation, parameters in rows:
        answer = rig.refuses("DryRunOperationException", operation, {**parameters, "DryRun": True})
        assert set(answer.json) == {"__type", "message"}
    rig.refuses("InvalidCiphertextException", "Decrypt",
                {"CiphertextBlob": blob, "EncryptionContext": {"a": "b"}, "DryRun": True})


def test_recipient_is_never_ignored(rig, key):
    recipient = {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": "aGk="}
    for operation, parameters in (("GenerateDataKey", {"KeyId": key, "KeySpec": "AES_256"}),
                                  ("Decrypt", {"CiphertextBlob": encrypt(rig, key)}),
                                  ("GenerateRandom", {"NumberOfBytes": 8})):
        rig.refuses(("UnsupportedOperationException", "ValidationException"), operation,
                    {**parameters, "Recipient": recipient})
