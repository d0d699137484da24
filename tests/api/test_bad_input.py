"""Bad input for every field of every operation, derived from the public model of the API.

Each member of each request is left out, null, of another type, too long, too short, outside its
pattern or enumeration, deeply nested, huge. The answer is always a 4xx of the right type, the
database is not written to, and the daemon lives. An operation added to the service is covered by
being in its table.
"""

import json

import pytest

import conftest
import kms
import model
from calls import QUIET, state
from kms import b64

model.require_new()

VALIDATION, SERIALIZATION = {"ValidationException"}, {"SerializationException"}
REFUSED = {"UnsupportedOperationException"}  # members that are known and not served
BODY_LIMIT = 524288

WRONG = {  # JSON values that are not of a type
    "string": (1, 1.5, True, {}, [], ["x"], {"x": "x"}, "nul\0inside"),
    "blob": (1, True, {}, [], "not base64!", "YQ", "YQ==\n", "Y!==", "\u00e9\u00e9", "YR==", "YQ= =",
             "-_8=", "=", "\0"),
    "integer": ("1", "", {}, [], True, 1.5, [1]),
    "boolean": ("true", "", 1, 0, {}, [], [True]),
    "map": ("x", 1, [], True, {"a": 1}, {"a": {}}, {"a": ["b"]}, {"a": "b\0"}),
    "list": ("x", 1, {}, True),
    "structure": ("x", 1, [], True),
    "timestamp": ("now", "", {}, [], True),
}
BIG_NUMBERS = (2**31, 2**63 - 1, -2**63)


KEY_NAMES = {"KeyId", "TargetKeyId", "SourceKeyId", "DestinationKeyId"}


def sample(shape):
    """A value within a shape's constraints; letters fit every pattern of the model."""
    kind, least = shape["type"], max(shape.get("min", 1), 1)
    if "enum" in shape:
        return shape["enum"][0]
    if kind == "string":
        return "a" * least
    if kind == "list":
        return [sample(shape["element"])]
    if kind == "structure":
        return {inner: sample(s) for inner, s in shape["inner"].items()
                if inner in shape.get("required", [])}
    return {"blob": b64(b"x" * least), "integer": least, "boolean": False, "map": {}, "timestamp": 1}[kind]


def good(key, operation):
    """The required members of a request, each within its constraints."""
    return {name: key if name in KEY_NAMES else sample(shape)
            for name, (shape, required) in model.newest().members(operation).items() if required}


def out_of_bounds(shape):
    """Values of the right type outside a shape's constraints."""
    kind, least, most = shape["type"], shape.get("min"), shape.get("max")
    if "enum" in shape:
        yield from ("", "nonsense", "\u00e9", shape["enum"][0].lower(), shape["enum"][0] + " ")
    elif kind == "string":
        if most:
            yield from ("a" * (most + 1), "\u00e9" * (most + 1))
        if least:
            yield ""
        if "pattern" in shape:
            yield from ("\u2603", "a\u0007")
    elif kind == "blob":
        yield from ("", b64(b"x" * (most + 1)))
    elif kind == "integer" and least is not None:
        yield from (least - 1, most + 1, *BIG_NUMBERS)
    elif kind == "map":
        yield from ({"k": "v" * 8192}, {f"k{i}": "v" for i in range(2000)})
    elif kind == "list":
        if most is not None:
            yield [sample(shape["element"])] * (most + 1)
        yield from ([value] for value in out_of_bounds(shape["element"]))
    elif kind == "structure":
        yield from spoilt(shape)


def spoilt(shape):
    """A structure with one part missing, null or out of bounds."""
    whole = sample(shape)
    for inner, s in shape["inner"].items():
        if inner in whole:
            yield {name: value for name, value in whole.items() if name != inner}
            yield {**whole, inner: None}
        yield from ({**whole, inner: value} for value in out_of_bounds(s))


