"""The TLS listener's private key in a token of its own: ordinary clients, and what can go wrong."""

import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest

import kms

CONFIGURATION, PIN_LATCHED, TOKEN_MISSING = 2, 3, 6
SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"
TOOL = kms.ROOT / "provisioning" / "tls_key.sh"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]

pytestmark = pytest.mark.any_listener


@pytest.fixture(scope="module", params=["ec", "rsa"])
def shared(request):
    service = kms.Rig(tls_key=request.param)
    yield service
    alive, log = service.running(), service.log()
    service.down()
    assert alive and "Sanitizer" not in log, log[-3000:]


@pytest.fixture()
def service(new_rig):
    return new_rig(tls_key="ec")


def handshake(rig, version=None):
    """The certificate's serial number that a new connection is shown."""
    context = ssl.create_default_context(cafile=rig.exports["AWS_CA_BUNDLE"])
    if version:
        context.minimum_version = context.maximum_version = version
    with socket.create_connection((rig.host, rig.port), timeout=20) as plain:
        with context.wrap_socket(plain, server_hostname=rig.host) as connection:
            return connection.getpeercert()["serialNumber"]


def set_key(rig, old, new):
    config = rig.dir / "hsmkms.conf"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new, 1))


def tls_token(rig):
    """The folder of the TLS key's token."""
    found = [folder for folder in (rig.dir / "token").iterdir()
             if b"tls   " in (folder / "token.object").read_bytes()]
    assert len(found) == 1
    return found[0]


def wait_for(what, seconds=60):
    for _ in range(seconds * 20):
        if what():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def health(rig):
    host = rig.exports["HSMKMS_OPS_URL"].split("//")[1]
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.request("GET", "/health")
    return connection.getresponse().read().decode()


# ordinary clients


@pytest.mark.parametrize("version", VERSIONS)
def test_handshake(shared, version):
    for _ in range(20):
        assert handshake(shared, version)


def test_curl(shared):
    for option in ("--tlsv1.3", "--tls-max=1.2"):
        result = subprocess.run(["curl", "-sS", "--cacert", shared.exports["AWS_CA_BUNDLE"],
                                 *option.split("="), "-o", "/dev/null", "-w", "%{ssl_verify_result}",
                                 shared.url + "/"], check=True, stdout=subprocess.PIPE, timeout=60)
        assert result.stdout == b"0"


def test_boto3(shared):
    client = shared.boto()
    key = client.create_key()["KeyMetadata"]["KeyId"]
    made = client.generate_data_key(KeyId=key, KeySpec="AES_256")
    assert client.decrypt(CiphertextBlob=made["CiphertextBlob"])["Plaintext"] == made["Plaintext"]


def test_other_ca_is_no_good(shared):
    with pytest.raises(ssl.SSLError):
        context = ssl.create_default_context()
        with socket.create_connection((shared.host, shared.port), timeout=20) as plain:
            context.wrap_socket(plain, server_hostname=shared.host)


def test_no_private_key_in_a_file(shared):
    for path in (shared.dir / "tls").iterdir():
        assert b"PRIVATE KEY" not in path.read_bytes() or path.name == "ca-key.pem"


def test_only_the_named_module_is_loaded(shared):
    """Whatever p11-kit is configured with on this machine."""
    maps = kms.pathlib.Path(f"/proc/{shared.pid}/maps").read_text()
    loaded = {line.split()[-1] for line in maps.splitlines() if "/" in line}
    assert any("softhsm" in path for path in loaded)
    assert not [path for path in loaded if "p11-kit-trust" in path or "opensc" in path]


