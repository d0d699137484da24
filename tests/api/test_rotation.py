"""Rotation: old ciphertexts stay readable, for ever and across every kind of restart."""

import datetime
import random
import time

import pytest

import clock
from kms import b64, signing_clock, unb64


def material(rig, key):
    return rig.ok("GenerateDataKey", KeyId=key, KeySpec="AES_256")


def test_rotation_changes_material_and_nothing_else(rig, key):
    before = rig.ok("DescribeKey", KeyId=key)["KeyMetadata"]
    first = material(rig, key)
    assert rig.ok("RotateKeyOnDemand", KeyId=key) == {"KeyId": key.arn}
    second = material(rig, key)
    assert first["KeyMaterialId"] != second["KeyMaterialId"]
    assert len(second["KeyMaterialId"]) == 64 and int(second["KeyMaterialId"], 16)
    after = rig.ok("DescribeKey", KeyId=key)["KeyMetadata"]
    assert after["CurrentKeyMaterialId"] == second["KeyMaterialId"]
    assert {**before, "CurrentKeyMaterialId": 0} == {**after, "CurrentKeyMaterialId": 0}
    for made in (first, second):
        opened = rig.ok("Decrypt", CiphertextBlob=made["CiphertextBlob"])
        assert opened["Plaintext"] == made["Plaintext"]
        assert opened["KeyMaterialId"] == made["KeyMaterialId"]
    moved = rig.ok("ReEncrypt", CiphertextBlob=first["CiphertextBlob"], DestinationKeyId=key)
    assert moved["SourceKeyMaterialId"] == first["KeyMaterialId"]
    assert moved["DestinationKeyMaterialId"] == second["KeyMaterialId"]


