"""The KES door: a client with a certificate that it made itself, as `kes identity new` does."""

import base64
import concurrent.futures
import datetime
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import tempfile
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

import kms
from faults import CRYPTO, DEVICE_ERROR, FaultyRig, everywhere
from kms import b64, client_program, unb64

FORBIDDEN = (403, "not authorized: insufficient permissions")
MISSING = (404, "key does not exist")
EXISTS = (400, "key already exists")
NOT_AUTHENTIC = (400, "decryption failed: ciphertext is not authentic")
NOT_OFFERED = (501, "not implemented")
DAY = datetime.timedelta(days=1)
EVERYTHING = {"Version": "2012-10-17",
              "Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]}


class Identity:
    """A key and its self-signed certificate; spki is what KES calls the identity."""

    def __init__(self, folder, name, key=None, begins=-DAY, ends=90 * DAY):
        key = key or ed25519.Ed25519PrivateKey.generate()
        now = datetime.datetime.utcnow()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        certificate = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
                       .public_key(key.public_key()).serial_number(x509.random_serial_number())
                       .not_valid_before(now + begins).not_valid_after(now + ends)
                       .sign(key, algorithm))
        self.path = str(folder / f"{name}.pem")
        pathlib.Path(self.path).write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM) +
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                              serialization.NoEncryption()))
        self.spki = hashlib.sha256(key.public_key().public_bytes(
            serialization.Encoding.DER,
            serialization.PublicFormat.SubjectPublicKeyInfo)).hexdigest()


class Kes:
    """A client of the KES door, with or without an identity."""

    def __init__(self, rig, identity=None, version=None, address=None):
        self.rig, self.identity = rig, identity
        self.host, self.port = (address or rig.exports["HSMKMS_KES_ADDR"]).split(":")
        self.context = ssl.create_default_context(cafile=rig.exports["AWS_CA_BUNDLE"])
        if version:
            self.context.minimum_version = self.context.maximum_version = version
        if identity:
            self.context.load_cert_chain(identity.path)
        self.connection = None

    def send(self, method, path, body=None, headers=None):
        """Status, headers and body as they are."""
        if self.connection is None:
            self.connection = http.client.HTTPSConnection(self.host, int(self.port), timeout=60,
                                                          context=self.context)
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        self.connection.request(method, path, body=body, headers=headers or {})
        answer = self.connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def good(self, method, path, body=None):
        """The answer to a request that succeeds: an object, or None without a body."""
        status, headers, text = self.send(method, path, body)
        assert status == 200, text
        if not text:
            assert headers["content-length"] == "0"
            return None
        assert headers["content-type"] == "application/json"
        return json.loads(text)

    def fails(self, method, path, body=None):
        """Status and message of one that does not."""
        status, headers, text = self.send(method, path, body)
        assert status >= 400, text
        assert headers["content-type"] == "application/json", text
        answer = json.loads(text)
        assert list(answer) == ["message"]
        return status, answer["message"]

    def create(self, name):
        assert self.good("POST", f"/v1/key/create/{name}") is None

    def names(self, prefix=""):
        found, at = [], prefix
        for _ in range(20):
            page = self.good("GET", f"/v1/key/list/{at}" if at else "/v1/key/list")
            found += page["names"]
            at = page["continue_at"]
            if not at:
                return found
        raise AssertionError("the list has no end")


def allow(rig, user, document):
    subprocess.run(rig.exports["HSMKMS_ADMIN"].split() +
                   ["policy", "put", "--user", user, "--name", "kes", "-"],
                   input=json.dumps(document), text=True, check=True, stdout=subprocess.DEVNULL,
                   timeout=60)


@pytest.fixture(scope="module")
def service():
    rig = kms.Rig(tls=True)
    rig.folder = pathlib.Path(tempfile.mkdtemp(prefix="hkkes", dir="/tmp"))
    rig.minio = Identity(rig.folder, "minio")
    rig.admin("user", "create", "minio")
    allow(rig, "minio", EVERYTHING)
    rig.admin("cert", "bind", "--user", "minio", "--label", "cluster 1", rig.minio.spki)
    yield rig
    alive = rig.running()
    log = rig.log()
    rig.down()
    shutil.rmtree(rig.folder)
    assert alive, log[-3000:]


@pytest.fixture()
def kes(service):
    return Kes(service, service.minio)


@pytest.fixture()
def name(kes):
    fresh = f"k{os.urandom(8).hex()}"
    kes.create(fresh)
    return fresh


def configure(rig, old, new):
    path = rig.dir / "hsmkms.conf"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def calls(rig, operation):
    return [r for r in rig.audit() if r.get("eventName") == operation]