@pytest.mark.slow
def test_beside_the_master_token_in_one_module(shared):
    """Handshakes and key creation, which searches and generates, at once."""
    failures, stop = [], threading.Event()

    def shake():
        try:
            while not stop.is_set():
                handshake(shared)
        except Exception as problem:  # pylint: disable=broad-except
            failures.append(problem)

    threads = [threading.Thread(target=shake) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for i in range(30):
            spec = "ECC_NIST_P256" if i % 2 else "SYMMETRIC_DEFAULT"
            shared.key(KeySpec=spec, KeyUsage="SIGN_VERIFY" if i % 2 else "ENCRYPT_DECRYPT")
            os.kill(shared.pid, signal.SIGHUP)
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert not failures
    assert shared.metric("hsmkms_tls_key_failures_total") == 0


# reload


def sign_again(rig, *steps):
    for step in steps:
        subprocess.run([TOOL, *step], check=True, timeout=60, env={
            **os.environ, "SOFTHSM2_CONF": str(rig.dir / "softhsm2.conf"),
            "HSMKMS_TLS_PIN_FILE": str(rig.dir / "tls" / "tls-pin")})


def test_reload_takes_a_new_certificate(service):
    tls = str(service.dir / "tls")
    before = handshake(service)
    sign_again(service, ["sign", tls, tls])
    os.kill(service.pid, signal.SIGHUP)
    wait_for(lambda: handshake(service) != before)


def test_reload_refuses_a_certificate_of_another_key(service):
    before = handshake(service)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x", "-keyout",
                    service.dir / "other", "-out", service.dir / "tls" / "certificate.pem"],
                   check=True, stderr=subprocess.DEVNULL, timeout=60)
    os.kill(service.pid, signal.SIGHUP)
    wait_for(lambda: "tls-not-reloaded" in service.log())
    assert "does not belong to the certificate" in service.log()
    assert handshake(service) == before


# start


@pytest.fixture()
def stopped(service):
    service.stop()
    service.pin_file = service.dir / "tls" / "tls-pin"
    return service


def test_wrong_pin_is_tried_once(stopped):
    """Counted below the daemon, by a module that passes the calls for this token on."""
    faults = next(iter(kms.BUILD.rglob("p11faults.so")), None)
    if faults is None:
        pytest.skip("p11faults.so is not part of this build")
    pin = stopped.pin_file.read_text()
    counts = stopped.dir / "counts"
    environment = {"P11_FAULTS_MODULE": SOFTHSM, "P11_FAULTS_COUNTS": str(counts)}
    set_key(stopped, f"key_module = {SOFTHSM}", f"key_module = {faults}")
    stopped.pin_file.write_text("0" * 22)
    for _ in range(5):
        assert stopped.start(check=False, env=environment) == PIN_LATCHED, stopped.log()[-600:]
    calls = dict(line.split() for line in counts.read_text().splitlines() if len(line.split()) == 2)
    assert int(calls["C_Login"]) == 1
    assert pin not in stopped.log() and "0" * 22 not in stopped.log()
    stopped.pin_file.write_text(pin)
    assert stopped.start(env=environment) == 0 and handshake(stopped)


def test_latches_of_both_tokens_are_apart(stopped):
    pin = stopped.pin_file.read_text()
    stopped.pin_file.write_text("0" * 22)
    assert stopped.start(check=False) == PIN_LATCHED
    set_key(stopped, "port = ", "#port = ")  # without the listener the master token serves
    config = stopped.dir / "hsmkms.conf"
    text = config.read_text()
    assert stopped.start(check=False) == PIN_LATCHED, text
    stopped.pin_file.write_text(pin)
    config.write_text(text.replace("#port = ", "port = "))
    assert stopped.start() == 0 and handshake(stopped)


def test_missing_token(stopped):
    shutil.move(tls_token(stopped), stopped.dir / "away")
    assert stopped.start(check=False) == TOKEN_MISSING


@pytest.mark.parametrize("old,new,reason", [
    (f"key_module = {SOFTHSM}", "key_module = /nonexistent.so", "cannot load PKCS#11 module"),
    (f"key_module = {SOFTHSM}", "key_module = libsofthsm2.so", "whole path"),
    (f"key_module = {SOFTHSM}", "key_module =", "needs https.key_module"),
    ("key_pin_file = ", "#key_pin_file = ", "https.key_pin_file"),
    ("object=https", "object=elsewhere", "does not show the key"),
    (";object=https", "", "names no object"),
    ("object=https", "object=https;pin-value=1234", "brings a PIN"),
    ("object=https", "object=https;pin-source=file:/x", "brings a PIN"),
    ("object=https", "object=https?module-path=/x.so", "names a module"),
    ("object=https", "object=https;strange=1", "an attribute that is not known"),
    ("pkcs11:token=tls", "pkcs11:token", "malformed"),
    ("token=tls;", "token=hsmkms;", "is in use for other keys"),
    ("[kes]", "[kes]\nkey = pkcs11:token=tls;object=https", "kes.key must be a file"),
    ("key = pkcs11:token=tls;object=https", "key = /x.pem", "used only with a pkcs11:"),
])
def test_bad_configuration(stopped, old, new, reason):
    set_key(stopped, old, new)
    assert stopped.start(check=False) == CONFIGURATION
    assert reason in stopped.log()
    assert "1234" not in stopped.log().split("event=stopped")[-1]


