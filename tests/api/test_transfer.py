"""Users, roles and policies from one installation to another, and from AWS: the same decisions."""

import json
import re

import pytest

from principals import ACCOUNT, DENIED, OTHER, ROOT, People, allow, refused

EXISTS = "AlreadyExistsException"


def decisions(rig, people, key):
    """What everybody may, and by what."""
    rows = []
    exported = people.admin("export")
    for who in sorted(i["Arn"] for n in ("UserDetailList", "RoleDetailList") for i in exported[n]):
        for action in ("Encrypt", "Decrypt", "DescribeKey", "ScheduleKeyDeletion", "PutKeyPolicy"):
            for context in ((), ("--context", "App=x")):
                said = people.admin("explain", "--as", who, "--action", f"kms:{action}", "--key",
                                    key, *context)
                rows.append((who, action, context, said["Allowed"], said.get("DecidedBy")))
    return rows


def without_ids(exported):
    """An export without what is new in each installation."""
    text = json.dumps(exported)
    for name in ("UserId", "RoleId", "PolicyId", "CreateDate"):
        text = re.sub(rf'"{name}": "[^"]*", ', "", text)
    return json.loads(text)


def test_export_and_import(new_rig):
    here, there = People(new_rig()), People(new_rig())
    here.user(name="alice", policy=allow("kms:Decrypt", Condition={
        "StringEquals": {"kms:EncryptionContext:App": "x"}}))
    here.user(name="bob", policy=allow("kms:*"))
    here.user(name="off", policy=allow("kms:*"))
    here.admin("user", "disable", "off")
    here.role(name="job", policy=allow("kms:Encrypt"))
    arn = here.admin("policy", "create", "--name", "ops", "--path", "/team/", here.file(
        allow("kms:DescribeKey", "kms:Encrypt")))["Policy"]["Arn"]
    here.admin("attach", "--user", "alice", arn)
    here.admin("boundary", "set", "--user", "bob", arn)
    here.admin("tag", "set", "--user", "bob", "Team", "storage")
    here.admin("role", "max-session", "job", "--max-session", "7200")
    here.admin("role", "trust", "job", here.file({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/alice"},
         "Action": "sts:AssumeRole"}]}))
    exported = here.admin("export")
    said = there.admin("import", there.file(exported))
    assert said["Refused"] == [] and len(said["Imported"]) >= 10
    assert without_ids(there.admin("export")) == without_ids(exported)
    keys = here.rig.key(), there.rig.key()
    mine, theirs = decisions(here.rig, here, keys[0]), decisions(there.rig, there, keys[1])
    assert mine == theirs and {r[3] for r in mine} == {True, False}
    again = there.admin("import", there.file(exported))  # gives nobody more
    assert {r["Code"] for r in again["Refused"]} <= {EXISTS}
    assert decisions(there.rig, there, keys[1]) == theirs
    made = there.admin("key", "create", "--user", "off")  # who was disabled stays so
    client = there.client("kms", made["AccessKeyId"], made["SecretAccessKey"])
    refused("UnrecognizedClientException", client.list_keys)


