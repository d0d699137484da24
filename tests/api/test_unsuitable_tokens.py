"""Tokens that cannot serve are refused when an installation is to be made, and the reason is said."""

import os
import pathlib
import secrets
import shutil
import subprocess
import tempfile

import pytest

import kms
from faults import SOFTHSM
from test_init import Prepared

UNSUITABLE = 7
CANNOT_START = 77
OPENCRYPTOKI = "/usr/lib/x86_64-linux-gnu/opencryptoki/libopencryptoki.so.0"
BESIDE_OPENCRYPTOKI = kms.ROOT / "tests" / "support" / "opencryptoki.sh"

pytestmark = pytest.mark.any_listener


@pytest.fixture()
def folder():
    made = pathlib.Path(tempfile.mkdtemp(prefix="ho", dir="/tmp"))
    yield made
    shutil.rmtree(made)


def make_opencryptoki(folder):
    (folder / "pin").touch(0o600)
    (folder / "pin").write_text("1" + str(secrets.randbelow(10**7)).zfill(7) + "\n")
    (folder / "hsmkms.conf").write_text(
        f"[service]\nstate_dir = {folder}/state\n[audit]\ndir = {folder}/audit\n"
        f"[token]\nmodule = {OPENCRYPTOKI}\nuri = pkcs11:token=hsmkms\npin_file = {folder}/pin\n")


def test_opencryptoki_has_no_gcm(folder):
    if not pathlib.Path(OPENCRYPTOKI).exists():
        pytest.skip("package libopencryptoki0 is not installed")
    make_opencryptoki(folder)
    # what the module leaks in C_Initialize has no name any more when it is counted
    leaky = {**os.environ, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
    result = subprocess.run(
        ["unshare", "--mount", "--ipc", "--pid", "--fork", "--kill-child", BESIDE_OPENCRYPTOKI, folder,
         "hsmkms", kms.BUILD / "hsmkms-admin", "init", "--config", folder / "hsmkms.conf"],
        check=False, text=True, timeout=60, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=leaky)
    if result.returncode == CANNOT_START or "unshare" in result.stderr:
        pytest.skip(f"openCryptoki: {result.stdout.strip() or result.stderr.strip()}")
    assert result.returncode == UNSUITABLE, result.stderr
    assert "token 'hsmkms' (IBM SoftTok) cannot serve: it has no CKM_AES_GCM" in result.stderr
    assert not (folder / "state" / "hsmkms.db").exists()


@pytest.fixture()
def lacking(folder):
    """An installation still to be made, over SoftHSM without some mechanisms."""
    module = next(iter(kms.BUILD.rglob("p11faults.so")), None)
    if module is None:
        pytest.skip("p11faults.so is not part of this build")
    prepared = Prepared()
    configuration = prepared.dir / "hsmkms.conf"
    configuration.write_text(configuration.read_text().replace(SOFTHSM, str(module)))
    prepared.environment.update(P11_FAULTS_MODULE=SOFTHSM, P11_FAULTS_FILE=str(folder / "rules"),
                                P11_FAULTS_COUNTS=str(folder / "counts"))
    yield prepared, folder / "rules"
    prepared.down()


@pytest.mark.parametrize("rule, said", [
    ("mechanism hide=CKM_AES_GCM", "it has no CKM_AES_GCM"),
    ("C_GenerateKeyPair rv=0x70", "the token cannot sign with P-256"),  # CKR_MECHANISM_INVALID
])
def test_mechanism_missing(lacking, rule, said):
    prepared, rules = lacking
    rules.write_text(f"{rule}\n")
    result = prepared.init()
    assert result.returncode == UNSUITABLE, result.stderr
    assert said in result.stderr
    rules.write_text("")
    assert prepared.init().returncode == 0, "what was refused has left something in the way"
