"""Signed checkpoints of the audit trail: what they notice, and proofs that need no service."""

import hashlib
import json
import shutil
import subprocess
import time

import pytest

import kms

INTEGRITY = 4
ROLLBACK = 5
DOMAIN = b"hsmkms audit checkpoint 1\n"
P256_HEADER = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")  # RFC 5480

pytestmark = pytest.mark.any_listener


@pytest.fixture(scope="module")
def stopped():
    """An installation whose trail has two segments, stopped twice, and the folder of its copies."""
    rig = kms.Rig(conf="[audit]\nsegment = 65536\n")
    try:
        key = rig.key()
        for _ in range(120):
            rig.ok("DescribeKey", KeyId=key)
        rig.stop()
        shutil.copytree(rig.dir / "audit", str(rig.dir) + ".older")
        rig.start()
        rig.key()
        rig.stop()
        shutil.copytree(rig.dir, str(rig.dir) + ".good")
        yield rig
    finally:
        shutil.rmtree(str(rig.dir) + ".good", ignore_errors=True)
        shutil.rmtree(str(rig.dir) + ".older", ignore_errors=True)
        rig.down()


@pytest.fixture(autouse=True)
def restored(stopped):
    """Each test begins with the good copy."""
    stopped.stop()
    for part in ("state", "audit", "token"):
        shutil.rmtree(stopped.dir / part)
        shutil.copytree(f"{stopped.dir}.good/{part}", stopped.dir / part)


def segments(rig):
    return sorted((rig.dir / "audit").glob("audit-*.jsonl"))


def checkpoints(rig):
    return rig.dir / "audit" / "checkpoints.jsonl"


