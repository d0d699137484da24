"""Multi-Region keys: restarts, kills, and the order in which a family ends."""

import datetime
import http.client
import threading
import time

import pytest

import clock
import faults
import kms
from regions import HOME, REGIONS, SECOND, THIRD, World, make_world, refused, serve

# --- what outlives the process --------------------------------------------------------------------

def test_a_family_outlives_a_restart(new_rig):
    world = make_world(new_rig)
    name = world.family(SECOND, THIRD, Description="family")
    world[SECOND].create_alias(AliasName="alias/a", TargetKeyId=name)
    world[HOME].create_alias(AliasName="alias/a", TargetKeyId=world.primary())
    world[THIRD].disable_key(KeyId=name)
    world.ok(HOME, "RotateKeyOnDemand", KeyId=name)
    blob = world[SECOND].encrypt(KeyId="alias/a", Plaintext=b"kept")["CiphertextBlob"]
    before = [world.metadata(region, name) for region in REGIONS]
    world.service.restart()
    assert [world.metadata(region, name) for region in REGIONS] == before
    assert world[HOME].decrypt(CiphertextBlob=blob)["Plaintext"] == b"kept"
    assert world.metadata(SECOND, "alias/a")["KeyId"] == name != world.metadata(HOME, "alias/a")["KeyId"]
    refused("DisabledException", world[THIRD].decrypt, CiphertextBlob=blob)


def test_a_region_with_keys_cannot_be_left_out(new_rig):
    world = make_world(new_rig)
    name = world.family(SECOND)
    world.service.stop()
    assert serve(world.service, HOME, THIRD) != 0
    assert SECOND in world.service.log()
    for regions in ((HOME, HOME), ()):
        assert serve(world.service, *regions) != 0
    assert serve(world.service, SECOND, HOME, THIRD) == 0
    assert world.states(name, HOME, SECOND) == ["Enabled", "Enabled"]
    assert world.metadata(HOME, name)["MultiRegionConfiguration"]["PrimaryKey"]["Region"] == HOME
    world.service.stop()
    assert serve(world.service, HOME, SECOND) == 0  # the third never had any


def check_after_a_kill(world, name, blob, acknowledged):
    """The replica is there, whole, or not at all; the primary never suffers."""
    answer = world.call(SECOND, "DescribeKey", KeyId=name)
    there = answer.status == 200
    assert there or answer.type == "NotFoundException"
    assert there or not acknowledged
    primary = world.metadata(HOME, name)
    assert primary["KeyState"] == "Enabled"
    replicas = [r["Region"] for r in primary["MultiRegionConfiguration"]["ReplicaKeys"]]
    assert replicas == ([SECOND] if there else [])
    assert world[HOME].decrypt(CiphertextBlob=blob)["Plaintext"] == b"kept"
    if there:
        assert answer.json["KeyMetadata"]["KeyState"] == "Enabled"
        assert world[SECOND].decrypt(CiphertextBlob=blob)["Plaintext"] == b"kept"
        tags = world[SECOND].list_resource_tags(KeyId=name)["Tags"]
        assert tags == [{"TagKey": "a", "TagValue": "b"}]
    else:
        world[HOME].replicate_key(KeyId=name, ReplicaRegion=SECOND)
    return there


def replicate_into_a_kill(world, name):
    try:
        answer = world.call(HOME, "ReplicateKey", KeyId=name, ReplicaRegion=SECOND,
                            Tags=[{"TagKey": "a", "TagValue": "b"}])
    except (OSError, http.client.HTTPException):
        return False
    return answer.status == 200


def died(service, seconds=10):
    until = time.monotonic() + seconds
    while service.running() and time.monotonic() < until:
        time.sleep(0.02)
    return not service.running()


@pytest.mark.lengthy
def test_killed_while_a_replica_is_made(request):
    """Dies before and after each MAC that the token makes for the rows of the change."""
    service = faults.FaultyRig()
    request.addfinalizer(service.down)
    service.stop()
    assert serve(service, *REGIONS) == 0
    world = World(service)
    deaths, seen = 0, set()
    for what in ("die", "die-after"):
        for after in range(5):
            name = world.primary()
            blob = world[HOME].encrypt(KeyId=name, Plaintext=b"kept")["CiphertextBlob"]
            service.rules(f"C_Sign {what} after={after} times=1")
            acknowledged = replicate_into_a_kill(world, name)
            deaths += died(service, 3)
            service.rules()
            service.start()
            seen.add(check_after_a_kill(world, name, blob, acknowledged))
    assert deaths >= 5 and False in seen
    service.audit_verify()


def test_killed_when_a_replica_was_acknowledged(new_rig):
    world = make_world(new_rig)
    for _ in range(3):
        name = world.primary()
        blob = world[HOME].encrypt(KeyId=name, Plaintext=b"kept")["CiphertextBlob"]
        assert replicate_into_a_kill(world, name)
        world.service.kill()
        world.service.start()
        assert check_after_a_kill(world, name, blob, True)
    world.service.audit_verify()


# --- to the end -----------------------------------------------------------------------------------

