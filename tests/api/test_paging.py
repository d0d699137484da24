"""Lists in pages: complete, without doubles, with markers that survive changes and forgery."""

import pytest

MANY = 10000  # pages: more than the suites beside this one could fill


def pages(rig, operation, member, limit, **parameters):
    marker, seen = {}, []
    for _ in range(MANY):
        page = rig.ok(operation, Limit=limit, **parameters, **marker)
        assert len(page[member]) <= limit
        seen.append(page[member])
        assert isinstance(page["Truncated"], bool)
        assert page["Truncated"] == ("NextMarker" in page)
        if not page["Truncated"]:
            return seen
        marker = {"Marker": page["NextMarker"]}
    raise AssertionError("the list does not end")


@pytest.fixture(scope="module")
def full(rig):
    """A key with 23 aliases and 23 tags, beside 12 other keys."""
    key = rig.key()
    for i in range(23):
        rig.ok("CreateAlias", AliasName=f"alias/page-{key}-{i:02}", TargetKeyId=key)
    rig.ok("TagResource", KeyId=key,
           Tags=[{"TagKey": f"t{i:02}", "TagValue": str(i)} for i in range(23)])
    for _ in range(12):
        rig.key()
    return key


@pytest.mark.parametrize("limit", [1, 2, 7, 22, 23, 24])
def test_pages_are_the_whole_list(rig, full, limit):
    rows = [("ListKeys", "Keys", {}, 13, "KeyId"), ("ListAliases", "Aliases", {}, 23, "AliasName"),
            ("ListAliases", "Aliases", {"KeyId": full}, 23, "AliasName"),
            ("ListResourceTags", "Tags", {"KeyId": full}, 23, "TagKey")]
    for operation, member, parameters, least, name in rows:
        whole = [e[name] for page in pages(rig, operation, member, 50, **parameters) for e in page]
        parts = [e[name] for page in pages(rig, operation, member, limit, **parameters) for e in page]
        assert parts == whole and len(set(parts)) == len(parts) >= least


def test_boto3_paginators(rig, full):
    client = rig.boto()
    rows = [("list_keys", "Keys", {}), ("list_aliases", "Aliases", {"KeyId": str(full)}),
            ("list_resource_tags", "Tags", {"KeyId": str(full)}),
            ("list_key_policies", "PolicyNames", {"KeyId": str(full)})]
    for operation, member, parameters in rows:
        paginator = client.get_paginator(operation)
        entries = [e for page in paginator.paginate(**parameters, PaginationConfig={"PageSize": 5})
                   for e in page[member]]
        assert len(entries) == len(paginator.paginate(**parameters).build_full_result()[member])


def test_marker_survives_deletion_of_its_entry(rig, full):
    names = [f"alias/gone-{full}-{i}" for i in range(9)]
    key = rig.key()
    for name in names:
        rig.ok("CreateAlias", AliasName=name, TargetKeyId=key)
    page = rig.ok("ListAliases", KeyId=key, Limit=4)
    for entry in page["Aliases"]:
        rig.ok("DeleteAlias", AliasName=entry["AliasName"])
    rest = rig.ok("ListAliases", KeyId=key, Limit=50, Marker=page["NextMarker"])["Aliases"]
    assert [e["AliasName"] for e in page["Aliases"] + rest] == names


def test_foreign_and_damaged_markers(rig, full):
    alias = rig.ok("ListAliases", Limit=1)["NextMarker"]
    of_key = rig.ok("ListAliases", KeyId=full, Limit=1)["NextMarker"]
    tag = rig.ok("ListResourceTags", KeyId=full, Limit=1)["NextMarker"]
    rows = [("ListKeys", {}, alias), ("ListKeys", {}, tag), ("ListAliases", {}, tag),
            ("ListAliases", {"KeyId": full}, alias), ("ListAliases", {}, of_key),
            ("ListResourceTags", {"KeyId": rig.key()}, tag), ("ListKeys", {}, "x"),
            ("ListAliases", {}, alias[:-1]), ("ListAliases", {}, alias + "A"),
            ("ListAliases", {}, "\u00ff"), ("ListKeyRotations", {"KeyId": full}, "zzz")]
    for operation, parameters, marker in rows:
        rig.refuses("InvalidMarkerException", operation, {**parameters, "Marker": marker})
    for bad in ("", "x" * 1025):
        rig.refuses("ValidationException", "ListKeys", {"Marker": bad})


def test_limits_of_pages(rig, full):
    for operation, parameters in (("ListKeys", {}), ("ListAliases", {}),
                                  ("ListResourceTags", {"KeyId": full}),
                                  ("ListKeyPolicies", {"KeyId": full}),
                                  ("ListKeyRotations", {"KeyId": full})):
        for bad in (0, -1, 1001, 2**40):
            rig.refuses(("ValidationException", "SerializationException"), operation,
                        {**parameters, "Limit": bad})
        assert rig.call(operation, {**parameters, "Limit": 1000}).status == 200
