"""Who may call: signatures, dates, scopes, disabled credentials."""

import datetime
import email.utils
import json
import time

import pytest

from kms import JSON_TYPE, Credential, signing_clock

WRONG = ("The request signature we calculated does not match the signature you provided. Check your "
         "AWS Secret Access Key and signing method. Consult the service documentation for details.")


def altered(rig, change, body=b"{}", operation="ListKeys"):
    """Signs, then changes the headers."""
    headers = rig.signed(operation, body)
    change(headers)
    return rig.send(headers, body)


def at(rig, seconds, body=b"{}"):
    """A request correctly signed at another time."""
    with signing_clock(datetime.timedelta(seconds=seconds)):
        headers = rig.signed("ListKeys", body)
    return rig.send(headers, body)


def refused(answer, name, text=None):
    assert (answer.status, answer.type) == (400, name), answer.text
    assert text is None or text in (answer.message or ""), answer.text
    assert answer.headers["content-type"] == JSON_TYPE
    assert answer.headers["date"] and answer.request_id
    assert "age" not in answer.headers and "x-amz-date" not in answer.headers


def test_no_signature(rig):
    refused(altered(rig, lambda h: h.pop("Authorization")), "MissingAuthenticationTokenException")


def test_wrong_secret(rig):
    answer = rig.call("ListKeys", credential=rig.credential.but(secret="x" * 43))
    refused(answer, "InvalidSignatureException", WRONG)


def test_unknown_key(rig):
    text = "The security token included in the request is invalid."
    for access_key in ("AKIAAAAAAAAAAAAAAAAA", "AKIA", "x" * 128, rig.credential.access_key.lower()):
        answer = rig.call("ListKeys", credential=rig.credential.but(access_key=access_key))
        refused(answer, "UnrecognizedClientException", text)


def test_wrong_scope(rig):
    answer = rig.call("ListKeys", credential=rig.credential.but(region="eu-west-1"))
    refused(answer, "InvalidSignatureException", "Credential should be scoped to a valid region")
    answer = rig.call("ListKeys", credential=rig.credential.but(service="s3"))
    refused(answer, "InvalidSignatureException", "correct service: 'kms'")


def test_region_is_checked_before_the_signature(rig):
    answer = rig.call("ListKeys", credential=rig.credential.but(region="eu-west-1", secret="x" * 43))
    refused(answer, "InvalidSignatureException", "region")


@pytest.mark.parametrize("seconds", [-86400, -3600, -330, 330, 3600, 86400])
def test_stale_and_future_dates(rig, seconds):
    answer = at(rig, seconds)
    refused(answer, "InvalidSignatureException", "Signature")


@pytest.mark.parametrize("seconds", [-270, -60, 60, 270])
def test_dates_within_the_window(rig, seconds):
    assert at(rig, seconds).status == 200


def test_changed_body(rig):
    headers = rig.signed("ListKeys", b'{"Limit":1}')
    refused(rig.send(headers, b'{"Limit":2}'), "InvalidSignatureException", WRONG)


def test_changed_target(rig, key):
    headers = rig.signed("DescribeKey", json.dumps({"KeyId": key}).encode())
    headers["X-Amz-Target"] = "TrentService.DisableKey"
    refused(rig.send(headers, json.dumps({"KeyId": key}).encode()), "InvalidSignatureException", WRONG)
    assert rig.ok("DescribeKey", KeyId=key)["KeyMetadata"]["Enabled"]


def test_target_must_be_signed(rig, key):
    headers = rig.signed("x", b"{}", headers={"X-Amz-Target": None})
    headers["X-Amz-Target"] = "TrentService.ListKeys"
    refused(rig.send(headers, b"{}"), "InvalidSignatureException")


def test_host_must_be_signed(rig):
    def drop_host(headers):
        headers["Authorization"] = headers["Authorization"].replace("host;", "")

    refused(altered(rig, drop_host), "InvalidSignatureException")


