"""Policies as people use them: a gateway, a pipeline of two roles, layers that deny, delegation.

What is allowed is shown with what is not, and what is revoked is gone with the next call. Attacks
on the same decision are in test_attacks.py, grants in test_grants.py, condition keys in
test_conditions.py.
"""

import json
import subprocess
import time

import pytest

import kms
from kms import NO_SUCH_KEY
from principals import ACCOUNT, DENIED, ROOT, People, allow, blob, make, refused

MALFORMED = "MalformedPolicyDocumentException"
UNRECOGNIZED = "UnrecognizedClientException"
EXPIRED = "ExpiredTokenException"
OWNER = {"Sid": "Enable IAM User Permissions", "Effect": "Allow", "Principal": {"AWS": ROOT},
         "Action": "kms:*", "Resource": "*"}


@pytest.fixture(scope="module")
def people(rig):
    return People(rig)


def statement(person, *actions, effect="Allow", **more):
    return {"Effect": effect, "Principal": {"AWS": getattr(person, "arn", person)},
            "Action": list(actions), "Resource": "*", **more}


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def put(rig, key, *statements):
    """Replaces the policy of a key; who asks keeps it."""
    rig.ok("PutKeyPolicy", KeyId=key, PolicyName="default", Policy=policy(OWNER, *statements))


def cli(person, *arguments):
    """The AWS command line as this person: its output, or the text of its error."""
    environment = person.rig.env(AWS_ACCESS_KEY_ID=person.credential.access_key,
                                 AWS_SECRET_ACCESS_KEY=person.credential.secret,
                                 **({"AWS_SESSION_TOKEN": person.token} if person.token else {}))
    command = [kms.AWS, "--endpoint-url", person.rig.url, "--output", "json", "kms", *arguments]
    result = subprocess.run(command, check=False, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120,
                            env=environment)
    return json.loads(result.stdout) if result.returncode == 0 else result.stderr


def denied(person, action, key, because):
    """AWS's text for a refusal."""
    return (f"User: {person.arn} is not authorized to perform: kms:{action} on resource: {key.arn} "
            f"{because}")


def no(layer, action):
    return f"because no {layer} allows the kms:{action} action"


# --- a gateway's user and its bucket --------------------------------------------------------------


@pytest.fixture()
def gateway(rig, people, key):
    """May decrypt for objects of one bucket, by the key's policy alone."""
    user = people.user("gateway")
    put(rig, key, statement(user, "kms:Decrypt", Condition={
        "StringLike": {"kms:EncryptionContext:aws:s3:arn": ["arn:aws:s3:::photos",
                                                            "arn:aws:s3:::photos/*"]}}))
    return user


@pytest.mark.parametrize("context, allowed", [
    ({"aws:s3:arn": "arn:aws:s3:::photos/2026/a.jpg"}, True),
    ({"aws:s3:arn": "arn:aws:s3:::photos"}, True),
    ({"aws:s3:arn": "arn:aws:s3:::photos/a", "tenant": "t1"}, True),
    ({"AWS:S3:ARN": "arn:aws:s3:::photos/a"}, True),
    ({}, False),
    ({"tenant": "t1"}, False),
    ({"aws:s3:arn": "arn:aws:s3:::invoices/a"}, False),
    ({"aws:s3:arn": "arn:aws:s3:::photos-private/a"}, False),
    ({"aws:s3:arn": "arn:aws:s3:::Photos/a"}, False),
    ({"aws:s3:arn": ""}, False),
    ({"aws:s3:arnx": "arn:aws:s3:::photos/a"}, False),
])
def test_a_gateway_and_its_bucket(rig, key, gateway, context, allowed):
    sealed = blob(rig, key, **context)
    request = {"CiphertextBlob": sealed, **({"EncryptionContext": context} if context else {})}
    if allowed:
        assert gateway.kms.decrypt(**request)["Plaintext"] == b"x"
    else:
        assert refused(DENIED, gateway.kms.decrypt, **request) == \
            denied(gateway, "Decrypt", key, no("identity-based policy", "Decrypt"))


