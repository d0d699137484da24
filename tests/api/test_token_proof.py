"""Master keys stay in the token; data keys and PINs are found nowhere after their answer.

The token is looked at with a program of somebody else (pkcs11-tool) and through the PKCS #11
functions themselves; then every file and the daemon's memory is searched.
"""

import ctypes
import os
import pathlib
import re
import subprocess
import time

import pytest

from kms import b64, unb64

MODULE = "/usr/lib/softhsm/libsofthsm2.so"

CKR_OK, CKA_CLASS, CKA_VALUE, CKA_KEY_TYPE, CKA_ID = 0, 0x0, 0x11, 0x100, 0x102
CKO_SECRET_KEY, CKK_AES, CKK_GENERIC_SECRET = 0x4, 0x1F, 0x10
CKM_AES_ECB, CKM_AES_KEY_WRAP, CKM_AES_KEY_GEN = 0x1081, 0x2109, 0x1080
ATTRIBUTES = {
    "TOKEN": 0x1, "PRIVATE": 0x2, "SENSITIVE": 0x103, "ENCRYPT": 0x104, "DECRYPT": 0x105, "WRAP": 0x106,
    "UNWRAP": 0x107, "SIGN": 0x108, "VERIFY": 0x10A, "DERIVE": 0x10C, "EXTRACTABLE": 0x162,
    "LOCAL": 0x163, "NEVER_EXTRACTABLE": 0x164, "ALWAYS_SENSITIVE": 0x165,
}
AES_KEY = {"TOKEN", "PRIVATE", "SENSITIVE", "ENCRYPT", "DECRYPT", "LOCAL", "NEVER_EXTRACTABLE",
           "ALWAYS_SENSITIVE"}
HMAC_KEY = (AES_KEY | {"SIGN", "VERIFY"}) - {"ENCRYPT", "DECRYPT"}


class Attribute(ctypes.Structure):
    _fields_ = [("type", ctypes.c_ulong), ("value", ctypes.c_void_p), ("length", ctypes.c_ulong)]


class Mechanism(ctypes.Structure):
    _fields_ = [("type", ctypes.c_ulong), ("parameter", ctypes.c_void_p), ("length", ctypes.c_ulong)]


class Token:
    """A second, read-write login to the rig's token, in a process of its own (see `look`)."""

    def __init__(self, pin):
        self.module = ctypes.CDLL(MODULE)
        self.call("C_Initialize", None)
        count = ctypes.c_ulong(16)
        slots = (ctypes.c_ulong * 16)()
        self.call("C_GetSlotList", 1, slots, ctypes.byref(count))
        self.session = ctypes.c_ulong()
        for slot in slots[:count.value]:
            self.call("C_OpenSession", ctypes.c_ulong(slot), ctypes.c_ulong(6), None, None,
                      ctypes.byref(self.session))
            if self.raw("C_Login", self.session, ctypes.c_ulong(1), pin, ctypes.c_ulong(len(pin))) == 0:
                return
        raise AssertionError("no login")

    def raw(self, name, *arguments):
        return getattr(self.module, name)(*arguments)

    def call(self, name, *arguments):
        rv = self.raw(name, *arguments)
        assert rv == CKR_OK, f"{name}: 0x{rv:x}"

    def keys(self):
        kind = ctypes.c_ulong(CKO_SECRET_KEY)
        template = Attribute(CKA_CLASS, ctypes.cast(ctypes.byref(kind), ctypes.c_void_p), 8)
        self.call("C_FindObjectsInit", self.session, ctypes.byref(template), ctypes.c_ulong(1))
        handles, count = (ctypes.c_ulong * 1000)(), ctypes.c_ulong()
        self.call("C_FindObjects", self.session, handles, ctypes.c_ulong(1000), ctypes.byref(count))
        self.call("C_FindObjectsFinal", self.session)
        return list(handles[:count.value])

    def attribute(self, handle, kind, size=8):
        room = ctypes.create_string_buffer(size)
        template = Attribute(kind, ctypes.cast(room, ctypes.c_void_p), size)
        rv = self.raw("C_GetAttributeValue", self.session, ctypes.c_ulong(handle),
                      ctypes.byref(template), ctypes.c_ulong(1))
        return rv, room.raw[:template.length] if rv == CKR_OK else b""

    def wrapping_key(self):
        """A session key of our own that may wrap."""
        true, length = ctypes.c_ubyte(1), ctypes.c_ulong(32)
        rows = (Attribute * 4)(
            *(Attribute(kind, ctypes.cast(ctypes.byref(true), ctypes.c_void_p), 1)
              for kind in (ATTRIBUTES["WRAP"], ATTRIBUTES["ENCRYPT"], ATTRIBUTES["DECRYPT"])),
            Attribute(0x161, ctypes.cast(ctypes.byref(length), ctypes.c_void_p), 8))
        handle = ctypes.c_ulong()
        self.call("C_GenerateKey", self.session, ctypes.byref(Mechanism(CKM_AES_KEY_GEN, None, 0)),
                  rows, ctypes.c_ulong(4), ctypes.byref(handle))
        return handle.value

    def wrap(self, wrapping, handle):
        room, length = ctypes.create_string_buffer(512), ctypes.c_ulong(512)
        return self.raw("C_WrapKey", self.session, ctypes.byref(Mechanism(CKM_AES_KEY_WRAP, None, 0)),
                        ctypes.c_ulong(wrapping), ctypes.c_ulong(handle), room, ctypes.byref(length))

    def may_use(self, function, mechanism, handle):
        """Whether an operation with another mechanism than ours can even begin."""
        rv = self.raw(function, self.session, ctypes.byref(Mechanism(mechanism, None, 0)),
                      ctypes.c_ulong(handle))
        return rv == CKR_OK


