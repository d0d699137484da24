"""Client certificates: ordinary clients with every kind of certificate at the TLS listener."""

import datetime
import hashlib
import http.client
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

import botocore.exceptions
import pytest
from botocore.config import Config

import kms

DAY = datetime.timedelta(days=1)
HOUR = datetime.timedelta(hours=1)
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
NO_SERVICE = (ssl.SSLError, ConnectionError, http.client.HTTPException, socket.timeout)


def stamp(ahead):
    """A time so far from now, as openssl ca takes it."""
    return (datetime.datetime.now(datetime.timezone.utc) + ahead).strftime("%Y%m%d%H%M%SZ")


class Pki:
    """Certificates of one folder, made by openssl ca; names are file names and common names."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hkpki", dir="/tmp"))

    def down(self):
        shutil.rmtree(self.dir, ignore_errors=True)

    def path(self, name):
        return str(self.dir / name)

    def openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], check=True, cwd=self.dir, timeout=60,
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def _config(self, issuer):
        folder = self.dir / f"{issuer}.db"
        if not folder.exists():
            folder.mkdir()
            (folder / "index").touch()
            (folder / "index.attr").write_text("unique_subject = no\n")
            (folder / "conf").write_text(
                f"[ca]\ndefault_ca = x\n[x]\ndatabase = {folder}/index\nnew_certs_dir = {folder}\n"
                "default_md = sha256\npolicy = p\nrand_serial = yes\n[p]\ncommonName = supplied\n"
                "[partial]\nissuingDistributionPoint = critical,@some\n[some]\nonlyuser = TRUE\n")
        return str(folder / "conf")

    def make(self, name, issuer, extensions, begins=-HOUR, ends=DAY, rsa=False):
        """NAME.pem and NAME.key. begins, ends: timedeltas from now; issuer may be the name itself."""
        key = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        self.openssl("req", "-new", "-newkey", *key, "-nodes", "-subj", f"/CN={name}",
                     "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (self.dir / f"{name}.ext").write_text("\n".join(extensions) + "\n")
        own = ["-selfsign"] if issuer == name else ["-cert", f"{issuer}.pem"]
        self.openssl("ca", "-batch", "-notext", "-config", self._config(issuer), *own,
                     "-keyfile", f"{issuer}.key", "-in", f"{name}.csr", "-out", f"{name}.pem",
                     "-startdate", stamp(begins), "-enddate", stamp(ends),
                     "-extfile", f"{name}.ext")

    def ca(self, name, issuer=None, path_length=None, **more):
        limit = "" if path_length is None else f",pathlen:{path_length}"
        self.make(name, issuer or name, [f"basicConstraints=critical,CA:TRUE{limit}",
                                         "keyUsage=critical,keyCertSign,cRLSign",
                                         "subjectKeyIdentifier=hash"], **more)

    def client(self, name, issuer="root", purpose="clientAuth", chain=(), **more):
        """The certificate of a client; its file holds the intermediates of chain as well."""
        self.make(name, issuer, ["basicConstraints=critical,CA:FALSE",
                                 "keyUsage=critical,digitalSignature", f"extendedKeyUsage={purpose}",
                                 f"subjectAltName=URI:spiffe://example/{name}"], **more)
        with open(self.path(f"{name}.pem"), "a", encoding="ascii") as file:
            for other in chain:
                file.write((self.dir / f"{other}.pem").read_text())

    def revoke(self, name, issuer="root"):
        self.openssl("ca", "-batch", "-config", self._config(issuer), "-cert", f"{issuer}.pem",
                     "-keyfile", f"{issuer}.key", "-revoke", f"{name}.pem")

    def crl(self, issuers, begins=-HOUR, ends=DAY, file="crl.pem", partial=False):
        """A new file of CRLs. partial: only of end entities, as a critical extension says."""
        extensions = ["-crlexts", "partial"] if partial else []
        text = ""
        for issuer in issuers:
            self.openssl("ca", "-config", self._config(issuer), "-cert", f"{issuer}.pem",
                         "-keyfile", f"{issuer}.key", "-gencrl", "-crl_lastupdate", stamp(begins),
                         "-crl_nextupdate", stamp(ends), "-out", f"{issuer}.crl", *extensions)
            text += (self.dir / f"{issuer}.crl").read_text()
        (self.dir / file).write_text(text)

    def cas(self, names, file="cas.pem"):
        (self.dir / file).write_text("".join((self.dir / f"{n}.pem").read_text() for n in names))

    def spki(self, name):
        """SHA-256 of its public key's DER form, by openssl."""
        pem = subprocess.run(["openssl", "x509", "-in", self.path(f"{name}.pem"), "-noout", "-pubkey"],
                             check=True, stdout=subprocess.PIPE, timeout=60).stdout
        der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], check=True, input=pem,
                             stdout=subprocess.PIPE, timeout=60).stdout
        return hashlib.sha256(der).hexdigest()

    def pair(self, name):
        return self.path(f"{name}.pem"), self.path(f"{name}.key")


