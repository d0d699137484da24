"""The transit dialect: ordinary clients of Vault's transit engine, every route, and what is refused."""

import concurrent.futures
import hashlib
import http.client
import json
import os
import pathlib
import ssl
import subprocess
import time
import urllib.parse

import pytest

import faults
import kms
from test_mtls import Pki

hvac = pytest.importorskip("hvac")
KEYS = "/v1/transit/keys"
NO_TOKEN = object()


@pytest.fixture(scope="module")
def service():
    made = kms.Rig(transit=True)
    yield made
    log = made.log()
    made.down()
    assert "Sanitizer" not in log, log[-8000:]


_made = iter(range(10 ** 6))


@pytest.fixture()
def name(service):
    """The name of a new key."""
    made = f"key-{next(_made)}"
    assert ask(service, "POST", f"{KEYS}/{made}", {}).status == 204
    return made


@pytest.fixture()
def vault(service):
    return client(service)


def client(service, token=None):
    return hvac.Client(url=service.url, token=token or service.exports["HSMKMS_TRANSIT_TOKEN"],
                       verify=service.exports.get("AWS_CA_BUNDLE", True))


def ask(service, method, path, body=None, token=None, headers=None):
    """One raw request; body may be bytes."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    all_headers = dict(headers or {})
    if token is not NO_TOKEN:
        all_headers["X-Vault-Token"] = token or service.exports["HSMKMS_TRANSIT_TOKEN"]
    return service.send(all_headers, data, method, path)


def data(answer):
    """The data of an answer that must be a success, in an envelope that is whole."""
    assert answer.status == 200, answer.text
    envelope = answer.json
    assert set(envelope) == {"request_id", "lease_id", "renewable", "lease_duration", "data", "wrap_info",
                             "warnings", "auth"}
    assert envelope["lease_id"] == "" and envelope["renewable"] is False and envelope["auth"] is None
    assert isinstance(envelope["data"], dict)
    return envelope["data"]


def refused(answer, status, words=""):
    """An answer in the shape of errors."""
    assert answer.status == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json) == {"errors"}
    assert words in " ".join(answer.json["errors"])
    return answer


def write(service, path, body=None, **more):
    return ask(service, "POST", f"/v1/transit/{path}", {} if body is None else body, **more)


def encrypted(service, name, plaintext=b"plain", **more):
    return data(write(service, f"encrypt/{name}", {"plaintext": kms.b64(plaintext), **more}))["ciphertext"]


def decrypted(service, name, ciphertext, **more):
    return kms.unb64(data(write(service, f"decrypt/{name}", {"ciphertext": ciphertext, **more}))["plaintext"])


def context(**pairs):
    return kms.b64(json.dumps(pairs).encode())


# ordinary clients

def test_hvac(service, vault):
    transit = vault.secrets.transit
    transit.create_key(name="hvac")
    assert transit.read_key(name="hvac")["data"]["latest_version"] == 1
    assert "hvac" in transit.list_keys()["data"]["keys"]
    made = transit.encrypt_data(name="hvac", plaintext=kms.b64(b"text"))["data"]["ciphertext"]
    assert made.startswith("vault:v1:")
    transit.rotate_key(name="hvac")
    assert transit.decrypt_data(name="hvac", ciphertext=made)["data"]["plaintext"] == kms.b64(b"text")
    moved = transit.rewrap_data(name="hvac", ciphertext=made)["data"]["ciphertext"]
    assert moved.startswith("vault:v2:")
    assert transit.decrypt_data(name="hvac", ciphertext=moved)["data"]["plaintext"] == kms.b64(b"text")
    key = transit.generate_data_key(name="hvac", key_type="plaintext")["data"]
    assert len(kms.unb64(key["plaintext"])) == 32
    assert transit.decrypt_data(name="hvac", ciphertext=key["ciphertext"])["data"]["plaintext"] == key["plaintext"]
    assert "plaintext" not in transit.generate_data_key(name="hvac", key_type="wrapped")["data"]
    assert vault.is_authenticated() and vault.lookup_token()["data"]["type"] == "service"
    assert vault.sys.is_sealed() is False and vault.sys.read_health_status().status_code == 200
    with pytest.raises(hvac.exceptions.InvalidRequest):
        transit.decrypt_data(name="hvac", ciphertext=made[:-4] + "AAA=")
    with pytest.raises(hvac.exceptions.InvalidRequest):
        transit.delete_key(name="hvac")
    transit.update_key_configuration(name="hvac", deletion_allowed=True)
    transit.delete_key(name="hvac")
    with pytest.raises(hvac.exceptions.InvalidPath):
        transit.read_key(name="hvac")
    with pytest.raises(hvac.exceptions.Forbidden):
        client(service, "hvs.wrong").secrets.transit.list_keys()
    assert not client(service, "hvs.wrong").is_authenticated()


def test_auto_unseal_shapes(service, name):
    """The calls of a seal that is another Vault's transit engine: PUT, and a renewal that may fail."""
    headers = {"X-Vault-Request": "true"}
    root = os.urandom(300)
    made = data(ask(service, "PUT", f"/v1/transit/encrypt/{name}", {"plaintext": kms.b64(root)}, headers=headers))
    assert len(made["ciphertext"].split(":")) == 3
    opened = data(ask(service, "PUT", f"/v1/transit/decrypt/{name}", {"ciphertext": made["ciphertext"]},
                      headers=headers))
    assert kms.unb64(opened["plaintext"]) == root
    refused(ask(service, "PUT", "/v1/auth/token/renew-self", {}, headers=headers), 400, "not renewable")


def test_sse_s3_lifecycle(service, name):
    """What a gateway does with a key of its own per bucket, whose name is the bucket's instance."""
    bucket = "e0a3c1d2-1111-4222-8333-444455556666.4155.1"
    for _ in range(2):
        answer = write(service, f"keys/{bucket}", {"type": "chacha20-poly1305", "derived": True})
        assert answer.status == 204 and answer.body == b""
    about = context(**{"aws:s3:arn": "arn:aws:s3:::b/o"})
    made = data(write(service, f"datakey/plaintext/{bucket}", {"context": about}))
    assert decrypted(service, bucket, made["ciphertext"], context=about) == kms.unb64(made["plaintext"])
    refused(write(service, f"datakey/plaintext/{bucket}"), 400, "missing 'context'")
    refused(write(service, f"decrypt/{bucket}", {"ciphertext": made["ciphertext"]}), 400, "missing 'context'")
    assert data(ask(service, "GET", f"{KEYS}/{bucket}"))["derived"] is True
    assert bucket in data(ask(service, "LIST", KEYS))["keys"]
    refused(ask(service, "DELETE", f"{KEYS}/{bucket}"), 400, "deletion is not allowed")
    for step in (lambda: write(service, f"keys/{bucket}/config", {"deletion_allowed": True}),
                 lambda: ask(service, "DELETE", f"{KEYS}/{bucket}")):
        answer = step()
        assert answer.status == 204 and answer.body == b""
    refused(ask(service, "GET", f"{KEYS}/{bucket}"), 404)
    listed = data(ask(service, "LIST", KEYS))["keys"]
    assert name in listed and bucket not in listed
    refused(ask(service, "DELETE", f"{KEYS}/{bucket}"), 400, "not found")


