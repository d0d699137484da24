"""The PIN: one attempt for each wrong credential, however often somebody restarts the service."""

import pytest

import kms

CONFIGURATION, PIN_LATCHED, TOKEN_MISSING = 2, 3, 6

pytestmark = pytest.mark.any_listener


@pytest.fixture()
def stopped(new_rig):
    rig = new_rig()
    rig.blob = rig.ok("Encrypt", KeyId=rig.key(), Plaintext="aGk=")["CiphertextBlob"]
    rig.stop()
    rig.pin = (rig.dir / "pin").read_text()
    return rig


def serves(rig):
    return rig.ok("Decrypt", CiphertextBlob=rig.blob)["Plaintext"] == "aGk="


def test_wrong_pin_is_latched(stopped):
    (stopped.dir / "pin").write_text("0" * 32)
    for _ in range(20):
        assert stopped.start(check=False) == PIN_LATCHED, stopped.log()[-500:]
    assert stopped.pin not in stopped.log() and "0" * 32 not in stopped.log()
    (stopped.dir / "pin").write_text(stopped.pin)
    assert stopped.start() == 0 and serves(stopped)
    stopped.restart()
    assert serves(stopped)


def test_each_new_wrong_pin_is_tried_once(stopped):
    for i in range(3):
        (stopped.dir / "pin").write_text(f"{i:032}")
        assert stopped.start(check=False) == PIN_LATCHED
    (stopped.dir / "pin").write_text(stopped.pin)
    assert stopped.start() == 0


def test_login_is_called_once(stopped):
    """Counted below the daemon, by a module that passes calls on."""
    faults = next(iter(kms.BUILD.rglob("p11faults.so")), None)
    if faults is None:
        pytest.skip("p11faults.so is not part of this build")
    counts = stopped.dir / "counts"
    config = stopped.dir / "hsmkms.conf"
    config.write_text(config.read_text().replace("/usr/lib/softhsm/libsofthsm2.so", str(faults)))
    environment = {"P11_FAULTS_MODULE": "/usr/lib/softhsm/libsofthsm2.so",
                   "P11_FAULTS_COUNTS": str(counts)}
    (stopped.dir / "pin").write_text("0" * 32)
    for _ in range(20):
        assert stopped.start(check=False, env=environment) == PIN_LATCHED
    calls = dict(line.split() for line in counts.read_text().splitlines() if len(line.split()) == 2)
    assert int(calls["C_Initialize"]) >= 1
    assert int(calls["C_Login"]) == 1, f"{calls['C_Login']} login attempts in 20 starts"


def test_missing_and_empty_pin_files(stopped):
    path = stopped.dir / "pin"
    path.unlink()
    assert stopped.start(check=False) == CONFIGURATION
    path.touch(0o600)
    assert stopped.start(check=False) == CONFIGURATION
    path.write_text(stopped.pin + "\n")
    path.chmod(0o640)
    assert stopped.start(check=False) == CONFIGURATION, "others may read it"
    path.chmod(0o600)
    assert stopped.start() == 0, "one newline at the end is what editors leave"


def test_no_such_token(stopped):
    config = stopped.dir / "hsmkms.conf"
    config.write_text(config.read_text().replace("pkcs11:token=hsmkms", "pkcs11:token=elsewhere"))
    assert stopped.start(check=False) == TOKEN_MISSING


@pytest.mark.parametrize("old,new", [
    ("module = /usr/lib/softhsm/libsofthsm2.so", "module = /nonexistent.so"),
    ("uri = pkcs11:token=hsmkms", "uri = not a uri"), ("[token]", "[tokens]"),
    ("pin_file", "pinfile"), ("port = ", "port = x"), ("regions = us-east-1", "regions ="),
    ("[token]", "[service]\naccount = 12\n[token]"), ("[token]", "[http]\naddress = 0.0.0.0\nport = 1\n[token]"),
])
def test_bad_configuration(stopped, old, new):
    import subprocess
    config = stopped.dir / "hsmkms.conf"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new, 1))
    # run directly: such a file may leave rig.sh no port to wait for
    result = subprocess.run([kms.BUILD / "hsmkmsd", "--config", config], check=False, timeout=60,
                            env=stopped.env(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == CONFIGURATION, result.stdout
    assert result.stdout.strip(), "the reason is said"


def test_check_and_print_config(stopped):
    import subprocess

    def run(option):
        return subprocess.run([kms.BUILD / "hsmkmsd", "--config", stopped.exports["HSMKMS_CONFIG"],
                               option], check=False, env=stopped.env(), text=True, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    assert run("--check-config").returncode == 0
    shown = run("--print-config")
    assert shown.returncode == 0 and "skew = 300" in shown.stdout and stopped.pin not in shown.stdout
