"""A full disk: what cannot be kept is refused, what needs no new room goes on, and it heals."""

import contextlib
import shutil
import subprocess
import time

import pytest

from faults import OUT_OF_REACH, FaultyRig, Load

pytestmark = pytest.mark.any_listener


@pytest.fixture()
def on_small_disk():
    """Moves one folder of a new rig to a file system of a few megabytes: (rig, folder)."""
    import conftest
    with contextlib.ExitStack() as stack:
        def make(part, size="4m", conf=""):
            rig = FaultyRig(conf=conf)
            stack.callback(conftest.end, rig)
            rig.stop()
            folder, aside = rig.dir / part, rig.dir / f"{part}.aside"
            folder.rename(aside)
            folder.mkdir(mode=0o700)
            result = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "none",
                                     folder], check=False, stderr=subprocess.PIPE, text=True)
            if result.returncode:
                pytest.skip(f"cannot mount: {result.stderr.strip()}")
            stack.callback(subprocess.run, ["umount", "-l", folder], check=True)
            shutil.copytree(aside, folder, dirs_exist_ok=True,
                            ignore=shutil.ignore_patterns("*.sock"))
            rig.start()
            return rig, folder
        yield make


class Filler:
    """Takes all that is left of a file system, in small steps, and gives it back."""

    def __init__(self, folder):
        self.path = folder / "filler"

    def fill(self):
        with open(self.path, "ab", buffering=0) as file:
            for size in (65536, 4096, 512, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"x" * size)
        return self

    def free(self):
        self.path.unlink(missing_ok=True)


def eventually(good, seconds=30):
    until = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < until, "it does not heal"
        time.sleep(0.1)


def works(rig):
    answer = rig.call("CreateKey")
    return answer.status == 200


