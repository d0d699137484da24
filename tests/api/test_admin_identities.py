"""hsmkms-admin, command by command: what it does, what it refuses, and what the audit trail says.

Each row of the daemon's table of commands has a row here: a success, refusals that change nothing,
and for what is recorded an intent and a result. What a change comes to with the next request of a
client is in test_policies.py, what goes from one installation to another in test_transfer.py.
"""

import json
import re

import pytest

import conftest
import kms
from principals import ACCOUNT, DENIED, ROOT, People, allow, blob, refused

MISSING, INVALID, EXISTS = "NotFoundException", "ValidationException", "AlreadyExistsException"
CONFLICT, LIMIT = "ConflictException", "LimitExceededException"
MALFORMED = "MalformedPolicyDocumentException"
TRUST = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}]}
NO_KEY, NO_TOKEN = "AKIAAAAAAAAAAAAAAAAA", "00000000-0000-4000-8000-000000000000"
BOUND, UNBOUND = "ab" * 32, "cd" * 32


@pytest.fixture(scope="module")
def place():
    """A service of its own: what is listed is what was made here."""
    service = kms.Rig()
    yield service
    conftest.end(service)


@pytest.fixture(scope="module")
def people(place):
    return People(place)


class Scene:
    """New names for one row, and the words of its commands with those names filled in."""

    def __init__(self, place, people):
        self.place, self.people = place, people
        self.names = {"user": people.name("user"), "role": people.name("role"),
                      "new": people.name("new"), "policy": people.name("policy"),
                      "account": f"{people.count + 100000000000}", "nobody": "nobody",
                      "path": f"arn:aws:iam::{ACCOUNT}:policy/"}
        self.files = {"doc": people.file(allow("kms:Decrypt")), "trust": people.file(TRUST),
                      "bad": people.file({"Statement": []}), "text": str(place.dir / "not-json"),
                      "empty": people.file({})}
        (place.dir / "not-json").write_text("{")
        people.admin("user", "create", self.names["user"])
        people.admin("role", "create", self.names["role"], "--trust", self.files["trust"])
        people.admin("account", "add", self.names["account"])
        people.put("user", self.names["user"], allow("kms:Encrypt"))
        made = people.admin("policy", "create", "--name", self.names["policy"], self.files["doc"])
        self.names["arn"] = made["Policy"]["Arn"]
        made = people.admin("key", "create", "--user", self.names["user"])
        self.names["key"] = made["AccessKeyId"]
        made = people.admin("token", "create", "--user", self.names["user"])
        self.names["token"] = made["TokenId"]
        self.names["kms"] = str(place.key())

    def words(self, text):
        return [w.format(**self.names, **self.files) for w in text.split()]

    def run(self, text):
        return self.place.admin(*self.words(text), check=False)

    def state(self):
        """All that operators can see of principals."""
        return [self.place.admin(*words).stdout for words in (
            ("export",), ("account", "list"), ("key", "list"), ("cert", "list"), ("token", "list"),
            ("policy", "list"))]


@pytest.fixture()
def scene(place, people):
    return Scene(place, people)


WHO = [("{command} --user nobody {more}", MISSING), ("{command} --role nobody {more}", MISSING),
       ("{command} --user {user} --role {role} {more}", INVALID), ("{command} {more}", INVALID),
       ("{command} --user {user} --account 999999999999 {more}", MISSING)]


def about_whom(command, more=""):
    """Refusals of commands that take a user or a role."""
    return [(text.replace("{command}", command).replace("{more}", more), code)
            for text, code in WHO]