# routes

@pytest.mark.parametrize("bits,length", [(None, 32), (128, 16), (256, 32), (512, 64)])
def test_datakey(service, name, bits, length):
    for kind in ("plaintext", "wrapped"):
        made = data(write(service, f"datakey/{kind}/{name}", {"bits": bits}))
        assert made["key_version"] == 1 and made["ciphertext"].startswith("vault:v1:")
        plain = decrypted(service, name, made["ciphertext"])
        assert len(plain) == length
        assert ("plaintext" in made) == (kind == "plaintext")
        assert made.get("plaintext", kms.b64(plain)) == kms.b64(plain)


@pytest.mark.parametrize("body,words", [
    ({"bits": 192}, "invalid bit length"), ({"bits": "256"}, "number"), ({"context": 1}, "string"),
    ({"context": "no base64!"}, "base64-decode context"), ({"context": "YQ"}, "base64-decode context"),
    ({"associated_data": "Y Q=="}, "base64-decode associated_data"), ({"key_version": -1}, "negative"),
    ({"key_version": 2}, "latest version"), (b"{", ""), (b"[]", ""), (b'{"a":1,"a":2}', ""), (b'"x"', ""),
    (b"\xff", ""), (b'{"context":"\\u0000"}', ""), (b"[" * 100, "")])
def test_datakey_refused(service, name, body, words):
    refused(write(service, f"datakey/plaintext/{name}", body), 400, words)


def test_datakey_kind(service, name):
    refused(write(service, f"datakey/other/{name}"), 400, "must be 'plaintext' or 'wrapped'")


@pytest.mark.parametrize("size", [1, 32, 4096])
def test_encrypt_sizes(service, name, size):
    plain = os.urandom(size)
    assert decrypted(service, name, encrypted(service, name, plain)) == plain


@pytest.mark.parametrize("body,words", [
    ({}, "missing plaintext"), ({"plaintext": ""}, "empty"), ({"plaintext": kms.b64(bytes(4097))}, ""),
    ({"plaintext": "not base64"}, ""), ({"plaintext": 1}, "string"), ({"plaintext": None}, "missing"),
    ({"batch_input": []}, "batch_input"), ({"plaintext": "YQ==", "key_version": 7}, "latest")])
def test_encrypt_refused(service, name, body, words):
    refused(write(service, f"encrypt/{name}", body), 400, words)


def test_encrypt_makes_no_key(service):
    before = service.view()
    refused(write(service, "encrypt/typo", {"plaintext": "YQ=="}), 400, "encryption key not found")
    refused(write(service, "decrypt/typo", {"ciphertext": "vault:v1:YQ=="}), 400, "encryption key not found")
    refused(write(service, "datakey/plaintext/typo"), 400, "encryption key not found")
    refused(write(service, "rewrap/typo", {"ciphertext": "vault:v1:YQ=="}), 400, "encryption key not found")
    refused(write(service, "keys/typo/rotate"), 400, "not found")
    refused(write(service, "keys/typo/config", {"deletion_allowed": True}), 400, "not found")
    assert service.view() == before


@pytest.mark.parametrize("text,words", [
    ("", "missing ciphertext"), ("x", "no prefix"), ("vault:", "wrong number of fields"),
    ("vault:v1", "wrong number"), ("vault:v1:", "wrong number"), ("vault:v1:YQ==:", "wrong number"),
    ("vault:1:YQ==", "version number"), ("vault:v:YQ==", "version number"), ("vault:v-1:YQ==", "version number"),
    ("vault:v1x:YQ==", "version number"), ("vault:v99999999999:YQ==", "version number"),
    ("vault:v1:YQ", "base64"), ("vault:v1:YQ==", "authentication failed"),
    ("vault:v1:" + kms.b64(b"\0" * 61), "authentication failed"), ("Vault:v1:YQ==", "no prefix")])
def test_bad_ciphertexts(service, name, text, words):
    for route in ("decrypt", "rewrap"):
        refused(write(service, f"{route}/{name}", {"ciphertext": text}), 400, words)


def test_damaged_ciphertexts(service, name):
    made = encrypted(service, name)
    blob = bytearray(kms.unb64(made.split(":")[2]))
    for at in range(0, len(blob), 7):
        blob[at] ^= 1
        answer = write(service, f"decrypt/{name}", {"ciphertext": "vault:v1:" + kms.b64(bytes(blob))})
        refused(answer, 400, "message authentication failed")
        blob[at] ^= 1
    for version in ("v2", "v9", "v999999999"):
        refused(write(service, f"decrypt/{name}", {"ciphertext": made.replace("v1", version, 1)}), 400,
                "message authentication failed")
    assert decrypted(service, name, made.replace("v1", "v0", 1)) == b"plain"
    assert decrypted(service, name, made) == b"plain"


def test_ciphertext_of_another_key(service, name):
    ask(service, "POST", f"{KEYS}/{name}-other", {})
    refused(write(service, f"decrypt/{name}-other", {"ciphertext": encrypted(service, name)}), 400,
            "message authentication failed")


CONTEXTS = [{}, {"context": context(a="1")}, {"context": context(a="2")}, {"context": context(a="1", b="2")},
            {"context": kms.b64(b"opaque")}, {"context": kms.b64(b"{}")}, {"context": kms.b64(b'{"a":1}')},
            {"context": kms.b64(b'{"a":"1","a":"1"}')}, {"context": kms.b64(b'{"a":{"b":"c"}}')},
            {"context": context(**{"transit:context": kms.b64(b"opaque")})}, {"context": kms.b64(b"\xff\0")},
            {"associated_data": kms.b64(b"x")}, {"associated_data": kms.b64(b"x"), "context": context(a="1")},
            {"context": context(**{"transit:associated_data": kms.b64(b"x")})}]


def test_contexts_are_kept_apart(service, name):
    """Each opens what it sealed, and nothing else does."""
    made = [encrypted(service, name, **binding) for binding in CONTEXTS]
    for i, sealed in enumerate(made):
        for j, binding in enumerate(CONTEXTS):
            if i == j:
                assert decrypted(service, name, sealed, **binding) == b"plain"
            else:
                refused(write(service, f"decrypt/{name}", {"ciphertext": sealed, **binding}), 400,
                        "message authentication failed")


def test_contexts_that_mean_the_same(service, name):
    sealed = encrypted(service, name, context=kms.b64(b'{"a":"1","b":"\\u00e9"}'))
    assert decrypted(service, name, sealed, context=kms.b64('{ "b":"é", "a":"1" }'.encode())) == b"plain"
    assert decrypted(service, name, encrypted(service, name, context=""), associated_data="") == b"plain"


