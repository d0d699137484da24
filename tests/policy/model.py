"""A second evaluator of policies, written from AWS's tables and nothing else.

Slow, short, and of another make than the engine in C, so that the two do not share mistakes.
The tables MISSING, PRESENT and NEEDS are data: the mutant tests change them cell by cell.

    decide(case) -> Verdict, or raises Malformed

Sources: AWS IAM User Guide, Grammar of the IAM JSON policy language, IAM JSON policy elements
reference (Condition operators, Multivalued context keys, Variables and tags, Principal), Policy
evaluation logic; AWS KMS Developer Guide, Permissions reference, Key policies, Grants.
"""

import dataclasses
import functools
import re

import operands
from operands import Malformed, fold

# -- actions: AWS KMS permissions reference ----------------------------------------------------

GRANTABLE = """Encrypt Decrypt ReEncryptFrom ReEncryptTo GenerateDataKey
    GenerateDataKeyWithoutPlaintext GenerateDataKeyPair GenerateDataKeyPairWithoutPlaintext Sign
    Verify GenerateMac VerifyMac DeriveSharedSecret Encapsulate Decapsulate GetPublicKey CreateGrant DescribeKey
    RetireGrant""".split()
ACROSS_ACCOUNTS = GRANTABLE + "RevokeGrant ListGrants GetKeyRotationStatus".split()
OWN_ACCOUNT_ONLY = """GetKeyPolicy PutKeyPolicy ListKeyPolicies ListResourceTags TagResource
    UntagResource EnableKey DisableKey EnableKeyRotation DisableKeyRotation RotateKeyOnDemand
    ListKeyRotations ScheduleKeyDeletion CancelKeyDeletion UpdateKeyDescription
    GetParametersForImport ImportKeyMaterial DeleteImportedKeyMaterial GetKeyLastUsage CreateAlias
    DeleteAlias UpdateAlias ReplicateKey UpdatePrimaryRegion""".split()
BY_IDENTITY = "CreateKey ListKeys ListAliases GenerateRandom ListRetirableGrants".split()
ON_ROLE = "sts:AssumeRole sts:TagSession sts:SetSourceIdentity".split()

grantable = {"kms:" + name for name in GRANTABLE}
across_accounts = {"kms:" + name for name in ACROSS_ACCOUNTS} | set(ON_ROLE)

# -- conditions: what a test answers -----------------------------------------------------------

NONE, ALL, ANY = "", "forallvalues", "foranyvalue"

# (set prefix, negated, IfExists): the answer when the request does not have the key
MISSING = {
    (NONE, False, False): False, (NONE, True, False): True,
    (NONE, False, True): True, (NONE, True, True): True,
    (ALL, False, False): True, (ALL, True, False): True,
    (ALL, False, True): True, (ALL, True, True): True,
    (ANY, False, False): False, (ANY, True, False): False,
    (ANY, False, True): True, (ANY, True, True): True,
}
# (set prefix, negated): which values of the request must match which operands
PRESENT = {
    (NONE, False): "some value matches some operand",
    (NONE, True): "every value matches no operand",
    (ALL, False): "every value matches some operand",
    (ALL, True): "every value matches no operand",
    (ANY, False): "some value matches some operand",
    (ANY, True): "some value matches no operand",
}
LIST_WITHOUT_PREFIX = {False: False, True: False}  # by negated
NULL = {True: {"missing": True, "present": False}, False: {"missing": False, "present": True}}
COLLISION = {"Allow": False, "Deny": True}  # keys of a request that differ in case only


def quantified(rule, values, matches):
    how_many, _, _, which, _ = rule.split()
    over = any if how_many == "some" else all
    return over(matches(value) == (which == "some") for value in values)


@dataclasses.dataclass(frozen=True)
class Test:
    """One operator over one key."""
    key: str
    prefix: str
    if_exists: bool
    operator: operands.Operator
    operands: tuple

    def holds(self, effect, facts):
        fact = facts.get(self.key)
        if fact is operands.COLLIDING:
            return COLLISION[effect]
        missing = fact is None or fact == []
        if self.operator.name == "null":
            return any(NULL[want]["missing" if missing else "present"] for want in self.operands)
        if missing:
            return MISSING[self.prefix, self.operator.negated, self.if_exists]
        if isinstance(fact, list) and self.prefix == NONE:
            return LIST_WITHOUT_PREFIX[self.operator.negated]
        values = fact if isinstance(fact, list) else [fact]
        return quantified(PRESENT[self.prefix, self.operator.negated], values,
                          lambda value: any(o(value, facts) for o in self.operands))