ROWS = {
    # command: audited as, what comes before, a success, refusals
    "status": (None, [], "status", []),
    "account add": ("AddAccount", [], "account add 2{account:.11}", [
        ("account add {account}", EXISTS), ("account add 12345678901", INVALID),
        ("account add 1234567890123", INVALID), ("account add 12345678901x", INVALID)]),
    "account remove": ("RemoveAccount", [], "account remove {account}", [
        ("account remove 999999999999", MISSING), ("account remove 000000000000", CONFLICT)]),
    "account list": (None, [], "account list", []),
    "root enable": ("EnableRoot", [], "root enable --account {account}", [
        ("root enable --account 999999999999", MISSING), ("root enable --for 0", INVALID),
        ("root enable --for 10081", INVALID), ("root enable --for x", INVALID)]),
    "root disable": ("DisableRoot", [
        "user create admin --account {account}",
        "attach --user admin --account {account} arn:aws:iam::aws:policy/AdministratorAccess"],
        "root disable --account {account}", [
        ("root disable --account 999999999999", MISSING)]),
    "user create": ("CreateUser", [], "user create {new} --path /a/b/", [
        ("user create {user}", EXISTS), ("user create a/b", INVALID),
        ("user create " + "x" * 65, INVALID), ("user create x --path a", INVALID),
        ("user create x --account 999999999999", MISSING)]),
    "user delete": ("DeleteUser", ["key disable {key}", "key delete {key}", "token delete {token}",
                                   "policy delete --user {user} --name p"],
                    "user delete {user}", [("user delete nobody", MISSING)]),
    "user enable": ("EnableUser", ["user disable {user}"], "user enable {user}", [
        ("user enable nobody", MISSING), ("user enable {role}", MISSING)]),
    "user disable": ("DisableUser", [], "user disable {user}", [("user disable nobody", MISSING)]),
    "user show": (None, [], "user show {user}", [("user show nobody", MISSING)]),
    "user list": (None, [], "user list", []),
    "role create": ("CreateRole", [], "role create {new} --trust {trust} --max-session 7200", [
        ("role create {role} --trust {trust}", EXISTS), ("role create {new}", INVALID),
        ("role create {new} --trust {bad}", MALFORMED),
        ("role create {new} --trust {doc}", MALFORMED),
        ("role create {new} --trust {trust} --max-session 3599", INVALID),
        ("role create {new} --trust {trust} --max-session 43201", INVALID)]),
    "role delete": ("DeleteRole", [], "role delete {role}", [
        ("role delete nobody", MISSING), ("role delete {user}", MISSING)]),
    "role enable": ("EnableRole", ["role disable {role}"], "role enable {role}", [
        ("role enable nobody", MISSING)]),
    "role disable": ("DisableRole", [], "role disable {role}", [("role disable nobody", MISSING)]),
    "role show": (None, [], "role show {role}", [("role show {user}", MISSING)]),
    "role list": (None, [], "role list", []),
    "role trust": ("UpdateAssumeRolePolicy", [], "role trust {role} {trust}", [
        ("role trust nobody {trust}", MISSING), ("role trust {role} {bad}", MALFORMED),
        ("role trust {role} {doc}", MALFORMED), ("role trust {role} {text}", MALFORMED)]),
    "role max-session": ("UpdateRole", [], "role max-session {role} --max-session 43200", [
        ("role max-session nobody --max-session 3600", MISSING),
        ("role max-session {role} --max-session 60", INVALID)]),
    "policy put": ("PutPolicy", [], "policy put --role {role} --name q {doc}", [
        *about_whom("policy put", "--name q {doc}"), ("policy put --user {user} {doc}", INVALID),
        ("policy put --user {user} --name a/b {doc}", INVALID),
        ("policy put --user {user} --name q {bad}", MALFORMED),
        ("policy put --user {user} --name q {trust}", MALFORMED),
        ("policy put --user {user} --name q {text}", MALFORMED)]),
    "policy get": (None, [], "policy get --user {user} --name p", [
        ("policy get --user {user} --name q", MISSING), ("policy get --user {user}", INVALID)]),
    "policy delete": ("DeletePolicy", [], "policy delete --user {user} --name p", [
        *about_whom("policy delete", "--name p"), ("policy delete --user {user} --name q", MISSING),
        ("policy delete --role {role} --name p", MISSING)]),
    "policy create": ("CreatePolicy", [], "policy create --name {new} --path /x/ {doc}", [
        ("policy create {doc}", INVALID), ("policy create --name a/b {doc}", INVALID),
        ("policy create --name {new} {bad}", MALFORMED),
        ("policy create --name {new} --path x {doc}", INVALID)]),
    "policy remove": ("DeleteManagedPolicy", [], "policy remove {arn}", [
        ("policy remove {path}none", MISSING),
        ("policy remove arn:aws:iam::aws:policy/AdministratorAccess", CONFLICT)]),
    "policy list": (None, [], "policy list", []),
    "attach": ("AttachPolicy", [], "attach --user {user} {arn}", [
        *about_whom("attach", "{arn}"), ("attach --user {user} {path}none", MISSING)]),
    "detach": ("DetachPolicy", ["attach --user {user} {arn}"], "detach --user {user} {arn}", [
        *about_whom("detach", "{arn}"), ("detach --role {role} {arn}", MISSING)]),
    "boundary set": ("PutPermissionsBoundary", [], "boundary set --role {role} {arn}", [
        *about_whom("boundary set", "{arn}"), ("boundary set --user {user} {path}none", MISSING)]),
    "boundary clear": ("DeletePermissionsBoundary", ["boundary set --user {user} {arn}"],
                       "boundary clear --user {user}", about_whom("boundary clear")),
    "tag set": ("TagPrincipal", [], "tag set --user {user} Team storage", [
        *about_whom("tag set", "Team a"), ("tag set --user {user} aws:x a", INVALID),
        ("tag set --user {user} a<b a", INVALID),
        ("tag set --user {user} " + "k" * 129 + " a", INVALID),
        ("tag set --user {user} k " + "v" * 257, INVALID)]),
    "tag remove": ("UntagPrincipal", ["tag set --role {role} Team a"],
                   "tag remove --role {role} Team", about_whom("tag remove", "Team")),
    "revoke-sessions": ("RevokeSessions", [], "revoke-sessions --role {role}",
                        about_whom("revoke-sessions")),
    "key create": ("CreateAccessKey", [], "key create --user {user}", [
        ("key create --user nobody", MISSING), ("key create --account 999999999999", MISSING)]),
    "key disable": ("UpdateAccessKey", [], "key disable {key}", [
        (f"key disable {NO_KEY}", MISSING)]),
    "key enable": ("UpdateAccessKey", ["key disable {key}"], "key enable {key}", [
        (f"key enable {NO_KEY}", MISSING)]),
    "key delete": ("DeleteAccessKey", ["key disable {key}"], "key delete {key}", [
        (f"key delete {NO_KEY}", MISSING)]),
    "key list": (None, [], "key list", []),
    "cert bind": ("BindCertificate", [], f"cert bind {BOUND} --user {{user}} --label host", [
        (f"cert bind {UNBOUND}", INVALID), (f"cert bind {UNBOUND} --user nobody", MISSING),
        ("cert bind abc --user {user}", INVALID)]),
    "cert unbind": ("UnbindCertificate", [f"cert bind {'ef' * 32} --user {{user}}"],
                    f"cert unbind {'ef' * 32}", [(f"cert unbind {UNBOUND}", MISSING)]),
    "cert list": (None, [], "cert list", []),
    "token create": ("CreateToken", [], "token create --user {user} --days 7", [
        ("token create --user nobody", MISSING), ("token create --user {user} --days 0", INVALID)]),
    "token disable": ("UpdateToken", [], "token disable {token}", [
        (f"token disable {NO_TOKEN}", MISSING), ("token disable x", INVALID)]),
    "token enable": ("UpdateToken", ["token disable {token}"], "token enable {token}", [
        (f"token enable {NO_TOKEN}", MISSING)]),
    "token delete": ("DeleteToken", [], "token delete {token}", [
        (f"token delete {NO_TOKEN}", MISSING)]),
    "token list": (None, [], "token list", []),
    "secret create": ("CreateSecret", [], "secret create --user {user}", [
        ("secret create --user nobody", MISSING)]),
    "key-policy reset": ("ResetKeyPolicy", [], "key-policy reset {kms}", [
        (f"key-policy reset {kms.NO_SUCH_KEY}", MISSING)]),
    "key-uses": (None, [], "key-uses {kms}", [(f"key-uses {kms.NO_SUCH_KEY}", MISSING)]),
    "explain": (None, [], f"explain --as {ROOT} --action kms:Decrypt --key {{kms}}", [
        ("explain --action kms:Decrypt --key {kms}", INVALID), (f"explain --as {ROOT}", INVALID),
        (f"explain --as {ROOT} --action kms:Decrypt", INVALID),
        (f"explain --as {ROOT} --action kms:Nonsense --key {{kms}}", INVALID),
        ("explain --as {path}x --action kms:ListKeys", MISSING),
        (f"explain --as {ROOT} --action kms:Decrypt --key {{kms}} --context x", INVALID)]),
    "lint": (None, [], "lint {doc}", [("lint {bad}", MALFORMED), ("lint --kind x {doc}", INVALID),
                                      ("lint --kind trust {doc}", MALFORMED)]),
    "export": (None, [], "export", []),
    "import": ("ImportPrincipals", [], "import {empty}", [("import {text}", INVALID)]),
}