def settings(pki, mode="require", crl=True, more=""):
    lines = ["[https]", f"client_certificates = {mode}"]
    if mode == "require":
        lines.append(f"client_ca = {pki.path('cas.pem')}")
        if crl:
            lines.append(f"client_crl = {pki.path('crl.pem')}")
    return "\n".join(lines) + "\n" + more


# what each certificate is, and the reason of its refusal
GOOD = ["good", "rsa", "below-middle", "both-purposes"]
BAD = {"self": "unknown-ca", "stranger": "unknown-ca", "expired": "expired",
       "early": "not-yet-valid", "server": "wrong-purpose", "revoked": "revoked",
       "below-short": "ca-constraint", "below-client": "ca-constraint",
       "orphan": "unknown-ca", "uncovered": "no-crl", "below-revoked": "revoked"}


def fill(pki):
    pki.ca("root")
    pki.ca("other")
    pki.ca("middle", "root")
    pki.ca("bare", "root")  # no CRL of its own
    pki.ca("gone", "root")
    pki.ca("short", "root", path_length=0)
    pki.ca("low", "short")
    pki.client("good")
    pki.client("rsa", rsa=True)
    pki.client("both-purposes", purpose="serverAuth,clientAuth")
    pki.client("below-middle", "middle", chain=["middle"])
    pki.client("orphan", "middle")
    pki.client("uncovered", "bare", chain=["bare"])
    pki.client("below-revoked", "gone", chain=["gone"])
    pki.client("below-short", "low", chain=["low", "short"])
    pki.client("below-client", "good", chain=["good"])
    pki.client("self", "self")
    pki.client("stranger", "other", chain=["other"])
    pki.client("expired", begins=-2 * DAY, ends=-HOUR)
    pki.client("early", begins=HOUR)
    pki.client("server", purpose="serverAuth")
    pki.client("revoked")
    pki.revoke("revoked")
    pki.revoke("gone")
    pki.cas(["root"])
    pki.crl(["root", "middle", "gone", "short", "low", "good"])


@pytest.fixture(scope="module")
def pki():
    made = Pki()
    fill(made)
    yield made
    made.down()


@pytest.fixture()
def own_pki():
    """For tests that change the files."""
    made = Pki()
    made.ca("root")
    made.client("good")
    made.cas(["root"])
    made.crl(["root"])
    yield made
    made.down()


@pytest.fixture(scope="module")
def gated(pki):
    """A service that wants certificates of the module's CA."""
    service = kms.Rig(tls=True, conf=settings(pki))
    yield service
    alive, log = service.running(), service.log()
    service.stop()
    log = service.log()
    service.down()
    assert alive and "Sanitizer" not in log, log[-4000:]


