"""Decisions and documents with known answers, through the engine and through the model."""

import json
import pathlib

import pytest

import generate
import model
from engine import describe, expected

GOLDEN = json.loads(pathlib.Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))
CALLERS = {"alice": generate.CALLERS[0], "s1": generate.CALLERS[2],
           "root": generate.root(generate.A), "eve": generate.user(generate.B, "eve", "E")}
LIMITS = [  # most of something in a document; the member that holds it
    (100, lambda n: {"Statement": [statement()] * n}),
    (100, lambda n: {"Statement": statement(Action=["kms:*"] * n)}),
    (100, lambda n: with_condition({"aws:username": ["x"] * n})),
    (50, lambda n: with_condition({f"aws:PrincipalTag/{i}": "x" for i in range(n)})),
]


def statement(**members):
    return {"Effect": "Allow", "Action": "*", "Resource": "*", **members}


def with_condition(keys):
    return {"Version": "2012-10-17", "Statement": statement(Condition={"StringEquals": keys})}


def text(document):
    return document if document is None or isinstance(document, str) else json.dumps(document)


def whole(case):
    """A row with what it leaves out."""
    made = {"action": "kms:Decrypt", "resource": generate.KEYS[0], "account": generate.A,
            "grant": "none", **case}
    caller = case.get("caller", "alice")
    made["caller"] = CALLERS[caller] if isinstance(caller, str) else caller
    made["context"] = {"slots": {}, "families": {}, "now_ms": generate.NOW_MS,
                       **case.get("context", {})}
    for name in ("identity", "session"):
        made[name] = [text(document) for document in case.get(name, [])]
    for name in ("key_policy", "trust_policy", "boundary"):
        made[name] = text(case.get(name))
    return made


def rows(name):
    return [pytest.param(row, id=row["id"]) for row in GOLDEN[name]]


@pytest.mark.parametrize("row", rows("decisions"))
def test_decision(engine, row):
    case = whole(row["case"])
    answer = engine.ask([case])[0]
    assert describe(answer).startswith(row["expect"]), answer
    assert answer["broken"] == row["id"].startswith("glob-steps")


@pytest.mark.parametrize("row", rows("decisions"))
def test_decision_of_the_model(row):
    if row["id"].startswith("glob-"):
        pytest.skip("the model neither counts steps nor saves them")
    words, _, layer = row["expect"].partition(": ")
    got, _, layers = expected(whole(row["case"])).partition(": ")
    assert got == words and layer in layers


@pytest.mark.parametrize("row", rows("refused"))
def test_refused(engine, row):
    request = {"compile": text(row["document"]), "kind": row["kind"], "book": row.get("book")}
    answer = engine.ask([{k: v for k, v in request.items() if v is not None}])[0]
    assert answer.get("malformed"), answer
    assert answer["detail"]
    if row["message"] is not None:
        assert answer["message"] == row["message"]
    with pytest.raises(model.Malformed):
        book = tuple(sorted(row["book"].items())) if "book" in row else None
        model.read_policy(request["compile"], row["kind"], book)


@pytest.mark.parametrize("row", rows("accepted"))
def test_accepted(engine, row):
    document = text(row["document"])
    answer = engine.ask([{"compile": document, "kind": row["kind"]}])[0]
    assert "malformed" not in answer, answer
    assert model.read_policy(document, row["kind"])


@pytest.mark.parametrize("most, document", LIMITS)
def test_limits(engine, most, document):
    at, above = engine.ask([{"compile": json.dumps(document(n)), "kind": "identity"}
                            for n in (most, most + 1)])
    assert "malformed" not in at and above["malformed"]


def test_limit_of_principals(engine):
    def of(n):
        names = [f"{i:012}" for i in range(n)]
        return json.dumps({"Statement": statement(Principal={"AWS": names})})

    at, above = engine.ask([{"compile": of(n), "kind": "key"} for n in (200, 201)])
    assert "malformed" not in at and above["malformed"]


def test_pins_are_told(engine):
    names = [c[k] for c in (CALLERS["alice"], CALLERS["s1"]) for k in ("arn", "principal_arn")]
    ids = [CALLERS["alice"]["unique_id"]] * 2 + [CALLERS["s1"]["unique_id"]] * 2
    document = json.dumps({"Statement": [statement(Principal={"AWS": names[::2]}),
                                         statement(Principal={"AWS": names[1::2]}),
                                         statement(Principal={"AWS": generate.A})]})
    book = {**dict(zip(names, ids)), generate.A: "accepted"}
    pins = engine.ask([{"compile": document, "kind": "key", "book": book}])[0]["pins"]
    told = {tuple(pin) for pin in pins}
    assert len(told) == len(pins)
    assert {tuple(p) for p in zip(names[1::2], ids[1::2])} <= told