def test_context_is_an_encryption_context(service, name):
    """One blob through two doors, and the pairs in the record."""
    sealed = encrypted(service, name, context=context(a="1"))
    assert service.audit()[-1]["requestParameters"]["encryptionContext"] == {"a": "1"}
    blob = sealed.split(":")[2]
    assert service.ok("Decrypt", CiphertextBlob=blob, EncryptionContext={"a": "1"})["Plaintext"] == kms.b64(b"plain")
    service.refuses("InvalidCiphertextException", "Decrypt", {"CiphertextBlob": blob})


def test_ignored_context(service, name):
    """A tag makes a key behave as Vault's do when they are not derived."""
    key = service.ok("DescribeKey", KeyId="alias/" + name)["KeyMetadata"]["KeyId"]
    service.ok("TagResource", KeyId=key, Tags=[{"TagKey": "hsmkms:transit-context", "TagValue": "ignored"}])
    sealed = encrypted(service, name, context=context(a="1"))
    assert decrypted(service, name, sealed, context=context(a="2")) == b"plain"
    refused(write(service, f"decrypt/{name}", {"ciphertext": sealed, "associated_data": "YQ=="}), 400)


def test_rewrap(service, name):
    sealed = encrypted(service, name, context=context(a="1"), associated_data="YQ==")
    assert write(service, f"keys/{name}/rotate").status == 204
    moved = data(write(service, f"rewrap/{name}", {"ciphertext": sealed, "context": context(a="1"),
                                                   "associated_data": "YQ=="}))
    assert moved["key_version"] == 2 and moved["ciphertext"].startswith("vault:v2:")
    assert decrypted(service, name, moved["ciphertext"], context=context(a="1"), associated_data="YQ==") == b"plain"
    refused(write(service, f"rewrap/{name}", {"ciphertext": sealed}), 400, "message authentication failed")


def test_key_description(service, name):
    write(service, f"keys/{name}/rotate")
    read = data(ask(service, "GET", f"{KEYS}/{name}"))
    assert read["name"] == name and read["type"] == "aes256-gcm96" and read["latest_version"] == 2
    assert set(read["keys"]) == {"1", "2"} and read["derived"] is False and read["exportable"] is False
    assert read["deletion_allowed"] is False and read["min_decryption_version"] == 1
    key = service.ok("DescribeKey", KeyId="alias/" + name)["KeyMetadata"]["KeyId"]
    assert data(ask(service, "GET", f"{KEYS}/{key}"))["latest_version"] == 2
    refused(ask(service, "GET", f"{KEYS}/none"), 404)
    refused(ask(service, "GET", f"{KEYS}/{kms.NO_SUCH_KEY}"), 404)


@pytest.mark.parametrize("body,words", [
    ({"type": "rsa-2048"}, "unknown key type"), ({"exportable": True}, "exportable"),
    ({"allow_plaintext_backup": True}, "allow_plaintext_backup"),
    ({"convergent_encryption": True}, "convergent_encryption"), ({"derived": "yes"}, "true or false"),
    ({"auto_rotate_period": 3600}, "auto_rotate_period")])
def test_create_refused(service, body, words):
    before = service.view()
    refused(write(service, "keys/never", body), 400, words)
    assert service.view() == before


def test_create_twice_at_once(service):
    """One name, one key that is in use; no other key is left over but on its way out."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: write(service, "keys/crowd").status, range(8)))
    assert answers == [204] * 8
    keys = [service.ok("DescribeKey", KeyId=k["KeyId"])["KeyMetadata"]
            for k in service.ok("ListKeys", Limit=1000)["Keys"]]
    crowd = [k["KeyState"] for k in keys if k["Description"] == "crowd"]
    assert crowd.count("Enabled") == 1 and set(crowd) <= {"Enabled", "PendingDeletion"}


def test_list(new_rig):
    empty = new_rig(transit=True)
    for method, path in (("LIST", KEYS), ("GET", KEYS + "?list=true")):
        refused(ask(empty, method, path), 404)
    keys = [empty.key() for _ in range(3)]
    wanted = [f"n.{i}" for i in range(120)]
    for i, name in enumerate(wanted):
        empty.ok("CreateAlias", AliasName="alias/" + name.replace(".", "/"), TargetKeyId=keys[i % 3])
    empty.ok("CreateAlias", AliasName="alias/no-name-", TargetKeyId=keys[0])
    assert sorted(data(ask(empty, "GET", KEYS + "?list=true"))["keys"]) == sorted(wanted)
    assert sorted(data(ask(empty, "LIST", KEYS))["keys"]) == sorted(wanted)
    refused(ask(empty, "GET", KEYS), 400)


@pytest.mark.parametrize("body,words", [
    ({"min_decryption_version": 2}, "min_decryption_version"), ({"min_encryption_version": 1}, "min_encryption"),
    ({"auto_rotate_period": 1}, "auto_rotate"), ({"deletion_allowed": 1}, "true or false")])
def test_config_refused(service, name, body, words):
    refused(write(service, f"keys/{name}/config", body), 400, words)


def test_config_back(service, name):
    for allowed in (True, False):
        assert write(service, f"keys/{name}/config", {"deletion_allowed": allowed}).status == 204
        assert data(ask(service, "GET", f"{KEYS}/{name}"))["deletion_allowed"] is allowed
    assert write(service, f"keys/{name}/config", {"min_decryption_version": 1}).status == 204
    refused(ask(service, "DELETE", f"{KEYS}/{name}"), 400, "not allowed")


def test_deletion_goes_on_where_it_stopped(service, name):
    write(service, f"keys/{name}/config", {"deletion_allowed": True})
    key = service.ok("DescribeKey", KeyId="alias/" + name)["KeyMetadata"]["KeyId"]
    service.ok("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=8)
    refused(ask(service, "GET", f"{KEYS}/{name}"), 404)
    refused(write(service, f"datakey/plaintext/{name}"), 400, "pending deletion")
    assert ask(service, "DELETE", f"{KEYS}/{name}").status == 204
    assert write(service, f"keys/{name}").status == 204
    assert data(ask(service, "GET", f"{KEYS}/{name}"))["latest_version"] == 1


def test_disabled_key(service, name):
    sealed = encrypted(service, name)
    service.ok("DisableKey", KeyId=service.ok("DescribeKey", KeyId="alias/" + name)["KeyMetadata"]["KeyId"])
    refused(write(service, f"decrypt/{name}", {"ciphertext": sealed}), 400, "disabled")
    refused(write(service, f"encrypt/{name}", {"plaintext": "YQ=="}), 400, "disabled")
    refused(write(service, f"datakey/wrapped/{name}"), 400, "disabled")


# batches

def batch(service, route, name, items, **more):
    return write(service, f"{route}/{name}", {"batch_input": items, **more})


def results(answer, status=200):
    """What became of each item."""
    assert answer.status == status, answer.text
    assert set(answer.json["data"]) == {"batch_results"} and answer.json["auth"] is None
    return answer.json["data"]["batch_results"]


def test_batches_with_hvac(service, vault):
    transit = vault.secrets.transit
    transit.create_key(name="batches")
    texts = [kms.b64(os.urandom(n)) for n in (1, 32, 4096)]
    sealed = transit.encrypt_data(name="batches", plaintext=None, batch_input=[
        {"plaintext": text, "context": context(n=str(n))} for n, text in enumerate(texts)])["data"]["batch_results"]
    assert [set(item) for item in sealed] == [{"ciphertext", "key_version"}] * 3
    transit.rotate_key(name="batches")
    about = [{"ciphertext": item["ciphertext"], "context": context(n=str(n))} for n, item in enumerate(sealed)]
    moved = transit.rewrap_data(name="batches", ciphertext="", batch_input=about)["data"]["batch_results"]
    assert [(item["key_version"], item["ciphertext"][:9]) for item in moved] == [(2, "vault:v2:")] * 3
    for made in (sealed, moved):
        about = [{"ciphertext": item["ciphertext"], "context": context(n=str(n))} for n, item in enumerate(made)]
        opened = transit.decrypt_data(name="batches", ciphertext=None, batch_input=about)["data"]["batch_results"]
        assert opened == [{"plaintext": text} for text in texts]
    with pytest.raises(hvac.exceptions.InvalidRequest):
        transit.decrypt_data(name="batches", ciphertext=None, batch_input=about[:1] + [{"ciphertext": "vault:v1:YQ=="}])
    with pytest.raises(hvac.exceptions.InvalidRequest):
        transit.encrypt_data(name="batches", plaintext=None, batch_input=[])


def test_batch_binds_each_item(service, name):
    """Each opens what it sealed, and with its neighbour's context nothing does."""
    sealed = [item["ciphertext"] for item in results(
        batch(service, "encrypt", name, [{"plaintext": kms.b64(b"plain"), **about} for about in CONTEXTS]))]
    assert len(set(sealed)) == len(CONTEXTS)
    for made, about in zip(sealed, CONTEXTS):
        assert decrypted(service, name, made, **about) == b"plain"
    pairs = [{"ciphertext": made, **about} for made, about in zip(sealed, CONTEXTS)]
    assert results(batch(service, "decrypt", name, pairs)) == [{"plaintext": kms.b64(b"plain")}] * len(pairs)
    shifted = [{"ciphertext": made, **about} for made, about in zip(sealed[1:] + sealed[:1], CONTEXTS)]
    for route in ("decrypt", "rewrap"):
        assert results(batch(service, route, name, shifted), 400) == [
            {"error": "cipher: message authentication failed"}] * len(pairs)