def test_every_command_has_a_row():
    table = (kms.ROOT / "hsmkms" / "admin" / "table.c").read_text()
    rows = re.findall(r'^    \{ "([a-z -]+)", +(NULL|"\w+"), +\{', table, re.MULTILINE)
    assert dict(rows) == {name: f'"{row[0]}"' if row[0] else "NULL" for name, row in ROWS.items()}


def last_of(records, event, code=None):
    """The phases of the newest act of this name that ended so."""
    wanted = [r for r in records if r.get("eventName") == event]
    number = [r["requestID"] for r in wanted if r["phase"] == "result"
              and (r.get("errorCode") or None) == code][-1]
    return [r for r in wanted if r["requestID"] == number]


@pytest.mark.parametrize("command", ROWS, ids=[n.replace(" ", "-") for n in ROWS])
def test_command(place, scene, command):
    event, before, good, refusals = ROWS[command]
    for words in before:
        assert scene.run(words).returncode == 0, words
    seen = scene.state()
    for words, code in refusals:
        out = scene.run(words)
        assert out.returncode == 1 and not out.stdout, (words, out.stdout)
        assert out.stderr.startswith(f"hsmkms-admin: {code}: "), (words, out.stderr)
    assert scene.state() == seen
    count = len(place.audit())
    out = scene.run(good)
    assert out.returncode == 0 and isinstance(json.loads(out.stdout), dict), out.stderr
    records = place.audit()
    if event is None:
        assert scene.state() == seen and len(records) == count
        return
    phases = last_of(records[count:], event)
    assert [r["phase"] for r in phases] == ["intent", "result"]
    for record in phases:
        assert record["eventSource"] == "iam.amazonaws.com"
        assert record["userAgent"] == "hsmkms-admin"
        assert record["userIdentity"]["userName"].startswith("uid:")
    for code in {code for _, code in refusals}:
        failed = last_of(records, event, code)
        assert [r["phase"] for r in failed] == ["intent", "result"]


