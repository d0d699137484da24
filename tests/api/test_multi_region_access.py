"""Multi-Region keys: policies, conditions, grants and records tell the regions apart."""

import json

from regions import ACCOUNT_ROOT, HOME, REGIONS, SECOND, THIRD, allow, refused, user

# --- who may --------------------------------------------------------------------------------------

def test_a_policy_counts_in_its_region(shared):
    name = shared.family(SECOND)
    account = shared.metadata(HOME, name)["AWSAccountId"]
    someone = user(shared, allow("kms:Encrypt"))
    policy = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": ACCOUNT_ROOT.format(account)}, "Action": "kms:*",
         "Resource": "*"},
        {"Effect": "Deny", "Principal": "*", "Action": "kms:Encrypt", "Resource": "*"}]}
    shared[SECOND].put_key_policy(KeyId=name, PolicyName="default", Policy=json.dumps(policy))
    someone[HOME].encrypt(KeyId=name, Plaintext=b"x")
    refused("AccessDeniedException", someone[SECOND].encrypt, KeyId=name, Plaintext=b"x")
    shared[HOME].put_key_policy(KeyId=name, PolicyName="default", Policy=json.dumps(policy))
    policy["Statement"].pop()
    shared[SECOND].put_key_policy(KeyId=name, PolicyName="default", Policy=json.dumps(policy))
    refused("AccessDeniedException", someone[HOME].encrypt, KeyId=name, Plaintext=b"x")
    someone[SECOND].encrypt(KeyId=name, Plaintext=b"x")


def test_arns_and_regions_tell_related_keys_apart(shared):
    name = shared.family(SECOND)
    arn = shared.metadata(SECOND, name)["Arn"]
    by_arn = user(shared, allow("kms:Encrypt", arn))
    by_region = user(shared, allow("kms:Encrypt", StringEquals=("aws:RequestedRegion", SECOND)))
    by_role = user(shared, allow("kms:Encrypt", StringEquals=("kms:MultiRegionKeyType", "REPLICA")))
    for someone in (by_arn, by_region, by_role):
        someone[SECOND].encrypt(KeyId=name, Plaintext=b"x")
        refused("AccessDeniedException", someone[HOME].encrypt, KeyId=name, Plaintext=b"x")
    shared[HOME].update_primary_region(KeyId=name, PrimaryRegion=SECOND)
    by_role[HOME].encrypt(KeyId=name, Plaintext=b"x")
    refused("AccessDeniedException", by_role[SECOND].encrypt, KeyId=name, Plaintext=b"x")


def test_grants_count_in_their_region(shared):
    name = shared.family(SECOND)
    someone = user(shared, allow("kms:ListKeys"))
    mine = someone.arn
    shared[SECOND].create_grant(KeyId=name, Operations=["Encrypt"], GranteePrincipal=mine,
                                RetiringPrincipal=mine)
    names = {r: len(shared[r].list_grants(KeyId=name)["Grants"]) for r in (HOME, SECOND)}
    assert names == {HOME: 0, SECOND: 1}
    for region in (HOME, SECOND):
        found = shared[region].list_retirable_grants(RetiringPrincipal=mine)["Grants"]
        assert [g["KeyId"] for g in found] == (
            [shared.metadata(SECOND, name)["Arn"]] if region == SECOND else [])
    someone[SECOND].encrypt(KeyId=name, Plaintext=b"x")
    refused("AccessDeniedException", someone[HOME].encrypt, KeyId=name, Plaintext=b"x")


def test_who_may_make_multi_region_keys(shared):
    single = user(shared, allow("kms:CreateKey", Bool=("kms:MultiRegion", "false")))
    single[HOME].create_key()
    refused("AccessDeniedException", single[HOME].create_key, MultiRegion=True)
    multi = user(shared, allow("kms:CreateKey", StringEquals=("kms:MultiRegionKeyType", "PRIMARY")))
    multi[HOME].create_key(MultiRegion=True)
    refused("AccessDeniedException", multi[HOME].create_key)
    primaries = user(shared, allow("kms:DescribeKey", Bool=("kms:MultiRegion", "true")))
    primaries[HOME].describe_key(KeyId=shared.primary())
    refused("AccessDeniedException", primaries[HOME].describe_key,
            KeyId=shared[HOME].create_key()["KeyMetadata"]["KeyId"])