def test_batch_references(service, name):
    items = [{"plaintext": "YQ==", "reference": "é 1"}, {"plaintext": "", "reference": "2"}, {"plaintext": "YQ=="},
             {"plaintext": "YQ==", "reference": ""}]
    made = results(batch(service, "encrypt", name, items), 400)
    assert [item.get("reference") for item in made] == ["é 1", "2", None, ""]
    assert ["error" in item for item in made] == [False, True, False, False]


@pytest.mark.parametrize("code", [None, 200, 207, 400, 503])
def test_batch_partial_failure(service, name, code):
    """400 or what the client wants instead; all that failed is never less than 400."""
    more = {} if code is None else {"partial_failure_response_code": code}
    good = encrypted(service, name)
    items = [{"ciphertext": good}, {"ciphertext": "x"}, {"ciphertext": good, "context": "YQ=="}, {},
             {"ciphertext": good}, {"ciphertext": good, "context": "no base64!"}]
    made = results(batch(service, "decrypt", name, items, **more), code or 400)
    assert [made[0], made[4]] == [{"plaintext": kms.b64(b"plain")}] * 2
    for i, words in ((1, "no prefix"), (2, "message authentication failed"), (3, "missing ciphertext"),
                     (5, "base64-decode context")):
        assert set(made[i]) == {"error"} and words in made[i]["error"]
    assert ["error" in item for item in results(batch(service, "decrypt", name, items[1:4], **more), 400)] == [True] * 3
    results(batch(service, "decrypt", name, items[:1], **more), 200)


def test_batch_versions(service, name):
    write(service, f"keys/{name}/rotate")
    items = [{"plaintext": "YQ==", "key_version": n} for n in (0, 1, 2, -1)]
    made = results(batch(service, "encrypt", name, items), 400)
    assert [item.get("key_version") for item in made] == [2, None, 2, None]
    assert "latest version" in made[1]["error"] and "negative" in made[3]["error"]


def test_batch_of_a_derived_key(service):
    write(service, "keys/batch-derived", {"derived": True})
    made = results(batch(service, "encrypt", "batch-derived", [{"plaintext": "YQ=="},
                                                               {"plaintext": "YQ==", "context": "YQ=="}]), 400)
    assert "missing 'context'" in made[0]["error"] and made[1]["key_version"] == 1


ITEM = {"plaintext": "YQ==", "ciphertext": "vault:v1:YQ=="}


@pytest.mark.parametrize("body,words", [
    ({"batch_input": []}, "missing batch_input"), ({"batch_input": {}}, "list"), ({"batch_input": "x"}, "list"),
    ({"batch_input": ITEM}, "list"), ({"batch_input": 1}, "list"), ({"batch_input": False}, "list"),
    ({"batch_input": [ITEM, None]}, "must be a request"), ({"batch_input": [ITEM, []]}, "must be a request"),
    ({"batch_input": [ITEM, "YQ=="]}, "must be a request"), ({"batch_input": [[ITEM]]}, "must be a request"),
    ({"batch_input": [ITEM, {"batch_input": [ITEM]}]}, "must be a request"),
    ({"batch_input": [ITEM, {**ITEM, "batch_input": None}]}, "must be a request"),
    ({"batch_input": [ITEM, {"plaintext": 1}]}, "plaintext must be a string"),
    ({"batch_input": [ITEM, {"ciphertext": []}]}, "ciphertext must be a string"),
    ({"batch_input": [ITEM, {**ITEM, "context": {}}]}, "context must be a string"),
    ({"batch_input": [ITEM, {**ITEM, "associated_data": 1}]}, "associated_data must be a string"),
    ({"batch_input": [ITEM, {**ITEM, "reference": 1}]}, "reference must be a string"),
    ({"batch_input": [ITEM, {**ITEM, "key_version": "1"}]}, "key_version must be a number"),
    ({"batch_input": [ITEM], "plaintext": "YQ=="}, "plaintext belongs"),
    ({"batch_input": [ITEM], "ciphertext": "vault:v1:YQ=="}, "ciphertext belongs"),
    ({"batch_input": [ITEM], "context": "YQ=="}, "context belongs"),
    ({"batch_input": [ITEM], "associated_data": "YQ=="}, "associated_data belongs"),
    ({"batch_input": [ITEM], "key_version": 1}, "key_version belongs"),
    ({"batch_input": [ITEM] * 129}, "more than 128"),
    ({"batch_input": [ITEM], "partial_failure_response_code": "200"}, "must be a number"),
    *(({"batch_input": [ITEM], "partial_failure_response_code": code}, "out of range")
      for code in (-1, 1, 101, 199, 204, 205, 304, 600, 2 ** 32 + 200))])
