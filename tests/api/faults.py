"""A rig whose token goes wrong on request, and a load whose acknowledged results are kept.

The daemon runs over tests/support/p11_faults.c, which stands between it and the real module and
reads its rules from a file; what it understands is described there.
"""

import collections
import http.client
import json
import pathlib
import random
import shutil
import tempfile
import threading
import time

import pytest

import kms

SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"

# What may be said of a token that fails; all are 5xx.
OUT_OF_REACH = {"KMSInternalException", "KeyUnavailableException", "DependencyTimeoutException"}

# PKCS #11 v2.40, CKR_ values.
GENERAL_ERROR, FUNCTION_FAILED, DEVICE_ERROR = 0x05, 0x06, 0x30
KEY_HANDLE_INVALID, OBJECT_HANDLE_INVALID = 0x60, 0x82
SESSION_CLOSED, SESSION_HANDLE_INVALID = 0xB0, 0xB3
USER_NOT_LOGGED_IN = 0x101

CRYPTO = ("C_EncryptInit", "C_Encrypt", "C_DecryptInit", "C_Decrypt", "C_SignInit", "C_Sign",
          "C_GenerateRandom")


def everywhere(what, functions=CRYPTO):
    """The same rule for several functions."""
    return [f"{function} {what}" for function in functions]


class FaultyRig(kms.Rig):
    """A rig over the module that goes wrong on request."""

    def __init__(self, conf="", rules=(), tls=kms.TLS, transit=False):
        module = next(iter(kms.BUILD.rglob("p11faults.so")), None)
        if module is None:
            pytest.skip("p11faults.so is not part of this build")
        self.faults_dir = pathlib.Path(tempfile.mkdtemp(prefix="hf", dir="/tmp"))
        self.rules(*rules)
        super().__init__(tls=tls, conf=conf, transit=transit, env={
            "HSMKMS_MODULE": str(module), "P11_FAULTS_MODULE": SOFTHSM,
            "P11_FAULTS_FILE": str(self.faults_dir / "rules"),
            "P11_FAULTS_COUNTS": str(self.faults_dir / "counts")})

    def down(self):
        super().down()
        shutil.rmtree(self.faults_dir, ignore_errors=True)

    def rules(self, *lines):
        """What goes wrong from the next call to the token on; nothing: the token is well."""
        fresh = self.faults_dir / "rules.new"
        fresh.write_text("".join(f"{line}\n" for line in lines))
        fresh.replace(self.faults_dir / "rules")

    def counts(self):
        """How often each function was called, over all processes."""
        lines = (self.faults_dir / "counts").read_text().splitlines()
        return {name: int(count) for name, count in (line.split() for line in lines)}

    def calls(self):
        """Calls to the token in all."""
        return sum(count for name, count in self.counts().items() if name != "pin-failures")

    def status(self):
        """hsmkms-admin status."""
        return json.loads(self.admin("status").stdout)

    def token(self):
        """Its part about the token."""
        return self.status()["Token"]

    def health(self):
        """Status and text of /health."""
        host = self.exports["HSMKMS_OPS_URL"].split("//")[1]
        connection = http.client.HTTPConnection(host, timeout=30)
        connection.request("GET", "/health")
        response = connection.getresponse()
        return response.status, response.read().decode()

    def wait_health(self, expected, seconds=40):
        """Waits until /health answers so; returns its text."""
        until = time.monotonic() + seconds
        while True:
            status, text = self.health()
            if status == expected:
                return text
            assert time.monotonic() < until, f"health stays {status}: {text}\n{self.log()[-1500:]}"
            time.sleep(0.1)


