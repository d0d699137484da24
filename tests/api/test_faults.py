"""A token that fails, lies, waits or forgets: nothing acknowledged is lost, nothing wrong is said.

Each test runs the real daemon over a module that goes wrong on request. What the service
acknowledges under load is kept in a ledger and opened again when the faults are over.
"""

import contextlib
import http.client
import os
import pathlib
import signal
import subprocess
import threading
import time

import pytest

import clock
import kms
from faults import (DEVICE_ERROR, FUNCTION_FAILED, GENERAL_ERROR, KEY_HANDLE_INVALID,
                    OBJECT_HANDLE_INVALID, OUT_OF_REACH, SESSION_CLOSED, SESSION_HANDLE_INVALID,
                    USER_NOT_LOGGED_IN, FaultyRig, Load, everywhere)

PIN_LATCHED = 3
HANG_S = 12
SCALE = 4 if kms.SANITIZED else 1

pytestmark = pytest.mark.any_listener


def requests(count):
    return count // SCALE


@pytest.fixture()
def faulty():
    """Makes rigs over the faulty module for one test."""
    import conftest
    with contextlib.ExitStack() as stack:
        def make(**arguments):
            rig = FaultyRig(**arguments)
            stack.callback(conftest.end, rig)
            stack.callback(rig.rules)
            return rig
        yield make


@pytest.fixture()
def rig(faulty):
    return faulty()


def loaded(rig, keys=3, count=200):
    """A ledger with something in it."""
    load = Load(rig, [rig.key() for _ in range(keys)]).run(count)
    load.only()
    return load


def well_again(rig, load):
    rig.rules()
    rig.wait_health(200)
    load.verify()


# Lies


@pytest.mark.parametrize("function", ["C_Encrypt", "C_Decrypt", "C_GenerateRandom"])
def test_flipped_bits_are_never_acknowledged(rig, function):
    load = loaded(rig)
    wrong = len(load.wrong)
    rig.rules(f"{function} p=0.02 flip")
    load.run(requests(3000))
    rig.rules()
    if function == "C_Decrypt":  # nobody can know it of a Decrypt: see ReEncrypt below
        del load.wrong[wrong:]
    load.only("KMSInternalException")
    assert load.refused or function == "C_GenerateRandom"
    assert rig.token()["Available"], "a lying token is found out by each call"
    well_again(rig, load)


def test_re_encrypt_notices_a_wrong_plaintext(rig):
    """The old ciphertext would be dropped, and its plaintext lost for ever."""
    load = loaded(rig, keys=1)
    blob, plain, context = next(b for b in load.blobs if b[1])
    made = []
    rig.rules("C_Decrypt every=7 flip")
    for _ in range(100):
        answer = rig.call("ReEncrypt", {"CiphertextBlob": blob, "SourceEncryptionContext": context,
                                        "DestinationKeyId": load.keys[0]})
        if answer.status == 200:
            made.append((answer.json["CiphertextBlob"], plain, {}))
        else:
            assert answer.type == "KMSInternalException"
    assert 20 < len(made) < 80
    load.blobs += made
    well_again(rig, load)


# Lost sessions, handles and logins


@pytest.mark.parametrize("function,code", [
    ("C_EncryptInit", SESSION_HANDLE_INVALID), ("C_Encrypt", SESSION_CLOSED),
    ("C_DecryptInit", SESSION_CLOSED), ("C_Decrypt", SESSION_HANDLE_INVALID),
    ("C_GenerateRandom", SESSION_HANDLE_INVALID), ("C_EncryptInit", KEY_HANDLE_INVALID),
    ("C_DecryptInit", OBJECT_HANDLE_INVALID), ("C_DecryptInit", USER_NOT_LOGGED_IN)])
def test_lost_sessions_and_handles_are_invisible(rig, function, code):
    """One call in a hundred; never two in a row, which would be an ill token."""
    load = loaded(rig)
    before, logins = rig.token(), rig.counts()["C_Login"]
    first = rig.counts()[function]
    rig.rules(f"{function} rv={code:#x} every=100")
    load.run(requests(1500))
    rig.rules()
    hits = (rig.counts()[function] - first) // 100
    load.only()
    after = rig.token()
    replaced = after["SessionsReplaced"] - before["SessionsReplaced"]
    assert hits and hits // 2 <= replaced <= 2 * hits + 4, (hits, replaced)
    assert after["Sessions"] == before["Sessions"] and after["Available"]
    assert rig.counts()["C_Login"] == logins, "nobody was logged out"
    well_again(rig, load)