def test_on_demand_limit_and_list(rig, key):
    for _ in range(25):
        rig.ok("RotateKeyOnDemand", KeyId=key)
    before = rig.details(key)
    answer = rig.refuses("LimitExceededException", "RotateKeyOnDemand", {"KeyId": key})
    assert answer.message == ("The on-demand rotations limit has been reached for the given keyId. No"
                              f" more on-demand rotations can be performed for this key: {key.arn}")
    assert rig.details(key) == before
    rotations, marker = [], {}
    while True:
        page = rig.ok("ListKeyRotations", KeyId=key, Limit=7, **marker)
        rotations += page["Rotations"]
        assert page["Truncated"] == ("NextMarker" in page)
        if not page["Truncated"]:
            break
        marker = {"Marker": page["NextMarker"]}
    assert len(rotations) == 25
    assert all(r["RotationType"] == "ON_DEMAND" and r["RotationDate"] > 0 for r in rotations)
    everything = rig.ok("ListKeyRotations", KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL")
    assert len(everything["Rotations"]) == 26
    rig.refuses("ValidationException", "ListKeyRotations",
                {"KeyId": key, "IncludeKeyMaterial": "SOME"})


def test_every_version_after_restart_and_kill(new_rig):
    rig = new_rig()
    key, ledger = rig.key(), []
    for _ in range(8):
        ledger.append(material(rig, key))
        rig.ok("RotateKeyOnDemand", KeyId=key)
    ledger.append(material(rig, key))
    assert len({made["KeyMaterialId"] for made in ledger}) == 9
    for again in (rig.restart, rig.kill):
        again()
        if not rig.running():
            rig.start()
        random.shuffle(ledger)
        for made in ledger:
            opened = rig.ok("Decrypt", CiphertextBlob=made["CiphertextBlob"])
            assert opened["Plaintext"] == made["Plaintext"]
            assert opened["KeyMaterialId"] == made["KeyMaterialId"]
        assert len(rig.ok("ListKeyRotations", KeyId=key)["Rotations"]) == 8
    rig.audit_verify()


def test_rotation_settings(rig, key):
    def status():
        return rig.ok("GetKeyRotationStatus", KeyId=key)

    assert status() == {"KeyId": key.arn, "KeyRotationEnabled": False}
    rig.ok("EnableKeyRotation", KeyId=key)
    assert status()["RotationPeriodInDays"] == 365
    now = datetime.datetime.now().timestamp()
    assert abs(status()["NextRotationDate"] - now - 365 * 86400) < 600
    for days in (90, 2560):
        rig.ok("EnableKeyRotation", KeyId=key, RotationPeriodInDays=days)
        assert status()["RotationPeriodInDays"] == days
    for days in (0, 89, 2561, -90):
        rig.refuses("ValidationException", "EnableKeyRotation",
                    {"KeyId": key, "RotationPeriodInDays": days})
    next_date = status()["NextRotationDate"]
    rig.ok("RotateKeyOnDemand", KeyId=key)
    assert status()["NextRotationDate"] == next_date, "rotation on demand must not move the schedule"
    rig.ok("DisableKeyRotation", KeyId=key)
    assert status() == {"KeyId": key.arn, "KeyRotationEnabled": False}


@pytest.mark.any_listener
def test_budget_rotates_by_itself(new_rig):
    rig = new_rig(conf="[keys]\ngcm_block = 16\ngcm_rotate = 64\ngcm_refuse = 4096\ndue_check = 1")
    key = rig.key()
    made = [material(rig, key) for _ in range(100)]
    deadline = 30
    while deadline and material(rig, key)["KeyMaterialId"] == made[0]["KeyMaterialId"]:
        deadline -= 1
        rig.ok("GenerateRandom", NumberOfBytes=1)
        time.sleep(0.5)
    assert deadline, "the budget was used up and no rotation followed"
    for one in made:
        assert rig.ok("Decrypt", CiphertextBlob=one["CiphertextBlob"])["Plaintext"] == one["Plaintext"]


@pytest.mark.any_listener
def test_budget_refuses_rather_than_overuse(new_rig):
    rig = new_rig(conf="[keys]\ngcm_block = 16\ngcm_rotate = 128\ngcm_refuse = 128\n"
                       "due_check = 86400")
    key, answers = rig.key(), []
    blob = rig.ok("Encrypt", KeyId=key, Plaintext=b64(b"x"))["CiphertextBlob"]
    for _ in range(200):
        answers.append(rig.call("Encrypt", {"KeyId": key, "Plaintext": b64(b"x")}))
    assert sum(a.status == 200 for a in answers) <= 128
    assert answers[-1].status == 500
    assert unb64(rig.ok("Decrypt", CiphertextBlob=blob)["Plaintext"]) == b"x"


def shifted(rig, days):
    """Restarts the daemon so many days ahead; clients sign with the same clock."""
    rig.stop()
    rig.start(env=clock.moved(f"FAKETIME=+{days}d"))


def signed_ahead(rig, days, operation, parameters):
    """A call whose signature is dated so many days ahead."""
    with signing_clock(datetime.timedelta(days=days)):
        return rig.call(operation, parameters)


def wait_ahead(rig, days, operation, parameters, good):
    for _ in range(120):
        answer = signed_ahead(rig, days, operation, parameters)
        if good(answer):
            return answer
        time.sleep(0.25)
    raise AssertionError(f"never came true: {answer.text[:500]}")


@pytest.mark.faketime
@pytest.mark.any_listener
def test_automatic_rotation_when_due(new_rig):
    rig = new_rig(tls=False, conf="[keys]\ndue_check = 1")
    key, other = rig.key(), rig.key()
    rig.ok("EnableKeyRotation", KeyId=key, RotationPeriodInDays=90)
    made, untouched = material(rig, key), material(rig, other)
    shifted(rig, 89)
    assert signed_ahead(rig, 89, "ListKeyRotations", {"KeyId": key}).json["Rotations"] == []
    shifted(rig, 91)
    answer = wait_ahead(rig, 91, "ListKeyRotations", {"KeyId": key},
                        lambda a: a.json.get("Rotations"))
    assert [r["RotationType"] for r in answer.json["Rotations"]] == ["AUTOMATIC"]
    opened = signed_ahead(rig, 91, "Decrypt", {"CiphertextBlob": made["CiphertextBlob"]})
    assert opened.json["Plaintext"] == made["Plaintext"]
    fresh = signed_ahead(rig, 91, "GenerateDataKey", {"KeyId": key, "KeySpec": "AES_256"})
    assert fresh.json["KeyMaterialId"] != made["KeyMaterialId"]
    same = signed_ahead(rig, 91, "GenerateDataKey", {"KeyId": other, "KeySpec": "AES_256"})
    assert same.json["KeyMaterialId"] == untouched["KeyMaterialId"]
    rig.audit_verify()


@pytest.mark.faketime
@pytest.mark.any_listener
def test_scheduled_deletion_when_due(new_rig):
    rig = new_rig(tls=False, conf="[keys]\ndue_check = 1\ndeletion_hold = 0")
    key, other = rig.key(), rig.key()
    rig.ok("CreateAlias", AliasName="alias/goes-too", TargetKeyId=key)
    blob = material(rig, key)["CiphertextBlob"]
    kept = material(rig, other)
    rig.ok("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    shifted(rig, 6)
    described = signed_ahead(rig, 6, "DescribeKey", {"KeyId": key})
    assert described.json["KeyMetadata"]["KeyState"] == "PendingDeletion"
    shifted(rig, 8)
    wait_ahead(rig, 8, "DescribeKey", {"KeyId": key}, lambda a: a.type == "NotFoundException")
    opened = signed_ahead(rig, 8, "Decrypt", {"CiphertextBlob": blob})
    assert opened.type in ("AccessDeniedException", "InvalidCiphertextException")
    assert signed_ahead(rig, 8, "DescribeKey", {"KeyId": "alias/goes-too"}).type == "NotFoundException"
    assert signed_ahead(rig, 8, "CancelKeyDeletion", {"KeyId": key}).type == "NotFoundException"
    opened = signed_ahead(rig, 8, "Decrypt", {"CiphertextBlob": kept["CiphertextBlob"]})
    assert opened.json["Plaintext"] == kept["Plaintext"]
    shifted(rig, 9)
    assert signed_ahead(rig, 9, "DescribeKey", {"KeyId": key}).type == "NotFoundException"
    rig.audit_verify()


@pytest.mark.faketime
@pytest.mark.any_listener
def test_a_wrong_clock_at_the_start_deletes_nothing(new_rig):
    """A machine that comes up years ahead turns what is due, and destroys nothing at once."""
    rig = new_rig(tls=False, conf="[keys]\ndue_check = 1")
    turned, doomed = rig.key(), rig.key()
    blob = material(rig, doomed)
    rig.ok("EnableKeyRotation", KeyId=turned, RotationPeriodInDays=90)
    rig.ok("ScheduleKeyDeletion", KeyId=doomed, PendingWindowInDays=7)
    shifted(rig, 3650)
    wait_ahead(rig, 3650, "ListKeyRotations", {"KeyId": turned},
               lambda a: a.json.get("Rotations"))  # a round of the worker has begun
    described = signed_ahead(rig, 3650, "DescribeKey", {"KeyId": doomed})
    assert described.json["KeyMetadata"]["KeyState"] == "PendingDeletion"
    rig.restart()  # at the true time, all in good time
    rig.ok("CancelKeyDeletion", KeyId=doomed)
    rig.ok("EnableKey", KeyId=doomed)
    assert rig.ok("Decrypt", CiphertextBlob=blob["CiphertextBlob"])["Plaintext"] == blob["Plaintext"]


@pytest.mark.faketime
@pytest.mark.any_listener
@pytest.mark.lengthy
def test_a_step_of_the_clock_holds_deletions_again(new_rig, tmp_path):
    """The clock is set while the daemon runs: what is due by then waits as after a start."""
    hold = 7
    rig = new_rig(tls=False, conf=f"[keys]\ndue_check = 1\ndeletion_hold = {hold}")
    key = rig.key()
    rig.ok("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    offset = tmp_path / "offset"
    offset.write_text("+0\n")
    rig.stop()
    rig.start(env=clock.moved("FAKETIME_NO_CACHE=1", f"FAKETIME_TIMESTAMP_FILE={offset}"))
    time.sleep(hold + 1)  # the start is held no longer
    ahead = offset.with_suffix(".new")
    ahead.write_text("+8d\n")
    ahead.rename(offset)
    stepped = time.monotonic()
    for _ in range(240):
        if signed_ahead(rig, 8, "DescribeKey", {"KeyId": key}).type == "NotFoundException":
            break
        time.sleep(0.25)
    else:
        raise AssertionError("the deletion is held for ever")
    assert time.monotonic() - stepped >= hold
    assert "event=clock-stepped" in rig.log()
