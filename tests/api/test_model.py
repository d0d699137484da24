"""The service against the public model: every operation, every request member, every constraint.

What differs on purpose stands in one of two tables with its reason, and nothing may stand there that
does not differ.
"""

import base64
import re

import pytest

import calls
import model

model.require_new()

WINDOW = "the model says 1 to 365 days, the service has always answered 7 to 30"
REPEATS = "there is one modifier; a list that repeats it is refused"
INSIDE = "what is inside is not looked at: whatever it is, the request is refused"

STORES = ("CreateCustomKeyStore", "UpdateCustomKeyStore")

DIFFERENT = {  # (operation, member, constraint): why ours is another
    ("ScheduleKeyDeletion", "PendingWindowInDays", "min"): WINDOW,
    ("ScheduleKeyDeletion", "PendingWindowInDays", "max"): WINDOW,
    ("Decrypt", "DryRunModifiers", "max"): REPEATS,
    ("ReEncrypt", "DryRunModifiers", "max"): REPEATS,
    ("CreateGrant", "Operations", "min"): "a grant of nothing is refused",
    ("CreateGrant", "Operations", "max"): "every list has a maximum",
    ("CreateKey", "Tags", "max"): "every list has a maximum; more than 50 tags are a TagException",
    ("TagResource", "Tags", "max"): "every list has a maximum; more than 50 tags are a TagException",
    ("UntagResource", "TagKeys", "max"): "every list has a maximum",
    ("Decrypt", "Recipient", "kind"): INSIDE,
    ("GenerateDataKey", "Recipient", "kind"): INSIDE,
    ("GenerateDataKeyPair", "Recipient", "kind"): INSIDE,
    ("GenerateRandom", "Recipient", "kind"): INSIDE,
    ("DeriveSharedSecret", "Recipient", "kind"): INSIDE,
    ("ReplicateKey", "Tags", "max"): "every list has a maximum; more than 50 tags are a TagException",
    **{(operation, "CloudHsmClusterId", "pattern"): "the operation checks it, whole"
       for operation in STORES},
    **{(operation, member, what): "external key stores are refused whatever is said of them"
       for operation in STORES for member, what in (
           ("XksProxyAuthenticationCredential", "kind"), ("XksProxyUriEndpoint", "pattern"),
           ("XksProxyUriPath", "pattern"), ("XksProxyVpcEndpointServiceName", "pattern"),
           ("XksProxyVpcEndpointServiceOwner", "pattern"))},
}

# what a member of each type may be in a field table
KINDS = {"string": {"string"}, "blob": {"blob"}, "integer": {"int"}, "boolean": {"bool"},
         "map": {"context"}, "list": {"strings", "tags"}, "structure": {"constraints"},
         "timestamp": {"time", "other"}}

TAG = {"TagKey": (1, 128), "TagValue": (0, 256)}  # as fields.c checks the elements of a list of tags


def differences(shape, required, row):
    """Names of the constraints in which a row is not as the model says."""
    wanted = {"enum"} if "enum" in shape else KINDS[shape["type"]]
    if row["required"] != required:
        yield "required"
    if row["kind"] not in wanted:
        yield "kind"
        return
    if "enum" in shape:
        if set(shape["enum"]) != set(row["texts"]):
            yield "enum"
    elif shape["type"] in ("string", "blob", "integer", "list"):
        yield from bounds(shape, row)
    if shape.get("pattern") != row.get("pattern"):
        yield "pattern"
    if shape["type"] == "list":
        yield from element_differences(shape["element"], row)


def bounds(shape, row):
    if shape.get("min", 0) != row["min"]:
        yield "min"
    if shape.get("max") != row["max"]:
        yield "max"


def element_differences(element, row):
    if "enum" in element:
        if set(element["enum"]) != set(row["texts"]):
            yield "element enum"
    elif element["type"] == "structure":
        sizes = {name: (s.get("min", 0), s["max"]) for name, s in element["inner"].items()}
        if sizes != TAG or set(element["required"]) != set(TAG):
            yield "element"
    elif (element.get("min", 0), element.get("max"), element.get("pattern")) != (1, row["item_max"], None):
        yield "element"


@pytest.fixture(params=["HSMKMS_MODEL", "pinned", "distribution"])
def public(request):
    if request.param not in model.found():
        pytest.skip(f"no {request.param} model here")
    return model.Model(model.found()[request.param])


def test_every_operation_has_a_row(public):
    missing = set(public.operations) - set(model.rows())
    assert not missing, sorted(missing)