def test_sessions_lost_everywhere_at_random(rig):
    """One call in a hundred, whatever it does: nobody notices, and the sessions stay as many."""
    load = loaded(rig)
    before = rig.token()
    rig.rules(*everywhere(f"rv={SESSION_HANDLE_INVALID:#x} p=0.01"))
    load.run(requests(3000))
    rig.rules()
    load.only()
    after = rig.token()
    assert after["Sessions"] == before["Sessions"]
    assert after["SessionsReplaced"] > before["SessionsReplaced"]
    well_again(rig, load)


def test_stale_handles_are_invisible(rig):
    load = loaded(rig)
    load.start(requests(2000))
    for _ in range(5):
        rig.rules("handles stale")
        time.sleep(0.2)
    load.wait()
    load.only()
    well_again(rig, load)


def test_lost_login_is_made_again_once(rig):
    """Everybody is logged out under load; the one login that follows mends it."""
    load = loaded(rig)
    for _ in range(3):
        logins = rig.counts()["C_Login"]
        load.start(requests(800))
        time.sleep(0.1)
        rig.rules("login lost")
        load.wait()
        assert rig.counts()["C_Login"] - logins <= 2
        load.only(*OUT_OF_REACH)
        well_again(rig, load)
        assert rig.counts()["C_Login"] > logins


def test_low_tries_forbid_the_login(faulty):
    """Tokens lock at some number of wrong PINs: the last try is never ours."""
    rig = faulty()
    rig.stop()
    right = (rig.dir / "pin").read_text()
    rig.rules("pin lock=3")
    for wrong in ("0" * 32, "1" * 32):
        (rig.dir / "pin").write_text(wrong)
        assert rig.start(check=False) == PIN_LATCHED
    logins = rig.counts()["C_Login"]
    (rig.dir / "pin").write_text(right)
    for _ in range(5):
        assert rig.start(check=False) == PIN_LATCHED
    assert rig.counts()["C_Login"] == logins, "not one try while the token says that few are left"
    rig.rules()  # the operator has reset the token's counter
    assert rig.start() == 0


# A failing device


def test_device_error_burst(rig):
    load = loaded(rig)
    rig.rules(*everywhere(f"rv={DEVICE_ERROR:#x} times=20"))
    load.run(requests(2000))
    load.only(*OUT_OF_REACH)
    well_again(rig, load)
    load.refused.clear()
    load.run(200).only()


@pytest.mark.parametrize("code", [DEVICE_ERROR, GENERAL_ERROR, FUNCTION_FAILED])
def test_device_gone_and_back(rig, code):
    """Red while it lasts, no call storm, green again, nothing lost."""
    load = loaded(rig)
    rig.wait_health(200)
    rig.rules(*everywhere(f"rv={code:#x}"))
    load.run(20)
    calls = rig.calls()
    load.run(requests(3000))
    made, asked = rig.calls() - calls, requests(3000)
    load.only(*OUT_OF_REACH)
    assert sum(load.refused.values()) >= asked, "nothing works without a token"
    assert made < asked / 4, f"{made} calls to a dead token for {asked} requests"
    assert "token" in rig.wait_health(503)
    rig.refuses(tuple(OUT_OF_REACH), "CreateKey")
    assert rig.ok("ListKeys")["Keys"], "what needs no token is served"
    well_again(rig, load)
    load.refused.clear()
    load.run(200).only()


@pytest.mark.lengthy
def test_failed_decryptions_are_not_bad_ciphertexts(rig):
    """A sick C_Decrypt, in bursts and for good: the caller must not think the data corrupt."""
    load = loaded(rig)
    for code in (GENERAL_ERROR, FUNCTION_FAILED):
        for burst in (1, 2, 3, 10):
            rig.rules(f"C_Decrypt rv={code:#x} times={burst}")
            load.run(requests(300))
            load.only(*OUT_OF_REACH)
            rig.rules()
            rig.wait_health(200)
        rig.rules(f"C_Decrypt rv={code:#x}")
        load.run(requests(300))
        load.only(*OUT_OF_REACH)
        well_again(rig, load)


