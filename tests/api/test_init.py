"""hsmkms-admin init: where it may work, and what is left when it dies half-way."""

import collections
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

from kms import BUILD, ROOT, SANITIZED, Rig

pytestmark = pytest.mark.any_listener

LIB = ROOT / "provisioning" / "lib.sh"
SYNCS = "fdatasync,fsync"

class Prepared(Rig):
    """A rig before its installation is made; parts of it may be made by hand."""

    def __init__(self):  # pylint: disable=super-init-not-called
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hk", dir="/tmp"))
        self.tls = False
        self.environment = {**os.environ, "HSMKMS_BUILD": str(BUILD),
                            "SOFTHSM2_CONF": str(self.dir / "softhsm2.conf")}
        script = (f'umask 077; source {LIB}; make_token {self.dir} && read -r a b < <(free_ports 2) && '
                  f'make_configuration {self.dir} "$a" 0 "$b" ""')
        subprocess.run(["/bin/bash", "-c", script], check=True, env=self.environment, timeout=60)
        (self.dir / "rig").touch()

    def init(self, *wrapped):
        """Runs init, with words before its command line."""
        return subprocess.run([*wrapped, BUILD / "hsmkms-admin", "init", "--config",
                               self.dir / "hsmkms.conf"], check=False, text=True, timeout=120,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment)

    def take_credential(self, printed):
        (self.dir / "credential.json").write_text(printed)

    def strace(self, *options):
        return ["strace", "-f", "-y", "-qq", "-o", str(self.dir / "strace"), "-e",
                f"trace={SYNCS}", *options]

    @property
    def segment(self):
        return str(self.dir / "audit" / "audit-00000000000000000001.jsonl")


@pytest.fixture()
def prepared():
    made = []

    def make():
        made.append(Prepared())
        return made[-1]
    yield make
    for one in made:
        one.down()


def journey(rig):
    """The installation does what it is for, also after another start."""
    key = rig.key()
    sealed = rig.ok("GenerateDataKey", KeyId=key, KeySpec="AES_256")
    rig.restart()
    assert rig.ok("Decrypt", CiphertextBlob=sealed["CiphertextBlob"])["Plaintext"] == sealed["Plaintext"]
    rig.audit_verify()


def get_on(rig):
    """What the README tells an operator: repeat it; if it was made, start it and make a key."""
    again = rig.init()
    if again.returncode == 0:
        rig.take_credential(again.stdout)
        rig.start()
        return "repeated"
    assert again.returncode == 2 and "already" in again.stderr, again.stderr
    rig.take_credential('{"AccessKeyId": "lost", "SecretAccessKey": "lost"}')
    rig.start()
    rig.take_credential(rig.admin("key", "create").stdout)
    rig.restart()
    return "started"


def syncs_of(rig):
    """Every sync of a whole init: call, its number, whether it is the audit trail's.

    strace counts in each thread by itself. The trail has a thread of its own, whose later syncs
    come when the main thread has reached their numbers long ago, so they are told by their file.
    """
    text = (rig.dir / "strace").read_text()
    calls = re.findall(r"^(\d+) +(f(?:data)?sync)\(\d+<(.*?)>\)", text, re.M)
    most = collections.Counter()
    for (_, name), count in collections.Counter((thread, name) for thread, name, _ in calls).items():
        most[name] = max(most[name], count)
    trail = sum(path == rig.segment for _, _, path in calls)
    return [(name, n, False) for name in most for n in range(1, most[name] + 1)] + \
        [("fdatasync", n, True) for n in range(1, trail + 1)]


@pytest.mark.lengthy
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.skipif(SANITIZED, reason="strace and a leak checker do not go together")
def test_killed_at_each_sync(prepared):
    whole = prepared()
    assert whole.init(*whole.strace()).returncode == 0
    places = syncs_of(whole)
    assert len(places) > 20 and ("fdatasync", 2, True) in places
    ends = set()
    for place in places:
        name, n, trail = place
        rig = prepared()
        died = rig.init(*rig.strace("-e", f"inject={name}:signal=KILL:when={n}",
                                    *(["-P", rig.segment] if trail else [])))
        assert died.returncode in (-9, 137), f"{place}: {died}"
        try:
            ends.add(get_on(rig))
            journey(rig)
        except BaseException as failed:
            raise AssertionError(f"killed at {place}: {rig.log()[-2000:]}") from failed
        rig.down()
    assert ends == {"repeated", "started"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives directories away")
def test_state_directory_of_somebody_else(prepared):
    """Who owns the directory could put another database there, whatever its mode says."""
    rig = prepared()
    state = rig.dir / "state"
    os.chown(state, 65534, -1)
    refused = rig.init()
    assert refused.returncode == 2 and "service's own user" in refused.stderr
    assert not any(state.iterdir())
    os.chown(state, 0, -1)
    rig.take_credential(rig.init().stdout)
    os.chown(state, 65534, -1)
    assert rig.start(check=False) == 2
    os.chown(state, 0, -1)
    rig.start()
    journey(rig)