# --- every route -----------------------------------------------------------------------------------


def test_version_needs_no_certificate(service):
    assert Kes(service).good("GET", "/version")["version"].startswith("hsmkms ")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_identity(service, version):
    me = Kes(service, service.minio, version).good("GET", "/v1/identity/self/describe")
    assert me["identity"] == service.minio.spki and me["admin"] is False and me["policy"] == "minio"


def test_service_routes(service, kes):
    assert kes.good("GET", "/v1/ready") is None
    status = kes.good("GET", "/v1/status")
    assert status["keystore_unreachable"] is False and status["keystore_unavailable"] is False
    assert status["num_cpu"] > 0 and status["uptime"] >= 0 and status["mem_heap_used"] > 0
    code, headers, text = kes.send("GET", "/v1/metrics")
    assert code == 200 and headers["content-type"].startswith("text/plain")
    assert re.search(rb"^kes_http_request_success [1-9]", text, re.M)
    api = kes.good("GET", "/v1/api")
    assert {"method": "DELETE", "path": "/v1/key/delete/", "max_body": 0, "timeout": 15} in api
    assert any(row["path"] == "/v1/key/hmac/" for row in api)
    assert not any("import" in row["path"] for row in api)


def test_describe(kes, name):
    key = kes.good("GET", f"/v1/key/describe/{name}")
    made = datetime.datetime.strptime(key["created_at"], "%Y-%m-%dT%H:%M:%S%z")
    assert abs(datetime.datetime.now(datetime.timezone.utc) - made) < DAY
    assert (key["name"], key["algorithm"], key["created_by"]) == (name, "AES256", "")


@pytest.mark.parametrize("verb", ["POST", "PUT"])
def test_data_keys(kes, verb):
    name = f"verb{os.urandom(6).hex()}"
    assert kes.good(verb, f"/v1/key/create/{name}") is None
    made = kes.good(verb, f"/v1/key/generate/{name}", {"context": b64(b"c")})
    assert set(made) == {"plaintext", "ciphertext"} and len(unb64(made["plaintext"])) == 32
    opened = kes.good(verb, f"/v1/key/decrypt/{name}",
                      {"ciphertext": made["ciphertext"], "context": b64(b"c")})
    assert opened == {"plaintext": made["plaintext"]}
    sealed = kes.good(verb, f"/v1/key/encrypt/{name}", {"plaintext": b64(b"x" * 4096)})
    assert set(sealed) == {"ciphertext"}
    assert unb64(kes.good(verb, f"/v1/key/decrypt/{name}", sealed)["plaintext"]) == b"x" * 4096


def test_context_is_bound(kes, name):
    contexts = [None, b"", b"{}", b"{ }", b'{"a":"b"}', b'{"a": "b"}', b'{"a":"b","c":"d"}',
                b'{"c":"d","a":"b"}', b"a", b"[]", b'{"a":1}', b"\xff\x00", b'{"":""}']
    sealed = {}
    for context in contexts:
        body = {} if context is None else {"context": b64(context)}
        sealed[context] = (body, kes.good("PUT", f"/v1/key/generate/{name}", body))
    for context, (_, made) in sealed.items():
        for other, (body, _) in sealed.items():
            path, request = f"/v1/key/decrypt/{name}", {**body, "ciphertext": made["ciphertext"]}
            if (context or b"") == (other or b""):
                assert kes.good("PUT", path, request)["plaintext"] == made["plaintext"]
            else:
                assert kes.fails("PUT", path, request) == NOT_AUTHENTIC, (context, other)


def test_the_aws_api_opens_what_minio_sealed(service, kes, name):
    made = kes.good("PUT", f"/v1/key/generate/{name}",
                    {"context": b64(b'{"bucket":"bucket/object"}')})
    opened = service.call("Decrypt", {"CiphertextBlob": made["ciphertext"],
                                      "EncryptionContext": {"bucket": "bucket/object"}})
    assert opened.status == 200 and opened.json["Plaintext"] == made["plaintext"]
    assert service.call("Decrypt", {"CiphertextBlob": made["ciphertext"]}).status == 400