# -- principals --------------------------------------------------------------------------------

NOBODY, ACCOUNT, ROLE, DIRECT = range(4)
NAME = r"[\w+=,.@-]{1,64}"
IAM_ARN = re.compile(rf"arn:aws:iam::\d{{12}}:(user|role)/(?:[!-.0-~]+/)*{NAME}", re.A)
STS_ARN = re.compile(rf"arn:aws:sts::\d{{12}}:(?:assumed-role/{NAME}|federated-user)/{NAME}", re.A)
SERVICE = re.compile(r"[a-z0-9.-]+\.amazonaws\.com")
UNIQUE_ID = re.compile(r"(?:AIDA|AROA)[A-Z2-7]{16}")
BAD_PRINCIPAL = "Policy contains a statement with one or more invalid principals."
NO_PRINCIPAL = "Policy contains a statement with no principal."


def account_of(name):
    found = re.fullmatch(r"(\d{12})|arn:aws:iam::(\d{12}):root", name, re.A)
    return found and (found[1] or found[2])


def check_principal(name):
    if name != "*" and not account_of(name) and not any(
            shape.fullmatch(name) for shape in (IAM_ARN, STS_ARN, UNIQUE_ID)):
        raise Malformed(BAD_PRINCIPAL)


def read_principals(element):
    """The names under AWS; those of services and federations match nobody here."""
    if element == "*":
        return ["*"]
    if not isinstance(element, dict):
        raise Malformed(BAD_PRINCIPAL)
    if not element:
        raise Malformed(NO_PRINCIPAL)
    for kind, names in element.items():
        if kind not in ("AWS", "Service", "Federated"):
            raise Malformed(BAD_PRINCIPAL)
        for name in texts(names):
            if kind == "AWS":
                check_principal(name)
            elif kind == "Service" and not SERVICE.fullmatch(name):
                raise Malformed(BAD_PRINCIPAL)
    return texts(element.get("AWS", ["nobody"]))


def pinned(name, book):
    """What a name is compared as: its unique id if the book knows one."""
    if book is None or name == "*" or UNIQUE_ID.fullmatch(name):
        return None
    entry = book.get(account_of(name) or name)
    if entry is None and name != "nobody":
        raise Malformed(BAD_PRINCIPAL)
    return None if entry == "accepted" else entry


def strength_of(name, pin, caller):
    """How strongly one principal of a policy names the caller."""
    kind, unique_id = caller["kind"], caller["unique_id"]
    if name == "*":
        return DIRECT
    if account_of(name):
        mine = account_of(name) == caller["account"]
        return (DIRECT if kind == "root" else ACCOUNT) if mine else NOBODY
    if kind == "user" and (unique_id == (pin or name) or not pin and caller["arn"] == name):
        return DIRECT
    if kind == "session" and ":assumed-role/" in name:
        if pin:
            same_name = name.rsplit("/", 1)[1] == caller["session_name"]
            return DIRECT if same_name and pin == unique_id else NOBODY
        return DIRECT if caller["arn"] == name else NOBODY
    if kind == "session" and (unique_id == (pin or name)
                              or not pin and caller["principal_arn"] == name):
        return ROLE
    return NOBODY


# -- documents ---------------------------------------------------------------------------------

ACTION = re.compile(r"\*|[A-Za-z0-9*?-]+:[A-Za-z0-9*?]+")
MEMBERS = {"Sid", "Effect", "Principal", "Action", "NotAction", "Resource", "NotResource",
           "Condition"}
SINGLE_VALUED = ("kms:encryptioncontext:", "aws:requesttag/")  # no ForAllValues in key policies


def need(condition, why):
    if not condition:
        raise Malformed(why)


def texts(value):
    """A list of texts, which may be written as one bare text."""
    values = value if isinstance(value, list) else [value]
    need(values and all(isinstance(v, str) and v for v in values), "texts expected")
    return values


def one_of(statement, name, optional=False):
    """The texts of Name or NotName, and whether it was NotName."""
    plain, negated = name in statement, "Not" + name in statement
    need(not (plain and negated), f"both {name} and Not{name}")
    if not plain and not negated:
        need(optional, f"no {name}")
        return None, False
    return texts(statement["Not" + name if negated else name]), negated