def connect(rig, pair=None, version=None):
    """A connection after its handshake."""
    context = ssl.create_default_context(cafile=rig.exports["AWS_CA_BUNDLE"])
    if pair:
        context.load_cert_chain(*pair)
    if version:
        context.minimum_version = context.maximum_version = version
    connection = http.client.HTTPSConnection(rig.host, rig.port, timeout=30, context=context)
    connection.connect()
    return connection


def served(rig, pair=None, version=None):
    """Whether a signed call is answered by the operation. Any answer at all comes from a door."""
    try:
        connection = connect(rig, pair, version)
        answer = rig.call("ListKeys", connection=connection)
        connection.close()
    except NO_SERVICE:
        return False
    assert answer.status == 200, answer.text
    return True


def boto(rig, pair):
    return rig.boto(config=Config(client_cert=pair, retries={"max_attempts": 0}, read_timeout=60))


def curl(rig, *arguments):
    return subprocess.run(["curl", "-sS", "--cacert", rig.exports["AWS_CA_BUNDLE"], *arguments,
                           "-X", "POST", "-d", "{}", rig.url + "/"], check=False, text=True,
                          timeout=60, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def s_client(rig, *arguments):
    """openssl s_client with one request; all that it says."""
    request = f"POST / HTTP/1.1\r\nHost: {rig.host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    result = subprocess.run(["openssl", "s_client", "-connect", f"{rig.host}:{rig.port}", "-CAfile",
                             rig.exports["AWS_CA_BUNDLE"], "-ign_eof", *arguments], check=False,
                            input=request, text=True, timeout=60, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)
    return result.stdout


def new_log(rig, call):
    """What the daemon logs during a call."""
    before = len(rig.log())
    call()
    return rig.log()[before:]


def reload(rig, expect="event=reloaded"):
    before = rig.log().count(expect)
    os.kill(rig.pid, signal.SIGHUP)
    end = time.monotonic() + 60
    while rig.log().count(expect) == before:
        assert time.monotonic() < end, rig.log()[-2000:]
        time.sleep(0.05)