def test_pin_file_that_others_read(stopped):
    stopped.pin_file.chmod(0o640)
    assert stopped.start(check=False) == CONFIGURATION
    stopped.pin_file.chmod(0o600)
    assert stopped.start() == 0


def test_key_that_can_be_read_is_refused(stopped):
    """It would be no better than a file."""
    script = (
        "import ctypes, sys, make_tls_key as tool\n"
        f"module = ctypes.CDLL('{SOFTHSM}'); tool.call(module, 'C_Initialize', None)\n"
        "session = tool.open_session(module, 'tls', sys.argv[1])\n"
        "tool.generate(module, session, 'open', 'ec', sensitive=False)\n"
        "tool.call(module, 'C_Finalize', None)\n")
    subprocess.run([sys.executable, "-c", script, stopped.pin_file], check=True, timeout=60, env={
        **os.environ, "SOFTHSM2_CONF": str(stopped.dir / "softhsm2.conf"),
        "PYTHONPATH": str(TOOL.parent), "PYTHONDONTWRITEBYTECODE": "1"})
    set_key(stopped, "object=https", "object=open")
    assert stopped.start(check=False) == CONFIGURATION
    assert "gives this key away" in stopped.log()


# while it runs


def alert_of(rig, version):
    with pytest.raises(ssl.SSLError) as refused:
        handshake(rig, version)
    return refused.value.reason


def test_token_removed(service):
    """A client hears an alert, open connections are served, nothing ends."""
    key = service.key()
    held = service.connect()
    held.connect()
    folder = tls_token(service)
    shutil.move(folder, service.dir / "away")
    for version in VERSIONS:
        assert alert_of(service, version) == "TLSV1_ALERT_INTERNAL_ERROR"
    answer = service.send(service.signed("DescribeKey", f'{{"KeyId":"{key}"}}'.encode()),
                          f'{{"KeyId":"{key}"}}'.encode(), connection=held)
    assert answer.status == 200
    wait_for(lambda: "tls-key-lost" in service.log())
    assert "event=tls-key-failed" in service.log() and "no TLS key" in health(service)
    assert service.metric("hsmkms_tls_key_failures_total") == 2
    shutil.move(service.dir / "away", folder)
    service.restart()
    assert handshake(service)


def test_failing_signature_is_got_over(new_rig):
    """One refused C_Sign costs one handshake; the key is found again without a restart."""
    faults = next(iter(kms.BUILD.rglob("p11faults.so")), None)
    if faults is None:
        pytest.skip("p11faults.so is not part of this build")
    service = new_rig(tls_key="ec")
    rules = service.dir / "rules"
    rules.touch()
    service.stop()
    set_key(service, f"key_module = {SOFTHSM}", f"key_module = {faults}")
    service.start(env={"P11_FAULTS_MODULE": SOFTHSM, "P11_FAULTS_FILE": str(rules)})
    assert handshake(service)
    rules.write_text("C_Sign rv=0x30 times=1\n")
    assert alert_of(service, VERSIONS[1]) == "TLSV1_ALERT_INTERNAL_ERROR"
    wait_for(lambda: "tls-key-back" in service.log())
    assert handshake(service) and '"http":"ok"' in health(service)
    rules.write_text("login lost\n")
    wait_for(lambda: try_handshake(service))


def try_handshake(rig):
    try:
        return handshake(rig)
    except ssl.SSLError:
        return None