def test_no_row_is_invented():
    assert not set(model.rows()) - set(model.newest().operations)


def test_every_member_has_a_field():
    public = model.newest()
    missing = [f"{operation}.{name}" for operation, fields in model.rows().items()
               for name in public.members(operation) if name not in fields]
    invented = [f"{operation}.{name}" for operation, fields in model.rows().items()
                for name in fields if name not in public.members(operation)]
    assert (missing, invented) == ([], [])


def test_every_constraint_is_kept():
    public = model.newest()
    found = {(operation, name, what)
             for operation, fields in model.rows().items()
             for name, (shape, required) in public.members(operation).items() if name in fields
             for what in differences(shape, required, fields[name])}
    assert sorted(found - set(DIFFERENT)) == [], "not as in the model, and no reason given"
    assert sorted(set(DIFFERENT) - found) == [], "no longer different: take it off DIFFERENT"


NO_CLUSTERS = re.compile("CloudHsm|Xks|CustomKeyStore|IncorrectTrustAnchor")  # nor external key stores


def test_every_error_has_a_name():
    """What an operation declares can be said, but for errors of what stands behind AWS's key stores."""
    public = model.newest()
    declared = {error for operation in model.rows() for error in public.errors(operation)}
    missing = {error for error in declared - set(model.tables()["errors"]) if not NO_CLUSTERS.match(error)}
    assert not missing


# -- answers ---------------------------------------------------------------------------------------

def number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


TYPES = {"string": lambda v: isinstance(v, str), "blob": lambda v: isinstance(v, str),
         "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
         "boolean": lambda v: isinstance(v, bool), "timestamp": number,
         "list": lambda v: isinstance(v, list), "map": lambda v: isinstance(v, dict),
         "structure": lambda v: isinstance(v, dict)}


MAY_BE_EMPTY = (".Grants[].Name",)  # AWS KMS Developer Guide, Viewing grants: a grant without a name


def wrong(shape, value, path):
    """What in a value is not as its shape says."""
    kind = shape["type"]
    if value == "" and path.endswith(MAY_BE_EMPTY):
        return
    if not TYPES[kind](value):
        yield f"{path} is no {kind}: {value!r}"
        return
    if "enum" in shape and value not in shape["enum"]:
        yield f"{path} is none of its texts: {value!r}"
    if kind in ("string", "blob") and "enum" not in shape:
        size = len(value) if kind == "string" else len(base64.b64decode(value, validate=True))
        if not shape.get("min", 0) <= size <= shape.get("max", size):
            yield f"{path} has length {size}"
    if "pattern" in shape and not re.search(shape["pattern"], value):
        yield f"{path} does not match: {value!r}"
    if kind == "structure":
        yield from (f"{path}.{name} is unknown" for name in value if name not in shape["inner"])
        for name, inner in shape["inner"].items():
            if name in value:
                yield from wrong(inner, value[name], f"{path}.{name}")
    if kind == "list":
        for item in value:
            yield from wrong(shape["element"], item, f"{path}[]")


@pytest.mark.parametrize("call", calls.CALLS)
def test_answers_are_as_the_model_says(rig, call):
    operation = calls.operation(call)
    if operation not in model.rows():
        pytest.skip("no such operation here")
    answer = rig.call(operation, calls.Subject(rig, calls.CALLS[call][0]).request(call))
    shape = model.newest().answer(operation)
    if answer.status != 200:
        assert answer.type in model.newest().errors(operation), answer.text
    elif shape is None:
        assert answer.body == b""
    else:
        assert list(wrong(shape, answer.json, operation)) == []


@pytest.mark.parametrize("operation,parameters", [
    ("CreateKey", {"Description": "d", "Tags": [{"TagKey": "a", "TagValue": ""}]}),
    ("CreateKey", {"KeySpec": "HMAC_512", "KeyUsage": "GENERATE_VERIFY_MAC"}), ("ListKeys", {"Limit": 1}),
    ("ListKeys", {"ResourceOwners": ["OTHER_ACCOUNTS_VIA_RAM"]}), ("GenerateRandom", {"NumberOfBytes": 1}),
    ("ListRetirableGrants", {"RetiringPrincipal": calls.ROOT}), ("ListAliases", {"Limit": 1})])
def test_other_answers_are_as_the_model_says(rig, operation, parameters):
    answer = rig.ok(operation, **parameters)
    assert list(wrong(model.newest().answer(operation), answer, operation)) == []
    if "OTHER_ACCOUNTS_VIA_RAM" in str(parameters):
        assert answer == {"Keys": [], "Truncated": False}