def test_bad_ciphertexts_cost_nothing(rig):
    load = loaded(rig, keys=1)
    blob, _, context = load.blobs[0]
    data = bytearray(kms.unb64(blob))
    before, calls = rig.token(), rig.calls()
    tried = 0
    for i in range(len(data) - 1, 0, -max(1, len(data) // 100)):
        data[i] ^= 1
        answer = rig.call("Decrypt", {"CiphertextBlob": kms.b64(data), "EncryptionContext": context})
        assert answer.status == 400, answer.text
        if i > 80:  # behind the header, where a damaged key id is a key that does not exist
            assert answer.type == "InvalidCiphertextException", (i, answer.text)
        data[i] ^= 1
        tried += 1
    answer = rig.call("Decrypt", {"CiphertextBlob": blob, "EncryptionContext": {"n": "another"}})
    assert answer.type == "InvalidCiphertextException"
    after = rig.token()
    assert after["SessionsReplaced"] == before["SessionsReplaced"] and after["Available"]
    assert (rig.calls() - calls) / tried < 10, "the canary is asked once for each"
    load.verify()


# Key generation


def states(rig):
    return [rig.ok("DescribeKey", KeyId=k["KeyId"])["KeyMetadata"]["KeyState"]
            for k in rig.ok("ListKeys", Limit=1000)["Keys"]]


def settled(rig, keys, load):
    """After a restart every key works, and the token holds what the database names, no more."""
    rig.rules()
    rig.restart()
    assert set(states(rig)) == {"Enabled"} and len(states(rig)) >= keys
    assert "unknown-token-objects" not in rig.log(), rig.log()[-1500:]
    for key in rig.ok("ListKeys", Limit=1000)["Keys"]:
        made = rig.ok("Encrypt", KeyId=key["KeyId"], Plaintext="aGk=")
        assert rig.ok("Decrypt", CiphertextBlob=made["CiphertextBlob"])["Plaintext"] == "aGk="
    load.verify()
    expected = 3 + sum(1 + len(rig.ok("ListKeyRotations", KeyId=k["KeyId"])["Rotations"])
                       for k in rig.ok("ListKeys", Limit=1000)["Keys"])  # and three of the service's own
    token = rig.token()
    assert token["Keys"] == expected and token["ObjectsIgnored"] == 0, "objects that nothing needs"


@pytest.mark.parametrize("fault", [
    f"C_GenerateKey rv={DEVICE_ERROR:#x}", f"C_GenerateKey rv={FUNCTION_FAILED:#x}",
    "C_GenerateKey fail-after", "C_Encrypt flip", f"C_EncryptInit rv={DEVICE_ERROR:#x}",
    f"C_GetAttributeValue rv={DEVICE_ERROR:#x}", f"C_GetAttributeValue rv={SESSION_CLOSED:#x}"])
def test_failed_generation_leaves_nothing(rig, fault):
    load = loaded(rig, keys=2)
    view = rig.view()
    for operation, parameters in (("CreateKey", {}), ("RotateKeyOnDemand", {"KeyId": load.keys[0]})):
        rig.rules(f"{fault} times=1")
        answer = rig.call(operation, parameters)
        rig.rules()
        rig.wait_health(200)
        assert answer.status >= 500 and answer.type in OUT_OF_REACH, answer.text
        assert rig.view() == view, f"{operation} left something"
    load.verify()
    settled(rig, 2, load)
    rig.ok("RotateKeyOnDemand", KeyId=load.keys[0])
    load.verify()


def test_generation_fails_at_random(rig):
    """Half of all generations fail, before or after the object is made, under load."""
    load = loaded(rig, keys=2)
    rig.rules("C_GenerateKey p=0.25 fail-after", f"C_GenerateKey p=0.25 rv={DEVICE_ERROR:#x}")
    load.start(requests(1500), threads=3)
    made, failed = 0, 0
    for i in range(30):
        change_made = ("RotateKeyOnDemand", {"KeyId": load.keys[0]}) if i % 2 else ("CreateKey",)
        answer = rig.call(*change_made)
        assert answer.status == 200 or answer.type in OUT_OF_REACH, answer.text
        made, failed = made + (answer.status == 200), failed + (answer.status != 200)
    load.wait()
    load.only(*OUT_OF_REACH)
    assert made and failed
    settled(rig, 2, load)


def test_constant_random_stops_encryption_only(rig):
    load = loaded(rig)
    rig.rules("C_GenerateRandom constant")
    for _ in range(20):  # each session notices at its second answer
        answer = rig.call("GenerateDataKey", {"KeyId": load.keys[0], "KeySpec": "AES_256"})
        if answer.status != 200:
            break
        load.blobs.append((answer.json["CiphertextBlob"], answer.json["Plaintext"], {}))
    rig.rules()
    for operation, parameters in (
            ("GenerateDataKey", {"KeyId": load.keys[0], "KeySpec": "AES_256"}),
            ("Encrypt", {"KeyId": load.keys[0], "Plaintext": "aGk="}),
            ("GenerateRandom", {"NumberOfBytes": 8}), ("CreateKey", {}),
            ("RotateKeyOnDemand", {"KeyId": load.keys[0]})):
        rig.refuses(tuple(OUT_OF_REACH), operation, parameters)
    load.verify()
    assert rig.health()[0] == 503, "an operator has to look"
    rig.restart()
    rig.wait_health(200)
    load.run(100).only()


# A slow token


def test_slow_token_throttles_instead_of_hanging(faulty):
    rig = faulty(conf="[limits]\nqueue = 20\nqueue_per_principal = 20\nqueue_time = 300")
    load = loaded(rig)
    rig.rules("C_Encrypt delay=200", "C_Decrypt delay=200")
    load.run(requests(400), threads=40)
    rig.rules()
    load.only("ThrottlingException", *OUT_OF_REACH)
    assert load.refused[400, "ThrottlingException"], load.refusals()
    assert rig.status()["Http"]["QueuedMost"] <= 20
    assert load.longest_s < 20 * SCALE
    well_again(rig, load)


@pytest.mark.lengthy
def test_one_hung_call_stops_nobody_else(faulty):
    rig = faulty(conf="[token]\ncall_time = 500")
    load, other = loaded(rig), rig.key()
    load.longest_s = 0.0
    rig.rules(f"C_Encrypt delay={HANG_S}000 times=1")
    hung = threading.Thread(target=rig.call, args=("Encrypt", {"KeyId": load.keys[0],
                                                               "Plaintext": "aGk="}))
    hung.start()
    time.sleep(0.2)
    load.start(requests(600), threads=3)
    assert "slow" in rig.wait_health(503, seconds=HANG_S - 2)
    rig.ok("DisableKey", KeyId=other)
    assert hung.is_alive(), "the change waited for the hung call"
    load.wait()
    assert load.longest_s < HANG_S - 2, "others waited for the hung call"
    load.only()
    hung.join(60)
    well_again(rig, load)


def test_stop_while_the_token_hangs(faulty):
    rig = faulty()
    load = loaded(rig)
    rig.rules("C_Encrypt delay=3000 times=4")
    load.start(8)
    time.sleep(0.3)
    begun = time.monotonic()
    os.kill(rig.pid, signal.SIGTERM)
    while rig.running():
        assert time.monotonic() - begun < 20 * SCALE, "SIGTERM does not end it"
        time.sleep(0.05)
    load.wait()
    rig.rules()
    rig.start()
    load.verify()


# Killed at a certain call


def change(rig, operation, key):
    """Runs into a kill: what was acknowledged, or None."""
    try:
        return rig.ok(operation, **({"KeyId": key} if operation != "CreateKey" else {}))
    except (OSError, http.client.HTTPException):
        return None


def died(rig, seconds=20):
    until = time.monotonic() + seconds
    while rig.running() and time.monotonic() < until:
        time.sleep(0.02)
    return not rig.running()


POINTS = [f"{function} {what}" for function in ("C_GenerateKey", "C_EncryptInit", "C_Encrypt",
                                                "C_DecryptInit", "C_GetAttributeValue", "C_SignInit")
          for what in ("die", "die-after")]


@pytest.mark.parametrize("operation", ["CreateKey", "RotateKeyOnDemand"])
def test_killed_at_a_call_of_a_change(faulty, operation):
    """Dies before and after each call that a change makes to the token, and at later ones too."""
    rig = faulty(conf="[keys]\non_demand_rotations = 1000")
    load = loaded(rig, keys=2)
    deaths = 0
    for point in POINTS:
        for after in (0, 1, 3):
            rig.rules(f"{point} after={after} times=1")
            acknowledged = change(rig, operation, load.keys[0])
            dead = not rig.running() if acknowledged else died(rig, 3)
            deaths += dead
            rig.rules()
            rig.start()
            if acknowledged and operation == "CreateKey":
                load.keys.append(acknowledged["KeyMetadata"]["KeyId"])
            assert set(states(rig)) == {"Enabled"}, f"{point} after={after}"
            load.run(20).only()
    assert deaths >= len(POINTS)
    settled(rig, 2, load)
    rig.audit_verify()


def attach(rig, call, count):
    """Kills the daemon at the count-th such system call from now on."""
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(rig.pid), "-e", f"trace={call}",
         "-e", f"inject={call}:signal=KILL:when={count}"], stderr=subprocess.PIPE)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        tasks = [p.read_text() for p in rig_tasks(rig)]
        if tasks and all("TracerPid:\t0\n" not in text for text in tasks):
            return tracer
        if tracer.poll() is not None:
            pytest.skip(f"strace cannot attach: {tracer.stderr.read()[-200:]}")
        time.sleep(0.01)
    tracer.kill()
    raise AssertionError("strace does not attach")


