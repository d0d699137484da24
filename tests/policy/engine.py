"""The engine in C as an object, how its answers are compared with the model's, and shrinking."""

import copy
import json
import os
import pathlib
import subprocess
import threading

import model

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HSMKMS_BUILD", ROOT / "build" / "release"))
PROGRAM = pathlib.Path(os.environ.get("POLICY_EVAL", BUILD / "tests" / "policy_eval"))
CASES = int(os.environ.get("POLICY_CASES", "100000"))
CHUNK = 2000


class Engine:
    """policy_eval as one process for many requests."""

    def __init__(self):
        self.process = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, encoding="utf-8")

    def ask(self, requests):
        """The answers to some requests, in their order."""
        lines = "".join(json.dumps(request) + "\n" for request in requests)
        writer = threading.Thread(target=self.write, args=(lines,))
        writer.start()
        answers = [self.process.stdout.readline() for _ in requests]
        writer.join()
        assert all(answers), f"policy_eval ended: {self.process.wait(timeout=10)}"
        return [json.loads(answer) for answer in answers]

    def write(self, lines):
        try:
            self.process.stdin.write(lines)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the reader sees the end and tells

    def close(self):
        """Sanitizers complain at the end."""
        rest, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0 and not rest


def describe(answer):
    """allowed, denied, explicitly denied, malformed."""
    if "malformed" in answer:
        return f"malformed: {answer['malformed']}"
    words = verdict_words(answer["allowed"], answer["explicit"])
    return f"{words}: {answer['layer']} ({answer['policy']}, statement {answer['statement']})"


def verdict_words(allowed, explicit):
    return "allowed" if allowed else "explicitly denied" if explicit else "denied"


def expected(case):
    """What the model says, in words."""
    try:
        verdict = model.decide(case)
    except model.Malformed as bad:
        return f"malformed: {bad.where} ({bad})"
    words = verdict_words(verdict.allowed, verdict.explicit)
    return f"{words}: {' or '.join(sorted(verdict.layers))} {sorted(verdict.statements)}"


def difference(case, answer):
    """What the engine's answer has that the model does not have, or None."""
    try:
        verdict = model.decide(case)
    except model.Malformed as bad:
        return None if answer.get("malformed") == bad.where else "malformed"
    if "malformed" in answer:
        return "malformed"
    if answer["broken"]:
        return "broken"
    if answer["allowed"] != verdict.allowed:
        return "allowed"
    if answer["explicit"] != verdict.explicit:
        return "explicit"
    if answer["layer"] not in verdict.layers:
        return "layer"
    named = answer["statement"] >= 0 and (answer["allowed"] or answer["explicit"])
    if named and answer["layer"] != "grant":
        if (answer["layer"], answer["statement"]) not in verdict.statements:
            return "statement"
    return None


# -- shrinking ---------------------------------------------------------------------------------

def smaller(value):
    """Values with something taken out of a tree of objects and lists."""
    if isinstance(value, dict):
        for name in value:
            yield {k: v for k, v in value.items() if k != name}
        for name in value:
            for less in smaller(value[name]):
                yield {**value, name: less}
    elif isinstance(value, list):
        for i in range(len(value)):
            yield value[:i] + value[i + 1:]
        if len(value) == 1:
            yield value[0]
        for i, item in enumerate(value):
            for less in smaller(item):
                yield value[:i] + [less] + value[i + 1:]


def smaller_cases(case):
    """Requests with a policy, statement, condition or value less."""
    for name in ("boundary", "key_policy", "trust_policy"):
        if case.get(name) is not None:
            if name == "boundary":
                yield {**case, name: None}
            for less in smaller(json.loads(case[name])):
                yield {**case, name: json.dumps(less)}
    for name in ("identity", "session"):
        for i, text in enumerate(case[name]):
            rest = case[name][:i], case[name][i + 1:]
            yield {**case, name: rest[0] + rest[1]}
            for less in smaller(json.loads(text)):
                yield {**case, name: rest[0] + [json.dumps(less)] + rest[1]}
    if "book" in case:
        yield {k: v for k, v in case.items() if k != "book"}
    if case["grant"] != "none":
        yield {**case, "grant": "none"}
    for part in ("slots", "families"):
        for less in smaller(case["context"][part]):
            yield {**case, "context": {**case["context"], part: less}}


def valid(case):
    """Shrinking keeps lists of a context lists, and pairs pairs."""
    slots, families = case["context"]["slots"].values(), case["context"]["families"].values()
    return (all(not isinstance(v, dict) for v in slots)
            and all(isinstance(p, list) and all(isinstance(q, list) and len(q) == 2 for q in p)
                    for p in families))


def shrink(case, still_wrong):
    """A smallest request that is still wrong; still_wrong takes cases and gives truths."""
    case = copy.deepcopy(case)
    while True:
        lists = {k for k, v in case["context"]["slots"].items() if isinstance(v, list)}
        tries = [c for c in smaller_cases(case) if valid(c) and all(
            isinstance(c["context"]["slots"].get(k, []), list) for k in lists)]
        found = next((c for c, wrong in zip(tries, still_wrong(tries)) if wrong), None)
        if found is None:
            return case
        case = found


def report(engine, case):
    """A mismatch at its smallest, as a row for golden.json."""
    kind = difference(case, engine.ask([case])[0])

    def still_wrong(cases):
        return [difference(c, a) == kind for c, a in zip(cases, engine.ask(cases))]

    least = shrink(case, still_wrong)
    answer = engine.ask([least])[0]
    row = {"id": "new", "expect": expected(least), "case": as_golden(least)}
    return (f"{kind}: the engine says {describe(answer)} {answer.get('detail', '')}\n"
            f"  the model says {expected(least)}\n  {json.dumps(row)}")


def as_golden(case):
    """Documents as JSON rather than text, where that is the same."""
    def opened(text):
        return None if text is None else json.loads(text)

    row = dict(case, identity=[opened(t) for t in case["identity"]],
               session=[opened(t) for t in case["session"]], boundary=opened(case["boundary"]))
    for name in ("key_policy", "trust_policy"):
        if name in case:
            row[name] = opened(case[name])
    return {name: value for name, value in row.items() if value not in (None, [], "none")}
