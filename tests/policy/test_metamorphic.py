"""What must not change a decision, or change it in one direction only: no second opinion needed.

Each rule rewrites random requests; the engine answers both.
"""

import json
import os
import random

import pytest

import generate
from engine import CASES, CHUNK, describe, difference

COUNT = max(CASES // 33, 200)  # requests of each rule
ALLOW, DENY = "Allow", "Deny"
DOCUMENTS = ("key_policy", "trust_policy", "boundary", "identity", "session")


# -- rewriting ---------------------------------------------------------------------------------

def rewrite(case, change):
    """The request with change() applied to each document as a tree."""
    made = dict(case)
    for name in DOCUMENTS:
        value = case.get(name)
        if isinstance(value, list):
            made[name] = [dump(change(listed(json.loads(text)), name)) for text in value]
        elif value is not None:
            made[name] = dump(change(listed(json.loads(value)), name))
    return made


def listed(document):
    if not isinstance(document["Statement"], list):
        document["Statement"] = [document["Statement"]]
    return document


def dump(document):
    return json.dumps(document)


def each_statement(change):
    """A rewriting of statements: change(statement, document's place) gives statements."""
    def on_document(document, place):
        document["Statement"] = [new for old in document["Statement"] for new in change(old, place)]
        return document
    return lambda case, rng: rewrite(case, on_document)


def as_list(value):
    return value if isinstance(value, list) else [value]


# -- nothing changes ---------------------------------------------------------------------------

def shuffled(case, rng):
    """Other order of everything, other blanks, lists for bare values."""
    def stir(value):
        if isinstance(value, dict):
            names = list(value)
            rng.shuffle(names)
            return {name: stir(value[name]) for name in names}
        if isinstance(value, list):
            stirred = [stir(v) for v in value]
            rng.shuffle(stirred)
            return stirred
        return value

    made = dict(case)
    for name in DOCUMENTS:
        if isinstance(case.get(name), list):
            made[name] = [json.dumps(stir(json.loads(t)), indent=3) for t in case[name]]
            rng.shuffle(made[name])
        elif case.get(name) is not None:
            made[name] = json.dumps(stir(json.loads(case[name])), separators=(" , ", "\t:\r\n"))
    return made


def other_letters(case, rng):
    """What is compared without case, in other case."""
    def swap(text):
        return "".join(c.swapcase() if rng.random() < 0.5 and c.isascii() else c for c in text)

    def swap_keys(keys):
        return {swap(k): v for k, v in keys.items()} if isinstance(keys, dict) else keys

    def change(statement, _):
        for name in ("Action", "NotAction"):
            if name in statement and all(isinstance(a, str) for a in as_list(statement[name])):
                statement[name] = [swap(a) for a in as_list(statement[name])]
        if isinstance(statement.get("Condition"), dict):
            statement["Condition"] = {swap(operator): swap_keys(keys) for operator, keys
                                      in statement["Condition"].items()}
        return [statement]

    return each_statement(change)(case, rng)


def without_sid(statement, number):
    """A copy of a statement; only the first keeps its Sid."""
    return {k: v for k, v in statement.items() if k != "Sid" or number == 0}


def split(member):
    """A list as one statement for each value."""
    def change(statement, _):
        if member == "Principal" and isinstance(statement.get(member), dict):
            values = [{kind: name} for kind, names in statement[member].items()
                      for name in as_list(names)]
        else:
            values = as_list(statement.get(member, None))
        if len(values) < 2:
            return [statement]
        return [{**without_sid(statement, i), member: value} for i, value in enumerate(values)]
    return each_statement(change)


def split_values(case, rng):
    """Values of positive operators, one statement for each."""
    def change(statement, _):
        condition = statement.get("Condition")
        for operator, keys in (condition.items() if isinstance(condition, dict) else ()):
            folded = operator.lower()
            if "not" in folded or folded.startswith("forall") or not isinstance(keys, dict):
                continue
            for key, values in keys.items():
                if isinstance(values, list) and len(values) > 1:
                    return [{**without_sid(statement, i),
                             "Condition": {**condition, operator: {**keys, key: v}}}
                            for i, v in enumerate(values)]
        return [statement]
    return each_statement(change)(case, rng)


def doubled(case, rng):
    """Every statement twice."""
    return each_statement(lambda s, _: [s, without_sid(s, 1)])(case, rng)


def inert_added(case, rng):
    """A statement about another service."""
    def change(document, place):
        document["Statement"].append(stranger(place, rng.choice([ALLOW, DENY])))
        return document
    return rewrite(case, change)


def stranger(place, effect, action="s3:*"):
    made = {"Effect": effect, "Action": action}
    if place != "trust_policy":
        made["Resource"] = "*"
    if place in ("key_policy", "trust_policy"):
        made["Principal"] = "*"
    return made


def strangers_added(case, rng):
    """Key ids, accounts of nobody and services among principals."""
    def change(statement, _):
        if isinstance(statement.get("Principal"), dict) and "AWS" in statement["Principal"]:
            names = as_list(statement["Principal"]["AWS"])
            if names and all(isinstance(n, str) for n in names) and "book" not in case:
                statement["Principal"]["AWS"] = names + ["999999999999", "AIDA" + "7" * 16]
                statement["Principal"].setdefault("Service", "ec2.amazonaws.com")
        return [statement]
    return each_statement(change)(case, rng)


# -- in one direction --------------------------------------------------------------------------

def deny_added(case, rng):
    """A Deny somewhere."""
    pool = generate.Generator(rng.random())

    def change(document, place):
        kind = {"key_policy": "key", "trust_policy": "trust"}.get(place, "identity")
        made = {**pool.statement(kind), "Effect": DENY}
        document["Statement"].insert(rng.randrange(len(document["Statement"]) + 1), made)
        return document
    return rewrite(case, change)


def allow_removed(case, rng):
    """One Allow less in each document."""
    def change(document, place):
        allows = [s for s in document["Statement"] if s.get("Effect") == ALLOW]
        if allows:
            document["Statement"].remove(rng.choice(allows))
        document["Statement"].append(stranger(place, ALLOW))
        return document
    return rewrite(case, change)


def condition_added(case, rng):
    """Allow statements with one more test."""
    pool = generate.Generator(rng.random())

    def change(statement, _):
        if statement.get("Effect") == ALLOW and "Condition" not in statement:
            statement["Condition"] = pool.condition()
        return [statement]
    return each_statement(change)(case, rng)


def boundary_added(case, rng):
    if case["boundary"] is not None or case["caller"]["kind"] == "root":
        return case
    return {**case, "boundary": generate.Generator(rng.random()).document("identity")}


def session_added(case, rng):
    if case["session"] or case["caller"]["kind"] != "session":
        return case
    return {**case, "session": [generate.Generator(rng.random()).document("identity")]}


def grant_added(case, rng):
    order = ["none", "account", "role", "direct"]
    return {**case, "grant": rng.choice(order[order.index(case["grant"]):])}


def identity_allowed(case, rng):
    if case["caller"]["kind"] == "root":
        return case
    everything = json.dumps({"Statement": stranger("", ALLOW, "*")})
    return {**case, "identity": case["identity"] + [everything]}


def wider(case, rng):
    """Actions and resources of Allow statements are everything."""
    def change(statement, place):
        if statement.get("Effect") == ALLOW and "Action" in statement:
            if all(isinstance(a, str) and "*" in a for a in as_list(statement["Action"])):
                statement["Action"] = "*"
        if statement.get("Effect") == ALLOW and "Resource" in statement and place != "trust_policy":
            statement["Resource"] = "*"
        return [statement]
    return each_statement(change)(case, rng)


def conditions_dropped(case, rng):
    def change(statement, _):
        if statement.get("Effect") == ALLOW:
            statement.pop("Condition", None)
        return [statement]
    return each_statement(change)(case, rng)


SAME, NEVER_ALLOWS, NEVER_DENIES = "changes nothing", "never allows", "never denies"
RULES = {
    SAME: {"shuffled": shuffled, "other letters": other_letters, "actions split": split("Action"),
           "resources split": split("Resource"), "principals split": split("Principal"),
           "values split": split_values, "doubled": doubled, "inert added": inert_added,
           "strangers added": strangers_added},
    NEVER_ALLOWS: {"deny added": deny_added, "allow removed": allow_removed,
                   "condition added": condition_added, "boundary added": boundary_added,
                   "session added": session_added},
    NEVER_DENIES: {"grant added": grant_added, "identity allowed": identity_allowed,
                   "wider": wider, "conditions dropped": conditions_dropped},
}
ROWS = [pytest.param(relation, change, id=name) for relation, rules in RULES.items()
        for name, change in rules.items()]


def kind_of_document(answer):
    """Which was refused: of several, the order may be another."""
    return answer.get("malformed", "none").split()[0]


def breaks(relation, before, after):
    if "malformed" in before or "malformed" in after:
        return relation == SAME and kind_of_document(before) != kind_of_document(after)
    if relation == NEVER_ALLOWS:
        return after["allowed"] and not before["allowed"]
    if relation == NEVER_DENIES:
        return before["allowed"] and not after["allowed"]
    return any(before[name] != after[name] for name in ("allowed", "explicit", "layer"))


@pytest.mark.parametrize("relation, change", ROWS)
def test_rule(engine, relation, change):
    seed = int(os.environ.get("POLICY_SEED", random.SystemRandom().randrange(2 ** 32)))
    rng, generator = random.Random(seed), generate.Generator(seed)
    wrong, changed = [], 0
    for done in range(0, COUNT, CHUNK):
        before = generator.cases(min(CHUNK, COUNT - done))
        after = [change(case, rng) for case in before]
        changed += sum(a != b for a, b in zip(before, after))
        answers = zip(engine.ask(before), engine.ask(after))
        wrong += [(b, a, *both) for b, a, both in zip(before, after, answers)
                  if breaks(relation, *both)]
    print(f"seed {seed}: {COUNT} requests, {changed} rewritten")
    for before, after, first, second in wrong[:1]:
        print(f"{describe(first)}, then {describe(second)}; the model differs in "
              f"{difference(before, first)}, {difference(after, second)}\n  {json.dumps(before)}\n"
              f"  {json.dumps(after)}")
    assert len(wrong) == 0 and changed > COUNT / 100