def test_a_gateway_may_nothing_else(rig, key, gateway):
    context = {"aws:s3:arn": "arn:aws:s3:::photos/a"}
    sealed = blob(rig, key, **context)
    refused(DENIED, gateway.kms.encrypt, KeyId=key, Plaintext=b"x", EncryptionContext=context)
    refused(DENIED, gateway.kms.generate_data_key, KeyId=key, KeySpec="AES_256",
            EncryptionContext=context)
    refused(DENIED, gateway.kms.describe_key, KeyId=key)
    refused(DENIED, gateway.kms.decrypt, CiphertextBlob=sealed)  # the context left out
    refused("InvalidCiphertextException", gateway.kms.decrypt, CiphertextBlob=sealed,
            EncryptionContext={"aws:s3:arn": "arn:aws:s3:::photos/b"})
    refused(DENIED, gateway.kms.decrypt, CiphertextBlob=blob(rig, rig.key(), **context),
            EncryptionContext=context)


# --- a pipeline: who makes data keys, who opens them ----------------------------------------------


class Pipeline:
    """A key, a session of a producer role, one of an analyst role, and an intruder."""

    def __init__(self, rig, people):
        self.key = rig.key()
        arn = self.key.arn
        self.producer_role = people.role(allow("kms:GenerateDataKey", resource=arn))
        self.analyst_role = people.role(allow("kms:Decrypt", resource=arn))
        self.producer = people.session(self.producer_role, "job-17")
        self.analyst = people.session(self.analyst_role, "ana")
        self.intruder = people.user("intruder", allow("kms:*", resource=rig.key().arn))


@pytest.fixture(scope="module")
def pipeline(rig, people):
    return Pipeline(rig, people)


def test_a_pipeline(pipeline):
    made = pipeline.producer.kms.generate_data_key(KeyId=pipeline.key, KeySpec="AES_256")
    opened = pipeline.analyst.kms.decrypt(CiphertextBlob=made["CiphertextBlob"])
    assert opened["Plaintext"] == made["Plaintext"]
    text = refused(DENIED, pipeline.producer.kms.decrypt, CiphertextBlob=made["CiphertextBlob"])
    assert text == denied(pipeline.producer, "Decrypt", pipeline.key,
                          no("identity-based policy", "Decrypt"))
    text = refused(DENIED, pipeline.analyst.kms.generate_data_key, KeyId=pipeline.key,
                   KeySpec="AES_256")
    assert text == denied(pipeline.analyst, "GenerateDataKey", pipeline.key,
                          no("identity-based policy", "GenerateDataKey"))
    for call, action, request in (
            (pipeline.intruder.kms.decrypt, "Decrypt", {"CiphertextBlob": made["CiphertextBlob"]}),
            (pipeline.intruder.kms.generate_data_key, "GenerateDataKey",
             {"KeyId": pipeline.key.arn, "KeySpec": "AES_256"})):
        assert refused(DENIED, call, **request) == \
            denied(pipeline.intruder, action, pipeline.key, no("identity-based policy", action))


def test_a_pipeline_of_the_command_line(rig, pipeline):
    made = cli(pipeline.producer, "generate-data-key", "--key-id", pipeline.key, "--key-spec",
               "AES_256")
    path = rig.dir / "pipeline.blob"
    path.write_bytes(kms.unb64(made["CiphertextBlob"]))
    opened = cli(pipeline.analyst, "decrypt", "--ciphertext-blob", f"fileb://{path}")
    assert opened["Plaintext"] == made["Plaintext"] and opened["KeyId"] == pipeline.key.arn
    for person in (pipeline.producer, pipeline.intruder):
        text = cli(person, "decrypt", "--ciphertext-blob", f"fileb://{path}")
        assert "(AccessDeniedException) when calling the Decrypt operation" in text
        assert denied(person, "Decrypt", pipeline.key,
                      no("identity-based policy", "Decrypt")) in text


def test_what_was_denied_is_recorded(rig, pipeline):
    answer = pipeline.intruder.ask("GenerateDataKey", KeyId=pipeline.key.arn, KeySpec="AES_256")
    record = [r for r in rig.audit() if r.get("requestID") == answer.request_id][-1]
    assert record["errorCode"] == DENIED
    assert record["errorMessage"] == answer.message and pipeline.intruder.arn in answer.message
    assert record["userIdentity"]["arn"] == pipeline.intruder.arn
    answer = pipeline.producer.ask("GenerateDataKey", KeyId=pipeline.key.arn, KeySpec="AES_256")
    record = [r for r in rig.audit() if r.get("requestID") == answer.request_id][-1]
    assert "errorCode" not in record or record["errorCode"] is None
    assert record["userIdentity"]["arn"] == pipeline.producer.arn


# --- what is revoked is gone with the next call ---------------------------------------------------