def test_list(kes):
    mark = f"l{os.urandom(6).hex()}"
    for i in range(3):
        kes.create(f"{mark}-{i}")
    wanted = [f"{mark}-{i}" for i in range(3)]
    for prefix in (mark, f"{mark}*", f"{mark}%2A", f"{mark}-"):
        assert kes.names(prefix) == wanted
    assert kes.names(f"{mark}-1") == [f"{mark}-1"] and kes.names(f"{mark}-3") == []
    assert set(wanted) <= set(kes.names()) and set(wanted) <= set(kes.names("*"))
    for bad in ("a.b", "a/b", "a**", "*a", "%00", "%zz", "a~!", "x" * 81, "x" * 2000):
        assert kes.fails("GET", f"/v1/key/list/{bad}")[0] == 400, bad
    assert kes.fails("GET", "/v1/key/list/~AAAA")[0] == 400


def test_list_goes_on(new_rig):
    rig = new_rig(tls=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hkkes", dir="/tmp"))
    try:
        me = Identity(folder, "me")
        rig.admin("user", "create", "me")
        allow(rig, "me", EVERYTHING)
        rig.admin("cert", "bind", "--user", "me", me.spki)
        boto, count = rig.boto(), 50 if kms.SANITIZED else 1050
        for i in range(count):
            key = rig.key() if i % 50 == 0 else key
            boto.create_alias(AliasName=f"alias/n{i:05}", TargetKeyId=key)
        names = Kes(rig, me).names("n")
        assert names == sorted(names) and len(names) == count
        page = Kes(rig, me).good("GET", "/v1/key/list/n")
        assert bool(page["continue_at"]) == (count > 1000)
    finally:
        shutil.rmtree(folder)


def test_delete(service, kes, name):
    key = service.call("DescribeKey", {"KeyId": f"alias/{name}"}).json["KeyMetadata"]
    made = kes.good("PUT", f"/v1/key/generate/{name}", {})
    assert kes.good("DELETE", f"/v1/key/delete/{name}") is None
    assert kes.fails("DELETE", f"/v1/key/delete/{name}") == MISSING
    assert kes.fails("GET", f"/v1/key/describe/{name}") == MISSING
    assert kes.fails("PUT", f"/v1/key/generate/{name}", {}) == MISSING
    state = service.call("DescribeKey", {"KeyId": key["KeyId"]}).json["KeyMetadata"]
    assert state["KeyState"] == "PendingDeletion"
    assert kes.fails("PUT", f"/v1/key/generate/{key['KeyId']}", {}) == FORBIDDEN
    kes.create(name)
    assert kes.fails("PUT", f"/v1/key/decrypt/{name}",
                     {"ciphertext": made["ciphertext"]}) == NOT_AUTHENTIC
    assert kes.good("DELETE", f"/v1/key/delete/{name}") is None


def test_keys_by_their_id(service, kes):
    key = service.call("CreateKey", {}).json["KeyMetadata"]["KeyId"]
    made = kes.good("PUT", f"/v1/key/generate/{key}", {})
    assert kes.good("PUT", f"/v1/key/decrypt/{key}", {"ciphertext": made["ciphertext"]})
    assert kes.fails("PUT", f"/v1/key/create/{key}")[0] == 400
    assert kes.good("DELETE", f"/v1/key/delete/{key}") is None


def test_what_is_not_offered(kes, name):
    for verb, path in (("PUT", f"/v1/key/import/{name}"), ("PUT", f"/v1/key/bulk/decrypt/{name}"),
                       ("GET", "/v1/policy/describe/x"), ("GET", "/v1/identity/list/"),
                       ("GET", "/v1/log/audit")):
        assert kes.fails(verb, path) == NOT_OFFERED, path


# --- MinIO -----------------------------------------------------------------------------------------


def test_minio_starts_and_serves(kes):
    name = f"minio{os.urandom(6).hex()}"
    empty = {"context": b64(b"{}")}
    assert kes.fails("PUT", f"/v1/key/generate/{name}", empty) == MISSING
    assert kes.good("POST", f"/v1/key/create/{name}") is None
    assert kes.fails("POST", f"/v1/key/create/{name}") == EXISTS
    assert len(unb64(kes.good("PUT", f"/v1/key/generate/{name}", empty)["plaintext"])) == 32
    macs = {mac_of(kes, name, message) for message in (b"root access key", b"root secret key")}
    assert len(macs) == 2
    assert kes.good("GET", f"/v1/key/describe/{name}")["name"] == name
    assert kes.good("GET", "/v1/status")
    assert kes.good("PUT", f"/v1/key/generate/{name}", {"context": b64(b'{"healthcheck":""}')})
    for i in range(5):
        context = b64(json.dumps({"bucket": f"bucket/a&b {i}"}, separators=(",", ":")).encode())
        put = kes.good("PUT", f"/v1/key/generate/{name}", {"context": context})
        got = kes.good("PUT", f"/v1/key/decrypt/{name}",
                       {"ciphertext": put["ciphertext"], "context": context})
        assert got["plaintext"] == put["plaintext"]


# --- MACs ------------------------------------------------------------------------------------------


def mac_of(client, name, message=b"words", verb="PUT"):
    answer = client.good(verb, f"/v1/key/hmac/{name}", {"message": b64(message)})
    assert set(answer) == {"hmac"} and len(unb64(answer["hmac"])) == 32
    return answer["hmac"]


def companion_of(service, name):
    key = service.call("DescribeKey", {"KeyId": f"alias/{name}"}).json["KeyMetadata"]["KeyId"]
    return service.call("DescribeKey", {"KeyId": f"alias/kes-hmac/{key}"}).json["KeyMetadata"]


def test_hmac(service, kes, name):
    other = f"k{os.urandom(8).hex()}"
    kes.create(other)
    mac = mac_of(kes, name)
    assert mac == mac_of(kes, name, verb="POST") != mac_of(kes, other)
    assert mac != mac_of(kes, name, b"word") and mac_of(kes, name, b"x" * 4096)
    companion = companion_of(service, name)
    assert companion["KeySpec"] == "HMAC_256"
    again = service.call("GenerateMac", {"KeyId": companion["KeyId"], "MacAlgorithm": "HMAC_SHA_256",
                                         "Message": b64(b"words")})
    assert again.json["Mac"] == mac
    key = service.call("DescribeKey", {"KeyId": f"alias/{name}"}).json["KeyMetadata"]["KeyId"]
    assert mac_of(kes, key) == mac, "by the key's id"
    assert service.call("RotateKeyOnDemand", {"KeyId": key}).status == 200
    assert mac_of(kes, name) == mac, "what was derived from it is for ever"
    assert not [found for found in kes.names() if "hmac" in found]


@pytest.mark.parametrize("body", [{}, {"message": ""}, {"message": "!"}, {"message": 5},
                                  {"message": b64(b"x" * 4097)}, b"", b"[]", b"{"])
def test_hmac_of_nothing_good(kes, name, body):
    assert kes.fails("PUT", f"/v1/key/hmac/{name}", body)[0] == 400


def test_hmac_of_no_key(service, kes):
    assert kes.fails("PUT", "/v1/key/hmac/absent", {"message": b64(b"x")}) == MISSING
    key = service.call("CreateKey", {}).json["KeyMetadata"]["KeyId"]
    assert kes.fails("PUT", f"/v1/key/hmac/{key}", {"message": b64(b"x")}) == NOT_OFFERED


def test_hmac_goes_with_its_key(service, kes, name):
    mac, companion = mac_of(kes, name), companion_of(service, name)
    key = service.call("DescribeKey", {"KeyId": f"alias/{name}"}).json["KeyMetadata"]["KeyId"]
    service.ok("DisableKey", KeyId=key)
    assert kes.fails("PUT", f"/v1/key/hmac/{name}", {"message": b64(b"words")}) == FORBIDDEN
    service.ok("EnableKey", KeyId=key)
    assert mac_of(kes, name) == mac
    assert kes.good("DELETE", f"/v1/key/delete/{name}") is None
    assert kes.fails("PUT", f"/v1/key/hmac/{name}", {"message": b64(b"words")}) == MISSING
    for each in (key, companion["KeyId"]):
        state = service.ok("DescribeKey", KeyId=each)["KeyMetadata"]["KeyState"]
        assert state == "PendingDeletion"
    kes.create(name)
    assert mac_of(kes, name) != mac, "a new key of the old name"
    for each in (key, companion["KeyId"]):  # recovered under its id
        service.ok("CancelKeyDeletion", KeyId=each)
        service.ok("EnableKey", KeyId=each)
    assert mac_of(kes, key) == mac


def test_hmac_survives_a_restart(new_rig):
    rig = new_rig(tls=True)
    with tempfile.TemporaryDirectory(prefix="hkkes", dir="/tmp") as folder:
        who = Identity(pathlib.Path(folder), "minio")
        rig.admin("user", "create", "minio")
        allow(rig, "minio", EVERYTHING)
        rig.admin("cert", "bind", "--user", "minio", who.spki)
        Kes(rig, who).create("a")
        mac = mac_of(Kes(rig, who), "a")
        rig.kill()
        rig.start()
        assert mac_of(Kes(rig, who), "a") == mac


def test_all_nodes_create_at_once(service):
    name = f"race{os.urandom(6).hex()}"
    before = len(calls(service, "CreateKey"))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(
            lambda _: Kes(service, service.minio).send("POST", f"/v1/key/create/{name}"), range(8)))
    assert sorted(a[0] for a in answers) == [200] + [400] * 7
    assert len([r for r in calls(service, "CreateKey")[before:] if not r.get("errorCode")]) <= 4


