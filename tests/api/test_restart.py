"""kill -9 in the middle of everything: what was acknowledged is there afterwards, and recorded."""

import http.client
import random
import threading
import time

import pytest


class Ledger:
    """What the service acknowledged, kept outside of it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.keys, self.blobs, self.rotations, self.requests = [], [], [], []
        self.refused = []

    def note(self, answer, place, entry):
        with self.lock:
            if answer.status == 200:
                place.append(entry)
                self.requests.append(answer.request_id)
            else:
                self.refused.append(answer.text)


def make_noise(rig, ledger, stop):
    """Creates, rotates and makes data keys until the connection breaks."""
    connection, chance = rig.connect(), random.Random()
    try:
        while not stop.is_set():
            with ledger.lock:
                known = list(ledger.keys)
            what = chance.random()
            if what < 0.2 or not known:
                answer = rig.call("CreateKey", {"Description": "noise"}, connection=connection)
                key = answer.json["KeyMetadata"]["KeyId"] if answer.status == 200 else None
                ledger.note(answer, ledger.keys, key)
            elif what < 0.35:
                key = chance.choice(known)
                answer = rig.call("RotateKeyOnDemand", {"KeyId": key}, connection=connection)
                if answer.type != "LimitExceededException":
                    ledger.note(answer, ledger.rotations, key)
            else:
                key = chance.choice(known)
                answer = rig.call("GenerateDataKey", {"KeyId": key, "KeySpec": "AES_256"},
                                  connection=connection)
                made = answer.json if answer.status == 200 else None
                ledger.note(answer, ledger.blobs, made)
    except (OSError, http.client.HTTPException):
        pass  # the daemon died under the call, which therefore was not acknowledged
    finally:
        connection.close()


def verify(rig, ledger, first=0):
    """Everything that was acknowledged is there; of the blobs, those from a certain one on."""
    lost = []
    for key in ledger.keys:
        if rig.call("Encrypt", {"KeyId": key, "Plaintext": "aGk="}).status != 200:
            lost.append(f"key {key}")
    for made in ledger.blobs[first:]:
        answer = rig.call("Decrypt", {"CiphertextBlob": made["CiphertextBlob"]})
        if answer.status != 200 or answer.json["Plaintext"] != made["Plaintext"]:
            lost.append(f"blob of {made['KeyId']}: {answer.text[:200]}")
    for key in set(ledger.rotations):
        listed = rig.ok("ListKeyRotations", KeyId=key)["Rotations"]
        if len(listed) < ledger.rotations.count(key):
            lost.append(f"rotation of {key}")
    assert not lost, "\n".join(lost[:20])
    states = [rig.ok("DescribeKey", KeyId=k["KeyId"])["KeyMetadata"]["KeyState"]
              for k in rig.ok("ListKeys", Limit=1000)["Keys"]]
    assert set(states) <= {"Enabled"}, states


def recorded(rig, ledger):
    rig.audit_verify()
    successes = {r.get("requestID") for r in rig.audit() if not r.get("errorCode")}
    missing = [r for r in ledger.requests if r not in successes]
    assert not missing, f"{len(missing)} of {len(ledger.requests)} acknowledged calls have no record"


def rounds_of(rig, ledger, rounds, end):
    for _ in range(rounds):
        stop, first = threading.Event(), len(ledger.blobs)
        noise = [threading.Thread(target=make_noise, args=(rig, ledger, stop)) for _ in range(4)]
        for thread in noise:
            thread.start()
        time.sleep(random.uniform(0.05, 0.8))
        end()
        stop.set()
        for thread in noise:
            thread.join(60)
        assert not rig.running()
        rig.start()
        verify(rig, ledger, first)
    verify(rig, ledger)


@pytest.mark.slow
@pytest.mark.lengthy
@pytest.mark.any_listener
def test_kill_during_changes(new_rig):
    rig, ledger = new_rig(), Ledger()
    rounds_of(rig, ledger, 12, rig.kill)
    recorded(rig, ledger)
    assert ledger.keys and ledger.blobs and ledger.rotations
    assert not ledger.refused, ledger.refused[:5]


def test_stop_under_load_loses_nothing(new_rig):
    rig, ledger = new_rig(), Ledger()
    rounds_of(rig, ledger, 3, rig.stop)
    recorded(rig, ledger)


@pytest.mark.any_listener
def test_kill_while_starting(new_rig):
    """The token must survive a start that is interrupted anywhere."""
    import subprocess

    from kms import BUILD
    rig = new_rig()
    key = rig.key()
    blob = rig.ok("Encrypt", KeyId=key, Plaintext="aGk=")["CiphertextBlob"]
    rig.stop()
    for attempt in range(25):
        daemon = subprocess.Popen([BUILD / "hsmkmsd", "--config", rig.exports["HSMKMS_CONFIG"]],
                                  env=rig.env(), stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0, 0.006 * (attempt + 1)))
        daemon.kill()
        daemon.wait()
    rig.start()
    assert rig.ok("Decrypt", CiphertextBlob=blob)["Plaintext"] == "aGk="


@pytest.mark.any_listener
def test_a_start_waits_for_what_was_killed(new_rig):
    """kill -9 and start without a pause, as a supervisor's script may do it."""
    import os
    import signal
    rig = new_rig()
    for _ in range(10):
        before = rig.pid
        os.kill(before, signal.SIGKILL)
        rig.start()
        assert rig.pid != before and rig.ok("ListKeys")["Keys"] == []


def test_second_daemon_on_the_same_state_is_refused(new_rig):
    import subprocess

    from kms import BUILD
    rig = new_rig()
    second = rig.dir / "second.conf"
    text = (rig.dir / "hsmkms.conf").read_text()
    for port in (rig.port, int(rig.exports["HSMKMS_OPS_URL"].rsplit(":", 1)[1])):
        text = text.replace(f"port = {port}\n", f"port = {free_port()}\n")
    second.write_text(text)
    result = subprocess.run([BUILD / "hsmkmsd", "--config", second], check=False, env=rig.env(),
                            timeout=60, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode > 0, result.stdout
    assert rig.ok("ListKeys")["Keys"] == []


def free_port():
    import socket
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_stopped_process_recovers(new_rig):
    import os
    import signal
    rig = new_rig()
    key = rig.key()
    os.kill(rig.pid, signal.SIGSTOP)
    time.sleep(2)
    os.kill(rig.pid, signal.SIGCONT)
    assert rig.ok("Encrypt", KeyId=key, Plaintext="aGk=")


def test_reload_under_load(new_rig):
    import os
    import signal
    rig, ledger, stop = new_rig(), Ledger(), threading.Event()
    noise = [threading.Thread(target=make_noise, args=(rig, ledger, stop)) for _ in range(3)]
    for thread in noise:
        thread.start()
    for _ in range(20):
        os.kill(rig.pid, signal.SIGHUP)
        time.sleep(0.05)
    stop.set()
    for thread in noise:
        thread.join(60)
    assert rig.running() and not ledger.refused and ledger.blobs
    recorded(rig, ledger)