class Statement:
    def __init__(self, raw, kind, variables, book):
        need(isinstance(raw, dict), "a statement is no object")
        need(raw.keys() <= MEMBERS | {"NotPrincipal"}, "unknown member")
        need(raw.get("Effect") in ("Allow", "Deny"), "Effect")
        blanks = " " if kind == "key" else ""
        sid = raw.get("Sid", "")
        need(isinstance(sid, str) and re.fullmatch(f"[A-Za-z0-9{blanks}]*", sid), "Sid")
        self.sid, self.effect = raw.get("Sid"), raw["Effect"]
        self.kind = kind
        self.principals = self.read_principals(raw, book)
        self.actions, self.not_actions = one_of(raw, "Action", optional=kind == "key")
        for action in self.actions or ():
            need(ACTION.fullmatch(action), "action")
        if kind == "trust":
            need("Resource" not in raw and "NotResource" not in raw, "resource of a role")
            self.resources, self.not_resources = ["*"], False
        else:
            self.resources, self.not_resources = one_of(raw, "Resource", optional=kind == "key")
        self.patterns = [operands.resource_pattern(r, variables and kind == "identity")
                         for r in self.resources or ()]
        self.tests = list(read_tests(raw.get("Condition", {}), kind, variables))

    def read_principals(self, raw, book):
        if self.kind == "identity":
            need("Principal" not in raw and "NotPrincipal" not in raw, "principal")
            return None
        need("NotPrincipal" not in raw, "NotPrincipal is not taken")
        if "Principal" not in raw:
            raise Malformed(NO_PRINCIPAL)
        names = read_principals(raw["Principal"])
        return [(name, pinned(name, book)) for name in names]

    def strength(self, caller):
        if self.principals is None:
            return DIRECT
        return max(strength_of(name, pin, caller) for name, pin in self.principals)

    def on_action(self, action):
        if self.actions is None:
            return False
        return self.not_actions != any(operands.glob(a.lower(), action.lower())
                                       for a in self.actions)

    def on_resource(self, resource, facts):
        if self.resources is None:
            return False
        if self.kind == "identity":
            answers = [p(resource, facts) for p in self.patterns]
            if self.not_resources:
                if None in answers and True not in answers:
                    return self.effect == "Deny"  # what cannot be told is not let through
                return True not in answers
            return True in answers
        return self.not_resources != any(r in ("*", resource) for r in self.resources)

    def strength_for(self, case, facts):
        """How strongly this statement names the caller of a request that it applies to."""
        if not self.on_action(case["action"]) or not self.on_resource(case["resource"], facts):
            return NOBODY
        if not all(test.holds(self.effect, facts) for test in self.tests):
            return NOBODY
        return self.strength(case["caller"])


def read_tests(condition, kind, variables):
    need(isinstance(condition, dict), "Condition")
    for name, keys in condition.items():
        need(isinstance(keys, dict), "condition keys")
        prefix, operator, if_exists = operands.read_operator(name)
        for key, values in keys.items():
            if kind == "key" and prefix == ALL and fold(key).startswith(SINGLE_VALUED):
                raise Malformed("OverlyPermissiveCondition")
            values = values if isinstance(values, list) else [values]
            need(values, "no values")
            yield Test(fold(key), prefix, if_exists, operator,
                       tuple(operator.operand(operands.value_text(v), variables) for v in values))


@functools.lru_cache(maxsize=50000)
def read_policy(text, kind, book_items=None):
    """Statements of a document; kind is identity, key or trust."""
    document = operands.load(text)
    need(isinstance(document, dict), "no object")
    need(document.keys() <= {"Version", "Statement"} | ({"Id"} if kind != "identity" else set()),
         "unknown member")
    need(isinstance(document.get("Id", ""), str), "Id")
    version = document.get("Version", "2008-10-17")
    need(version in ("2012-10-17", "2008-10-17"), "Version")
    raw = document.get("Statement")
    raw = raw if isinstance(raw, list) else [raw]
    need(0 < len(raw) <= 100, "number of statements")
    book = None if book_items is None else dict(book_items)
    statements = [Statement(r, kind, version == "2012-10-17", book) for r in raw]
    sids = [s.sid for s in statements if s.sid]
    need(len(sids) == len(set(sids)), "Sid twice")
    return statements


# -- the decision ------------------------------------------------------------------------------

LAYERS = ["resource", "identity", "boundary", "session"]
SAME, OTHER = "same account", "other account"