def test_policy_sees_the_bucket(service, name):
    who = Identity(service.folder, "bucketeer")
    service.admin("user", "create", "bucketeer")
    service.admin("cert", "bind", "--user", "bucketeer", who.spki.upper())
    allow(service, "bucketeer", {"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "kms:GenerateDataKey", "Resource": "*",
        "Condition": {"StringLike": {"kms:EncryptionContext:red": "red/*"}}}]})
    client = Kes(service, who)
    path = f"/v1/key/generate/{name}"
    assert client.good("PUT", path, {"context": b64(b'{"red":"red/object"}')})
    assert client.good("PUT", path, {"context": b64(b'{"red":"red/a\\u0026b"}')})
    for context in (b'{"blue":"blue/object"}', b'{"red":"blue/object"}', b"{}", b"red"):
        assert client.fails("PUT", path, {"context": b64(context)}) == FORBIDDEN
    assert client.fails("GET", f"/v1/key/describe/{name}") == FORBIDDEN
    assert client.fails("POST", "/v1/key/create/another") == FORBIDDEN
    assert client.fails("DELETE", f"/v1/key/delete/{name}") == FORBIDDEN
    assert client.fails("GET", "/v1/key/list/") == FORBIDDEN


def test_rights_that_the_readme_names(service):
    who, name = Identity(service.folder, "modest"), f"m{os.urandom(6).hex()}"
    service.admin("user", "create", "modest")
    service.admin("cert", "bind", "--user", "modest", who.spki)
    client, rights = Kes(service, who), []
    for route, needed in (
            (("POST", f"/v1/key/create/{name}"), ("CreateKey", "CreateAlias", "ScheduleKeyDeletion")),
            (("GET", f"/v1/key/describe/{name}"), ("DescribeKey",)),
            (("PUT", f"/v1/key/generate/{name}", {}), ("GenerateDataKey",)),
            (("PUT", f"/v1/key/encrypt/{name}", {"plaintext": b64(b"x")}), ("Encrypt",)),
            (("PUT", f"/v1/key/hmac/{name}", {"message": b64(b"x")}), ("GenerateMac",)),
            (("GET", f"/v1/key/list/{name}"), ("ListAliases",)),
            (("DELETE", f"/v1/key/delete/{name}"), ("DeleteAlias",))):
        assert client.fails(*route) == FORBIDDEN, route
        rights += [f"kms:{action}" for action in needed]
        allow(service, "modest", {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": rights, "Resource": "*"}]})
        client.good(*route)


# --- who -------------------------------------------------------------------------------------------


def test_no_certificate(service, name):
    nobody = Kes(service)
    for verb, path in (("GET", "/v1/ready"), ("GET", "/v1/status"), ("GET", "/v1/metrics"),
                       ("GET", "/v1/api"), ("PUT", f"/v1/key/generate/{name}"),
                       ("PUT", f"/v1/key/hmac/{name}"), ("POST", "/v1/key/create/nobodys")):
        assert nobody.fails(verb, path) == (400, "a client certificate is required"), path
    assert not service.call("DescribeKey", {"KeyId": "alias/nobodys"}).status == 200


def test_unknown_identity(service, name):
    stranger = Kes(service, Identity(service.folder, "stranger"))
    assert stranger.good("GET", "/version")
    for verb, path in (("GET", "/v1/ready"), ("GET", "/v1/identity/self/describe"),
                       ("PUT", f"/v1/key/generate/{name}"), ("POST", "/v1/key/create/strangers")):
        assert stranger.fails(verb, path) == FORBIDDEN, path


def test_a_name_in_a_certificate_means_nothing(service, name):
    assert Kes(service, Identity(service.folder, "minio-too")).fails(
        "PUT", f"/v1/key/generate/{name}", {}) == FORBIDDEN


def test_other_keys_and_dates(service, name):
    service.admin("user", "create", "others")
    allow(service, "others", EVERYTHING)
    for label, more in (("ecdsa", {"key": ec.generate_private_key(ec.SECP256R1())}),
                        ("late", {"begins": -3 * DAY, "ends": -DAY}), ("early", {"begins": DAY})):
        who = Identity(service.folder, label, **more)
        service.admin("cert", "bind", "--user", "others", who.spki)
        assert Kes(service, who).good("PUT", f"/v1/key/generate/{name}", {})


def test_unbound_disabled_and_deleted(service, name):
    who = Identity(service.folder, "leaver")
    service.admin("user", "create", "leaver")
    allow(service, "leaver", EVERYTHING)
    service.admin("cert", "bind", "--user", "leaver", who.spki)
    client, path = Kes(service, who), f"/v1/key/generate/{name}"
    assert client.good("PUT", path, {})
    service.admin("user", "disable", "leaver")
    assert client.fails("PUT", path, {}) == FORBIDDEN
    service.admin("user", "enable", "leaver")
    assert client.good("PUT", path, {})
    service.admin("cert", "unbind", who.spki)
    assert client.fails("PUT", path, {}) == FORBIDDEN
    service.admin("cert", "bind", "--user", "leaver", who.spki)
    assert client.good("PUT", path, {})
    service.admin("policy", "delete", "--user", "leaver", "--name", "kes")
    service.admin("user", "delete", "leaver")
    service.admin("user", "create", "leaver")
    allow(service, "leaver", EVERYTHING)
    assert client.fails("PUT", path, {}) == FORBIDDEN  # somebody else of the same name
    assert service.admin("cert", "bind", "--user", "leaver", who.spki, check=False).returncode
    service.admin("cert", "unbind", who.spki)


def test_bindings(service):
    listed = json.loads(service.admin("cert", "list").stdout)["Certificates"]
    assert [(c["UserName"], c["Label"]) for c in listed if c["Certificate"] == service.minio.spki] \
        == [("minio", "cluster 1")]
    for arguments in (("bind", service.minio.spki), ("bind", "--user", "minio", "abc"),
                      ("bind", "--user", "minio", "g" * 64), ("unbind", "0" * 64),
                      ("bind", "--user", "nobody", "0" * 64),
                      ("bind", "--user", "minio", "--label", "a\nb", "0" * 64)):
        assert service.admin("cert", *arguments, check=False).returncode, arguments
    assert json.loads(service.admin("cert", "list").stdout)["Certificates"] == listed


def test_bindings_survive_a_kill(new_rig):
    rig = new_rig(tls=True)
    rig.admin("user", "create", "one")
    rig.admin("cert", "bind", "--user", "one", "ab" * 32)
    rig.admin("cert", "bind", "--user", "one", "cd" * 32)
    rig.admin("cert", "unbind", "ab" * 32)
    before = rig.admin("cert", "list").stdout
    rig.kill()
    rig.start()
    assert rig.admin("cert", "list").stdout == before and "cd" * 32 in before


def test_open_probes(new_rig):
    rig = new_rig(tls=True, conf="[kes]\nopen_probes = yes")
    nobody = Kes(rig)
    assert nobody.good("GET", "/v1/ready") is None and nobody.good("GET", "/v1/status")
    assert nobody.send("GET", "/v1/metrics")[0] == 200
    assert nobody.fails("GET", "/v1/api")[0] == 400


def test_beside_the_aws_api(new_rig):
    rig = new_rig(tls=True, conf="[https]\nclient_certificates = request")
    configure(rig, "doors = aws", "doors = aws kes")
    rig.restart()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hkkes", dir="/tmp"))
    try:
        me = Identity(folder, "me")
        rig.admin("user", "create", "me")
        allow(rig, "me", EVERYTHING)
        rig.admin("cert", "bind", "--user", "me", me.spki)
        client = Kes(rig, me, address=f"{rig.host}:{rig.port}")
        client.create("beside")
        assert client.good("PUT", "/v1/key/generate/beside", {})
        assert rig.boto().describe_key(KeyId="alias/beside")
        assert Kes(rig, address=f"{rig.host}:{rig.port}").fails(
            "PUT", "/v1/key/generate/beside", {}) == (400, "a client certificate is required")
    finally:
        shutil.rmtree(folder)


def test_settings_that_cannot_be(new_rig):
    rig = new_rig(tls=True)
    text = (rig.dir / "hsmkms.conf").read_text()
    rig.stop()
    for old, new, said in (("doors = aws", "doors = aws kes", "client_certificates"),
                           ("[ops]", "[http]\ndoors = kes\n[ops]", "kes is a door of https"),
                           ("[kes]", "[kes]\ncertificate = /nothing", "/nothing"),
                           ("[kes]", "[kes]\ndeletion_window = 6", "deletion_window")):
        configure(rig, old, new)
        assert rig.start(check=False) and said in rig.log().splitlines()[-1], new
        (rig.dir / "hsmkms.conf").write_text(text)
    rig.start()


def test_the_trail_says_who(service, kes, name):
    kes.good("PUT", f"/v1/key/generate/{name}", {"context": b64(b'{"b":"b/o"}')})
    record = calls(service, "GenerateDataKey")[-1]
    assert record["userIdentity"]["userName"] == "minio"
    assert record["userIdentity"]["accessKeyId"] == service.minio.spki
    assert record["requestParameters"]["encryptionContext"] == {"b": "b/o"}
    bound = [r for r in calls(service, "BindCertificate")]
    assert bound


# --- what is wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["", "-", "-a", "a-", "_", "a.b", "a:b", "a%2Fb", "a%00", "a%2",
                                 "alias%2Fa", "%C3%A4", "a%20b", "long", "longer"])
