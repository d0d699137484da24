"""That the differential run can fail: every cell of the model's tables, changed, is noticed.

The model stands in for an engine with that mistake, so this needs no engine.
"""

import contextlib

import pytest

import generate
import model
import operands

SEED = 20261120


def wrong_rules(cell, rule):
    """Other rules for values that a request has; of one value, "some" and "every" are the same."""
    for other in sorted(set(model.PRESENT.values()) - {rule}):
        if cell[0] != model.NONE or other.split()[3] != rule.split()[3]:
            yield other


CELLS = [
    *[("MISSING", cell, not answer) for cell, answer in model.MISSING.items()],
    *[("PRESENT", cell, other) for cell, rule in model.PRESENT.items()
      for other in wrong_rules(cell, rule)],
    *[("LIST_WITHOUT_PREFIX", negated, True) for negated in model.LIST_WITHOUT_PREFIX],
    *[("COLLISION", effect, not answer) for effect, answer in model.COLLISION.items()],
    *[("NULL", want, {"missing": not want, "present": want}) for want in model.NULL],
    *[("NEEDS", cell, other) for cell, needs in model.NEEDS.items()
      for other in ("", "BS", "IBS", "I", "IB", "IS") if other != needs],
]


@contextlib.contextmanager
def mutated(table, cell, value):
    rows = getattr(model, table)
    right = rows[cell]
    rows[cell] = value
    try:
        yield
    finally:
        rows[cell] = right


def answers(cases):
    for case in cases:
        try:
            verdict = model.decide(case)
            yield verdict.allowed, verdict.explicit
        except model.Malformed as bad:
            yield bad.where


@pytest.fixture(scope="module")
def right():
    cases = generate.Generator(SEED).cases(20000)
    return list(zip(cases, answers(cases)))


@pytest.mark.parametrize("table, cell, value", CELLS, ids=str)
def test_mutant_is_found(right, table, cell, value):
    with mutated(table, cell, value):
        assert any(now != answer for (case, answer) in right for now in answers([case]))


OPERATOR_NAMES = [name for name in operands.OPERATORS if name != "null"]


@pytest.mark.parametrize("name", OPERATOR_NAMES)
def test_operator_that_never_matches_is_found(right, name, monkeypatch):
    row = operands.OPERATORS[name]

    def never(text, variables):
        row.operand(text, variables)
        return lambda subject, known: False

    monkeypatch.setitem(operands.OPERATORS, name, operands.Operator(row.name, row.negated, never))
    model.read_policy.cache_clear()
    try:
        assert any(now != answer for (case, answer) in right for now in answers([case]))
    finally:
        model.read_policy.cache_clear()