class Load:
    """Threads that encrypt and decrypt, and a ledger of what they were told."""

    def __init__(self, rig, keys, blobs=()):
        self.rig, self.keys = rig, list(keys)
        self.lock = threading.Lock()
        self.blobs = list(blobs)  # (blob, plaintext or None, context)
        self.requests = []        # ids of acknowledged calls
        self.refused = collections.Counter()  # (status, type)
        self.examples = {}
        self.answered = 0
        self.longest_s = 0.0
        self.wrong = []

    def _draw(self, chance):
        with self.lock:
            known = chance.choice(self.blobs) if self.blobs else None
        key, context = chance.choice(self.keys), {"n": str(chance.randrange(1000))}
        what = chance.random()
        if what < 0.35:
            plain = kms.b64(chance.randbytes(chance.choice((1, 32, 500, 4096))))
            return "Encrypt", {"KeyId": key, "Plaintext": plain, "EncryptionContext": context}, plain
        if what < 0.6:
            return "GenerateDataKey", {"KeyId": key, "KeySpec": "AES_256",
                                       "EncryptionContext": context}, None
        if what < 0.65:
            return "GenerateDataKeyWithoutPlaintext", {"KeyId": key, "KeySpec": "AES_128",
                                                       "EncryptionContext": context}, None
        if what < 0.7 or known is None:
            return "GenerateRandom", {"NumberOfBytes": 32}, None
        blob, plain, old = known
        if what < 0.8:
            return "ReEncrypt", {"CiphertextBlob": blob, "SourceEncryptionContext": old,
                                 "DestinationKeyId": key,
                                 "DestinationEncryptionContext": context}, plain
        return "Decrypt", {"CiphertextBlob": blob, "EncryptionContext": old}, plain

    def _note(self, operation, parameters, plain, answer, took_s):
        with self.lock:
            self.answered += 1
            self.longest_s = max(self.longest_s, took_s)
            if answer.status != 200:
                self.refused[answer.status, answer.type] += 1
                self.examples.setdefault(answer.type, f"{operation}: {answer.text[:200]}")
                return
            self.requests.append(answer.request_id)
            result = answer.json
            if operation == "Decrypt":
                if plain is not None and result["Plaintext"] != plain:
                    self.wrong.append(f"{operation} gave something else")
            elif "CiphertextBlob" in result:
                context = parameters.get("DestinationEncryptionContext",
                                         parameters.get("EncryptionContext", {}))
                opened = result.get("Plaintext", plain)
                self.blobs.append((result["CiphertextBlob"], opened, context))

    def _work(self, count, stop, seed):
        chance, connection = random.Random(seed), self.rig.connect()
        try:
            for _ in range(count):
                if stop.is_set():
                    break
                operation, parameters, plain = self._draw(chance)
                begun = time.monotonic()
                answer = self.rig.call(operation, parameters, connection=connection)
                self._note(operation, parameters, plain, answer, time.monotonic() - begun)
        except (OSError, http.client.HTTPException) as error:
            with self.lock:
                self.refused[0, type(error).__name__] += 1
        finally:
            connection.close()

    def start(self, count, threads=8):
        """Begins count requests in all; ended by wait()."""
        self.stop, first = threading.Event(), random.randrange(1 << 30)
        share = count // threads
        self.threads = [threading.Thread(target=self._work, args=(share, self.stop, first + i))
                        for i in range(threads)]
        for thread in self.threads:
            thread.start()
        return self

    def wait(self):
        for thread in self.threads:
            thread.join(120)
            assert not thread.is_alive(), "a request hangs"
        return self

    def run(self, count, threads=8):
        return self.start(count, threads).wait()

    def refusals(self):
        """For a message: what was refused, how often, and how."""
        return f"{dict(self.refused)} of {self.answered}: {self.examples}"

    def only(self, *allowed):
        """No refusal but these."""
        seen = {name for _, name in self.refused}
        assert seen <= set(allowed), self.refusals()
        assert all(status >= 500 for status, name in self.refused if name in OUT_OF_REACH)
        assert not self.wrong, self.wrong[:5]

    def verify(self):
        """Every acknowledged blob opens to what was acknowledged, and has its audit record."""
        lost, lock, left = [], threading.Lock(), list(self.blobs)

        def open_some():
            connection = self.rig.connect()
            while True:
                with lock:
                    if not left:
                        break
                    blob, plain, context = left.pop()
                asked = {"CiphertextBlob": blob, "EncryptionContext": context}
                answer = self.rig.call("Decrypt", asked, connection=connection)
                if answer.status != 200 or (plain and answer.json["Plaintext"] != plain):
                    lost.append(answer.text[:200])
            connection.close()

        threads = [threading.Thread(target=open_some) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not lost, f"{len(lost)} of {len(self.blobs)} blobs are lost: {lost[:3]}"
        self.rig.audit_verify()
        recorded = {r.get("requestID") for r in self.rig.audit() if not r.get("errorCode")}
        missing = [r for r in self.requests if r not in recorded]
        assert not missing, f"{len(missing)} acknowledged calls have no record"