def test_words_that_are_none(scene):
    seen = scene.state()
    for words in ("user", "user create", "user create {user} extra", "user create --path",
                  "user create {new} --nonsense x", "user create {new} --role {role}", "key-policy",
                  "policy put --user {user} --name q", "lint", "lint no-such-file", "import"):
        out = scene.run(words)
        assert out.returncode == 2 and out.stderr.startswith("hsmkms-admin: ") or \
            "cannot be read" in out.stderr, (words, out)
        assert not out.stdout
    assert scene.state() == seen


def synopses(out):
    """The names of the commands that a help text shows."""
    names = {name for name in [*ROWS, "init"] for line in out.stdout.splitlines()
             if re.match(rf"  {name}( [\[A-Z-]|$)", line)}
    assert out.returncode == 0 and not out.stderr
    return names


def test_help(scene):
    assert synopses(scene.run("--help")) == {*ROWS, "init"}
    assert synopses(scene.run("user --help")) == {n for n in ROWS if n.startswith("user ")}
    for words in ("user create --help", "user create NAME --path /x/ -h"):
        assert synopses(scene.run(words)) == {"user create"}
    assert synopses(scene.run("attach -h")) == {"attach"}
    assert synopses(scene.run("init --help")) == {"init"}
    for words in ("nonsense --help", "use --help"):
        assert scene.run(words).returncode == 2


# --- what stands in the way -----------------------------------------------------------------------


