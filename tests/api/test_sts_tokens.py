"""Session tokens and STS forms that are not what they seem, and tokens that end."""

import base64
import datetime
import time
import urllib.parse

import pytest

import clock
from kms import b64, signing_clock
from principals import ACCOUNT, People, Person, allow
from sts_forms import (FORM, ME, VERSION, assume, elements, fails, new_role, person_of, post,
                       signed, sts)

INVALID_TOKEN = "The security token included in the request is invalid."
EXPIRED_TOKEN = "The security token included in the request is expired"


@pytest.fixture(scope="module")
def people(rig):
    return People(rig)


@pytest.fixture(scope="module")
def alice(people):
    alice = people.user("alice", allow("sts:*"))
    alice.id = people.admin("user", "show", alice.name)["User"]["UserId"]
    return alice


@pytest.fixture(scope="module")
def role(people):
    """A role that may be tagged and given an identity, for at most two hours."""
    return new_role(people, {"Principal": {"AWS": ACCOUNT}, "Action": "sts:*"}, "7200")


# --- tokens ---------------------------------------------------------------------------------------


def with_token(session, token, access_key=None, secret=None):
    return Person(session.rig, session.arn, None, access_key or session.credential.access_key,
                  secret or session.credential.secret, token)


def test_tokens_that_are_none(people, alice, role):
    """Whatever is wrong with one, the answer is the same, from both services."""
    session, other = assume(people, alice, role), assume(people, alice, role)
    assert post(session, ME)[0] == 200
    raw = base64.b64decode(session.token)
    flips = [b64(raw[:i] + bytes([raw[i] ^ 1 << i % 8]) + raw[i + 1:])
             for i in [*range(46), *range(46, len(raw) - 16, 29), *range(len(raw) - 16, len(raw))]]
    cuts = [b64(raw[:n]) for n in (1, 16, 17, 28, 29, 44, 45, len(raw) - 1)]
    shapes = [session.token[:-1], session.token + "A", "x", "A" * 8192, b64(raw + b"\0"),
              session.token.swapcase(), other.token]
    for token in flips + cuts + shapes:
        person = with_token(session, token)
        fails(person, 403, "InvalidClientTokenId", ME, INVALID_TOKEN)
        assert person.refused("UnrecognizedClientException", "ListKeys") == INVALID_TOKEN
    fails(with_token(session, "A" * 8193), 403, "InvalidClientTokenId", ME)
    assert post(session, ME)[0] == 200


def test_a_token_and_its_access_key_belong_together(people, alice, role):
    session, other = assume(people, alice, role), assume(people, alice, role)
    user = people.user("long", allow("kms:*"))
    mixed = [with_token(session, None), with_token(session, session.token,
                                                   other.credential.access_key),
             with_token(session, session.token, user.credential.access_key,
                        user.credential.secret),
             with_token(session, session.token, "ASIA" + "A" * 16)]
    for person in mixed:
        fails(person, 403, "InvalidClientTokenId", ME, INVALID_TOKEN)
    fails(with_token(session, session.token, secret=other.credential.secret), 403,
          "SignatureDoesNotMatch", ME)


def test_a_token_of_another_installation(people, new_rig, alice, role):
    session = assume(people, alice, role)
    foreign = People(new_rig())
    user = foreign.user(name=alice.name, policy=allow("sts:*"))
    foreign.role(name=role)
    theirs = assume(foreign, user, role)
    assert post(theirs, ME)[0] == 200
    for person, rig in ((session, foreign.rig), (theirs, people.rig)):
        moved = with_token(person, person.token)
        moved.rig = rig
        fails(moved, 403, "InvalidClientTokenId", ME, INVALID_TOKEN)


def test_tokens_survive_restart_and_kill(new_rig):
    people = People(new_rig())
    user = people.user("stable", allow("sts:*"))
    role = people.role(allow("kms:*"))
    session = assume(people, user, role)
    ended = assume(people, user, role)
    time.sleep(0.01)
    people.admin("revoke-sessions", "--role", role)
    session = assume(people, user, role)
    for again in ("restart", "kill"):
        if again == "restart":
            people.rig.restart()
        else:
            people.rig.kill()
            people.rig.start()
        assert post(session, ME)[1]["Arn"] == session.arn
        fails(ended, 403, "ExpiredToken", ME, EXPIRED_TOKEN)
        assert ended.refused("ExpiredTokenException", "ListKeys") == EXPIRED_TOKEN
        assert session.ask("ListKeys").status == 200


@pytest.mark.faketime
@pytest.mark.any_listener
def test_tokens_expire(new_rig):
    """Also under a sealing key that has been renewed, while the token lasts."""
    people = People(new_rig(tls=False))
    user = people.user("waiting", allow("sts:*", "kms:*"))
    role = new_role(people, {"Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"})
    session = assume(people, user, role)
    made = sts(people, user).get_session_token(DurationSeconds=129600)
    own = person_of(people, made)

    def later(**ahead):
        span = datetime.timedelta(**ahead)
        people.rig.stop()
        people.rig.start(env=clock.moved(f"FAKETIME=+{int(span.total_seconds())}s"))
        return signing_clock(span)

    with later(minutes=55):
        assert post(session, ME)[0] == post(own, ME)[0] == 200
    with later(minutes=61):
        fails(session, 403, "ExpiredToken", ME, EXPIRED_TOKEN)
        assert session.refused("ExpiredTokenException", "ListKeys") == EXPIRED_TOKEN
        assert post(own, ME)[0] == 200
    with later(hours=35):
        assert post(user, {"Action": "GetSessionToken"})[0] == 200  # seals with a new key
        assert post(own, ME)[0] == 200
    with later(hours=37):
        fails(own, 403, "ExpiredToken", ME, EXPIRED_TOKEN)
        assert post(user, ME)[0] == 200


