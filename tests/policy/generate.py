"""Random decisions from small alphabets, so that names, values and patterns often meet.

    Generator(seed).cases(count)    requests as policy_eval reads them

Documents are drawn from pools that are renewed now and then: a document is used in some ten
requests, which is what makes a hundred thousand of them cheap.
"""

import json
import random

A, B, C = "111122223333", "444455556666", "777788889999"
NOW_MS = 1795176000000  # 2026-11-20T12:00:00Z
POOL = 150  # documents of each kind
ROUND = 1500  # requests until new pools


def unique_id(prefix, letter):
    return prefix + letter * 16


def user(account, name, letter, path="/"):
    arn = f"arn:aws:iam::{account}:user{path}{name}"
    return {"kind": "user", "account": account, "arn": arn, "principal_arn": arn, "user_name": name,
            "unique_id": unique_id("AIDA", letter), "session_name": ""}


def session(account, role, letter, name, path="/"):
    return {"kind": "session", "account": account, "user_name": "", "session_name": name,
            "arn": f"arn:aws:sts::{account}:assumed-role/{role}/{name}",
            "principal_arn": f"arn:aws:iam::{account}:role{path}{role}",
            "unique_id": unique_id("AROA", letter)}


def root(account):
    arn = f"arn:aws:iam::{account}:root"
    return {"kind": "root", "account": account, "arn": arn, "principal_arn": arn, "user_name": "",
            "unique_id": "", "session_name": ""}


CALLERS = [user(A, "alice", "A"), user(A, "bob", "B", "/dev/"), session(A, "app", "C", "s1"),
           session(A, "app", "C", "s2"), session(A, "ops", "D", "s1", "/team/x/"), root(A),
           user(B, "alice", "E"), session(B, "app", "F", "s1"), root(B), user(C, "carl", "G")]
WEIGHTS = [6, 2, 5, 2, 2, 2, 2, 2, 1, 1]

KEYS = [f"arn:aws:kms:eu-central-1:{A}:key/{n * 4}-aaaa" for n in ("1a", "2b")] + [
    f"arn:aws:kms:eu-central-1:{B}:key/3c3c3c3c-aaaa"]
ALIAS = f"arn:aws:kms:eu-central-1:{A}:alias/app"
ROLE_ARN = f"arn:aws:iam::{A}:role/app"

KEY_ACTIONS = ["kms:Decrypt", "kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:DescribeKey",
               "kms:CreateGrant", "kms:PutKeyPolicy", "kms:RevokeGrant"]
ROLE_ACTIONS = ["sts:AssumeRole", "sts:AssumeRole", "sts:TagSession"]
IDENTITY_ACTIONS = ["kms:ListKeys", "kms:CreateKey", "kms:CreateAlias"]
ACTION_PATTERNS = ["kms:*", "*", "kms:Decrypt", "kms:decr*", "KMS:DECRYPT", "kms:Encrypt",
                   "kms:*crypt", "kms:De?rypt", "kms:GenerateDataKey*", "kms:Describe*",
                   "kms:CreateGrant", "*:*", "kms:*Grant", "kms:PutKeyPolicy", "k?s:*Key*",
                   "s3:GetObject", "kms:NoSuchThing"]
TRUST_PATTERNS = ["sts:AssumeRole", "sts:*", "*", "sts:TagSession", "sts:assume*", "kms:*"]
IDENTITY_PATTERNS = ["kms:List*", "kms:CreateKey", "kms:Create*"]

RESOURCES = ["*", "*", KEYS[0], KEYS[1], KEYS[2], f"arn:aws:kms:*:{A}:key/*",
             "arn:aws:kms:*:*:key/*", "arn:*:kms:*:*:*", "arn:aws:kms:eu-?entral-1:*:key/1a*", ALIAS,
             "arn:aws:s3:::bucket/*", f"arn:aws:kms:*:{A}:alias/*", f"arn:aws:KMS:*:{A}:key/*",
             "arn:aws:*:key/*:*:*:*", "arn:aws:kms:*:*:${aws:PrincipalTag/kind}/*",
             "arn:aws:kms:*:*:${aws:username}/*",
             "arn:aws:kms:*:*:${aws:PrincipalTag/kind, 'key'}/1a1a*", "arn:aws:kms:*:*:key${*}"]