def test_quotas(place, people, scene):
    def over(words, code=LIMIT):
        out = scene.run(words)
        assert out.returncode == 1 and f": {code}: " in out.stderr, (words, out)

    people.admin("key", "create", "--user", scene.names["user"])
    over("key create --user {user}")
    scene.run("key disable {key}")  # one that is off is not counted, until it is to be on again
    people.admin("key", "create", "--user", scene.names["user"])
    over("key enable {key}")
    over("key create --user {user}")
    assert scene.run("key delete {key}").returncode == 0

    for i in range(20):
        made = people.admin("policy", "create", "--name", people.name("many"), scene.files["doc"])
        people.admin("attach", "--user", scene.names["user"], made["Policy"]["Arn"])
    over("attach --user {user} {arn}")
    for i in range(50):
        people.admin("tag", "set", "--role", scene.names["role"], f"k{i}", "v")
    over("tag set --role {role} another v")
    people.admin("tag", "set", "--role", scene.names["role"], "k0", "w")

    for words, size in (("policy put --user {user} --name q ", 2048),
                        ("policy put --role {role} --name q ", 10240),
                        ("policy create --name {new} ", 6144)):
        for length, fits in ((size, True), (size + 1, False)):
            document = allow("kms:Decrypt", Sid="")
            left = length - len(re.sub(r"\s", "", json.dumps(document)))
            if "--user" in words:
                left -= len(re.sub(r"\s", "", json.dumps(allow("kms:Encrypt"))))
            document["Statement"][0]["Sid"] = "S" * left
            path = people.file(document)
            if fits:
                assert scene.run(words + path).returncode == 0, words
            else:
                over(words + path)


def test_what_is_in_use_stays(scene):
    rows = [("user delete {user}", CONFLICT), ("key delete {key}", CONFLICT)]
    scene.run("attach --user {user} {arn}")
    rows.append(("policy remove {arn}", CONFLICT))
    scene.run("user create member --account {account}")
    rows.append(("account remove {account}", CONFLICT))
    for words, code in rows:
        out = scene.run(words)
        assert out.returncode == 1 and f": {code}: " in out.stderr, (words, out)
    scene.run("detach --user {user} {arn}")
    scene.run("boundary set --role {role} {arn}")
    assert CONFLICT in scene.run("policy remove {arn}").stderr
    scene.run("boundary clear --role {role}")
    assert scene.run("policy remove {arn}").returncode == 0
    assert scene.run("user delete member --account {account}").returncode == 0
    assert scene.run("account remove {account}").returncode == 0


def test_root_is_not_disabled_before_there_is_an_administrator(new_rig):
    rig = new_rig()
    people = People(rig)
    for words in (("root", "disable"), ("root", "enable", "--for", "5")):
        out = rig.admin(*words, check=False)
        assert out.returncode == 1 and CONFLICT in out.stderr
    rig.ok("ListKeys")
    admin = people.user("admin", allow("kms:*"))
    people.admin("root", "disable")
    rig.refuses("UnrecognizedClientException", "ListKeys")
    admin.kms.list_keys()
    assert not people.admin("account", "list")["Accounts"][0]["RootEnabled"]
    people.admin("root", "enable", "--for", "5")
    rig.ok("ListKeys")
    assert people.admin("account", "list")["Accounts"][0]["RootUntil"]


# --- secrets --------------------------------------------------------------------------------------


def test_secrets_are_shown_once(place, people):
    user = people.user("secretive")
    token = people.admin("token", "create", "--user", user.name)
    secret = people.admin("secret", "create", "--user", user.name)
    shown = "".join(place.admin(*words).stdout for words in (
        ("export",), ("key", "list"), ("token", "list"), ("user", "show", user.name)))
    shown += json.dumps(place.audit()) + place.log()
    for text in (user.credential.secret, token["Token"], secret["SecretId"]):
        assert len(text) > 20 and text not in shown
    assert user.credential.access_key in shown and token["TokenId"] in shown


# --- explain and lint -----------------------------------------------------------------------------