def test_malformed_batches(service, name, body, words):
    """Refused whole: no operation has run."""
    before = len(service.audit())
    for route in ("encrypt", "decrypt", "rewrap"):
        refused(write(service, f"{route}/{name}", body), 400, words)
    assert not {r.get("eventName") for r in service.audit()[before:]} & {"Encrypt", "Decrypt", "ReEncrypt"}


def test_batch_is_not_for_data_keys(service, name):
    for kind in ("plaintext", "wrapped"):
        refused(write(service, f"datakey/{kind}/{name}", {"batch_input": [{}]}), 400, "batch_input")


def test_largest_batches(service, name):
    made = results(batch(service, "encrypt", name, [{"plaintext": "YQ=="}] * 128))
    assert len({item["ciphertext"] for item in made}) == 128
    assert len(results(batch(service, "decrypt", name, [{"ciphertext": i["ciphertext"]} for i in made]))) == 128
    refused(batch(service, "encrypt", name, [{"plaintext": kms.b64(bytes(4096))}] * 128), 413)


def test_batch_without_permission(service, name, user, tmp_path):
    """All denied is told as one that is denied; what is allowed counts for each item."""
    token = new_token(service, "--user", user)["Token"]
    items = [{"plaintext": "YQ==", "context": context(team=team)} for team in ("red", "blue")]
    for body in ({"batch_input": items}, {"batch_input": items, "partial_failure_response_code": 200}):
        refused(write(service, f"encrypt/{name}", body, token=token), 403, "permission denied")
    document = tmp_path / "team.json"
    document.write_text(json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "kms:Encrypt", "Resource": "*",
         "Condition": {"StringEquals": {"kms:EncryptionContext:team": "blue"}}}]}))
    service.admin("policy", "put", str(document), "--user", user, "--name", "team")
    made = results(write(service, f"encrypt/{name}", {"batch_input": items}, token=token), 400)
    assert made[0] == {"error": "permission denied"} and made[1]["key_version"] == 1
    with pytest.raises(hvac.exceptions.Forbidden):
        client(service, token).secrets.transit.encrypt_data(name=name, plaintext=None, batch_input=items[:1])


def test_batch_of_a_key_that_cannot_be_used(service, name):
    sealed = encrypted(service, name)
    item = {"plaintext": "YQ==", "ciphertext": sealed}
    service.ok("DisableKey", KeyId=service.ok("DescribeKey", KeyId="alias/" + name)["KeyMetadata"]["KeyId"])
    for route in ("encrypt", "decrypt", "rewrap"):
        assert results(batch(service, route, name, [item] * 2), 400) == [{"error": "encryption key is disabled"}] * 2
        assert results(batch(service, route, "typo", [item] * 2), 400) == [{"error": "encryption key not found"}] * 2
    refused(ask(service, "GET", f"{KEYS}/typo"), 404)


def test_batch_records_each_item(service, name):
    before = len(service.audit())
    items = [{"plaintext": "YQ==", "context": context(n="0")}, {"plaintext": "YQ==", "key_version": 7},
             {"plaintext": "not base64"}, {"plaintext": "YQ==", "context": context(n="3")}]
    made = results(batch(service, "encrypt", name, items), 400)
    results(batch(service, "decrypt", name, [{"ciphertext": made[0]["ciphertext"], "context": context(n="0")},
                                             {"ciphertext": made[3]["ciphertext"]}]), 400)
    records = service.audit()[before:]
    assert [(r["eventName"], r.get("errorCode")) for r in records] == [
        ("Encrypt", None), ("Encrypt", "DryRunOperationException"), ("Encrypt", "SerializationException"),
        ("Encrypt", None), ("Decrypt", None), ("Decrypt", "InvalidCiphertextException")]
    assert [records[i]["requestParameters"]["encryptionContext"] for i in (0, 3)] == [{"n": "0"}, {"n": "3"}]
    assert len({r["userIdentity"]["accessKeyId"] for r in records}) == 1
    service.audit_verify()


def test_batch_records_what_is_no_operation(service, name):
    """An item that asks for nothing that can be run leaves the record that it leaves alone."""
    directory = pathlib.Path(service.exports["HSMKMS_AUDIT_DIR"])

    def trail(make):
        make()
        encrypted(service, name)  # its record is behind the others
        records = [json.loads(line) for path in sorted(directory.glob("audit-*.jsonl"))
                   for line in path.read_text().splitlines()]
        return [{k: r.get(k) for k in ("errorCode", "errorMessage", "eventName")} for r in records
                if "no prefix" in r.get("errorMessage", "")]

    time.sleep(1.1)  # of such records each second has a share
    alone = trail(lambda: refused(write(service, f"decrypt/{name}", {"ciphertext": "x"}), 400, "no prefix"))
    assert alone
    both = trail(lambda: results(batch(service, "decrypt", name, [{"ciphertext": "x"}] * 3), 400))
    assert both == alone + alone[-1:] * 3


# paths and methods

@pytest.mark.parametrize("path", [
    "/v1/transit/datakey/plaintext/../keys", "/v1/transit/./encrypt/k", "/v1//transit/encrypt/k",
    "/v1/transit/encrypt//k", "/v1/transit/encrypt/a%2fb", "/v1/transit/encrypt/a%20b", "/v1/transit/encrypt/",
    "/v1/transit/encrypt/%6b", "/v1/transit/encrypt/a;b", "/v1/transit/encrypt/a:b", "/v1/transit/encrypt/k/",
    "/v1/transit/encrypt/-k", "/v1/transit/encrypt/k.", "/v1/transit/encrypt/k?x=1", "/v1/transit/encrypt/...",
    "/v1/transit/encrypt/" + "k" * 251, "/v1/" + "a/" * 20 + "b", "/v1/transit/encrypt/a\\b", "/v1/"])
def test_malformed_paths(service, path):
    refused(ask(service, "POST", path, {"plaintext": "YQ=="}), 400)


@pytest.mark.parametrize("path", ["/v1/nope", "/v1/nope/encrypt/k", "/v1/transit/sign/k", "/v1/transit", "/v1/sys",
                                  "/v1/transit/export/encryption-key/k/1", "/v1/secret/data/k",
                                  "/v1/sys/health/x", "/v1/transit/sys/health", "/v1/encrypt/k"])
def test_unknown_paths(service, path):
    refused(ask(service, "POST", path, {}), 404, "no handler for route")


