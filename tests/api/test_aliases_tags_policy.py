"""Aliases, tags, policies, descriptions: limits, reserved names, and what survives a restart."""

import json

import pytest

from kms import NO_SUCH_KEY, NO_SUCH_UUID

ARN = "arn:aws:kms:us-east-1:000000000000:"


def test_alias_life(rig, key):
    name, other = f"alias/app/{key}", rig.key()
    rig.ok("CreateAlias", AliasName=name, TargetKeyId=key.arn)
    entry = rig.ok("ListAliases", KeyId=key)["Aliases"]
    assert len(entry) == 1
    assert (entry[0]["AliasName"], entry[0]["AliasArn"]) == (name, ARN + name)
    assert entry[0]["TargetKeyId"] == key
    for identifier in (name, ARN + name, key, key.arn):
        assert rig.ok("DescribeKey", KeyId=identifier)["KeyMetadata"]["KeyId"] == key
    answer = rig.refuses("AlreadyExistsException", "CreateAlias",
                         {"AliasName": name, "TargetKeyId": other})
    assert answer.message == f"An alias with the name {ARN}{name} already exists"
    rig.ok("UpdateAlias", AliasName=name, TargetKeyId=other)
    assert rig.ok("DescribeKey", KeyId=name)["KeyMetadata"]["KeyId"] == other
    updated = rig.ok("ListAliases", KeyId=other)["Aliases"][0]
    assert updated["CreationDate"] == entry[0]["CreationDate"]
    assert updated["LastUpdatedDate"] >= entry[0]["LastUpdatedDate"]
    rig.ok("DeleteAlias", AliasName=name)
    for operation, parameters in (("DescribeKey", {"KeyId": name}),
                                  ("DeleteAlias", {"AliasName": name}),
                                  ("UpdateAlias", {"AliasName": name, "TargetKeyId": key})):
        answer = rig.refuses("NotFoundException", operation, parameters)
        assert answer.message == f"Alias {ARN}{name} is not found."


def test_alias_is_case_sensitive(rig, key):
    rig.ok("CreateAlias", AliasName=f"alias/Case{key}", TargetKeyId=key)
    rig.refuses("NotFoundException", "DescribeKey", {"KeyId": f"alias/case{key}"})


BAD_NAMES = ["", "alias", "alias/", "noprefix", "Alias/x", "alias/with blank", "alias/ä", "alias/a:b",
             "alias/" + "x" * 251, "alias/x\0y", "alias/*", "arn:aws:kms:us-east-1:000000000000:alias/x"]


@pytest.mark.parametrize("name", BAD_NAMES, ids=range(len(BAD_NAMES)))
def test_alias_bad_names(rig, key, name):
    before = rig.ok("ListAliases", KeyId=key)
    rig.refuses(("ValidationException", "InvalidAliasNameException", "SerializationException"),
                "CreateAlias", {"AliasName": name, "TargetKeyId": key})
    assert rig.ok("ListAliases", KeyId=key) == before


def test_alias_longest_name(rig, key):
    name = "alias/" + key.replace("-", "") + "_/-" + "Z" * (256 - 6 - 32 - 3)
    rig.ok("CreateAlias", AliasName=name, TargetKeyId=key)
    assert rig.ok("DescribeKey", KeyId=name)["KeyMetadata"]["KeyId"] == key
    rig.ok("DeleteAlias", AliasName=name)


def test_alias_reserved_names(rig, key):
    for operation in ("CreateAlias", "UpdateAlias"):
        answer = rig.call(operation, {"AliasName": "alias/aws/mine", "TargetKeyId": key})
        assert answer.status == 400, answer.text
    assert rig.call("DeleteAlias", {"AliasName": "alias/aws/s3"}).status == 400
    assert rig.ok("ListAliases", KeyId=key)["Aliases"] == []


def test_alias_bad_targets(rig, key):
    name = f"alias/target-{key}"
    rig.ok("CreateAlias", AliasName=name, TargetKeyId=key)
    rows = [(NO_SUCH_KEY, "NotFoundException"), (NO_SUCH_UUID, "NotFoundException"),
            (name, ("ValidationException", "NotFoundException")),
            (ARN + name, ("ValidationException", "NotFoundException", "InvalidArnException")),
            (f"arn:aws:kms:eu-west-1:000000000000:key/{key}", "NotFoundException"),
            ("arn:aws:kms", "InvalidArnException"), ("", "ValidationException")]
    for operation, alias in (("CreateAlias", name + "2"), ("UpdateAlias", name)):
        for target, expected in rows:
            rig.refuses(expected, operation, {"AliasName": alias, "TargetKeyId": target})
    assert [a["AliasName"] for a in rig.ok("ListAliases", KeyId=key)["Aliases"]] == [name]


def test_alias_quota(rig, key):
    for i in range(50):
        rig.ok("CreateAlias", AliasName=f"alias/quota-{key}-{i}", TargetKeyId=key)
    rig.refuses("LimitExceededException", "CreateAlias",
                {"AliasName": f"alias/quota-{key}-50", "TargetKeyId": key})
    rig.ok("DeleteAlias", AliasName=f"alias/quota-{key}-7")
    rig.ok("CreateAlias", AliasName=f"alias/quota-{key}-50", TargetKeyId=key)