PRINCIPALS = (["*", A, f"arn:aws:iam::{A}:root", B, f"arn:aws:iam::{B}:root", C]
              + [c[name] for c in CALLERS for name in ("arn", "principal_arn")]
              + [c["unique_id"] for c in CALLERS if c["unique_id"]]
              + [f"arn:aws:iam::{A}:user/Alice", f"arn:aws:sts::{A}:federated-user/fed",
                 f"arn:aws:sts::{A}:assumed-role/app/S1", f"arn:aws:iam::{A}:role/ops"])

SETS = ["", "", "ForAllValues:", "ForAnyValue:"]
TEXT = ["StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase",
        "StringLike", "StringNotLike"]
NUMBER = [f"Numeric{c}" for c in ("Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan",
                                  "GreaterThanEquals")]
DATE = [name.replace("Numeric", "Date") for name in NUMBER]
ARN = ["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"]
ADDRESS = ["IpAddress", "NotIpAddress"]

TEXT_VALUES = ["x", "X", "App", "y", "ab", "a*b", "axb", "", "alice", "${aws:username}",
               "gr\u00fc\u00df", "a/b:c", "line\nbreak", "true", "7", "10abc"]
TEXT_OPERANDS = ["x", "X", "y", "ab", "a*", "a?b", "*", "?", "gr??", "a*b", "alice", "line*k",
                 "${aws:username}", "${AWS:PrincipalTag/P}", "${aws:PrincipalTag/p, 'x'}", "a${*}b",
                 "${$}{aws:username}", "${kms:EncryptionContextKeys}", "${no:SuchKey}",
                 "${ no:SuchKey , 'y' }", "${aws:PrincipalTag/p}*", "a*${?}", "${}x"[3:], True, 7]
NAMES = ["App", "app", "Env", "env", "Zed"]
DATES = ["2026-11-20T12:00:00Z", "2026-11-20", "2026-11-20T12:00Z", "2026-11-20T13:00:00+01:00",
         "1795176000", "2030-01-01T00:00:00Z", "2026-11-20T11:59:59.999Z",
         "2020-02-29T23:59:59-05:30", "2026-11-20T12:00:00.000Z", "1795176001", 1795175999, "0"]
NUMBERS = ["7", "07", "7.0", "-7", "+7", "30", "365", "6.99", "7.01", "0", "-0", 90, 365]
ADDRESSES = ["10.0.0.7", "10.255.1.1", "192.0.2.7", "2001:db8::1", "2001:DB8:0:0::1",
             "::ffff:10.0.0.7", "::ffff:c000:207", "::1", "not an address"]
NETWORKS = ["10.0.0.0/8", "10.0.0.7", "192.0.2.7/32", "192.0.2.6/31", "0.0.0.0/0", "::/0",
            "2001:db8::/32", "2001:db8::1", "::ffff:10.0.0.0/104", "::ffff:0:0/96",
            "10.9.9.9/9", "2001:db8::/127"]
ARNS = [c["principal_arn"] for c in CALLERS] + ["word"]
ARN_PATTERNS = ARNS[:-1] + [
    f"arn:aws:iam::{A}:role/*", "arn:aws:iam::*:user/*", "arn:aws:*:role/app", "arn:aws:iam::*:*",
    "arn:*:*:*:*:*", "*", "arn:aws:iam::${aws:PrincipalAccount}:user/${aws:username}",
    "arn:aws:iam::*:user/${aws:PrincipalTag/p}", "arn:aws:iam::*:rol?/ap?", "arn:aws:iam:*:role/app"]
BASE64 = ["YQ==", "YWI=", "YWJj", "eA=="]