@pytest.mark.parametrize("method,path", [
    ("GET", "/v1/transit/encrypt/k"), ("DELETE", "/v1/transit/decrypt/k"), ("LIST", "/v1/transit/datakey/plaintext/k"),
    ("POST", KEYS), ("POST", "/v1/sys/health"), ("PATCH", "/v1/transit/encrypt/k"), ("LIST", f"{KEYS}/k"),
    ("GET", "/v1/auth/token/renew-self"), ("POST", "/v1/auth/token/lookup-self"), ("GET", f"{KEYS}/k/rotate")])
def test_wrong_methods(service, method, path):
    refused(ask(service, method, path), 405, "unsupported operation")


def test_a_mount_of_another_name(new_rig):
    rig = new_rig(transit=True, conf="[transit]\nmounts = one two\n")
    for mount in ("one", "two"):
        assert ask(rig, "POST", f"/v1/{mount}/keys/k", {}).status == 204
        data(ask(rig, "GET", f"/v1/{mount}/keys/k"))
    refused(ask(rig, "GET", "/v1/transit/keys/k"), 404, "no handler")


def test_bodies_too_large(service, name):
    refused(ask(service, "POST", f"/v1/transit/encrypt/{name}", b" " * 600_000), 413)


@pytest.mark.parametrize("conf,says", [
    ("[transit]\nmounts = sys\n", "cannot be a mount"), ("[transit]\nmounts = a/b\n", "cannot be a mount"),
    ("[ops]\nhealth_cache = 1\n[https]\ndoors = aws nonsense\n", "there is no door 'nonsense'")])
def test_bad_settings(conf, says):
    with pytest.raises(subprocess.CalledProcessError) as caught:
        kms.Rig(transit=True, tls=False, conf=conf)
    assert says in caught.value.stderr


def test_doors_are_chosen(rig, service):
    """A listener without the dialect does not know its paths; one with it serves both."""
    assert ask(rig, "GET", "/v1/sys/health", token=NO_TOKEN).status == 404
    assert service.call("ListKeys").status == 200


# who asks

def test_health_needs_no_token(service):
    for method in ("GET", "HEAD"):
        answer = ask(service, method, "/v1/sys/health?standbyok=true&sealedcode=204", token=NO_TOKEN)
        assert answer.status == 200
    assert ask(service, "GET", "/v1/sys/health", token=NO_TOKEN).json["sealed"] is False
    assert ask(service, "GET", "/v1/sys/seal-status", token=NO_TOKEN).json["sealed"] is False


ROUTES = [("POST", "/v1/transit/datakey/plaintext/k"), ("POST", "/v1/transit/datakey/wrapped/k"),
          ("POST", "/v1/transit/encrypt/k"), ("POST", "/v1/transit/decrypt/k"), ("POST", "/v1/transit/rewrap/k"),
          ("GET", KEYS + "/k"), ("POST", KEYS + "/k"), ("DELETE", KEYS + "/k"), ("LIST", KEYS),
          ("GET", KEYS + "?list=true"), ("POST", KEYS + "/k/rotate"), ("POST", KEYS + "/k/config"),
          ("GET", "/v1/auth/token/lookup-self"), ("POST", "/v1/auth/token/renew-self")]


@pytest.mark.parametrize("method,path", ROUTES)
def test_every_route_wants_a_token(service, method, path):
    before = service.view()
    token = service.exports["HSMKMS_TRANSIT_TOKEN"]
    for wrong in (NO_TOKEN, "", "hvs.x", token[:-1], token + "A", token.upper(), token[4:], " ", "a" * 5000):
        refused(ask(service, method, path, b"not JSON", token=wrong or " "), 403, "permission denied")
    assert service.view() == before


def doubled(service, *tokens, method="LIST", path=KEYS):
    """A request whose token header comes several times."""
    connection = service.connect()
    connection.putrequest(method, path)
    for token in tokens:
        connection.putheader("X-Vault-Token", token)
    connection.endheaders()
    response = connection.getresponse()
    answer = kms.Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    connection.close()
    return answer


def test_token_headers(service, name):
    token = service.exports["HSMKMS_TRANSIT_TOKEN"]
    for tokens in ((token, token), (token, ""), ("", token), (token,)):
        assert name in data(doubled(service, *tokens))["keys"]
    for tokens in ((token, "other"), ("other", token), ("", ""), ("",), (), (f"{token},{token}",)):
        refused(doubled(service, *tokens), 403)
    bearer = {"Authorization": f"Bearer {token}"}
    assert name in data(ask(service, "LIST", KEYS, token=NO_TOKEN, headers=bearer))["keys"]
    refused(ask(service, "LIST", KEYS, token="other", headers=bearer), 403)


def test_namespaces(service):
    for namespace in ("", "root", "/"):
        assert ask(service, "LIST", KEYS, headers={"X-Vault-Namespace": namespace}).status in (200, 404)
    refused(ask(service, "LIST", KEYS, headers={"X-Vault-Namespace": "team"}), 403)


def new_token(service, *arguments, kind="token"):
    return json.loads(service.admin(kind, "create", *arguments).stdout)


@pytest.fixture()
def user(service):
    """A user without any policy."""
    made = f"user-{next(_made)}"
    service.admin("user", "create", made)
    return made


