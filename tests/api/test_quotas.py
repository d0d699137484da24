"""Quotas: how much of everything an account may have, and how often it may ask."""

import pytest

import conftest
import kms
from calls import PLAIN, POLICY, ROOT
from test_grants import People, allow

LIMIT, THROTTLED = "LimitExceededException", "ThrottlingException"
TEXT = "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls."

SMALL = """
[keys]
most = 3
aliases = 2
grants = 2
policy = 1024
on_demand_rotations = 1
"""


@pytest.fixture(scope="module")
def small():
    service = kms.Rig(conf=SMALL)
    service.first = service.key()
    yield service
    conftest.end(service)


def policy_of(size):
    return POLICY[:-1] + " " * (size - len(POLICY)) + "}"


def test_keys(small):
    made = [small.key() for _ in range(2)]
    small.refuses(LIMIT, "CreateKey")
    small.ok("DescribeKey", KeyId="alias/aws/s3")  # a managed key is not of the customer's
    small.refuses(LIMIT, "CreateKey")
    for key in made:  # until it is gone, a key counts
        small.ok("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
    small.refuses(LIMIT, "CreateKey")


def test_aliases(small):
    for name in ("alias/a", "alias/b"):
        small.ok("CreateAlias", AliasName=name, TargetKeyId=small.first)
    small.refuses(LIMIT, "CreateAlias", {"AliasName": "alias/c", "TargetKeyId": small.first})
    small.ok("UpdateAlias", AliasName="alias/a", TargetKeyId=small.first)
    small.ok("DeleteAlias", AliasName="alias/b")
    small.ok("CreateAlias", AliasName="alias/c", TargetKeyId=small.first)


def test_grants(small):
    grant = {"KeyId": small.first, "GranteePrincipal": ROOT, "Operations": ["Decrypt"]}
    ids = [small.ok("CreateGrant", **grant)["GrantId"] for _ in range(2)]
    small.refuses(LIMIT, "CreateGrant", grant)
    small.ok("RevokeGrant", KeyId=small.first, GrantId=ids[0])
    small.ok("CreateGrant", **grant)


def test_policy_size(small):
    small.ok("PutKeyPolicy", KeyId=small.first, Policy=policy_of(1024))
    answer = small.refuses(LIMIT, "PutKeyPolicy", {"KeyId": small.first, "Policy": policy_of(1025)})
    assert "1024" in answer.message
    assert len(small.ok("GetKeyPolicy", KeyId=small.first)["Policy"]) == 1024


def test_rotations(small):
    small.ok("RotateKeyOnDemand", KeyId=small.first)
    small.refuses(LIMIT, "RotateKeyOnDemand", {"KeyId": small.first})


def test_a_smaller_quota_takes_nothing_away(new_rig):
    """What is there stays, also a policy and aliases beyond the new numbers."""
    rig = new_rig()
    key = rig.key(Policy=policy_of(5000))
    for i in range(50):
        rig.ok("CreateAlias", AliasName=f"alias/{i}", TargetKeyId=key)
    rig.refuses(LIMIT, "CreateAlias", {"AliasName": "alias/51", "TargetKeyId": key})
    rig.stop()
    path = rig.dir / "hsmkms.conf"
    path.write_text(path.read_text() + SMALL)
    rig.start()
    assert len(rig.ok("ListAliases", KeyId=key, Limit=100)["Aliases"]) == 50
    assert rig.ok("GetKeyPolicy", KeyId=key)["Policy"] == policy_of(5000)
    rig.ok("Encrypt", KeyId="alias/7", **PLAIN)
    rig.ok("DeleteAlias", AliasName="alias/7")
    rig.refuses(LIMIT, "CreateAlias", {"AliasName": "alias/7", "TargetKeyId": key})
    rig.refuses(LIMIT, "PutKeyPolicy", {"KeyId": key, "Policy": policy_of(5000)})


# -- request rates ---------------------------------------------------------------------------------

def throttled(rig, operation, parameters):
    """An answer that says so, within a bounded number of tries."""
    for _ in range(200):
        answer = rig.call(operation, parameters)
        if answer.type == THROTTLED:
            return answer
    raise AssertionError("never throttled")


def answers(rig, operation, parameters, times, credential=None):
    """Types of so many answers; "" is success."""
    return [rig.call(operation, parameters, credential=credential).type for _ in range(times)]


def test_no_rate_unless_set(rig, key):
    assert set(answers(rig, "Encrypt", {"KeyId": key, **PLAIN}, 300)) == {""}
    assert set(answers(rig, "EnableKey", {"KeyId": key}, 30)) == {""}


@pytest.fixture(scope="module")
def limited():
    service = kms.Rig(conf="[rates]\nsymmetric = 2\nchange = 1\n")
    service.subject = service.key()
    people = People(service)
    service.user = people.user("user", allow("kms:*")).credential
    people.admin("account", "add", "444455556666")
    service.stranger = people.user("eve", account="444455556666").credential
    yield service
    conftest.end(service)


def test_throttled(limited):
    description = {"KeyId": limited.subject, "Description": "x"}
    assert answers(limited, "UpdateKeyDescription", description, 1) == [""]
    throttled(limited, "UpdateKeyDescription", {**description, "Description": "y"})
    # other operations of its kind, and other kinds, have rates of their own
    assert answers(limited, "UntagResource", {"KeyId": limited.subject, "TagKeys": ["a"]}, 1) == [""]
    assert set(answers(limited, "ListKeys", {}, 40)) == {""}


def test_cryptography_shares_a_rate(limited):
    types = []
    for _ in range(20):
        types += answers(limited, "Encrypt", {"KeyId": limited.subject, **PLAIN}, 1)
        types += answers(limited, "GenerateRandom", {"NumberOfBytes": 8}, 1)
    assert {"", THROTTLED} == set(types)
    answer = throttled(limited, "GenerateRandom", {"NumberOfBytes": 8})
    assert (answer.status, answer.json) == (400, {"__type": THROTTLED, "message": TEXT})


def test_users_of_an_account_share_and_accounts_do_not(limited):
    throttled(limited, "GenerateRandom", {"NumberOfBytes": 8})
    bytes_ = {"NumberOfBytes": 8}
    assert answers(limited, "GenerateRandom", bytes_, 1, limited.stranger) == ["AccessDeniedException"]
    assert THROTTLED in answers(limited, "GenerateRandom", bytes_, 20, limited.user)


def test_what_is_throttled_is_recorded_and_counted(limited):
    answer = throttled(limited, "GenerateRandom", {"NumberOfBytes": 8})
    record, = [r for r in limited.audit() if r.get("requestID") == answer.request_id]
    assert record["errorCode"] == THROTTLED
    assert limited.metric(r'hsmkms_requests_total\{operation="GenerateRandom",'
                          r'result="ThrottlingException"\}')


def test_rates_that_make_no_sense_are_refused(new_rig):
    rig = new_rig()
    rig.stop()
    path = rig.dir / "hsmkms.conf"
    good = path.read_text()
    for line in ("symmetric = -1", "symmetric = 1000001", "symmetric = fast", "sym = 1"):
        path.write_text(good + f"\n[rates]\n{line}\n")
        assert rig.start(check=False) != 0, line
    path.write_text(good)
    rig.start()
