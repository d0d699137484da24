"""hsmkms-admin over its socket, hsmkms-audit over the trail."""

import json
import os
import re
import socket
import stat
import subprocess

import kms


def listed(rig):
    return rig.admin("key", "list").stdout


def test_create_use_disable(rig):
    credential = rig.user("alice")
    assert re.fullmatch("AKIA[A-Z2-7]{16}", credential.access_key)
    answer = rig.call("CreateKey", {"Description": "alice's"}, credential=credential)
    assert answer.status == 200
    record = [r for r in rig.audit() if r.get("requestID") == answer.request_id][-1]
    assert record["userIdentity"]["arn"] == "arn:aws:iam::000000000000:user/alice"
    assert record["userIdentity"]["accessKeyId"] == credential.access_key
    assert credential.access_key in listed(rig) and credential.secret not in listed(rig)
    rig.admin("key", "disable", credential.access_key)
    rig.refuses("UnrecognizedClientException", "ListKeys", credential=credential)


def test_credentials_survive_a_kill(new_rig):
    rig = new_rig()
    bob, eve = rig.user("bob"), rig.user("eve")
    rig.admin("key", "disable", eve.access_key)
    rig.kill()
    rig.start()
    assert rig.call("ListKeys", credential=bob).status == 200
    rig.refuses("UnrecognizedClientException", "ListKeys", credential=eve)


def test_two_keys_for_one_user(rig):
    rig.user("carol")
    rig.access_key("carol")
    assert rig.admin("key", "create", "--user", "carol", check=False).returncode


def test_bad_arguments(rig):
    before = listed(rig)
    for arguments in ((), ("key",), ("key", "nonsense"), ("key", "disable"), ("nonsense",),
                      ("key", "disable", "AKIAAAAAAAAAAAAAAAAA"), ("key", "create", "--user", "a b"),
                      ("key", "create", "--user", "x" * 65), ("key", "create", "--user", "a\nb")):
        result = rig.admin(*arguments, check=False)
        assert result.returncode, arguments
    assert listed(rig) == before


def test_status(rig):
    text = rig.admin("status").stdout
    assert text.strip()


def test_admin_acts_are_recorded(rig):
    made = rig.user("dave")
    assert any(made.access_key in json.dumps(r) for r in rig.audit())
    assert not any(made.secret in json.dumps(r) for r in rig.audit())


def test_socket_is_private(rig):
    path = rig.dir / "state" / "admin.sock"
    mode = os.stat(path)
    assert stat.S_ISSOCK(mode.st_mode) and not mode.st_mode & 0o077
    assert not os.stat(rig.dir / "state").st_mode & 0o077


def test_socket_survives_nonsense(rig):
    for data in (b"", b"\n", b"x" * 100000, b"{", b'{"command":1}\n', b"\0\xff\xfe\n", b"[" * 9999 + b"\n"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(rig.dir / "state" / "admin.sock"))
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(4096)
            except OSError:
                pass
    assert rig.admin("status").returncode == 0


def test_init_twice_is_refused(new_rig):
    rig = new_rig()
    rig.stop()
    command = [kms.BUILD / "hsmkms-admin", "init", "--config", rig.exports["HSMKMS_CONFIG"]]
    result = subprocess.run(command, check=False, env=rig.env(), stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, timeout=60)
    assert result.returncode and not result.stdout
    rig.start()
    assert rig.ok("ListKeys")["Keys"] == []


def test_uninitialised_installation_does_not_serve(new_rig):
    """Without init there is nothing to serve, and the daemon does not make it up."""
    rig = new_rig()
    rig.stop()
    for path in (rig.dir / "state").iterdir():
        path.unlink()
    assert rig.start(check=False) > 0


def test_files_are_private(rig):
    for path in [p for part in ("state", "audit", "token") for p in (rig.dir / part).rglob("*")]:
        assert not path.stat().st_mode & 0o077, path


def test_audit_tail(rig, key):
    rig.ok("Encrypt", KeyId=key, Plaintext="aGk=")
    result = subprocess.run([kms.BUILD / "hsmkms-audit", "tail", rig.exports["HSMKMS_AUDIT_DIR"]],
                            check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    assert any("Encrypt" in line for line in result.stdout.splitlines())
    rig.audit_verify()