def allow(service, user, tmp_path, *actions):
    document = tmp_path / "policy.json"
    document.write_text(json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": list(actions), "Resource": "*"}]}))
    service.admin("policy", "put", str(document), "--user", user, "--name", "gateway")


def test_policies_count(service, name, user, tmp_path):
    token = new_token(service, "--user", user)["Token"]
    sealed = encrypted(service, name)
    bodies = {"encrypt": {"plaintext": "YQ=="}, "decrypt": {"ciphertext": sealed}, "rewrap": {"ciphertext": sealed}}
    for route, body in bodies.items():
        refused(write(service, f"{route}/{name}", body, token=token), 403, "permission denied")
    for method, path in (("GET", f"{KEYS}/{name}"), ("LIST", KEYS), ("DELETE", f"{KEYS}/{name}"),
                         ("POST", f"{KEYS}/{name}"), ("POST", f"{KEYS}/new-{name}"),
                         ("POST", f"{KEYS}/{name}/rotate"), ("POST", f"/v1/transit/datakey/plaintext/{name}")):
        refused(ask(service, method, path, {}, token=token), 403, "permission denied")
    allow(service, user, tmp_path, "kms:Decrypt")
    assert data(write(service, f"decrypt/{name}", bodies["decrypt"], token=token))["plaintext"] == kms.b64(b"plain")
    refused(write(service, f"encrypt/{name}", bodies["encrypt"], token=token), 403)


def test_refusals_do_not_tell_what_a_key_is_like(service, user):
    """Who may not use a key hears the same, whatever this dialect would have refused."""
    write(service, "keys/secretive", {"derived": True})
    token = new_token(service, "--user", user)["Token"]
    for body in ({"plaintext": "YQ=="}, {"plaintext": "YQ==", "key_version": 9}):
        refused(write(service, "encrypt/secretive", body, token=token), 403, "permission denied")


def test_a_name_that_cannot_be_given_leaves_no_key(service, user, tmp_path):
    allow(service, user, tmp_path, "kms:CreateKey", "kms:ScheduleKeyDeletion")
    refused(write(service, "keys/nameless", token=new_token(service, "--user", user)["Token"]), 403)
    keys = [service.ok("DescribeKey", KeyId=k["KeyId"])["KeyMetadata"]
            for k in service.ok("ListKeys", Limit=1000)["Keys"]]
    assert [k["KeyState"] for k in keys if k["Description"] == "nameless"] == ["PendingDeletion"]


def test_token_life(service, user):
    made = [new_token(service, "--user", user, "--label", f"t{i}") for i in range(2)]
    def works(token):
        return ask(service, "GET", "/v1/auth/token/lookup-self", token=token["Token"]).status == 200
    assert all(map(works, made))
    seen = data(ask(service, "GET", "/v1/auth/token/lookup-self", token=made[0]["Token"]))
    assert seen["id"] == made[0]["TokenId"] and seen["ttl"] == 0 and seen["renewable"] is False
    service.admin("token", "disable", made[0]["TokenId"])
    assert list(map(works, made)) == [False, True]
    service.admin("token", "enable", made[0]["TokenId"])
    service.admin("token", "delete", made[1]["TokenId"])
    assert list(map(works, made)) == [True, False]
    service.admin("user", "disable", user)
    assert not works(made[0])
    service.admin("user", "enable", user)
    assert works(made[0])
    listed = service.admin("token", "list").stdout
    assert made[0]["TokenId"] in listed and made[0]["Token"] not in listed and '"t0"' in listed
    assert service.admin("user", "delete", user, check=False).returncode
    service.admin("token", "delete", made[0]["TokenId"])
    service.admin("user", "delete", user)


def test_tokens_survive_a_kill(new_rig):
    rig = new_rig(transit=True)
    good, bad, gone = (new_token(rig) for _ in range(3))
    rig.admin("token", "disable", bad["TokenId"])
    rig.admin("token", "delete", gone["TokenId"])
    rig.kill()
    rig.start()
    assert ask(rig, "GET", "/v1/auth/token/lookup-self", token=good["Token"]).status == 200
    for token in (bad, gone):
        refused(ask(rig, "GET", "/v1/auth/token/lookup-self", token=token["Token"]), 403)


def test_texts_are_nowhere(service, user):
    """A token and a secret are seen once: the database and the trail hold neither."""
    texts = [new_token(service, "--user", user)["Token"],
             new_token(service, "--user", user, kind="secret")["SecretId"]]
    files = [p for p in service.dir.rglob("*") if p.is_file() and p.name != "transit.json"]
    content = b"".join(p.read_bytes() for p in files)
    for text in texts:
        assert text.encode() not in content and text.removeprefix("hvs.").encode() not in content
    assert hashlib.sha256(texts[0].encode()).digest() in content


@pytest.mark.parametrize("arguments", [
    ("token", "create", "--user", "nobody-of-this-name"), ("token", "create", "--days", "0"),
    ("token", "create", "--days", "x"), ("token", "create", "--label", "x" * 129), ("token", "disable", "x"),
    ("token", "create", "--label", "a\nb"), ("token", "delete", kms.NO_SUCH_KEY), ("token", "disable"),
    ("secret", "create", "--user", "nobody-of-this-name"), ("token", "create", "--account", "123456789012")])
def test_bad_admin_arguments(service, arguments):
    before = service.admin("token", "list").stdout
    assert service.admin(*arguments, check=False).returncode
    assert service.admin("token", "list").stdout == before


def test_approle(service, name, user, tmp_path):
    allow(service, user, tmp_path, "kms:Encrypt")
    secret = new_token(service, "--user", user, kind="secret")
    login = {"role_id": secret["RoleId"], "secret_id": secret["SecretId"]}
    answer = ask(service, "POST", "/v1/auth/approle/login", login, token=NO_TOKEN)
    assert answer.status == 200 and answer.json["data"] is None
    auth = answer.json["auth"]
    assert auth["lease_duration"] == 3600 and auth["renewable"] is True
    token = auth["client_token"]
    data(write(service, f"encrypt/{name}", {"plaintext": "YQ=="}, token=token))
    assert service.audit()[-1]["userIdentity"]["accessKeyId"] == secret["TokenId"]
    seen = data(ask(service, "GET", "/v1/auth/token/lookup-self", token=token))
    assert 0 < seen["ttl"] <= 3600 and seen["creation_ttl"] == 3600
    renewed = ask(service, "POST", "/v1/auth/token/renew-self", {}, token=token)
    assert renewed.status == 200 and renewed.json["auth"]["client_token"] == token
    for wrong in ({}, {"role_id": secret["RoleId"]}, {**login, "secret_id": "x"}, {**login, "role_id": "x"},
                  {**login, "secret_id": secret["SecretId"][:-1]}, {**login, "secret_id": token}, {"role_id": 1}):
        refused(ask(service, "POST", "/v1/auth/approle/login", wrong, token=NO_TOKEN), 400)
    refused(ask(service, "LIST", KEYS, token=secret["SecretId"]), 403)
    service.admin("token", "disable", secret["TokenId"])
    refused(write(service, f"encrypt/{name}", {"plaintext": "YQ=="}, token=token), 403)
    refused(ask(service, "POST", "/v1/auth/token/renew-self", {}, token=token), 403)
    refused(ask(service, "POST", "/v1/auth/approle/login", login, token=NO_TOKEN), 400)


def test_logins_make_room(service, user):
    """A client that logs in for each request ends its own oldest tokens, nobody else's."""
    secret = new_token(service, "--user", user, kind="secret")
    login = {"role_id": secret["RoleId"], "secret_id": secret["SecretId"]}
    tokens = [ask(service, "POST", "/v1/auth/approle/login", login, token=NO_TOKEN).json["auth"]["client_token"]
              for _ in range(70)]
    alive = [ask(service, "GET", "/v1/auth/token/lookup-self", token=token).status for token in tokens]
    assert alive.count(200) == 64 and alive[-1] == 200


def test_admin_changes_are_recorded(service, user):
    made = new_token(service, "--user", user, "--label", "seen")
    service.admin("token", "disable", made["TokenId"])
    records = [r for r in service.audit() if r.get("eventName") in ("CreateToken", "UpdateToken")
               and (r.get("responseElements") or {}).get("tokenId") == made["TokenId"]]
    assert [r["eventName"] for r in records] == ["CreateToken", "UpdateToken"]
    assert records[1]["requestParameters"]["status"] == "Inactive"


@pytest.fixture(scope="module")
def pki():
    made = Pki()
    made.ca("root")
    for name in ("bound", "other"):
        made.client(name)
    yield made
    made.down()


@pytest.mark.parametrize("mode,bound,other", [("require", 204, 403), ("request", 403, 403)])
def test_certificates(new_rig, pki, mode, bound, other):
    """A bound key stands for its user where a CA vouches for the certificate, and nowhere else."""
    conf = f"[https]\nclient_certificates = {mode}\n"
    conf += f"client_ca = {pki.path('root.pem')}\n" if mode == "require" else ""
    rig = new_rig(transit=True, tls=True, conf=conf)
    rig.admin("user", "create", "gateway")
    document = pki.dir / "all.json"
    document.write_text(json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]}))
    rig.admin("policy", "put", str(document), "--user", "gateway", "--name", "all")
    rig.admin("cert", "bind", pki.spki("bound"), "--user", "gateway")

    def create(pair, **headers):
        context = ssl.create_default_context(cafile=rig.exports["AWS_CA_BUNDLE"])
        context.load_cert_chain(*pki.pair(pair))
        connection = http.client.HTTPSConnection(rig.host, rig.port, timeout=60, context=context)
        connection.request("POST", f"{KEYS}/k", body=b"{}", headers=headers)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status

    token = {"X-Vault-Token": rig.exports["HSMKMS_TRANSIT_TOKEN"]}
    assert create("bound") == bound and create("bound", **{"X-Vault-Token": ""}) == bound
    assert create("other") == other
    assert create("other", **token) == 204
    assert create("bound", **{"X-Vault-Token": "hvs.wrong"}) == 403
    rig.admin("user", "disable", "gateway")
    assert create("bound") == 403 and create("bound", **token) == 204