def test_explain(place, people):
    """Says what a request would be told, and which statement it is that decides."""
    key = place.key()
    user = people.user("asked", {"Version": "2012-10-17", "Statement": [
        {"Sid": "Reads", "Effect": "Allow", "Action": "kms:Decrypt", "Resource": key.arn,
         "Condition": {"StringEquals": {"kms:EncryptionContext:App": "x"}}},
        {"Sid": "Never", "Effect": "Deny", "Action": "kms:DisableKey", "Resource": "*"}]})

    def explain(action, *more, who=user.arn):
        return people.admin("explain", "--as", who, "--action", action, "--key", key, *more)

    said = explain("kms:Decrypt", "--context", "App=x")
    assert said["Allowed"] and said["DecidedBy"] == "p, statement 1 (Reads)"
    user.kms.decrypt(CiphertextBlob=blob(place, key, App="x"), EncryptionContext={"App": "x"})
    for more in ((), ("--context", "App=y"), ("--context", "Other=x")):
        said = explain("kms:Decrypt", *more)
        assert not said["Allowed"] and "DecidedBy" not in said
        assert said["Reason"] == refused(DENIED, user.kms.decrypt, CiphertextBlob=blob(place, key))
        assert any("kms:EncryptionContext:App" in s["Finding"] for s in said["Statements"]), said
    said = explain("kms:DisableKey")
    assert not said["Allowed"] and said["DecidedBy"] == "p, statement 2 (Never)"
    assert said["Reason"] == refused(DENIED, user.kms.disable_key, KeyId=key)
    grant = place.ok("CreateGrant", KeyId=key, GranteePrincipal=user.arn, Operations=["Encrypt"])
    assert explain("kms:Encrypt")["DecidedBy"] == f"grant {grant['GrantId']}"
    assert explain("kms:Encrypt", who=ROOT)["DecidedBy"].startswith("key policy, statement 1")
    assert place.ok("DescribeKey", KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"


def test_explain_asks_where_from(place, people):
    key = place.key()
    user = people.user("located", allow("kms:Encrypt", Condition={
        "IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}))
    for address, allowed in (("192.0.2.7", True), ("198.51.100.7", False)):
        said = people.admin("explain", "--as", user.arn, "--action", "kms:Encrypt", "--key", key,
                            "--source-ip", address)
        assert said["Allowed"] == allowed


@pytest.mark.parametrize("change", [
    {"Condition": {"StringEqualz": {"aws:username": "a"}}}, {"Effect": "allow"},
    {"Principal": None},
    {"Principal": {"AWS": "arn:aws:iam::000000000000:user/nobody-here"}}, {"Action": []},
    {"Condition": {"ForAllValues:StringEquals": {"kms:EncryptionContext:a": "b"}}}, {"Extra": "x"},
], ids=str)
def test_lint_finds_what_put_key_policy_refuses(place, people, change):
    owner = {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "kms:*", "Resource": "*"}
    good = {"Version": "2012-10-17", "Statement": [owner]}
    assert people.admin("lint", "--kind", "key", people.file(good)) == {"Valid": True,
                                                                        "Warnings": []}
    second = {k: v for k, v in {**owner, **change}.items() if v is not None}
    bad = {**good, "Statement": [owner, second]}
    out = place.admin("lint", "--kind", "key", people.file(bad), check=False)
    assert out.returncode == 1 and out.stderr.startswith(f"hsmkms-admin: {MALFORMED}: ")
    assert len(out.stderr) > len(f"hsmkms-admin: {MALFORMED}: \n")  # operators are told why
    place.refuses(MALFORMED, "PutKeyPolicy", {"KeyId": place.key(), "Policy": json.dumps(bad)})


@pytest.mark.parametrize("change, finding", [
    ({"Action": "kms:Decrpyt"}, "there is no action 'kms:Decrpyt'"),
    ({"Action": "s3:GetObject"}, "names no action of this service"),
    ({"Condition": {"StringEquals": {"kms:Nonsense": "x"}}}, "no request has it"),
    ({"Condition": {"ForAllValues:StringEquals": {"aws:TagKeys": "x"}}}, "without the key"),
    ({"Condition": {"ArnLike": {"aws:PrincipalArn": "arn:aws"}}}, "matches no ARN"),
])
def test_lint_doubts_what_says_little(people, change, finding):
    document = allow("kms:Decrypt")
    document["Statement"][0].update(change)
    said = people.admin("lint", people.file(document))
    assert said["Valid"] and any(finding in w["Finding"] for w in said["Warnings"]), said