def rig_tasks(rig):
    return list(pathlib.Path(f"/proc/{rig.pid}/task").glob("*/status"))


@pytest.mark.slow
@pytest.mark.lengthy
@pytest.mark.skipif(not os.path.exists("/usr/bin/strace"), reason="needs strace")
@pytest.mark.parametrize("operation", ["CreateKey", "RotateKeyOnDemand", "ScheduleKeyDeletion"])
def test_killed_at_a_system_call_of_a_change(faulty, operation):
    """Dies at each write and sync that a change makes, one after the other, until it survives."""
    rig = faulty(conf="[keys]\non_demand_rotations = 1000")
    load, deaths = loaded(rig, keys=2), 0
    for call in ("fdatasync", "fsync", "pwrite64", "write", "rename", "openat", "unlink"):
        for count in range(1, 40):
            victim = rig.key() if operation == "ScheduleKeyDeletion" else load.keys[0]
            tracer = attach(rig, call, count)
            acknowledged = change(rig, operation, victim)
            survived = acknowledged is not None
            deaths += not survived
            assert survived or died(rig), f"{call} {count}"
            tracer.kill()
            tracer.wait(20)
            rig.start()
            described = rig.ok("DescribeKey", KeyId=victim)["KeyMetadata"]["KeyState"]
            if operation == "ScheduleKeyDeletion":
                assert described in (("PendingDeletion",) if acknowledged else
                                     ("PendingDeletion", "Enabled"))
            else:
                assert set(states(rig)) == {"Enabled"}, f"{call} {count}"
            load.run(8, threads=4).only()
            if survived:
                break
    assert deaths > 10
    if operation != "ScheduleKeyDeletion":
        settled(rig, 2, load)
    load.verify()


