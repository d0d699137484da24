"""The engine and the model answer the same over many random requests.

POLICY_SEED repeats a run; POLICY_CASES says how many.
"""

import collections
import os
import random

import generate
import model
from engine import CASES, CHUNK, difference, report

SHOWN = 5  # mismatches of each kind that are shrunk


def kind_of(answer):
    if "malformed" in answer:
        return "malformed"
    return "allowed" if answer["allowed"] else "explicit" if answer["explicit"] else "implicit"


def test_engine_and_model_agree(engine):
    seed = int(os.environ.get("POLICY_SEED", random.SystemRandom().randrange(2 ** 32)))
    generator = generate.Generator(seed)
    split, wrong = collections.Counter(), collections.defaultdict(list)
    for done in range(0, CASES, CHUNK):
        cases = generator.cases(min(CHUNK, CASES - done))
        for case, answer in zip(cases, engine.ask(cases)):
            split[kind_of(answer)] += 1
            kind = difference(case, answer)
            if kind:
                wrong[kind].append(case)
    print(f"seed {seed}: {CASES} requests; " + ", ".join(
        f"{name} {count} ({100 * count / CASES:.1f} %)" for name, count in sorted(split.items())))
    for kind, cases in wrong.items():
        print(f"{len(cases)} differ in: {kind}")
        for case in cases[:SHOWN]:
            print(report(engine, case))
    assert not {kind: len(cases) for kind, cases in wrong.items()}
    assert 0.30 <= split["allowed"] / CASES <= 0.60 or CASES < 2000
    assert CASES < 2000 or all(split[kind] >= CASES / 100 for kind in ("explicit", "malformed"))


def test_rows_of_actions(engine):
    rows = engine.ask([{"list": True}])[0]["actions"]
    names = {row["name"] for row in rows}
    known = {f"kms:{name}" for name in model.ACROSS_ACCOUNTS + model.OWN_ACCOUNT_ONLY
             + model.BY_IDENTITY} | set(model.ON_ROLE)
    assert len(rows) == len(names) <= 64 and known <= names
    for row in rows:
        if row["name"] in known:
            assert row["cross_account"] == (row["name"] in model.across_accounts), row
            assert row["grantable"] == (row["name"] in model.grantable), row