# key: operators, operands, values of a request; None: the request does not have it
CONDITION_KEYS = {
    "kms:EncryptionContext:App": (TEXT, TEXT_OPERANDS, None),
    "kms:encryptioncontext:env": (TEXT, TEXT_OPERANDS, None),
    "aws:PrincipalTag/p": (TEXT, TEXT_OPERANDS, None),
    "aws:RequestTag/p": (TEXT, TEXT_OPERANDS, None),
    "AWS:username": (TEXT, TEXT_OPERANDS, None),
    "kms:EncryptionContextKeys": (TEXT, NAMES + ["*", "?pp"], "list"),
    "aws:TagKeys": (TEXT, NAMES + ["a*", "${aws:PrincipalTag/p}"], "list"),
    "kms:ResourceAliases": (TEXT, ["alias/app", "alias/*"], ["alias/app", "alias/x"]),
    "kms:CallerAccount": (TEXT, [A, B, "${aws:PrincipalAccount}"], None),
    "aws:CurrentTime": (DATE, DATES, None),
    "aws:EpochTime": (DATE + NUMBER, ["1795176000", 1795176001, "1795175999"], None),
    "aws:TokenIssueTime": (DATE, DATES, DATES[:-2] + ["yesterday", "2026-02-30"]),
    "kms:RotationPeriodInDays": (NUMBER, NUMBERS + [6.99], NUMBERS + ["10abc", "7 ", ""]),
    "aws:SourceIp": (ADDRESS, NETWORKS, ADDRESSES),
    "aws:PrincipalArn": (ARN, ARN_PATTERNS, None),
    "kms:GrantConstraintSourceArn": (ARN, ARN_PATTERNS, ARNS),
    "aws:SecureTransport": (["Bool"], ["true", "TRUE", "false", True, "${aws:PrincipalTag/p}"],
                            [True, False, "True", "yes"]),
    "aws:MultiFactorAuthPresent": (["Bool"], ["true", "false"], [True, False]),
    "aws:UserAgent": (["BinaryEquals"], BASE64, BASE64 + ["word!", "YR=="]),
    "aws:SourceVpc": (TEXT, ["x", "*"], None),
}
CONTEXT_SLOTS = {key: row[2] for key, row in CONDITION_KEYS.items() if isinstance(row[2], list)}
SINGLE_VALUE_FAMILIES = ("kms:encryptioncontext:", "aws:requesttag/")