class Revoked:
    """Somebody who may describe a key, for a way to end that."""

    def __init__(self, rig, people):
        self.rig, self.people, self.key = rig, people, rig.key()
        self.policy = allow("kms:DescribeKey", resource=self.key.arn)

    def user(self):
        return self.people.user("leaver", self.policy)

    def attached(self):
        person = self.people.user("leaver")
        name = self.people.name("managed")
        made = self.people.admin("policy", "create", "--name", name, self.people.file(self.policy))
        self.arn = made["Policy"]["Arn"]
        self.people.admin("attach", "--user", person.name, self.arn)
        return person

    def session(self):
        self.role = self.people.role(self.policy)
        return self.people.session(self.role, "leaver")

    def granted(self):
        person = self.people.user("leaver")
        self.grant = make(self.rig, self.key, person, ["DescribeKey"])["GrantId"]
        return person

    def named(self):
        person = self.people.user("leaver")
        put(self.rig, self.key, statement(person, "kms:DescribeKey"))
        return person


def admin(*arguments):
    """An administrator's command with the names filled in."""
    return lambda r, p: r.people.admin(*(a.format(
        user=getattr(p, "name", ""), key=p.credential.access_key, arn=getattr(r, "arn", ""),
        role=getattr(r, "role", "")) for a in arguments))


WAYS = {
    "policy deleted": ("user", admin("policy", "delete", "--user", "{user}", "--name", "p"),
                       DENIED),
    "policy replaced": ("user", lambda r, p: r.people.put("user", p.name, allow("kms:ListKeys")),
                        DENIED),
    "policy detached": ("attached", admin("detach", "--user", "{user}", "{arn}"), DENIED),
    "managed policy replaced": ("attached", lambda r, p: r.people.admin(
        "policy", "create", "--name", r.arn.rsplit("/", 1)[1],
        r.people.file(allow("kms:ListKeys"))), DENIED),
    "user disabled": ("user", admin("user", "disable", "{user}"), UNRECOGNIZED),
    "access key disabled": ("user", admin("key", "disable", "{key}"), UNRECOGNIZED),
    "user forgotten": ("attached", lambda r, p: (
        r.people.admin("detach", "--user", p.name, r.arn), r.people.forget(p)), UNRECOGNIZED),
    "sessions revoked": ("session", admin("revoke-sessions", "--role", "{role}"), EXPIRED),
    "role disabled": ("session", admin("role", "disable", "{role}"), UNRECOGNIZED),
    "role's policy deleted": ("session", admin(
        "policy", "delete", "--role", "{role}", "--name", "p"), DENIED),
    "grant revoked": ("granted", lambda r, p: r.rig.ok("RevokeGrant", KeyId=r.key, GrantId=r.grant),
                      DENIED),
    "key policy replaced": ("named", lambda r, p: put(r.rig, r.key), DENIED),
    "key's delegation ended": ("user", lambda r, p: r.rig.ok(
        "PutKeyPolicy", KeyId=r.key, Policy=policy({**OWNER, "Action": ["kms:*KeyPolicy"]})),
                              DENIED),
}


@pytest.mark.parametrize("way", WAYS, ids=[w.replace(" ", "-") for w in WAYS])
def test_what_is_revoked_is_gone_with_the_next_call(rig, people, way):
    how, revoke, expected = WAYS[way]
    revoked = Revoked(rig, people)
    person = getattr(revoked, how)()
    other = people.user("stayer", revoked.policy) if way != "key's delegation ended" else None
    for _ in range(3):
        person.kms.describe_key(KeyId=revoked.key.arn)
    time.sleep(0.01)  # sessions end that were issued before, in milliseconds
    revoke(revoked, person)
    for _ in range(3):
        refused(expected, person.kms.describe_key, KeyId=revoked.key.arn)
    if other:
        other.kms.describe_key(KeyId=revoked.key.arn)


# --- layers ---------------------------------------------------------------------------------------


def bounded(people, identity, boundary):
    """A user whose identity policy has a boundary."""
    user = people.user("bounded", identity)
    made = people.admin("policy", "create", "--name", people.name("boundary"),
                        people.file(boundary))
    people.admin("boundary", "set", "--user", user.name, made["Policy"]["Arn"])
    return user


def both(*statements):
    return {"Version": "2012-10-17", "Statement": [{"Resource": "*", **s} for s in statements]}


EVERYTHING = {"Effect": "Allow", "Action": "kms:*"}
NO_ENCRYPT = {"Effect": "Deny", "Action": "kms:Encrypt"}


@pytest.mark.parametrize("layer", ["a resource-based policy", "an identity-based policy",
                                   "a permissions boundary", "a session policy"])