MALFORMED = [
    ("algorithm", lambda a: a.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1")),
    ("ecdsa", lambda a: a.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")),
    ("no signature", lambda a: a.split(", Signature=")[0]),
    ("no credential", lambda a: "AWS4-HMAC-SHA256 " + a.split(", ", 1)[1]),
    ("no headers", lambda a: a.split(", SignedHeaders")[0] + ", Signature=" + a.split("Signature=")[1]),
    ("no equal sign", lambda a: a + ", nonsense"),
    ("four scope parts", lambda a: a.replace("/kms/", "/")),
    ("empty", lambda a: "AWS4-HMAC-SHA256"),
    ("basic", lambda a: "Basic dXNlcjpwYXNz"),
]


@pytest.mark.parametrize("name,change", MALFORMED, ids=[m[0] for m in MALFORMED])
def test_malformed_authorization(rig, name, change):
    def apply(headers):
        headers["Authorization"] = change(headers["Authorization"])

    answer = altered(rig, apply)
    assert answer.status == 400
    assert answer.type in ("IncompleteSignatureException", "MissingAuthenticationTokenException")


@pytest.mark.parametrize("change", [
    lambda s: s[:-1] + ("0" if s[-1] != "0" else "1"), lambda s: s.upper(), lambda s: s[:-1],
    lambda s: s + "0", lambda s: "0" * 64, lambda s: "", lambda s: "g" * 64])
def test_wrong_signatures(rig, change):
    def apply(headers):
        start, signature = headers["Authorization"].rsplit("=", 1)
        headers["Authorization"] = f"{start}={change(signature)}"

    answer = altered(rig, apply)
    assert answer.status == 400
    assert answer.type in ("InvalidSignatureException", "IncompleteSignatureException")


def test_signed_headers_are_checked_strictly(rig):
    def replace(old, new):
        def apply(headers):
            headers["Authorization"] = headers["Authorization"].replace(old, new)
        return apply

    for old, new in (("content-type;host", "host;content-type"), ("host", "Host"),
                     ("content-type;host", "content-type;content-type;host"),
                     ("content-type;host", "content-type;host;x-not-there"),
                     ("SignedHeaders=content-type", "SignedHeaders=;content-type")):
        answer = altered(rig, replace(old, new))
        assert answer.status == 400, (old, new)
        assert answer.type in ("InvalidSignatureException", "IncompleteSignatureException")


def test_session_token_of_nobody(rig):
    headers = rig.signed("ListKeys", b"{}", headers={"X-Amz-Security-Token": "forged"})
    answer = rig.send(headers, b"{}")
    assert answer.status == 400
    assert answer.type in ("UnrecognizedClientException", "ExpiredTokenException",
                           "InvalidSignatureException")


def test_unsigned_payload_is_refused(rig):
    headers = rig.signed("ListKeys", b"{}", headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    answer = rig.send(headers, b"{}")
    assert answer.status == 400, answer.text


def test_a_disabled_credential_is_refused_at_once(rig):
    credential = rig.user("mallory")
    for _ in range(3):
        assert rig.call("ListKeys", credential=credential).status == 200
    rig.admin("key", "disable", credential.access_key)
    rig.refuses("UnrecognizedClientException", "ListKeys", credential=credential)
    assert rig.call("ListKeys").status == 200


def test_a_refusal_does_nothing(rig):
    before = rig.view()
    rig.refuses("InvalidSignatureException", "CreateKey", {},
                credential=rig.credential.but(secret="y" * 43))
    assert rig.view() == before


def test_refusals_are_recorded(new_rig):
    """On a service of its own: how many refusals are recorded in a time is bounded."""
    rig = new_rig()
    answer = rig.refuses("InvalidSignatureException", "CreateKey", {},
                         credential=rig.credential.but(secret="z" * 43))
    for _ in range(50):
        records = [r for r in rig.audit() if r.get("requestID") == answer.request_id]
        if records:
            break
        time.sleep(0.1)
    assert records and records[0]["errorCode"]


def test_skew_of_the_date_header_is_small(rig):
    date = email.utils.parsedate_to_datetime(rig.call("ListKeys").headers["date"])
    assert abs((datetime.datetime.now(datetime.timezone.utc) - date).total_seconds()) < 5