# a token out of reach

def wait_health(rig, status):
    """The health of the dialect, once it is as expected."""
    for _ in range(200):
        answer = ask(rig, "GET", "/v1/sys/health", token=NO_TOKEN)
        if answer.status == status:
            return answer.json
        time.sleep(0.05)
    raise AssertionError(f"{answer.status} {answer.text}")


def test_token_out_of_reach():
    """Sealed while it lasts: an error that is retried, never one that blames key, data or caller."""
    rig = faults.FaultyRig(transit=True, conf="[ops]\nhealth_cache = 10\n")
    try:
        assert write(rig, "keys/k").status == 204
        sealed = encrypted(rig, "k")
        rig.rules(*faults.everywhere(f"rv={faults.DEVICE_ERROR:#x}"))
        for _ in range(20):
            assert write(rig, "datakey/plaintext/k").status in (500, 503)
            assert write(rig, "decrypt/k", {"ciphertext": sealed}).status in (500, 503)
        before = len(rig.audit())
        answer = batch(rig, "decrypt", "k", [{"ciphertext": sealed}] * 128, partial_failure_response_code=200)
        assert refused(answer, answer.status).status in (500, 503)
        assert len(rig.audit()) == before + 1  # what would fail alike is not tried
        assert wait_health(rig, 503)["sealed"] is True
        assert ask(rig, "GET", "/v1/sys/health?sealedcode=299", token=NO_TOKEN).status == 299
        assert ask(rig, "GET", "/v1/sys/seal-status", token=NO_TOKEN).json["sealed"] is True
        rig.rules()
        assert wait_health(rig, 200)["sealed"] is False
        assert decrypted(rig, "k", sealed) == b"plain"
    finally:
        rig.down()


def stopped(made, words):
    """How many of a batch's items succeeded before it stopped."""
    good = sum("error" not in item for item in made)
    assert 0 < good < len(made)
    assert all("error" not in item for item in made[:good])
    assert {item["error"] for item in made[good:]} <= words
    return good


def test_batch_while_the_token_fails():
    """What was done stands; the rest says so, and is an error to try again unless the client knows better."""
    rig = faults.FaultyRig(transit=True, conf="[ops]\nhealth_cache = 10\n")
    try:
        assert write(rig, "keys/k").status == 204
        items = [{"ciphertext": encrypted(rig, "k")}] * 9
        for more, statuses in (({}, (500, 503)), ({"partial_failure_response_code": 200}, (200,))):
            before = len(rig.audit())
            rig.rules(*faults.everywhere(f"after=3 rv={faults.DEVICE_ERROR:#x}", ["C_Decrypt", "C_DecryptInit"]))
            answer = batch(rig, "decrypt", "k", items, **more)
            assert answer.status in statuses
            good = stopped(results(answer, answer.status), {"Vault is sealed", "internal error"})
            codes = [r.get("errorCode") for r in rig.audit()[before:] if r["eventName"] == "Decrypt"]
            assert codes[:good] == [None] * good and len(codes) == good + 1 and codes[good]
            rig.rules()
            wait_health(rig, 200)
            assert decrypted(rig, "k", items[0]["ciphertext"]) == b"plain"
    finally:
        rig.down()


def test_batch_that_is_throttled(new_rig):
    """Each item counts as a request; one batch cannot have what single requests cannot."""
    rig = new_rig(transit=True, conf="[rates]\nsymmetric = 5\n")
    assert write(rig, "keys/k").status == 204
    for _ in range(20):
        answer = batch(rig, "encrypt", "k", [{"plaintext": "YQ=="}] * 128)
        if answer.status == 429:
            break
        stopped(results(answer, 400), {"request rate limit exceeded"})
    refused(answer, 429, "request rate limit exceeded")


def test_batches_at_once(service, name):
    """More than there are workers; each gets its own."""
    def there_and_back(n):
        texts = [kms.b64(f"{n}.{i}".encode()) for i in range(16)]
        sealed = results(batch(service, "encrypt", name, [{"plaintext": text} for text in texts]))
        opened = results(batch(service, "decrypt", name, [{"ciphertext": item["ciphertext"]} for item in sealed]))
        return [item["plaintext"] for item in opened] == texts
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(there_and_back, range(8)))


# the trail

def test_one_record_per_operation(service, name):
    token_id = json.loads((service.dir / "transit.json").read_text())["TokenId"]
    before = len(service.audit())
    sealed = encrypted(service, name)
    decrypted(service, name, sealed)
    refused(write(service, f"decrypt/{name}", {"ciphertext": sealed, "context": "YQ=="}), 400)
    records = service.audit()[before:]
    assert [(r["eventName"], r.get("errorCode")) for r in records] == [
        ("Encrypt", None), ("Decrypt", None), ("Decrypt", "InvalidCiphertextException")]
    assert {r["userIdentity"]["accessKeyId"] for r in records} == {token_id}


def test_creating_is_two_operations(service):
    before = len(service.audit())
    write(service, "keys/two-steps")
    assert [(r["eventName"], r.get("errorCode")) for r in service.audit()[before:]] == [
        ("DescribeKey", "NotFoundException"), ("CreateKey", None), ("CreateKey", None), ("CreateAlias", None),
        ("CreateAlias", None)]
    service.audit_verify()


def test_urls_in_the_form_of_proxies(service, name):
    """An absolute target means the same path."""
    target = urllib.parse.urljoin(service.url, f"{KEYS}/{name}")
    assert data(ask(service, "GET", target))["name"] == name