def test_a_deny_of_any_layer(rig, people, key, layer):
    if layer == "a resource-based policy":
        person = people.user("layer", both(EVERYTHING))
        put(rig, key, statement(person, "kms:*"), statement(person, "kms:Encrypt", effect="Deny"))
    elif layer == "an identity-based policy":
        person = people.user("layer", both(EVERYTHING, NO_ENCRYPT))
        put(rig, key, statement(person, "kms:*"))
    elif layer == "a permissions boundary":
        person = bounded(people, both(EVERYTHING), both(EVERYTHING, NO_ENCRYPT))
        put(rig, key, statement(person, "kms:*"))
    else:
        person = people.session(people.role(both(EVERYTHING)), policy=both(EVERYTHING, NO_ENCRYPT))
        put(rig, key, statement(person, "kms:*"))
    make(rig, key, person, ["Encrypt", "Decrypt"])  # nor does a grant help
    assert refused(DENIED, person.kms.encrypt, KeyId=key, Plaintext=b"x") == \
        denied(person, "Encrypt", key, f"with an explicit deny in {layer}")
    person.kms.decrypt(CiphertextBlob=blob(rig, key))


@pytest.mark.parametrize("layer", ["identity-based policy", "permissions boundary",
                                   "session policy"])
def test_every_layer_must_allow_what_is_delegated(rig, people, key, layer):
    narrow = both({"Effect": "Allow", "Action": "kms:Decrypt"})
    if layer == "identity-based policy":
        person = people.user("narrow", narrow)
    elif layer == "permissions boundary":
        person = bounded(people, both(EVERYTHING), narrow)
    else:
        person = people.session(people.role(both(EVERYTHING)), policy=narrow)
    person.kms.decrypt(CiphertextBlob=blob(rig, key))
    assert refused(DENIED, person.kms.encrypt, KeyId=key, Plaintext=b"x") == \
        denied(person, "Encrypt", key, no(layer, "Encrypt"))
    if layer == "session policy":
        return  # a key policy that names the session gives it more: below
    put(rig, key, statement(person, "kms:Encrypt"))  # by name, neither is asked
    person.kms.encrypt(KeyId=key, Plaintext=b"x")


def test_naming_a_role_and_naming_its_session(rig, people, key):
    """A role that is named has what its boundary and session policies leave; a session has all."""
    narrow = both({"Effect": "Allow", "Action": "kms:Decrypt"})
    role = people.role()
    person = people.session(role, "one", policy=narrow)
    refused(DENIED, person.kms.decrypt, CiphertextBlob=blob(rig, key))
    put(rig, key, statement(f"arn:aws:iam::{ACCOUNT}:role/{role}", "kms:Encrypt", "kms:Decrypt"))
    person.kms.decrypt(CiphertextBlob=blob(rig, key))
    assert refused(DENIED, person.kms.encrypt, KeyId=key, Plaintext=b"x") == \
        denied(person, "Encrypt", key, no("session policy", "Encrypt"))
    put(rig, key, statement(person, "kms:Encrypt"))
    person.kms.encrypt(KeyId=key, Plaintext=b"x")
    refused(DENIED, people.session(role, "other").kms.encrypt, KeyId=key, Plaintext=b"x")


def test_delegation(rig, people, key):
    """The account's statement lets identity policies count; without it they are nothing."""
    user = people.user("delegate", allow("kms:Encrypt", "kms:Decrypt"))
    nobody = people.user("nobody")
    user.kms.encrypt(KeyId=key, Plaintext=b"x")
    assert refused(DENIED, nobody.kms.encrypt, KeyId=key, Plaintext=b"x") == \
        denied(nobody, "Encrypt", key, no("identity-based policy", "Encrypt"))
    rig.ok("PutKeyPolicy", KeyId=key, Policy=policy({**OWNER, "Action": [
        "kms:GetKeyPolicy", "kms:PutKeyPolicy", "kms:Decrypt"]}))
    assert refused(DENIED, user.kms.encrypt, KeyId=key, Plaintext=b"x") == \
        denied(user, "Encrypt", key, no("resource-based policy", "Encrypt"))
    rig.refuses(DENIED, "Encrypt", {"KeyId": key, "Plaintext": "eA=="})  # root is not above it
    conditional = {**OWNER, "Sid": "App", "Action": "kms:Encrypt", "Condition": {
        "StringEquals": {"kms:EncryptionContext:App": "x"}}}
    put_only = {**OWNER, "Action": ["kms:GetKeyPolicy", "kms:PutKeyPolicy"]}
    rig.ok("PutKeyPolicy", KeyId=key, Policy=policy(put_only, conditional))
    user.kms.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext={"App": "x"})
    refused(DENIED, user.kms.encrypt, KeyId=key, Plaintext=b"x", EncryptionContext={"App": "y"})
    refused(DENIED, user.kms.encrypt, KeyId=key, Plaintext=b"x")
    rig.ok("PutKeyPolicy", KeyId=key, Policy=policy(OWNER))
    user.kms.encrypt(KeyId=key, Plaintext=b"x")