def refused_in_time(connection, rig):
    """Calls on one connection until it is not served any more; the last answer, None for none."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            answer = rig.call("ListKeys", connection=connection)
        except NO_SERVICE:
            return None
        if answer.status != 200:
            return answer
        time.sleep(0.2)
    raise AssertionError("served for a minute")


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
@pytest.mark.parametrize("name", GOOD)
def test_good_certificates(gated, pki, name, version):
    assert served(gated, pki.pair(name), version)


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
@pytest.mark.parametrize("name", BAD)
def test_bad_certificates(gated, pki, name, version):
    log = new_log(gated, lambda: not served(gated, pki.pair(name), version) or pytest.fail(name))
    assert f"event=client-certificate-refused reason={BAD[name]} when=handshake" in log
    assert f"spki={pki.spki(name)}" in log
    assert served(gated, pki.pair("good"), version)


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
def test_no_certificate(gated, version):
    log = new_log(gated, lambda: not served(gated, None, version) or pytest.fail("served"))
    assert "reason=no-certificate" in log


def test_boto3(gated, pki):
    assert boto(gated, pki.pair("good")).list_keys()["Keys"] is not None
    for pair in [None, *(pki.pair(name) for name in BAD)]:
        with pytest.raises(botocore.exceptions.BotoCoreError):
            boto(gated, pair).list_keys()


def test_curl(gated, pki):
    good = curl(gated, "--cert", pki.path("good.pem"), "--key", pki.path("good.key"))
    assert "MissingAuthenticationToken" in good.stdout, good
    for name in [None, *BAD]:
        arguments = ["--cert", pki.path(f"{name}.pem"), "--key", pki.path(f"{name}.key")] if name else []
        bad = curl(gated, *arguments)
        assert bad.returncode != 0 and not bad.stdout, (name, bad)


ALERTS = {"stranger": "unknown ca", "expired": "certificate expired",
          "revoked": "certificate revoked", "server": "unsupported certificate"}


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_s_client_hears_why(gated, pki, version):
    said = s_client(gated, version, "-cert", pki.path("good.pem"), "-key", pki.path("good.key"))
    assert "HTTP/1.1 4" in said
    for name, alert in ALERTS.items():
        said = s_client(gated, version, "-cert", pki.path(f"{name}.pem"),
                        "-key", pki.path(f"{name}.key"))
        assert "HTTP/1.1" not in said, said
        assert f"alert {alert}" in said or "errno=104" in said, said  # a reset can overtake it
    assert "HTTP/1.1" not in s_client(gated, version)


def test_another_clients_certificate_without_its_key(gated, pki):
    """The certificate is public; only its key opens."""
    said = s_client(gated, "-cert", pki.path("good.pem"), "-key", pki.path("stranger.key"))
    assert "HTTP/1.1" not in said


def test_renegotiation_changes_no_identity(gated, pki):
    """TLS 1.2: "R" asks for a new handshake; the connection ends."""
    result = subprocess.run(
        ["openssl", "s_client", "-connect", f"{gated.host}:{gated.port}", "-tls1_2", "-legacy_renegotiation",
         "-cert", pki.path("good.pem"), "-key", pki.path("good.key"), "-CAfile",
         gated.exports["AWS_CA_BUNDLE"]], check=False, input="R\n", text=True, timeout=60,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert "HTTP/1.1" not in result.stdout
    assert served(gated, pki.pair("good"))


def test_refused_clients_leave_room_for_others(gated, pki):
    for _ in range(60):
        assert not served(gated, pki.pair("stranger"))
    assert served(gated, pki.pair("good"))
    assert gated.running()


def test_plain_listener_is_as_it_was(pki, new_rig):
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    rig = new_rig(tls=True, conf=settings(pki, more=f"[http]\nport = {port}\n"))
    assert not served(rig) and served(rig, pki.pair("good"))
    rig.tls, rig.port, rig.url = False, port, f"http://127.0.0.1:{port}"
    assert rig.call("ListKeys").status == 200


def test_requested_certificates_prove_a_key_only(pki, new_rig):
    rig = new_rig(tls=True, conf=settings(pki, "request"))
    for version in VERSIONS:
        assert served(rig, None, version)
        for name in ("good", "self", "stranger", "expired", "revoked", "server"):
            assert served(rig, pki.pair(name), version), name
    said = s_client(rig, "-cert", pki.path("good.pem"), "-key", pki.path("stranger.key"))
    assert "HTTP/1.1" not in said


def test_without_crl_file_revocation_is_not_checked(pki, new_rig):
    rig = new_rig(tls=True, conf=settings(pki, crl=False))
    for name in ("good", "revoked", "uncovered"):
        assert served(rig, pki.pair(name)), name
    assert not served(rig, pki.pair("stranger"))


def test_expired_crl_stops_everybody(own_pki, new_rig):
    own_pki.crl(["root"], begins=-2 * HOUR, ends=-HOUR)
    rig = new_rig(tls=True, conf=settings(own_pki))
    log = new_log(rig, lambda: not served(rig, own_pki.pair("good")) or pytest.fail("served"))
    assert "level=warn" in log and "reason=crl-expired" in log
    own_pki.crl(["root"])
    reload(rig)
    assert served(rig, own_pki.pair("good"))


def test_certificate_expires_while_the_connection_is_open(own_pki, new_rig):
    rig = new_rig(tls=True, conf=settings(own_pki))
    for seconds in (4, 8, 16, 32):  # longer when the machine is slow
        own_pki.client("brief", ends=datetime.timedelta(seconds=seconds))
        try:
            connection = connect(rig, own_pki.pair("brief"))
            if rig.call("ListKeys", connection=connection).status == 200:
                break
        except NO_SERVICE:
            pass
    log = new_log(rig, lambda: expect_denied(refused_in_time(connection, rig)))
    assert "reason=expired when=request" in log
    assert not served(rig, own_pki.pair("brief"))
    assert served(rig, own_pki.pair("good"))


def expect_denied(answer):
    assert answer is not None and answer.status == 400, answer
    assert answer.type == "AccessDeniedException" and answer.headers["connection"] == "close"


def test_crl_grows_old_while_the_connection_is_open(own_pki, new_rig):
    rig = new_rig(tls=True, conf=settings(own_pki))
    for seconds in (4, 8, 16, 32):
        own_pki.crl(["root"], ends=datetime.timedelta(seconds=seconds))
        reload(rig)
        try:
            connection = connect(rig, own_pki.pair("good"))
            if rig.call("ListKeys", connection=connection).status == 200:
                break
        except NO_SERVICE:
            pass
    log = new_log(rig, lambda: expect_denied(refused_in_time(connection, rig)))
    assert "reason=crl-expired when=request" in log


def test_reload_of_cas_and_crls(own_pki, new_rig):
    own_pki.ca("other")
    own_pki.client("stranger", "other")
    rig = new_rig(tls=True, conf=settings(own_pki))
    kept = connect(rig, own_pki.pair("good"))
    assert rig.call("ListKeys", connection=kept).status == 200
    assert not served(rig, own_pki.pair("stranger"))

    own_pki.cas(["root", "other"])
    own_pki.crl(["root", "other"])
    reload(rig)
    assert served(rig, own_pki.pair("stranger"))
    assert rig.call("ListKeys", connection=kept).status == 200

    # files that cannot be used change nothing
    for file, text in (("cas.pem", "nonsense"), ("crl.pem", "")):
        good = (own_pki.dir / file).read_text()
        (own_pki.dir / file).write_text(text)
        reload(rig, "event=tls-not-reloaded")
        assert served(rig, own_pki.pair("stranger"))
        (own_pki.dir / file).write_text(good)
    own_pki.crl(["root", "other"], partial=True)
    reload(rig, "event=tls-not-reloaded")
    assert served(rig, own_pki.pair("stranger"))

    own_pki.revoke("good")
    own_pki.crl(["root", "other"])
    reload(rig)
    expect_denied(refused_in_time(kept, rig))
    assert not served(rig, own_pki.pair("good"))
    assert served(rig, own_pki.pair("stranger"))


def test_slow_handshakes_are_ended(own_pki, new_rig):
    """Neither silence nor a byte now and then keeps a place."""
    rig = new_rig(tls=True, conf=settings(own_pki, more="[limits]\nhandshake_time = 1000\n"
                                          "request_time = 600000\nidle_time = 3600\n"))
    silent, slow = (socket.create_connection((rig.host, rig.port), timeout=60) for _ in range(2))
    end = time.monotonic() + 60
    with pytest.raises(ConnectionError):
        for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 1200:
            assert time.monotonic() < end
            slow.sendall(bytes([byte]))
            time.sleep(0.05)
    assert silent.recv(1) == b""
    assert served(rig, own_pki.pair("good"))


CONFIGURATIONS = [
    ("client_certificates = on", "must be off, request or require"),
    ("client_certificates = require", "needs https.client_ca"),
    ("client_ca = /x", "is used only with"),
    ("client_crl = /x", "is used only with"),
    ("client_certificates = request\nclient_crl = /x", "is used only with"),
]


@pytest.mark.parametrize("lines, says", CONFIGURATIONS)
def test_check_config(rig, tmp_path, lines, says):
    text = pathlib.Path(rig.exports["HSMKMS_CONFIG"]).read_text()
    certificate = "" if rig.tls else "port = 1\ncertificate = /x\nkey = /x\n"
    path = tmp_path / "conf"
    path.write_text(f"{text}\n[https]\n{certificate}{lines}\n")
    result = subprocess.run([kms.BUILD / "hsmkmsd", "--config", path, "--check-config"], check=False,
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    assert result.returncode == 2 and says in result.stderr, result