MALFORMED_STATEMENTS = [
    {"Effect": "allow"}, {"Action": []}, {"Action": ""}, {"Action": "Decrypt"},
    {"NotAction": "kms:*"}, {"Sid": "a-b"}, {"Sid": 7}, {"Extra": 1},
    {"Condition": {"StringEqualz": {"aws:username": "x"}}},
    {"Condition": {"NullIfExists": {"aws:username": "true"}}},
    {"Condition": {"NumericEquals": {"kms:RotationPeriodInDays": "10abc"}}},
    {"Condition": {"NumericEquals": {"kms:RotationPeriodInDays": "${aws:PrincipalTag/p}"}}},
    {"Condition": {"DateEquals": {"aws:CurrentTime": "2026-02-30"}}},
    {"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}}},
    {"Condition": {"IpAddress": {"aws:SourceIp": "2001:db8::/129"}}},
    {"Condition": {"NotIpAddress": {"aws:SourceIp": "10.0.0"}}},
    {"Condition": {"Bool": {"aws:SecureTransport": "maybe"}}},
    {"Condition": {"BinaryEquals": {"aws:UserAgent": "!!!"}}},
    {"Condition": {"StringEquals": {"aws:username": []}}},
    {"Condition": {"StringEquals": {"aws:username": [["x"]]}}},
    {"Condition": {"StringEquals": {"aws:username": None}}},
    {"Condition": {"StringEquals": "x"}}, {"Condition": "x"},
    {"Condition": {"ForAllValues:StringLike": {"kms:EncryptionContext:App": "*"}}},
    {"Condition": {"ForSomeValues:StringLike": {"aws:TagKeys": "*"}}},
    {"NotPrincipal": {"AWS": A}},
]
MALFORMED_IDENTITY = [{"Principal": "*"}, {"Resource": "alias/app"}, {"Resource": "1a1a1a1a-aaaa"},
                      {"Resource": []}, {"NotResource": "*"}]
MALFORMED_KEY = [{"Principal": p} for p in (
    "", {}, [], {"AWS": []}, {"AWS": f"arn:aws:iam::{A}:user/*"},
    {"AWS": f"arn:aws:iam::{A}:group/g"}, {"AWS": "1111"}, {"AWS": "alice"},
    {"AWS": "arn:aws:iam::*:root"}, {"CanonicalUser": "x"}, {"AWS": "a*"},
    {"AWS": f"arn:aws-cn:iam::{A}:root"}, {"AWS": "AIDAxyz"}, {"Aws": A})]


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.pools = {}

    def some(self, of, most=3):
        """One bare value, or a list of up to so many."""
        count = self.random.choice([1, 1, *range(1, most + 1)])
        chosen = [self.random.choice(of) for _ in range(count)]
        return chosen[0] if count == 1 and self.random.random() < 0.7 else chosen

    def chance(self, probability):
        return self.random.random() < probability

    # -- documents

    def condition(self):
        condition = {}
        for _ in range(self.random.choice([1, 1, 1, 2])):
            key = self.random.choice(list(CONDITION_KEYS))
            operators, values, _ = CONDITION_KEYS[key]
            if self.chance(0.12):
                operator, values = "Null", ["true", "false", True, False]
            else:
                operator = self.operator(key, self.random.choice(operators))
            keys = condition.setdefault(operator, {})
            keys[key] = self.some(values)
        return condition

    def operator(self, key, name):
        """With a set prefix mostly where the key has a list, sometimes IfExists, in any case."""
        has_list = CONDITION_KEYS[key][2] == "list" or key == "kms:ResourceAliases"
        if self.chance(0.8 if has_list else 0.1):
            prefix = self.random.choice(SETS[1:])
            if prefix != "ForAllValues:" or not key.lower().startswith(SINGLE_VALUE_FAMILIES):
                name = prefix + name
        if self.chance(0.2):
            name += "IfExists"
        return name.upper() if self.chance(0.03) else name

    def statement(self, kind):
        effect = "Deny" if self.chance(0.18) else "Allow"
        made = {"Effect": effect}
        patterns = ACTION_PATTERNS + (IDENTITY_PATTERNS if kind == "identity" else [])
        patterns = TRUST_PATTERNS if kind == "trust" else patterns
        usual = "sts:*" if kind == "trust" else "*" if self.chance(0.4) else "kms:*"
        if self.chance(0.1):
            made["NotAction"] = self.some(patterns[2:])
        else:
            wide = effect == "Allow" and self.chance(0.5)
            made["Action"] = usual if wide else self.some(patterns, 4)
        if kind == "identity":
            made["NotResource" if self.chance(0.12) else "Resource"] = self.some(RESOURCES)
            if effect == "Allow" and self.chance(0.3):
                made["Resource"] = "*"
                made.pop("NotResource", None)
        else:
            made["Principal"] = self.principal()
        if kind == "key":
            made["Resource"] = "*" if self.chance(0.85) else self.some(["*", *KEYS, ALIAS])
            if self.chance(0.03):
                del made[self.random.choice([k for k in made if k not in ("Effect", "Principal")])]
        if self.chance(0.35 if effect == "Allow" else 0.7):
            made["Condition"] = self.condition()
        if self.chance(0.1):
            made["Sid"] = f"S{self.random.randrange(10 ** 9)}"
        return made

    def principal(self):
        if self.chance(0.14):
            return "*"
        own_account = self.chance(0.45)
        names = {"AWS": self.random.choice(PRINCIPALS[1:3]) if own_account
                 else self.some(PRINCIPALS, 5)}
        if self.chance(0.05):
            names["Service"] = "s3.amazonaws.com"
        if self.chance(0.02):
            names = {"Federated": f"arn:aws:iam::{A}:saml-provider/p"}
        return names

    def document(self, kind):
        statements = [self.statement(kind) for _ in range(self.random.choice([1, 1, 2, 2, 3, 4, 5]))]
        if self.chance(0.015):
            of_kind = MALFORMED_IDENTITY if kind == "identity" else MALFORMED_KEY
            statements[-1].update(self.random.choice(MALFORMED_STATEMENTS + of_kind))
        made = {"Version": "2012-10-17", "Statement": statements}
        if self.chance(0.1):
            made["Version"] = "2008-10-17"
        if self.chance(0.03):
            del made["Version"]
        if kind != "identity" and self.chance(0.1):
            made["Id"] = "key-policy"
        if len(statements) == 1 and self.chance(0.2):
            made["Statement"] = statements[0]
        return json.dumps(made, ensure_ascii=self.chance(0.5))

    def pool(self, kind):
        if kind not in self.pools:
            self.pools[kind] = [self.document(kind) for _ in range(POOL)]
        return self.random.choice(self.pools[kind])

    # -- requests

    def value(self, of):
        return self.random.choice(of) if self.chance(0.75) else None

    def pairs(self, names):
        """Some names of a family; sometimes two that differ in case only."""
        chosen = [name for name in names if self.chance(0.5)]
        if self.chance(0.93):
            chosen = list({name.lower(): name for name in chosen}.values())
        return [[name, self.random.choice(TEXT_VALUES)] for name in chosen]

    def context(self, caller):
        slots = {key: self.value(values) for key, values in CONTEXT_SLOTS.items()}
        slots["kms:ResourceAliases"] = self.list_of(["alias/app", "alias/x"])
        slots["kms:EncryptionContextKeys"] = self.list_of(NAMES)
        slots["aws:TagKeys"] = self.list_of(NAMES)
        slots["aws:PrincipalArn"] = caller["principal_arn"]
        slots["aws:username"] = caller["user_name"] or None
        slots["aws:PrincipalAccount"] = slots["kms:CallerAccount"] = caller["account"]
        tags = self.pairs(["p"]) + ([["kind", self.random.choice(["key", "*", "alias"])]]
                                    if self.chance(0.7) else [])
        families = {"aws:PrincipalTag/": tags, "aws:RequestTag/": self.pairs(["p", "P"]),
                    "kms:EncryptionContext:": self.pairs(["App", "APP", "Env", "env"])}
        return {"slots": {k: v for k, v in slots.items() if v is not None}, "families": families,
                "now_ms": NOW_MS}

    def list_of(self, values):
        if self.chance(0.25):
            return None
        return [v for v in values if self.chance(0.4)]

    def case(self):
        if self.random.randrange(ROUND) == 0:
            self.pools = {}
        caller = self.random.choices(CALLERS, WEIGHTS)[0]
        case = {"caller": caller, "context": self.context(caller), "grant": "none",
                "key_policy": None, "identity": [], "boundary": None, "session": []}
        self.add_subject(case)
        if caller["kind"] != "root":
            count = self.random.choice([0, 1, 1, 2, 2, 3])
            case["identity"] = [self.pool("identity") for _ in range(count)]
            case["boundary"] = self.pool("identity") if self.chance(0.2) else None
            if caller["kind"] == "session" and self.chance(0.25):
                case["session"] = [self.pool("identity") for _ in range(self.random.choice([1, 2]))]
        return case

    def add_subject(self, case):
        """What is asked, and the policy of what it is asked about."""
        what = self.random.choices(["key", "identity", "role", "retire"], [75, 9, 10, 6])[0]
        if what == "role":
            case.update(action=self.random.choice(ROLE_ACTIONS), resource=ROLE_ARN, account=A,
                        trust_policy=self.pool("trust"))
        elif what == "identity":
            action = self.random.choice(IDENTITY_ACTIONS)
            on_alias = action == "kms:CreateAlias"
            case.update(action=action, resource=ALIAS if on_alias else "*",
                        account=A if on_alias else "")
        else:
            key = self.random.choice(KEYS[:2] * 3 + KEYS[2:])
            actions = ["kms:RetireGrant"] if what == "retire" else KEY_ACTIONS
            case.update(action=self.random.choice(actions), resource=key,
                        account=key.split(":")[4], key_policy=self.pool("key"))
            if what == "retire" or self.chance(0.15):
                case["grant"] = self.random.choice(["account", "role", "direct", "none"])
            if self.chance(0.1):
                case["book"] = self.book()

    def book(self):
        """Who the principals are today: one may be unknown, another a namesake made anew."""
        book = {A: "accepted", B: "accepted", C: "accepted",
                f"arn:aws:iam::{A}:user/Alice": "accepted", f"arn:aws:iam::{A}:role/ops": "accepted",
                f"arn:aws:sts::{A}:federated-user/fed": "accepted",
                f"arn:aws:sts::{A}:assumed-role/app/S1": unique_id("AROA", "C")}
        for caller in CALLERS:
            if caller["unique_id"]:
                known = "accepted" if caller["account"] != A else caller["unique_id"]
                book[caller["arn"]] = book[caller["principal_arn"]] = known
        if self.chance(0.5):
            book[CALLERS[0]["arn"]] = unique_id("AIDA", "Z")
        if self.chance(0.2):
            del book[C]
        return book

    def cases(self, count):
        return [self.case() for _ in range(count)]