def test_database_disk_full(on_small_disk):
    """Management is refused and changes nothing; the data plane needs no room for a while."""
    rig, folder = on_small_disk("state")
    load = Load(rig, [rig.key() for _ in range(2)]).run(100)
    rig.ok("CreateAlias", AliasName="alias/kept", TargetKeyId=load.keys[0])
    filler = Filler(folder).fill()
    view = rig.view()
    big = "d" * 8000  # a write-ahead log may have room for a small change
    refused = 0
    for i in range(12):
        for operation, parameters in (
                ("UpdateKeyDescription", {"KeyId": load.keys[1], "Description": big}),
                ("CreateKey", {"Description": big}), ("RotateKeyOnDemand", {"KeyId": load.keys[0]}),
                ("CreateAlias", {"AliasName": f"alias/new{i}", "TargetKeyId": load.keys[0]}),
                ("DisableKey", {"KeyId": load.keys[1]})):
            answer = rig.call(operation, parameters)
            assert answer.status in (200, 500, 503), answer.text
            if answer.status == 200:
                view = rig.view()
                if operation == "DisableKey":
                    load.keys = load.keys[:1]
                filler.fill()
            else:
                assert answer.type in OUT_OF_REACH, answer.text
                assert rig.view() == view, f"{operation} left something"
                refused += 1
    assert refused > 20, refused
    load.run(300).only(*([] if len(load.keys) == 2 else ["DisabledException"]))
    filler.free()
    for key in (k["KeyId"] for k in rig.ok("ListKeys")["Keys"]):
        if rig.ok("DescribeKey", KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled":
            eventually(lambda: rig.call("EnableKey", {"KeyId": key}).status == 200)
    eventually(lambda: works(rig))
    load.verify()
    view = rig.view()
    rig.restart()
    assert rig.view() == view
    load.verify()


def test_block_of_invocations_ends_on_a_full_disk(on_small_disk):
    """Beyond the reserved block nothing is encrypted that could not be counted."""
    rig, folder = on_small_disk("state", conf="[keys]\ngcm_block = 16")
    key = rig.key()
    blob = rig.ok("Encrypt", KeyId=key, Plaintext="aGk=")["CiphertextBlob"]
    filler, made = Filler(folder).fill(), 0
    for _ in range(400):
        answer = rig.call("Encrypt", {"KeyId": key, "Plaintext": "aGk="})
        made += answer.status == 200
        if answer.status != 200:
            assert answer.type in OUT_OF_REACH, answer.text
            break
        filler.fill()
    else:
        pytest.fail("encrypts without end on a full disk")
    assert rig.ok("Decrypt", CiphertextBlob=blob)["Plaintext"] == "aGk="
    filler.free()
    eventually(lambda: rig.call("Encrypt", {"KeyId": key, "Plaintext": "aGk="}).status == 200)
    rig.restart()
    assert rig.ok("Decrypt", CiphertextBlob=blob)["Plaintext"] == "aGk="


def test_audit_disk_full(on_small_disk):
    """No success without a record; it goes on by itself when there is room again."""
    rig, folder = on_small_disk("audit")
    load = Load(rig, [rig.key() for _ in range(2)]).run(100)
    load.start(4000)
    time.sleep(0.3)
    filler = Filler(folder).fill()
    load.wait()
    load.only(*OUT_OF_REACH)
    assert load.refused, "the disk was full"
    text = rig.wait_health(503)
    assert "write failed" in text
    rig.refuses(tuple(OUT_OF_REACH), "Encrypt", {"KeyId": load.keys[0], "Plaintext": "aGk="})
    rig.refuses(tuple(OUT_OF_REACH), "CreateKey")
    filler.free()
    rig.wait_health(200)
    load.refused.clear()
    load.run(100).only()
    load.verify()
    rig.restart()
    load.verify()


@pytest.mark.slow
def test_audit_disk_fills_again_and_again(on_small_disk):
    rig, folder = on_small_disk("audit", size="16m")
    load = Load(rig, [rig.key()]).run(50)
    for _ in range(6):
        load.start(600)
        filler = Filler(folder)
        filler.fill()
        time.sleep(0.2)
        filler.free()
        load.wait()
        load.only(*OUT_OF_REACH)
        rig.wait_health(200)
    filler.fill()
    load.run(40)
    rig.kill()
    filler.free()
    rig.start()
    load.verify()


def test_start_with_a_full_audit_disk(on_small_disk):
    rig, folder = on_small_disk("audit")
    key = rig.key()
    rig.stop()
    filler = Filler(folder).fill()
    if rig.start(check=False) == 0:
        encrypt = ("Encrypt", {"KeyId": key, "Plaintext": "aGk="})
        answers = [rig.call(*encrypt) for _ in range(50)]  # the file's last page has room for a few
        assert {a.type for a in answers} & OUT_OF_REACH
        rig.refuses(tuple(OUT_OF_REACH), *encrypt)
        rig.stop()
    filler.free()
    rig.start()
    assert rig.ok("Encrypt", KeyId=key, Plaintext="aGk=")
    rig.audit_verify()


def test_token_disk_full(on_small_disk):
    """Existing keys work; a new one is refused, and leaves nothing behind."""
    rig, folder = on_small_disk("token")
    load = Load(rig, [rig.key() for _ in range(2)]).run(100)
    view = rig.view()
    filler = Filler(folder).fill()
    for _ in range(3):
        rig.refuses(tuple(OUT_OF_REACH), "CreateKey")
        rig.refuses(tuple(OUT_OF_REACH), "RotateKeyOnDemand", {"KeyId": load.keys[0]})
        assert rig.view() == view
    eventually(lambda: rig.health()[0] == 200)
    load.run(200).only()
    filler.free()
    eventually(lambda: works(rig))
    rig.restart()
    load.run(100).only()
    load.verify()
    keys = rig.ok("ListKeys")["Keys"]
    token = rig.token()
    assert token["Keys"] == 3 + len(keys) and token["ObjectsIgnored"] == 0


def test_no_login_with_a_full_token_disk(on_small_disk):
    """SoftHSM empties its token's record when it logs in: it must not be let."""
    rig, folder = on_small_disk("token")
    load = Load(rig, [rig.key()]).run(20)
    rig.stop()
    filler = Filler(folder).fill()
    records = {p: p.read_bytes() for p in folder.rglob("token.object")}
    logins = rig.counts()["C_Login"]
    assert rig.start(check=False) != 0
    assert rig.counts()["C_Login"] == logins
    assert {p: p.read_bytes() for p in folder.rglob("token.object")} == records
    filler.free()
    rig.start()
    load.verify()
