"""Imports that are killed or whose token fails: nothing usable stays, nothing is lost.

The client keeps its bytes, so what an interrupted import leaves may be that the material is there or
that it is not; never that the key is of no use any more.
"""

import http.client
import os

import pytest

from faults import (DEVICE_ERROR, FUNCTION_FAILED, GENERAL_ERROR, OUT_OF_REACH, SESSION_HANDLE_INVALID)
from kms import SANITIZED, Refused
from test_faults import attach, died, faulty  # noqa: F401 (a fixture)
from test_import import NEVER, WRONG, bring, data_key, describe, external, opens, prepared, refuse, state

pytestmark = pytest.mark.any_listener

POINTS = [f"{function} {what}" for function in ("C_CreateObject", "C_GetAttributeValue", "C_DecryptInit",
                                                "C_EncryptInit", "C_DestroyObject")
          for what in ("die", "die-after")]


def attempt(rig, operation, parameters):
    """Runs into a kill or a refusal: what was acknowledged, or None."""
    try:
        return rig.ok(operation, **parameters)
    except (OSError, http.client.HTTPException):
        return None
    except Refused as refused:
        assert refused.name in OUT_OF_REACH, refused
        return None


def struck(rig, rule, operation, parameters):
    """The daemon has to die by the rule; whatever it acknowledged is returned."""
    rig.rules(rule)
    acknowledged = attempt(rig, operation, parameters)
    dead = not rig.running() if acknowledged else died(rig, 3)
    rig.rules()
    rig.start()
    return acknowledged, dead


@pytest.mark.lengthy
def test_killed_at_a_call_of_an_import(faulty):  # noqa: F811
    """First imports, then the same material again, killed before and after each call to the token."""
    rig, deaths, ledger = faulty(), 0, []
    for point in POINTS:
        for after in (0,) if SANITIZED else (0, 1, 3):
            key, material = external(rig), os.urandom(32)
            given = {"KeyId": key, **prepared(rig, key, material), **NEVER}
            acknowledged, dead = struck(rig, f"{point} after={after} times=1", "ImportKeyMaterial", given)
            deaths += dead
            assert state(rig, key) in (("Enabled",) if acknowledged else ("Enabled", "PendingImport"))
            if state(rig, key) == "Enabled":
                refuse(rig, WRONG, key, os.urandom(32))
            bring(rig, key, material)
            made = data_key(rig, key)
            rig.ok("DeleteImportedKeyMaterial", KeyId=key)
            acknowledged, dead = struck(rig, f"{point} after={after} times=1", "ImportKeyMaterial", given)
            deaths += dead
            assert state(rig, key) in (("Enabled",) if acknowledged else ("Enabled", "PendingImport"))
            refuse(rig, WRONG, key, os.urandom(32))
            bring(rig, key, material)
            assert describe(rig, key)["CurrentKeyMaterialId"] == made["KeyMaterialId"]
            ledger.append(made)
            assert opens(rig, made)
    assert deaths >= len(POINTS)
    rig.restart()
    assert all(opens(rig, made) for made in ledger)
    rig.audit_verify()


@pytest.mark.slow
@pytest.mark.lengthy
@pytest.mark.skipif(not os.path.exists("/usr/bin/strace"), reason="needs strace")
@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
def test_killed_at_a_system_call_of_an_import(faulty, again):  # noqa: F811
    """Dies at each write and sync that an import makes, one after the other, until it survives."""
    rig, deaths, ledger = faulty(), 0, []
    for call in ("fdatasync", "pwrite64", "write", "rename", "openat"):
        for count in range(1, 40):
            key, material = external(rig), os.urandom(32)
            given = {"KeyId": key, **prepared(rig, key, material), **NEVER}
            if again:
                bring(rig, key, material)
                ledger.append(data_key(rig, key))
                rig.ok("DeleteImportedKeyMaterial", KeyId=key)
            tracer = attach(rig, call, count)
            survived = attempt(rig, "ImportKeyMaterial", given) is not None
            deaths += not survived
            assert survived or died(rig), f"{call} {count}"
            tracer.kill()
            tracer.wait(20)
            rig.start()
            assert state(rig, key) in (("Enabled",) if survived else ("Enabled", "PendingImport"))
            if state(rig, key) == "Enabled":
                ledger.append(data_key(rig, key))
            bring(rig, key, material)
            ledger.append(data_key(rig, key))
            assert all(opens(rig, made) for made in ledger[-3:])
            if survived:
                break
    assert deaths > 10
    rig.restart()
    assert all(opens(rig, made) for made in ledger)
    rig.audit_verify()


def test_killed_at_a_call_of_a_deletion(faulty):  # noqa: F811
    rig, deaths = faulty(), 0
    for point in ("C_DestroyObject die", "C_DestroyObject die-after"):
        key, material = external(rig), os.urandom(32)
        bring(rig, key, material)
        made = data_key(rig, key)
        _, dead = struck(rig, f"{point} times=1", "DeleteImportedKeyMaterial", {"KeyId": key})
        deaths += dead
        assert state(rig, key) == "PendingImport"
        bring(rig, key, material)
        assert opens(rig, made)
    assert deaths == 2


@pytest.mark.parametrize("code", [GENERAL_ERROR, FUNCTION_FAILED, DEVICE_ERROR, SESSION_HANDLE_INVALID])
@pytest.mark.parametrize("function", ["C_CreateObject", "C_Decrypt", "C_DecryptInit", "C_DestroyObject",
                                      "C_GetAttributeValue"])
def test_a_token_that_fails_once(faulty, function, code):  # noqa: F811
    """One failing call: a refusal that says so or a success, and the next try succeeds."""
    rig = faulty()
    key, material = external(rig), os.urandom(32)
    given = {"KeyId": key, **prepared(rig, key, material), **NEVER}
    for after in range(4):
        rig.rules(f"{function} rv={code:#x} after={after} times=1")
        attempt(rig, "ImportKeyMaterial", given)
        attempt(rig, "DeleteImportedKeyMaterial", {"KeyId": key})
    rig.rules()
    rig.wait_health(200)
    bring(rig, key, material)
    made = data_key(rig, key)
    rig.ok("DeleteImportedKeyMaterial", KeyId=key)
    bring(rig, key, material)
    assert opens(rig, made)
