"""DryRun and Recipient: members that turn a request that would succeed into a refusal.

The operations are those of the public model; each is asked with a request that succeeds without.
"""

import pytest

import calls
import conftest
import kms
import model
from calls import QUIET, Subject, state
from kms import Credential
from test_grants import People

model.require_new()

DRY, DENIED = "DryRunOperationException", "AccessDeniedException"
TEXT = "The request would have succeeded, but the DryRun option is set."
NEVER = {  # operation: what it answers, dry or not
    "Encapsulate": "InvalidKeyUsageException",
    "Decapsulate": "InvalidKeyUsageException",
}
ATTESTED = {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": kms.b64(b"x" * 5000)}


def rows_with(member):
    """Rows of calls.CALLS whose operation has a member and is served here."""
    wanted = {o for o in model.newest().with_member(member) if o in model.rows()}
    rows = [call for call in calls.CALLS if calls.operation(call) in wanted]
    assert wanted - {calls.operation(call) for call in rows} <= {"GenerateRandom"}
    return rows


@pytest.fixture(scope="module")
def quiet():
    """A service that writes to its database only because of a request, and who may nothing there."""
    service = kms.Rig(conf=QUIET)
    service.nobody = People(service).user("nobody").credential
    service.subjects = {kind: Subject(service, kind) for kind in calls.KINDS}
    yield service
    conftest.end(service)


def request_of(rig, call):
    return calls.operation(call), rig.subjects[calls.CALLS[call][0]].request(call)


def uses(rig):
    return {kind: rig.ok("GetKeyLastUsage", KeyId=subject.key)
            for kind, subject in rig.subjects.items()}


def spoilt(parameters):
    """The same about a key that does not exist."""
    name = next(n for n in ("KeyId", "DestinationKeyId", "CiphertextBlob", "GrantToken")
                if n in parameters)
    return {**parameters, "KeyId" if name == "CiphertextBlob" else name: kms.NO_SUCH_KEY}


@pytest.mark.parametrize("call", rows_with("DryRun"))
def test_dry_run(quiet, call):
    operation, parameters = request_of(quiet, call)
    before, used, records = state(quiet), uses(quiet), len(quiet.audit())
    answer = quiet.refuses(NEVER.get(operation, DRY), operation, {**parameters, "DryRun": True})
    if operation not in NEVER:
        assert answer.json == {"__type": DRY, "message": TEXT}
    record, = [r for r in quiet.audit()[records:] if r.get("requestID") == answer.request_id]
    assert (record["errorCode"], record["requestParameters"]["dryRun"]) == (answer.type, True)
    assert (state(quiet), uses(quiet)) == (before, used)


@pytest.mark.parametrize("call", rows_with("DryRun"))
def test_dry_run_asks_who_may(quiet, call):
    operation, parameters = request_of(quiet, call)
    for dry in (True, False):
        quiet.refuses(DENIED, operation, {**parameters, "DryRun": dry}, credential=quiet.nobody)


@pytest.mark.parametrize("call", rows_with("DryRun"))
def test_dry_run_tells_what_would_fail(quiet, call):
    """The same error as without, not that it would have succeeded."""
    operation, parameters = request_of(quiet, call)
    bad = spoilt(parameters)
    wet = quiet.call(operation, bad)
    dry = quiet.call(operation, {**bad, "DryRun": True})
    assert (dry.status, dry.json) == (wet.status, wet.json)
    assert dry.type not in (DRY, ""), dry.text


@pytest.mark.parametrize("call", rows_with("DryRun"))
def test_without_it_the_same_request_succeeds(quiet, call):
    subject = Subject(quiet, calls.CALLS[call][0])
    answer = quiet.call(calls.operation(call), {**subject.request(call), "DryRun": False})
    assert answer.type == NEVER.get(calls.operation(call), ""), answer.text


@pytest.mark.parametrize("call", [*rows_with("Recipient"), "GenerateRandom"])
@pytest.mark.parametrize("recipient", [{}, ATTESTED, {"KeyEncryptionAlgorithm": "x"}],
                         ids=["empty", "whole", "odd"])
def test_recipient_is_refused(quiet, call, recipient):
    """There are no enclaves to attest anything; ignoring it would hand out what was to stay sealed."""
    operation, parameters = request_of(quiet, call) if call != "GenerateRandom" else \
        (call, {"NumberOfBytes": 8})
    assert quiet.call(operation, parameters).status == 200
    before = uses(quiet)
    answer = quiet.refuses("UnsupportedOperationException", operation,
                           {**parameters, "Recipient": recipient})
    assert set(answer.json) == {"__type", "message"}
    assert uses(quiet) == before
    quiet.refuses(DENIED, operation, {**parameters, "Recipient": recipient}, credential=quiet.nobody)