# --- signatures and forms -------------------------------------------------------------------------


def test_errors_of_signatures(rig, alice):
    body = urllib.parse.urlencode(ME).encode()
    fails(alice, 403, "SignatureDoesNotMatch", ME, "valid region", region="eu-west-1")
    fails(alice, 403, "SignatureDoesNotMatch", ME, "correct service: 'sts'", service="iam")
    wrong = Person(rig, alice.arn, None, alice.credential.access_key, "x" * 40)
    fails(wrong, 403, "SignatureDoesNotMatch", ME, "Check your AWS Secret Access Key")
    unknown = Person(rig, alice.arn, None, "AKIAAAAAAAAAAAAAAAAA", "x" * 40)
    fails(unknown, 403, "InvalidClientTokenId", ME, INVALID_TOKEN)
    for minutes, text in ((-6, "Signature expired"), (6, "Signature not yet current")):
        with signing_clock(datetime.timedelta(minutes=minutes)):
            fails(alice, 403, "SignatureDoesNotMatch", ME, text)
    headers = signed(alice, body)
    status, found = elements(rig.send(headers, body + b"&x=y"))
    assert (status, found["Code"]) == (403, "SignatureDoesNotMatch")
    status, found = elements(rig.send({"Content-Type": FORM}, body))
    assert (status, found["Code"]) == (403, "MissingAuthenticationToken")
    broken = {**headers, "Authorization": "AWS4-HMAC-SHA256 Credential=x"}
    status, found = elements(rig.send(broken, body))
    assert (status, found["Code"]) == (400, "IncompleteSignature")


@pytest.mark.parametrize("form, code", [
    ({"Action": "GetCallerIdentity", "Version": "2010-05-08"}, "InvalidAction"),
    ({"Action": "GetCallerIdentity", "Version": ""}, "InvalidAction"),
    ({"Action": "GetFederationToken", "Version": VERSION, "Name": "x"}, "InvalidAction"),
    ({"Action": "AssumeRoleWithWebIdentity", "Version": VERSION}, "InvalidAction"),
    ({"Action": "getcalleridentity", "Version": VERSION}, "InvalidAction"),
    ({"Version": VERSION}, "InvalidAction"),
    (b"", "InvalidAction"),
    (b"Action=GetCallerIdentity&Action=GetCallerIdentity", "MalformedQueryString"),
    (b"Action=GetCallerIdentity&Version=2011-06-15&Version=2011-06-15", "MalformedQueryString"),
    (b"Action=GetCallerIdentity&%zz=1", "MalformedQueryString"),
    (b"Action=GetCallerIdentity&a=%4", "MalformedQueryString"),
    (b"Action=GetCallerIdentity&a=%00", "MalformedQueryString"),
    (b"Action=GetCallerIdentity&=x", "MalformedQueryString"),
    (b"Action=GetCallerIdentity&a.b=1&a=2", "MalformedQueryString"),
    (b"Action=GetCallerIdentity&a.member.2=1", "MalformedQueryString"),
    (b"Action=GetCallerIdentity&" + b"n" * 129 + b"=1", "MalformedQueryString"),
    (b"&".join([b"Action=GetCallerIdentity"] + [b"a%d=1" % i for i in range(400)]),
     "MalformedQueryString"),
], ids=range(17))
def test_forms_that_are_none(alice, form, code):
    fails(alice, 400, code, form)
    assert post(alice, ME)[0] == 200


def test_form_types(rig, alice):
    """Only what says that it is a form is one."""
    body = urllib.parse.urlencode(ME).encode()
    for text in (FORM, FORM + "; charset=utf-8", FORM.upper(), FORM + ";charset=UTF-8"):
        assert post(alice, ME, content_type=text)[0] == 200
    for text in ("text/plain", "application/json", "multipart/form-data", FORM + "x", "x" + FORM):
        answer = rig.send(signed(alice, body, content_type=text), body)
        assert answer.status == 400 and b"<Arn>" not in answer.body


def test_large_forms(rig, alice):
    big = b"Action=GetCallerIdentity&a=" + b"x" * 60000
    assert post(alice, big)[0] in (200, 400)
    body = b"Action=GetCallerIdentity&a=" + b"x" * (2 << 20)
    try:
        answer = rig.send(signed(alice, body), body)
    except OSError:
        answer = None  # refused by its announced length, before it was read
    assert answer is None or answer.status == 413
    assert post(alice, ME)[0] == 200


def test_other_methods(rig, alice):
    """There is one way to ask: a signed form that is posted."""
    query = urllib.parse.urlencode(ME)
    for method, path in (("GET", "/?" + query), ("GET", "/"), ("PUT", "/"), ("POST", "/?" + query),
                         ("POST", "/sts")):
        body = b"" if method == "GET" else query.encode()
        answer = rig.send(signed(alice, body), body, method=method, path=path)
        assert 400 <= answer.status < 500 and b"<Arn>" not in answer.body