def test_a_principal_that_is_everybody(rig, people, key):
    nobody = people.user("anyone")
    put(rig, key, statement("*", "kms:DescribeKey"))
    nobody.kms.describe_key(KeyId=key)
    refused(DENIED, nobody.kms.encrypt, KeyId=key, Plaintext=b"x")
    put(rig, key, {**statement("*", "kms:DescribeKey"), "Principal": "*",
                   "Condition": {"ArnEquals": {"aws:PrincipalArn": nobody.arn}}})
    nobody.kms.describe_key(KeyId=key)
    refused(DENIED, people.user("someone").kms.describe_key, KeyId=key)


# --- operations that take more than one permission ------------------------------------------------


def test_re_encrypt_takes_both_actions(rig, people, key):
    other = rig.key()
    sealed = blob(rig, key)
    rows = [({"kms:ReEncryptFrom": key, "kms:ReEncryptTo": other}, None),
            ({"kms:ReEncryptFrom": key}, ("ReEncryptTo", other)),
            ({"kms:ReEncryptTo": other}, ("ReEncryptFrom", key)),
            ({"kms:ReEncryptFrom": other, "kms:ReEncryptTo": key}, ("ReEncryptFrom", key)),
            ({"kms:ReEncrypt": key, "kms:Encrypt": other}, ("ReEncryptFrom", key)),
            ({"kms:ReEncrypt*": key}, ("ReEncryptTo", other)),
            ({"kms:Decrypt": key, "kms:ReEncryptTo": other}, ("ReEncryptFrom", key))]
    for may, missing in rows:
        user = people.user("mover", {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": a, "Resource": k.arn} for a, k in may.items()]})
        if missing is None:
            moved = user.kms.re_encrypt(CiphertextBlob=sealed, DestinationKeyId=other)
            assert (moved["SourceKeyId"], moved["KeyId"]) == (key.arn, other.arn)
            continue
        assert refused(DENIED, user.kms.re_encrypt, CiphertextBlob=sealed,
                       DestinationKeyId=other) == \
            denied(user, missing[0], missing[1], no("identity-based policy", missing[0]))


def test_an_alias_takes_its_own_permission_and_the_keys(rig, people, key):
    name = "alias/" + people.name("made")
    arn = key.arn.split("key/")[0] + name
    for may, missing in (([arn], key.arn), ([key.arn], arn)):
        user = people.user("namer", allow("kms:CreateAlias", resource=may))
        text = refused(DENIED, user.kms.create_alias, AliasName=name, TargetKeyId=key)
        assert f"kms:CreateAlias on resource: {missing} " in text
    rig.refuses("NotFoundException", "DescribeKey", {"KeyId": name})
    user = people.user("namer", allow("kms:CreateAlias", resource=[arn, key.arn]))
    user.kms.create_alias(AliasName=name, TargetKeyId=key)
    assert rig.ok("DescribeKey", KeyId=name)["KeyMetadata"]["KeyId"] == key
    refused(DENIED, user.kms.create_alias, AliasName=name + "2", TargetKeyId=key)
    refused(DENIED, user.kms.delete_alias, AliasName=name)


def test_an_alias_is_no_name_of_a_key_in_a_policy(rig, people, key):
    name = "alias/" + people.name("resource")
    rig.ok("CreateAlias", AliasName=name, TargetKeyId=key)
    user = people.user("named", allow("kms:*", resource=key.arn.split("key/")[0] + name))
    refused(DENIED, user.kms.describe_key, KeyId=name)
    people.put("user", user.name, allow("kms:*", resource=key.arn))
    user.kms.describe_key(KeyId=name)


def test_keys_of_the_account_that_are_not_there(rig, people):
    """Are no secret in it."""
    text = refused("NotFoundException", people.user("asker").kms.describe_key, KeyId=NO_SUCH_KEY)
    assert text == f"Key 'arn:aws:kms:us-east-1:{ACCOUNT}:key/{NO_SUCH_KEY}' does not exist"