class Later:
    """A world so many days ahead."""

    def __init__(self, world, days):
        self.world, self.days = world, days
        world.service.stop()
        world.service.start(env=clock.moved(f"FAKETIME=+{days}d"))

    def call(self, region, operation, **parameters):
        with kms.signing_clock(datetime.timedelta(days=self.days)):
            return self.world.call(region, operation, **parameters)

    def state(self, region, name):
        answer = self.call(region, "DescribeKey", KeyId=name)
        return answer.json["KeyMetadata"]["KeyState"] if answer.status == 200 else answer.type

    def becomes(self, region, name, state):
        for _ in range(120):
            if self.state(region, name) == state:
                return
            time.sleep(0.25)
        raise AssertionError(f"{self.state(region, name)} and not {state}")

    def opens(self, region, blob):
        return self.call(region, "Decrypt", CiphertextBlob=kms.b64(blob)).status == 200


@pytest.mark.faketime
@pytest.mark.any_listener
def test_the_primary_goes_last(new_rig):
    world = make_world(new_rig, tls=False, conf="[keys]\ndue_check = 1\ndeletion_hold = 0")
    name = world.family(SECOND, THIRD)
    gone = "NotFoundException"
    blob = world[SECOND].encrypt(KeyId=name, Plaintext=b"x")["CiphertextBlob"]
    world.ok(HOME, "RotateKeyOnDemand", KeyId=name)
    world[SECOND].create_alias(AliasName="alias/goes-too", TargetKeyId=name)
    world[HOME].schedule_key_deletion(KeyId=name, PendingWindowInDays=9)
    world[SECOND].schedule_key_deletion(KeyId=name, PendingWindowInDays=7)

    later = Later(world, 11)  # more than the primary's days: it does not count yet
    later.becomes(SECOND, name, gone)
    assert later.state(HOME, name) == "PendingReplicaDeletion"
    assert later.state(SECOND, "alias/goes-too") == gone
    assert later.opens(THIRD, blob) and not later.opens(SECOND, blob)
    answer = later.call(THIRD, "ScheduleKeyDeletion", KeyId=name, PendingWindowInDays=7)
    assert answer.json["KeyState"] == "PendingDeletion"

    later = Later(world, 19)
    later.becomes(THIRD, name, gone)
    later.becomes(HOME, name, "PendingDeletion")
    metadata = later.call(HOME, "DescribeKey", KeyId=name).json["KeyMetadata"]
    assert metadata["MultiRegionConfiguration"]["ReplicaKeys"] == []
    days = (metadata["DeletionDate"] - time.time()) / 86400
    assert 27.9 < days < 28.1

    later = Later(world, 27)
    assert later.state(HOME, name) == "PendingDeletion"
    later = Later(world, 29)
    later.becomes(HOME, name, gone)
    ends = [r for r in world.service.audit()
            if r["eventName"] == "DeleteKey" and r["phase"] == "result"]
    assert [r["awsRegion"] for r in ends] == [SECOND, THIRD, HOME]
    assert all(r["resources"][0]["ARN"].endswith(name) for r in ends)
    world.service.audit_verify()


# --- all at once ----------------------------------------------------------------------------------

def test_regions_work_while_the_family_changes(shared):
    """Rotations, moves of the primary and replicas that come, while all regions use the key."""
    name = shared.family(SECOND)
    blobs, faults_seen, stop = [], [], threading.Event()

    def use(region):
        while not stop.is_set():
            made = shared.call(region, "GenerateDataKey", KeyId=name, KeySpec="AES_128")
            other = SECOND if region == HOME else HOME
            opened = shared.call(other, "Decrypt", CiphertextBlob=made.json.get("CiphertextBlob"))
            if opened.status != 200 or opened.json["Plaintext"] != made.json["Plaintext"]:
                faults_seen.append((made.text[:200], opened.text[:200]))
            blobs.append(made.json["CiphertextBlob"])

    users = [threading.Thread(target=use, args=(region,)) for region in (HOME, SECOND) * 2]
    for each in users:
        each.start()
    try:
        lead, heir = HOME, SECOND
        for _ in range(8):
            shared.ok(lead, "RotateKeyOnDemand", KeyId=name)
            shared.ok(lead, "UpdatePrimaryRegion", KeyId=name, PrimaryRegion=heir)
            lead, heir = heir, lead
        shared.ok(lead, "ReplicateKey", KeyId=name, ReplicaRegion=THIRD)
    finally:
        stop.set()
        for each in users:
            each.join()
    assert not faults_seen and len(blobs) > 20
    assert all(shared.call(THIRD, "Decrypt", CiphertextBlob=blob).status == 200 for blob in blobs[:200])
    assert len({shared.material(region, name) for region in REGIONS}) == 1


def test_one_of_many_replications_wins(shared):
    name = shared.primary()
    answers = []

    def replicate():
        answers.append(shared.call(HOME, "ReplicateKey", KeyId=name, ReplicaRegion=SECOND))

    threads = [threading.Thread(target=replicate) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(a.type for a in answers) == [""] + 7 * ["AlreadyExistsException"]
    assert len(shared.metadata(HOME, name)["MultiRegionConfiguration"]["ReplicaKeys"]) == 1