def test_bad_names(service, kes, bad):
    bad = {"long": "x" * 81, "longer": "x" * 3000}.get(bad, bad)
    before = len(calls(service, "CreateKey"))
    for verb, route in (("PUT", "create"), ("GET", "describe"), ("PUT", "generate"),
                        ("DELETE", "delete")):
        status, _ = kes.fails(verb, f"/v1/key/{route}/{bad}")
        assert status in (400, 404) and (status == 404) <= (bad == "")
    assert len(calls(service, "CreateKey")) == before


@pytest.mark.parametrize("good", ["a", "A_b-9", "_a", "__", "x" * 80])
def test_good_names(kes, good):
    status, _, text = kes.send("PUT", f"/v1/key/create/{good}")
    assert status == 200 or json.loads(text)["message"] == EXISTS[1]
    assert kes.good("PUT", f"/v1/key/generate/{good}", {})


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"1", b'{"context":1}', b'{"context":"%%"}',
                                  b'{"context":"YQ"}', b'{"context":"YR=="}', b'{"a":1,"a":1}',
                                  b"\xff", b'{"context":["YQ=="]}', b"[" * 5000])
def test_bad_bodies(kes, name, body):
    assert kes.fails("PUT", f"/v1/key/generate/{name}", body)[0] == 400
    assert kes.fails("PUT", f"/v1/key/decrypt/{name}", body)[0] == 400
    assert kes.fails("PUT", f"/v1/key/encrypt/{name}", body)[0] == 400