# What must allow besides: I identity policies, B boundary, S session policies. Whose account: the
# key's or role's owner; for RetireGrant the account that issued the grant.
NEEDS = {
    ("policy", SAME, DIRECT): "", ("policy", SAME, ROLE): "BS", ("policy", SAME, ACCOUNT): "IBS",
    ("policy", OTHER, DIRECT): "IBS", ("policy", OTHER, ROLE): "IBS",
    ("policy", OTHER, ACCOUNT): "IBS",
    ("grant", SAME, DIRECT): "", ("grant", SAME, ROLE): "BS", ("grant", SAME, ACCOUNT): "IBS",
    ("grant", OTHER, DIRECT): "", ("grant", OTHER, ROLE): "BS", ("grant", OTHER, ACCOUNT): "IBS",
    ("identity", SAME, DIRECT): "IBS",
}
NEED_LAYER = {"I": "identity", "B": "boundary", "S": "session"}
STRENGTHS = {"none": NOBODY, "account": ACCOUNT, "role": ROLE, "direct": DIRECT}


@dataclasses.dataclass
class Verdict:
    allowed: bool
    explicit: bool
    layers: set  # those that may be named: more than one where two routes end differently
    statements: set  # (layer, number of statement) that may be named; empty: not said


class Layers:
    """The documents of a case, read."""

    def __init__(self, case):
        book = case.get("book")
        items = None if book is None else tuple(sorted(book.items()))
        self.kind = "trust" if case.get("trust_policy") is not None else "key"
        resource = case["trust_policy"] if self.kind == "trust" else case["key_policy"]
        self.resource = self.read("resource", resource, self.kind, items)
        self.identity = [s for i, text in enumerate(case["identity"])
                         for s in self.read(f"identity {i}", text, "identity")]
        self.boundary = self.read("boundary", case["boundary"], "identity")
        self.session = [s for i, text in enumerate(case["session"])
                        for s in self.read(f"session {i}", text, "identity")]

    @staticmethod
    def read(where, text, kind, book=None):
        if text is None:
            return []
        try:
            return list(enumerate(read_policy(text, kind, book)))
        except Malformed as bad:
            raise Malformed(str(bad), where) from None


def decide(case):
    layers = Layers(case)
    facts = operands.facts(case["context"])
    key_facts = {k: v for k, v in facts.items() if k != "kms:resourcealiases"}

    def apply(layer, effect):
        """(strength, number) of the layer's statements that apply."""
        seen = key_facts if layer == "resource" else facts
        found = [(s.strength_for(case, seen), number) for number, s in getattr(layers, layer)
                 if s.effect == effect]
        return [(strength, number) for strength, number in found if strength != NOBODY]

    for layer in LAYERS:
        denying = apply(layer, "Deny")
        if denying:
            return Verdict(False, True, {layer}, {(layer, number) for _, number in denying})
    return decide_allow(case, layers, apply)


def routes_of(case, apply):
    """(source, strength) of everything that may carry this request."""
    by_identity = case["key_policy"] is None and case.get("trust_policy") is None
    retires = case["action"] == "kms:RetireGrant"  # a key policy can only deny it
    routes = [("identity", DIRECT)] if by_identity or retires else []
    if by_identity and not retires:
        return routes
    if case["action"] in grantable:
        routes.append(("grant", STRENGTHS[case["grant"]]))
    if not retires:
        allowing = [strength for strength, _ in apply("resource", "Allow")]
        routes.append(("policy", max(allowing, default=NOBODY)))
    return [(source, strength) for source, strength in routes if strength != NOBODY]


def decide_allow(case, layers, apply):
    root = case["caller"]["kind"] == "root"
    whose = SAME if case["account"] in ("", case["caller"]["account"]) else OTHER
    routes = routes_of(case, apply)
    if whose == OTHER and case["action"] not in across_accounts:
        routes = []
    if root and case["action"] in ON_ROLE:  # root cannot assume a role
        routes = []
    allows = {
        "I": lambda: root or apply("identity", "Allow"),
        "B": lambda: root or case["boundary"] is None or apply("boundary", "Allow"),
        "S": lambda: root or not case["session"] or apply("session", "Allow"),
    }
    ends, denied_by = set(), set()
    for source, strength in routes:
        needs = NEEDS.get((source, whose, strength))
        if needs is None:
            denied_by.add("resource")
            continue
        lacking = [NEED_LAYER[n] for n in needs if not allows[n]()]
        if lacking:
            denied_by.add(lacking[0])
        else:
            ends |= allowing_layers(source, needs)
    if ends:
        stated = {(layer, number) for layer in ends if layer != "grant"
                  for _, number in apply(layer, "Allow")}
        return Verdict(True, False, ends, stated)
    return Verdict(False, False, denied_by or {"resource"}, set())


def allowing_layers(source, needs):
    """Whose word an allowed request may be put down to."""
    first = {"policy": "resource", "grant": "grant", "identity": "identity"}[source]
    return {first} | ({"identity"} if "I" in needs else set())