def tool(rig, command, *arguments):
    return subprocess.run([kms.BUILD / "hsmkms-audit", command, rig.dir / "audit", *arguments],
                          check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def key_of(rig):
    printed = tool(rig, "verify").stdout
    return printed.split("signed by: ")[1].strip()


def refuses(rig, why, status=INTEGRITY):
    got = rig.start(check=False)
    if got == 0:
        rig.stop()
    assert got == status, f"exit status {got}\n{rig.log()[-500:]}"
    assert why in rig.log(), rig.log()[-500:]


def test_clean_stop_leaves_nothing_uncovered(stopped):
    result = tool(stopped, "verify")
    assert result.returncode == 0, result.stderr
    last = result.stdout.split("last seq: ")[1].split("\n")[0]
    assert f"covered to: {last}\n" in result.stdout
    assert tool(stopped, "verify", key_of(stopped)).returncode == 0
    assert tool(stopped, "verify", "ab" * 32).returncode == 1
    assert stopped.start() == 0


def test_newest_segment_removed(stopped):
    """Nothing else refers to it when the change in it is taken back too: only the checkpoint."""
    assert len(segments(stopped)) > 1
    segments(stopped)[-1].unlink()
    refuses(stopped, "a checkpoint covers line")
    assert tool(stopped, "verify").returncode == 1


def test_last_line_changed(stopped):
    path = segments(stopped)[-1]
    lines = path.read_bytes().splitlines(keepends=True)
    lines[-1] = lines[-1].replace(b'"eventName"', b'"eventNamf"')
    path.write_bytes(b"".join(lines))
    refuses(stopped, "is not the one that was signed")
    assert "not the one that was signed" in tool(stopped, "verify").stderr


def test_last_lines_cut_off(stopped):
    path = segments(stopped)[-1]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    refuses(stopped, "a checkpoint covers line")


def test_older_checkpoints(stopped):
    """Trail and checkpoints of an earlier stop: good by themselves; the database knows better."""
    shutil.copy(f"{stopped.dir}.older/checkpoints.jsonl", checkpoints(stopped))
    assert tool(stopped, "verify").returncode == 0
    refuses(stopped, "the database knows of a checkpoint of line")
    shutil.rmtree(stopped.dir / "audit")
    shutil.copytree(f"{stopped.dir}.older", stopped.dir / "audit")
    assert tool(stopped, "verify").returncode == 0
    refuses(stopped, "the database knows of a checkpoint of line")


def test_no_checkpoints(stopped):
    key = key_of(stopped)
    checkpoints(stopped).unlink()
    assert tool(stopped, "verify", key).returncode == 1
    refuses(stopped, "the database knows of a checkpoint of line")


def test_forged_checkpoint(stopped):
    """The trail is cut and the newest checkpoint rewritten to match, with the old signature."""
    path = segments(stopped)[-1]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    before = json.loads(lines[-2])
    signed = [json.loads(line) for line in checkpoints(stopped).read_text().splitlines()]
    signed[-1].update(seq=before["seq"], head=hashlib.sha256(lines[-2][:-1]).hexdigest())
    checkpoints(stopped).write_text("".join(json.dumps(c, separators=(",", ":")) + "\n"
                                            for c in signed))
    refuses(stopped, "its signature is not by the key it names")
    assert "its signature is not by the key it names" in tool(stopped, "verify").stderr


def test_other_installations_checkpoints(stopped, new_rig):
    other = new_rig()
    other.stop()
    shutil.copy(checkpoints(other), checkpoints(stopped))
    refuses(stopped, "")
    shutil.rmtree(stopped.dir / "audit")
    shutil.copytree(other.dir / "audit", stopped.dir / "audit")
    assert tool(stopped, "verify", key_of(other)).returncode == 0
    refuses(stopped, "")


def node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def root_by_path(proof):
    """RFC 9162, section 2.1.3.2."""
    index, last = proof["index"], proof["leaves"] - 1
    reached = hashlib.sha256(b"\0" + proof["record"].encode()).digest()
    for step in map(bytes.fromhex, proof["path"]):
        assert last > 0
        if index % 2 or index == last:
            reached = node(step, reached)
            while index % 2 == 0 and index:
                index, last = index // 2, last // 2
        else:
            reached = node(reached, step)
        index, last = index // 2, last // 2
    assert last == 0
    return reached.hex()


def openssl_verifies(checkpoint, folder):
    body, signature = checkpoint.encode().split(b',"signature":"')
    key = bytes.fromhex(json.loads(checkpoint)["key"])
    (folder / "key").write_bytes(P256_HEADER + key)
    (folder / "text").write_bytes(DOMAIN + body)
    (folder / "signature").write_bytes(bytes.fromhex(signature.decode().removesuffix('"}')))
    return subprocess.run(["openssl", "dgst", "-sha256", "-verify", folder / "key", "-keyform", "DER",
                           "-signature", folder / "signature", folder / "text"],
                          check=False, stdout=subprocess.DEVNULL).returncode == 0


def test_proofs_hold_without_us(stopped, tmp_path):
    lines = [line for path in segments(stopped) for line in path.read_text().splitlines()]
    for seq in (1, 2, len(lines) // 2, len(lines)):
        proof = json.loads(tool(stopped, "prove", str(seq)).stdout)
        assert proof["record"] == lines[seq - 1]
        checkpoint = json.loads(proof["checkpoint"])
        assert checkpoint["from"] + proof["index"] == seq <= checkpoint["seq"]
        assert root_by_path(proof) == checkpoint["root"]
        assert hashlib.sha256(bytes.fromhex(checkpoint["key"])).hexdigest() == key_of(stopped)
        assert openssl_verifies(proof["checkpoint"], tmp_path)
        assert not openssl_verifies(proof["checkpoint"].replace('"seq":', '"seq":1', 1), tmp_path)
    assert tool(stopped, "prove", str(len(lines) + 1)).returncode == 1
    assert tool(stopped, "prove", "x").returncode == 2


def test_regular_checkpoints(new_rig):
    """A running service signs by itself; the verifier may look on."""
    rig = new_rig(conf="[audit]\ncheckpoint_records = 1\n")
    before = len(checkpoints(rig).read_text().splitlines())
    rig.key()
    for _ in range(60):
        if len(checkpoints(rig).read_text().splitlines()) > before:
            break
        time.sleep(0.5)
    assert len(checkpoints(rig).read_text().splitlines()) > before
    rig.audit_verify()
    rig.kill()
    assert rig.start() == 0