def test_what_cannot_be_decrypted(kes, name):
    path = f"/v1/key/decrypt/{name}"
    made = kes.good("PUT", f"/v1/key/generate/{name}", {})
    blob = unb64(made["ciphertext"])
    for at in (0, 5, len(blob) // 2, len(blob) - 1):
        changed = bytearray(blob)
        changed[at] ^= 1
        assert kes.fails("PUT", path, {"ciphertext": b64(bytes(changed))}) == NOT_AUTHENTIC
    assert kes.fails("PUT", path, {"ciphertext": b64(blob[:-1])}) == NOT_AUTHENTIC
    assert kes.fails("PUT", path, {})[0] == 400
    assert kes.fails("PUT", path, {"ciphertext": "?"})[0] == 400
    other = f"o{os.urandom(6).hex()}"
    kes.create(other)
    assert kes.fails("PUT", f"/v1/key/decrypt/{other}",
                     {"ciphertext": made["ciphertext"]}) == NOT_AUTHENTIC
    assert kes.fails("PUT", "/v1/key/decrypt/nothing",
                     {"ciphertext": made["ciphertext"]})[0] in (400, 404)


def test_disabled_key(service, kes, name):
    key = service.call("DescribeKey", {"KeyId": f"alias/{name}"}).json["KeyMetadata"]["KeyId"]
    service.call("DisableKey", {"KeyId": key})
    assert kes.fails("PUT", f"/v1/key/generate/{name}", {}) == FORBIDDEN
    service.call("EnableKey", {"KeyId": key})
    assert kes.good("PUT", f"/v1/key/generate/{name}", {})


def test_verbs_and_paths(kes, name):
    for verb, path in (("GET", f"/v1/key/create/{name}"), ("GET", f"/v1/key/generate/{name}"),
                       ("DELETE", f"/v1/key/decrypt/{name}"), ("PUT", f"/v1/key/describe/{name}"),
                       ("POST", f"/v1/key/delete/{name}"), ("POST", "/version"),
                       ("PATCH", "/v1/status"), ("PUT", "/v1/key/list/a")):
        assert kes.fails(verb, path) == (405, "method not allowed"), path
    for path in ("/", "/v1", "/v1/key", "/v1/key/unknown/a", "/version/", "/versions", "/v2/status",
                 "/v1/statusx", "/v1/transit/keys/a"):
        assert kes.fails("GET", path) == (404, "not found"), path
    assert kes.good("GET", f"/v1/key/describe/{name}?x=1")["name"] == name


def test_large_bodies(kes, name):
    assert kes.fails("PUT", f"/v1/key/encrypt/{name}", {"plaintext": b64(b"x" * 4097)})[0] == 400
    assert kes.fails("PUT", f"/v1/key/encrypt/{name}", {"plaintext": ""})[0] == 400
    assert kes.fails("PUT", f"/v1/key/generate/{name}", {"context": b64(b"x" * 8193)})[0] == 400
    assert kes.fails("PUT", f"/v1/key/generate/{name}", b" " * 600000)[0] == 413


# --- a token that fails, a certificate that is renewed -----------------------------------------------


@pytest.fixture()
def faulty():
    rig = FaultyRig(tls=True)
    rig.folder = pathlib.Path(tempfile.mkdtemp(prefix="hkkes", dir="/tmp"))
    rig.me = Identity(rig.folder, "me")
    rig.admin("user", "create", "me")
    allow(rig, "me", EVERYTHING)
    rig.admin("cert", "bind", "--user", "me", rig.me.spki)
    yield rig
    rig.rules()
    shutil.rmtree(rig.folder)
    rig.down()


def test_token_fails(faulty):
    client = Kes(faulty, faulty.me)
    client.create("before")
    made = client.good("PUT", "/v1/key/generate/before", {})
    faulty.rules(*everywhere(f"rv={DEVICE_ERROR:#x}", CRYPTO + ("C_GenerateKey",)))
    for verb, path, body in (("PUT", "/v1/key/generate/before", {}),
                             ("PUT", "/v1/key/decrypt/before", {"ciphertext": made["ciphertext"]}),
                             ("POST", "/v1/key/create/during", None)):
        assert client.fails(verb, path, body)[0] in (500, 503), path
    faulty.wait_health(503)
    assert client.fails("GET", "/v1/ready")[0] == 504
    status = client.good("GET", "/v1/status")
    assert status["keystore_unreachable"] and status["keystore_unavailable"]
    faulty.rules()
    faulty.wait_health(200)
    assert client.good("GET", "/v1/ready") is None
    assert client.good("PUT", "/v1/key/decrypt/before", {"ciphertext": made["ciphertext"]}) == \
        {"plaintext": made["plaintext"]}
    client.create("during")
    assert client.names() == ["before", "during"]


def test_certificate_is_renewed(new_rig):
    rig = new_rig(tls=True)
    folder = rig.dir / "tls2"
    folder.mkdir()
    for name in ("certificate.pem", "key.pem"):
        shutil.copy(rig.dir / "tls" / name, folder)
    configure(rig, "[kes]", f"[kes]\ncertificate = {folder}/certificate.pem\nkey = {folder}/key.pem")
    rig.restart()
    assert Kes(rig).good("GET", "/version")
    server = Identity(folder, "localhost", key=ec.generate_private_key(ec.SECP256R1()))
    shutil.copy(server.path, folder / "certificate.pem")
    shutil.copy(server.path, folder / "key.pem")
    before = rig.log().count("event=reloaded")
    os.kill(rig.pid, signal.SIGHUP)
    for _ in range(600):
        if rig.log().count("event=reloaded") > before:
            break
        time.sleep(0.05)
    host, port = rig.exports["HSMKMS_KES_ADDR"].split(":")
    shown = x509.load_pem_x509_certificate(ssl.get_server_certificate((host, int(port))).encode())
    assert shown.subject.rfc4514_string() == "CN=localhost"
    text = shown.public_key().public_bytes(serialization.Encoding.DER,
                                           serialization.PublicFormat.SubjectPublicKeyInfo)
    assert hashlib.sha256(text).hexdigest() == server.spki


# --- MinIO's own client ----------------------------------------------------------------------------

def test_go_client(service):
    """kms-go/kes, as tests/api/clients.sh built it."""
    program = client_program("go", "kes", made_by="kms-go")
    seed = os.urandom(32)
    api_key = "kes:v1:" + base64.b64encode(b"\0" + seed).decode()
    key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
    identity = Identity(service.folder, "go", key=key).spki
    service.admin("cert", "bind", "--user", "minio", identity)
    ran = subprocess.run([program, service.exports["HSMKMS_KES_ADDR"],
                          service.exports["AWS_CA_BUNDLE"], f"go{os.urandom(6).hex()}", identity],
                         input=api_key, text=True, timeout=120, check=False,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert ran.returncode == 0, ran.stdout
    assert "all good" in ran.stdout