def wrong_types(shape):
    yield from WRONG[shape["type"]]
    if shape["type"] == "list":
        yield from ([value] for value in WRONG[shape["element"]["type"]])


# members whose parts are not looked at one by one: the request is refused whatever they are
ANY = VALIDATION | SERIALIZATION | REFUSED
WHOLE = {"Recipient": ANY, "Constraints": ANY, "XksProxyAuthenticationCredential": ANY}


def bad_values(name, shape, required):
    """(value, expected types); ... stands for a member that is left out."""
    if required:
        yield ..., VALIDATION
        yield None, VALIDATION
    for value in wrong_types(shape):
        yield value, SERIALIZATION
    if name in WHOLE:
        yield from ((value, WHOLE[name]) for value in out_of_bounds(shape))
        return
    for value in out_of_bounds(shape):
        yield value, VALIDATION
    if name == "PendingWindowInDays":
        yield from ((days, VALIDATION) for days in (6, 31, 365))


@pytest.fixture(scope="module")
def quiet():
    """A service that writes to its database only because of a request."""
    service = kms.Rig(conf=QUIET)
    service.subject = service.key()
    yield service
    assert service.running(), service.log()[-3000:]
    conftest.end(service)


def show(value):
    return repr(value)[:60]


@pytest.mark.parametrize("operation", sorted(model.rows()))
def test_bad_values(quiet, operation):
    before, wrong = state(quiet), []
    for name, (shape, required) in model.newest().members(operation).items():
        for value, expected in bad_values(name, shape, required):
            parameters = {**good(quiet.subject, operation), name: value}
            if value is ...:
                del parameters[name]
            body = json.dumps(parameters, ensure_ascii=False).encode()
            answer = quiet.call(operation, body)
            if answer.status != 400 or answer.type not in expected:
                wrong.append(f"{name}={show(value)}: {answer.status} {answer.text[:160]} instead of "
                             f"{'/'.join(sorted(expected))}")
            elif len(answer.body) > 4096:
                wrong.append(f"{name}={show(value)}: an answer of {len(answer.body)} bytes")
    assert not wrong, f"{len(wrong)} of {operation}:\n" + "\n".join(wrong[:40])
    assert state(quiet) == before


NESTS = [b"[" * depth + b"1" + b"]" * depth for depth in (64, 5000, 100000)]
NESTS += [b'{"a":' * depth + b"1" + b"}" * depth for depth in (64, 5000, 70000)]


@pytest.mark.parametrize("operation", sorted(model.rows()))
def test_nesting_and_size(quiet, operation):
    """Values that no member is, whatever its type: deep ones, and ones as large as a body may be."""
    before = state(quiet)
    names = list(model.newest().members(operation))
    for name in [*names, "NoSuchMember"]:
        for nest in NESTS:
            quiet.refuses(SERIALIZATION, operation, b'{"%s":%s}' % (name.encode(), nest))
    for name in names:
        huge = json.dumps({name: "x" * (BODY_LIMIT - 4096)}).encode()
        quiet.refuses(VALIDATION | SERIALIZATION, operation, huge)
    check_too_large(quiet, operation, json.dumps({"KeyId": "x" * BODY_LIMIT}).encode())
    assert state(quiet) == before


def check_too_large(rig, operation, body):
    try:
        answer = rig.call(operation, body, connection=rig.connect())
        assert (answer.status, answer.type) == (413, "RequestEntityTooLargeException")
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused before the body was read


@pytest.mark.parametrize("operation", sorted(model.rows()))
def test_unknown_members_do_not_help(quiet, operation):
    """They are ignored; what is wrong beside them is refused as before."""
    for name, (shape, required) in model.newest().members(operation).items():
        parameters = {**good(quiet.subject, operation), "NoSuchMember": {"a": [1, None]},
                      name.lower(): "x", name: WRONG[shape["type"]][-1]}
        quiet.refuses(SERIALIZATION, operation, parameters)
        if required:
            del parameters[name]
            quiet.refuses(VALIDATION, operation, parameters)