AWS_DETAILS = {
    # the shape of `aws iam get-account-authorization-details`
    "UserDetailList": [{
        "Path": "/", "UserName": "Lorelai", "UserId": "AIDA1111222233334444A", "GroupList": [],
        "Arn": f"arn:aws:iam::{OTHER}:user/Lorelai", "CreateDate": "2025-10-14T19:17:09+00:00",
        "UserPolicyList": [{"PolicyName": "reads", "PolicyDocument": allow("kms:DescribeKey")}],
        "AttachedManagedPolicies": [
            {"PolicyName": "seals", "PolicyArn": f"arn:aws:iam::{OTHER}:policy/app/seals"}],
        "Tags": [{"Key": "Team", "Value": "storage"}]}],
    "GroupDetailList": [],
    "RoleDetailList": [{
        "Path": "/service/", "RoleName": "gateway", "RoleId": "AROA1111222233334444A",
        "Arn": f"arn:aws:iam::{OTHER}:role/service/gateway",
        "CreateDate": "2025-07-30T17:09:20+00:00", "MaxSessionDuration": 7200,
        "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [
            {"Sid": "", "Effect": "Allow", "Action": "sts:AssumeRole",
             "Principal": {"AWS": f"arn:aws:iam::{OTHER}:user/Lorelai"}}]},
        "InstanceProfileList": [], "RolePolicyList": [], "Tags": [],
        "RoleLastUsed": {"LastUsedDate": "2025-11-20T17:09:20+00:00", "Region": "us-east-1"},
        "PermissionsBoundary": {"PermissionsBoundaryType": "Policy",
                                "PermissionsBoundaryArn": f"arn:aws:iam::{OTHER}:policy/app/seals"},
        "AttachedManagedPolicies": [{
            "PolicyName": "AWSKeyManagementServicePowerUser",
            "PolicyArn": "arn:aws:iam::aws:policy/AWSKeyManagementServicePowerUser"}]}],
    "Policies": [{
        "PolicyName": "seals", "PolicyId": "ANPA1111222233334444A", "Path": "/app/",
        "Arn": f"arn:aws:iam::{OTHER}:policy/app/seals", "DefaultVersionId": "v2",
        "AttachmentCount": 1, "PermissionsBoundaryUsageCount": 1, "IsAttachable": True,
        "CreateDate": "2025-10-14T19:17:09+00:00", "UpdateDate": "2025-10-14T19:17:09+00:00",
        "PolicyVersionList": [
            {"Document": allow("kms:*"), "VersionId": "v1", "IsDefaultVersion": False,
             "CreateDate": "2025-10-14T19:17:09+00:00"},
            {"Document": allow("kms:Encrypt"), "VersionId": "v2", "IsDefaultVersion": True,
             "CreateDate": "2025-10-14T19:17:09+00:00"}]}],
    "IsTruncated": False,
}


def test_import_of_what_aws_wrote(new_rig):
    people = People(new_rig())
    people.admin("account", "add", OTHER)
    said = people.admin("import", "--account", OTHER, people.file(AWS_DETAILS))
    assert said["Refused"] == []
    shown = people.admin("export")
    user, role = shown["UserDetailList"][0], shown["RoleDetailList"][0]
    assert (user["UserName"], user["Arn"]) == ("Lorelai", f"arn:aws:iam::{OTHER}:user/Lorelai")
    assert user["UserId"] != AWS_DETAILS["UserDetailList"][0]["UserId"]
    assert (role["MaxSessionDuration"], role["Path"]) == (7200, "/service/")
    assert [p["PolicyVersionList"][0]["Document"] for p in shown["Policies"]] == \
        [allow("kms:Encrypt")]
    key = people.rig.key()
    both = allow("kms:*", Principal={"AWS": [ROOT, OTHER]})
    people.rig.ok("PutKeyPolicy", KeyId=key, Policy=json.dumps(both))
    made = people.admin("key", "create", "--user", "Lorelai", "--account", OTHER)
    client = people.client("kms", made["AccessKeyId"], made["SecretAccessKey"])
    client.describe_key(KeyId=key.arn)
    client.encrypt(KeyId=key.arn, Plaintext=b"x")
    refused(DENIED, client.generate_data_key, KeyId=key.arn, KeySpec="AES_256")


@pytest.mark.parametrize("change", [
    {"GroupDetailList": [{"GroupName": "staff"}]}, {"UserDetailList": [{"UserName": "a b"}]},
    {"Policies": [{"PolicyName": "x", "PolicyVersionList": []}]},
    {"RoleDetailList": [{"RoleName": "r"}]},
], ids=str)
def test_what_import_does_not_take(rig, change):
    """A whole file it cannot do justice to, or item by item with the reason."""
    before = rig.admin("export").stdout
    out = rig.admin("import", People(rig).file(change), check=False)
    assert (out.returncode == 1) == ("GroupDetailList" in change)
    if out.returncode == 0:
        said = json.loads(out.stdout)
        assert said["Imported"] == [] and said["Refused"][0]["Reason"]
    assert rig.admin("export").stdout == before


def test_import_of_an_account_that_is_not_added(new_rig):
    """Its ARNs name policies there: they are not found here, and that is said."""
    people = People(new_rig())
    said = people.admin("import", people.file(AWS_DETAILS))
    items = {r["Item"] for r in said["Refused"]}
    arn = f"arn:aws:iam::{OTHER}:policy/app/seals"
    assert {f"attachment {arn}", "role gateway"} <= items
    shown = people.admin("export")
    assert shown["UserDetailList"][0]["AttachedManagedPolicies"] == []
    assert shown["RoleDetailList"] == []  # it trusts somebody who is not there