def test_aliases_are_refused_where_only_keys_are_named(rig, key):
    name = f"alias/strict-{key}"
    rig.ok("CreateAlias", AliasName=name, TargetKeyId=key)
    for operation in ("DisableKey", "EnableKey", "RotateKeyOnDemand", "EnableKeyRotation",
                      "ScheduleKeyDeletion", "GetKeyPolicy", "ListResourceTags"):
        rig.refuses(("NotFoundException", "InvalidArnException", "ValidationException"), operation,
                    {"KeyId": name})
    assert rig.ok("DescribeKey", KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"


def test_tags(rig, key):
    def tags():
        return {t["TagKey"]: t["TagValue"] for t in rig.ok("ListResourceTags", KeyId=key)["Tags"]}

    assert rig.ok("ListResourceTags", KeyId=key) == {"Tags": [], "Truncated": False}
    rig.ok("TagResource", KeyId=key, Tags=[{"TagKey": "a", "TagValue": "1"},
                                           {"TagKey": "A", "TagValue": ""}])
    rig.ok("TagResource", KeyId=key, Tags=[{"TagKey": "a", "TagValue": "ünï+-=._:/@ x"}])
    assert tags() == {"a": "ünï+-=._:/@ x", "A": ""}
    rig.ok("UntagResource", KeyId=key, TagKeys=["a", "never there"])
    assert tags() == {"A": ""}


def test_tags_bad(rig, key):
    def one(tag_key, value="v"):
        return [{"TagKey": tag_key, "TagValue": value}]

    def seen():
        return rig.ok("ListKeys", Limit=1000), rig.details(key)

    rows = [(one("d") + one("d"), "TagException", "Duplicate tag keys"),
            (sum((one(f"t{i}") for i in range(51)), []), ("TagException", "ValidationException"), None),
            (one("aws:x"), "TagException", "Tags beginning with aws: are reserved"),
            (one("AWS:x"), "TagException", "Tags beginning with aws: are reserved"),
            (one(""), "ValidationException", None), (one("x" * 129), "ValidationException", None),
            (one("x", "v" * 257), "ValidationException", None),
            ([{"TagKey": "x"}], "ValidationException", None),
            ([{"TagValue": "x"}], "ValidationException", None),
            ("x", "SerializationException", None), ([1], "SerializationException", None)]
    for tags, expected, message in rows:
        for operation, parameters in (("TagResource", {"KeyId": key}), ("CreateKey", {})):
            before = seen()
            answer = rig.refuses(expected, operation, {**parameters, "Tags": tags})
            assert message is None or answer.message == message
            assert seen() == before
    rig.ok("TagResource", KeyId=key, Tags=sum((one(f"t{i}") for i in range(50)), []))
    answer = rig.refuses("TagException", "TagResource", {"KeyId": key, "Tags": one("t50")})
    assert answer.message == "Too many tags"
    rig.ok("TagResource", KeyId=key, Tags=one("t49", "replaced"))


def test_policy(rig, key):
    assert rig.ok("ListKeyPolicies", KeyId=key) == {"PolicyNames": ["default"], "Truncated": False}
    default = rig.ok("GetKeyPolicy", KeyId=key, PolicyName="default")
    assert json.loads(default["Policy"])["Statement"][0]["Effect"] == "Allow"
    mine = json.dumps({"Version": "2012-10-17", "Statement": [
        {"Sid": "the account itself", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
         "Action": "kms:*", "Resource": "*"}]}, indent=3, ensure_ascii=False)
    rig.ok("PutKeyPolicy", KeyId=key, PolicyName="default", Policy=mine)
    assert rig.ok("GetKeyPolicy", KeyId=key)["Policy"] == mine, "stored as it was written"
    before = rig.details(key)
    rig.refuses("NotFoundException", "GetKeyPolicy", {"KeyId": key, "PolicyName": "other"})
    for bad in ("{", "[]", '"x"', "{}x", "x"):
        rig.refuses("MalformedPolicyDocumentException", "PutKeyPolicy", {"KeyId": key, "Policy": bad})
    rig.refuses("LimitExceededException", "PutKeyPolicy",
                {"KeyId": key, "Policy": mine + " " * 32768})
    rig.refuses("ValidationException", "PutKeyPolicy", {"KeyId": key, "Policy": ""})
    rig.refuses("ValidationException", "PutKeyPolicy", {"KeyId": key, "Policy": "x" * 131073})
    assert rig.details(key) == before


def test_description(rig, key):
    for text in ("", "x", "Schlüssel für \U0001f511", "d" * 8192):
        rig.ok("UpdateKeyDescription", KeyId=key, Description=text)
        assert rig.ok("DescribeKey", KeyId=key)["KeyMetadata"]["Description"] == text
    rig.refuses("ValidationException", "UpdateKeyDescription",
                {"KeyId": key, "Description": "d" * 8193})
    rig.refuses("ValidationException", "CreateKey", {"Description": "d" * 8193})


def test_everything_survives_restart_and_kill(new_rig):
    rig = new_rig()
    for i in range(5):
        key = rig.key(Description=f"number {i}", Tags=[{"TagKey": "n", "TagValue": str(i)}])
        rig.ok("CreateAlias", AliasName=f"alias/n{i}", TargetKeyId=key)
    rig.ok("EnableKeyRotation", KeyId=key, RotationPeriodInDays=100)
    rig.ok("DeleteAlias", AliasName="alias/n0")
    rig.ok("DisableKey", KeyId=key)
    before = rig.view()
    rig.restart()
    assert rig.view() == before
    rig.kill()
    rig.start()
    assert rig.view() == before