def look(rig, function):
    """Runs function(token) in a child: a PKCS #11 module is initialised once in a process."""
    pin = (rig.dir / "pin").read_bytes()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.environ["SOFTHSM2_CONF"] = rig.exports["SOFTHSM2_CONF"]
            function(Token(pin))
            status = 0
        except BaseException as error:  # the parent sees the status, the log sees the reason
            os.write(2, repr(error).encode() + b"\n")
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture(scope="module")
def used(rig):
    """The shared service after it has worked with several versions of several keys."""
    for _ in range(3):
        key = rig.key()
        for _ in range(3):
            rig.ok("GenerateDataKey", KeyId=key, KeySpec="AES_256")
            rig.ok("RotateKeyOnDemand", KeyId=key)
    return rig


def test_attributes_of_every_key(used):
    def check(token):
        handles = token.keys()
        assert len(handles) >= 12
        ids = set()
        for handle in handles:
            kind = int.from_bytes(token.attribute(handle, CKA_KEY_TYPE)[1], "little")
            want = {CKK_AES: AES_KEY, CKK_GENERIC_SECRET: HMAC_KEY}[kind]
            have = {n for n, t in ATTRIBUTES.items() if token.attribute(handle, t)[1][:1] == b"\1"}
            assert have == want, f"missing {want - have}, too many {have - want}"
            ids.add(token.attribute(handle, CKA_ID, 64)[1])
        assert len(ids) == len(handles) and all(len(i) == 16 for i in ids)

    assert look(used, check) == 0


def test_no_key_can_be_read_or_wrapped(used):
    def check(token):
        handles, wrapping = token.keys(), token.wrapping_key()
        for handle in handles:
            rv, value = token.attribute(handle, CKA_VALUE, 64)
            assert rv != CKR_OK and not value
            assert token.wrap(wrapping, handle) != CKR_OK

    assert look(used, check) == 0


def test_no_key_can_be_used_for_anything_else(used):
    def check(token):
        for handle in token.keys():
            for function in ("C_EncryptInit", "C_DecryptInit"):
                assert not token.may_use(function, CKM_AES_ECB, handle), f"{function} with ECB"

    assert look(used, check) == 0


def pkcs11_tool(rig, *arguments):
    environment = {**os.environ, "SOFTHSM2_CONF": rig.exports["SOFTHSM2_CONF"],
                   "RIG_PIN": (rig.dir / "pin").read_text()}
    return subprocess.run(["/usr/bin/pkcs11-tool", "--module", MODULE, "--token-label", "hsmkms",
                           "--login", "--pin", "env:RIG_PIN", *arguments], check=False, text=True,
                          env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)


def test_pkcs11_tool_agrees(used):
    listing = pkcs11_tool(used, "--list-objects", "--type", "secrkey").stdout
    access = re.findall(r"Access:\s+(.*)", listing)
    assert len(access) >= 12
    for line in access:
        assert {"sensitive", "always sensitive", "never extractable", "local"} <= \
            {word.strip() for word in line.split(",")}, line
    for key_id in re.findall(r"ID:\s+([0-9a-f]{32})", listing)[:5]:
        output = used.dir / "stolen"
        result = pkcs11_tool(used, "--read-object", "--type", "secrkey", "--id", key_id,
                             "--output-file", str(output))
        assert result.returncode or not output.exists() or not output.stat().st_size, result.stdout