def test_who_may_replicate(shared):
    replicating = allow("kms:ReplicateKey", StringEquals=("kms:ReplicaRegion", SECOND))
    creating = allow("kms:CreateKey", StringEquals=("aws:RequestedRegion", SECOND))
    as_replica = allow("kms:CreateKey", StringEquals=("kms:MultiRegionKeyType", "REPLICA"))
    managing = allow(["kms:PutKeyPolicy", "kms:TagResource"])
    name = shared.primary()
    for statements in ((replicating,), (creating,), (replicating, allow(
            "kms:CreateKey", StringEquals=("aws:RequestedRegion", HOME)))):
        text = refused("AccessDeniedException", user(shared, *statements)[HOME].replicate_key,
                       KeyId=name, ReplicaRegion=SECOND)
        assert ("kms:ReplicateKey" in text) == (statements == (creating,))
    able = user(shared, replicating, creating)
    refused("AccessDeniedException", able[HOME].replicate_key, KeyId=name, ReplicaRegion=THIRD)
    refused("AccessDeniedException", able[HOME].replicate_key, KeyId=name, ReplicaRegion=SECOND,
            Tags=[{"TagKey": "a", "TagValue": "b"}])
    refused("NotFoundException", shared[SECOND].describe_key, KeyId=name)
    able[HOME].replicate_key(KeyId=name, ReplicaRegion=SECOND)
    other = shared.primary()
    user(shared, replicating, as_replica, managing)[HOME].replicate_key(
        KeyId=other, ReplicaRegion=SECOND, Tags=[{"TagKey": "a", "TagValue": "b"}])


def test_a_replicas_policy_must_not_lock_its_maker_out(shared):
    name = shared.primary()
    maker = user(shared, allow(["kms:ReplicateKey", "kms:CreateKey"]),
                 allow("kms:PutKeyPolicy", StringEquals=("aws:RequestedRegion", THIRD)))
    policy = shared[HOME].get_key_policy(KeyId=name, PolicyName="default")["Policy"]
    request = {"KeyId": name, "Policy": policy}
    refused("MalformedPolicyDocumentException", maker[HOME].replicate_key, ReplicaRegion=SECOND,
            **request)
    maker[HOME].replicate_key(ReplicaRegion=THIRD, **request)
    maker[HOME].replicate_key(ReplicaRegion=SECOND, BypassPolicyLockoutSafetyCheck=True, **request)


def test_who_may_move_the_primary(shared):
    name = shared.family(SECOND, THIRD)
    arns = {region: shared.metadata(region, name)["Arn"] for region in REGIONS}
    for missing in (HOME, SECOND):
        statements = [allow("kms:UpdatePrimaryRegion", arn) for region, arn in arns.items()
                      if region != missing]
        refused("AccessDeniedException", user(shared, *statements)[HOME].update_primary_region,
                KeyId=name, PrimaryRegion=SECOND)
    able = user(shared, allow("kms:UpdatePrimaryRegion",
                              StringEquals=("kms:PrimaryRegion", SECOND)))
    refused("AccessDeniedException", able[HOME].update_primary_region, KeyId=name,
            PrimaryRegion=THIRD)
    able[HOME].update_primary_region(KeyId=name, PrimaryRegion=SECOND)
    refused("AccessDeniedException", able[SECOND].update_primary_region, KeyId=name,
            PrimaryRegion=HOME)


# --- the trail ------------------------------------------------------------------------------------

def test_records_name_their_region(shared):
    name = shared.primary()
    shared[HOME].replicate_key(KeyId=name, ReplicaRegion=SECOND, Description="noted")
    shared[SECOND].encrypt(KeyId=name, Plaintext=b"x")
    home, second = (shared.metadata(region, name)["Arn"] for region in (HOME, SECOND))
    shared[HOME].update_primary_region(KeyId=name, PrimaryRegion=SECOND)
    found = {}
    for record in shared.service.audit():
        arns = [r["ARN"] for r in record.get("resources") or []]
        if home in arns or second in arns:
            found.setdefault(record["eventName"], []).append((record, arns))
    record, arns = found["ReplicateKey"][-1]
    assert record["awsRegion"] == HOME and arns == [home, second]
    assert record["requestParameters"]["replicaRegion"] == SECOND
    assert record["responseElements"]["replicaKeyMetadata"]["arn"] == second
    assert found["Encrypt"][-1][0]["awsRegion"] == SECOND and found["Encrypt"][-1][1] == [second]
    record, arns = found["UpdatePrimaryRegion"][-1]
    assert set(arns) == {home, second} and record["requestParameters"]["primaryRegion"] == SECOND
    shared.service.audit_verify()


# --- operators ------------------------------------------------------------------------------------

def test_operators_name_keys_of_all_regions(shared):
    admin = shared.service.admin
    name = shared.family(SECOND)
    there = shared.metadata(SECOND, name)["Arn"]
    someone = user(shared, allow("kms:Encrypt", there))
    answers = [json.loads(admin("explain", "--as", someone.arn, "--action", "kms:Encrypt", "--key",
                                key).stdout)["Allowed"] for key in (name, there)]
    assert answers == [False, True]
    policy = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": someone.arn}, "Action": "kms:*", "Resource": "*"}]}
    shared[SECOND].put_key_policy(KeyId=name, PolicyName="default", Policy=json.dumps(policy),
                                  BypassPolicyLockoutSafetyCheck=True)
    refused("AccessDeniedException", shared[SECOND].describe_key, KeyId=name)
    shared[HOME].describe_key(KeyId=name)
    assert json.loads(admin("key-policy", "reset", there).stdout) == {"KeyId": there}
    shared[SECOND].describe_key(KeyId=name)
    assert json.loads(admin("status").stdout)["Regions"] == list(REGIONS)