@pytest.mark.faketime
@pytest.mark.parametrize("what", ["die", "die-after"])
@pytest.mark.parametrize("place", [0, 1])
def test_killed_while_a_key_is_deleted(faulty, what, place):
    """Once it has begun a deletion ends at the next start; nothing else is touched."""
    rig = faulty(conf="[keys]\ndue_check = 1\ndeletion_hold = 0")
    load = loaded(rig, keys=2)
    doomed = rig.key()
    rig.ok("RotateKeyOnDemand", KeyId=doomed)  # two objects to destroy
    blob = rig.ok("Encrypt", KeyId=doomed, Plaintext="aGk=")["CiphertextBlob"]
    rig.ok("ScheduleKeyDeletion", KeyId=doomed, PendingWindowInDays=7)
    before = rig.counts()["C_DestroyObject"]
    rig.restart()
    at_start = rig.counts()["C_DestroyObject"] - before  # the probe's keys
    assert rig.ok("DescribeKey", KeyId=doomed)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    rig.stop()
    rig.rules(f"C_DestroyObject after={at_start + place} times=1 {what}")
    rig.start(env=clock.moved("FAKETIME=+8d"), check=False)
    assert died(rig), "the deletion was due"
    rig.rules()
    rig.start()  # at the true time: what has begun is not undone by a clock
    until = time.monotonic() + 20
    while rig.call("DescribeKey", {"KeyId": doomed}).type != "NotFoundException":
        assert time.monotonic() < until, "the deletion is not resumed"
        time.sleep(0.2)
    assert rig.call("Decrypt", {"CiphertextBlob": blob}).status == 400
    settled(rig, 2, load)