def test_without_login_nothing_is_seen(used):
    result = subprocess.run(["/usr/bin/pkcs11-tool", "--module", MODULE, "--token-label", "hsmkms",
                             "--list-objects"], check=False, text=True, timeout=60,
                            env={**os.environ, "SOFTHSM2_CONF": used.exports["SOFTHSM2_CONF"]},
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert "Secret Key" not in result.stdout


def memory(pid):
    """(address range, bytes) of everything that can be read in a process, with pages of zeros cut
    to fewer than a needle could have, which spares most of the search."""
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
    with open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            region, rights, *rest = line.split()
            if "r" not in rights or rest[-1] in ("[vvar]", "[vsyscall]"):
                continue
            start, end = (int(x, 16) for x in region.split("-"))
            try:
                mem.seek(start)
                data = mem.read(end - start)
            except (OSError, ValueError, OverflowError):
                continue
            yield line, re.sub(rb"\0{4096,}", bytes(128), data)


def needles(name, raw):
    """Forms in which bytes could lie around; halves too, in case a buffer was partly reused."""
    rows = {name: raw, f"{name}, base64": b64(raw).encode(), f"{name}, hex": raw.hex().encode()}
    rows.update({f"{k}, second half": v[len(v) // 2:] for k, v in list(rows.items()) if len(v) >= 32})
    return rows


def found(data, wanted):
    return [name for name, needle in wanted.items() if needle in data]


def files(rig):
    skip = {"pin", "so-pin", "credential.json", "stolen"}
    return [p for p in rig.dir.rglob("*") if p.is_file() and p.name not in skip]


@pytest.mark.memory
@pytest.mark.lengthy
@pytest.mark.any_listener
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_nothing_is_left_behind(new_rig, tls):
    rig = new_rig(tls=tls)
    key, wanted = rig.key(), {}
    connection = rig.connect()

    def ok(operation, **parameters):
        answer = rig.call(operation, parameters, connection=connection)
        assert answer.status == 200, answer.text
        return answer.json

    for i in range(20):
        made = ok("GenerateDataKey", KeyId=key, KeySpec="AES_256")
        wanted.update(needles(f"data key {i}", unb64(made["Plaintext"])))
        ok("Decrypt", CiphertextBlob=made["CiphertextBlob"])
        plain = os.urandom(48)
        wanted.update(needles(f"encrypted text {i}", plain))
        moved = ok("Encrypt", KeyId=key, Plaintext=b64(plain))
        ok("ReEncrypt", CiphertextBlob=moved["CiphertextBlob"], DestinationKeyId=key)
        wanted.update(needles(f"random {i}", unb64(ok("GenerateRandom", NumberOfBytes=32)["Plaintext"])))
    connection.close()
    time.sleep(1)
    wanted["PIN"] = (rig.dir / "pin").read_bytes()
    wanted["secret access key"] = rig.credential.secret.encode()

    left = [f"{n} in {line}" for line, data in memory(rig.pid) for n in found(data, wanted)]
    left += [f"{n} in {p}" for p in files(rig) for n in found(p.read_bytes(), wanted)]
    assert not left, f"{len(left)} traces:\n" + "\n".join(left[:30])


@pytest.mark.memory
@pytest.mark.any_listener
def test_the_search_finds_what_is_there(new_rig):
    """The twin of the test above: something that must be in memory and on disk is found."""
    rig = new_rig()
    description = os.urandom(24).hex()
    rig.key(Description=description)
    wanted = {"description": description.encode()}
    assert any(found(data, wanted) for _, data in memory(rig.pid))
    assert any(found(p.read_bytes(), wanted) for p in files(rig))


def test_process_cannot_be_dumped(rig):
    status = pathlib.Path(f"/proc/{rig.pid}/limits").read_text()
    assert re.search(r"Max core file size\s+0\s", status), "core dumps are possible"
    command = pathlib.Path(f"/proc/{rig.pid}/cmdline").read_bytes()
    environment = pathlib.Path(f"/proc/{rig.pid}/environ").read_bytes()
    pin = (rig.dir / "pin").read_bytes()
    assert pin not in command and pin not in environment


def test_log_and_trail_hold_no_secrets(rig, key):
    plain = os.urandom(32)
    made = rig.ok("Encrypt", KeyId=key, Plaintext=b64(plain), EncryptionContext={"seen": "in clear"})
    rig.refuses("InvalidCiphertextException", "Decrypt", {"CiphertextBlob": made["CiphertextBlob"]})
    wanted = {**needles("plaintext", plain), "blob": made["CiphertextBlob"].encode(),
              "secret": rig.credential.secret.encode(), "PIN": (rig.dir / "pin").read_bytes()}
    for path in [rig.dir / "daemon.log", *(rig.dir / "audit").glob("*.jsonl")]:
        assert not found(path.read_bytes(), wanted), path
    assert any(r.get("requestParameters", {}) and
               r["requestParameters"].get("encryptionContext") == {"seen": "in clear"}
               for r in rig.audit())
