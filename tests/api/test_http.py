"""Framing: what no client sends. Answered by an error or a closed connection, never acted upon."""

import concurrent.futures
import contextlib
import json
import socket
import ssl
import time

import pytest

import conftest
import kms


@pytest.fixture(scope="module")
def impatient():
    """A service that waits 2 s instead of 10 s for the rest of a request."""
    service = kms.Rig(conf="[limits]\nrequest_time = 2000")
    yield service
    conftest.end(service)


def exchange(rig, data, wait=15, shut=False):
    """Sends bytes, returns all that comes back until the peer closes or is silent."""
    connection = rig.socket()
    connection.settimeout(wait)
    received = b""
    try:
        connection.sendall(data)
        if shut and not rig.tls:
            with contextlib.suppress(OSError):  # it may have been refused and closed already
                connection.shutdown(socket.SHUT_WR)
        while True:
            part = connection.recv(65536)
            if not part:
                break
            received += part
            if complete(received):
                break
    except (ConnectionError, ssl.SSLError):
        pass
    finally:
        connection.close()
    return received


def complete(received):
    """One whole answer is there."""
    head, mark, body = received.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        if mark and line.lower().startswith(b"content-length:"):
            return len(body) >= int(line.split(b":")[1])
    return False


def status(received):
    return int(received.split(b" ", 2)[1]) if received.startswith(b"HTTP/1.") else None


def signed_head(rig, operation, body, drop=(), more=b""):
    headers = rig.signed(operation, body)
    lines = [f"{k}: {v}" for k, v in headers.items() if k.lower() not in drop]
    return b"POST / HTTP/1.1\r\n" + "\r\n".join(lines).encode() + b"\r\n" + more


LENGTHS = ["-1", "+2", "2x", "0x2", "", " ", "2,2", "2, 2", "18446744073709551618", "99999999999",
           "1e1", "2;2", "02 2"]


@pytest.mark.parametrize("length", LENGTHS)
def test_bad_content_length(rig, length):
    body = b"{}"
    data = signed_head(rig, "CreateKey", body, more=f"Content-Length: {length}\r\n\r\n".encode()) + body
    before = rig.ok("ListKeys", Limit=1000)
    answer = exchange(rig, data, wait=12, shut=True)
    assert status(answer) in (None, 400, 408, 411, 413), answer
    assert rig.ok("ListKeys", Limit=1000) == before


FRAMINGS = [
    b"Content-Length: 2\r\nContent-Length: 2\r\n", b"Content-Length: 2\r\nContent-Length: 40\r\n",
    b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n", b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding : chunked\r\n", b"Content-Length : 2\r\n",
    b"Content-Length: 2\r\nHost: other\r\n", b"Content-Length: 2\r\nX-Amz-Target: TrentService.x\r\n",
    b"Content-Length: 2\r\nAuthorization: AWS4-HMAC-SHA256 x\r\n",
    b"Content-Length: 2\r\nX-Amz-Date: 20200101T000000Z\r\n",
    b"Content-Length: 2\r\nbad header\r\n", b"Content-Length: 2\r\n: empty\r\n",
    b"Content-Length: 2\r\nX-Nul: a\0b\r\n", b"Content-Length: 2\r\nX-Fold: a\r\n b\r\n",
    b"Content-Length: 2\r\n\x01\x02: x\r\n",
]


@pytest.mark.parametrize("framing", FRAMINGS, ids=range(len(FRAMINGS)))
def test_conflicting_framing(rig, framing):
    """Each head is correctly signed; whatever is read of it, the key is not made."""
    before = rig.ok("ListKeys", Limit=1000)
    data = signed_head(rig, "CreateKey", b"{}", drop=("content-length",), more=framing) + b"\r\n{}"
    answer = exchange(rig, data, wait=12, shut=True)
    assert status(answer) in (None, 400, 408, 411, 413, 431, 501), answer
    assert rig.ok("ListKeys", Limit=1000) == before


HEADS = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    b"POST / HTTP/1.1\r\n\r\n", b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST / HTTP/2.0\r\nHost: x\r\n\r\n",
    b"POST / HTTP/0.9\r\n\r\n", b"POST /\r\n\r\n", b"\r\n\r\n\r\n", b"\0" * 100, b"x" * 70000,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70000 + b"\r\n\r\n",
    b"POST /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /service/TrentService/operation/ListKeys HTTP/1.1\r\nHost: x\r\nSmithy-Protocol: rpc-v2-cbor"
    b"\r\nContent-Length: 0\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xff" * 500,
]


@pytest.mark.parametrize("head", HEADS, ids=range(len(HEADS)))
def test_heads_that_are_no_call(impatient, head):
    answer = exchange(impatient, head, wait=14, shut=True)
    assert status(answer) is None or 400 <= status(answer) < 600, answer[:200]
    assert impatient.ok("ListKeys") == {"Keys": [], "Truncated": False}


def test_body_shorter_than_announced(impatient):
    data = signed_head(impatient, "CreateKey", b"{}", more=b"Content-Length: 50\r\n\r\n") + b"{}"
    answer = exchange(impatient, data, wait=14, shut=True)
    assert status(answer) in (None, 400, 408)
    assert impatient.ok("ListKeys") == {"Keys": [], "Truncated": False}


def test_bytes_after_the_body_are_the_next_request(rig):
    """Two pipelined calls: two answers in order, or the second is refused; never a mixture."""
    body = b'{"NumberOfBytes":8}'
    one = signed_head(rig, "GenerateRandom", body,
                      more=f"Content-Length: {len(body)}\r\n\r\n".encode()) + body
    connection = rig.socket()
    connection.settimeout(15)
    connection.sendall(one + one)
    received = b""
    try:
        while received.count(b"HTTP/1.1 200") < 2 or not received.endswith(b"}"):
            part = connection.recv(65536)
            if not part:
                break
            received += part
    except (socket.timeout, ConnectionError):
        pass
    connection.close()
    assert received.count(b"HTTP/1.1 200") >= 1, received


def test_chunked_body_equals_a_counted_one(rig):
    body = b'{"NumberOfBytes":8}'
    head = signed_head(rig, "GenerateRandom", body, drop=("content-length",),
                       more=b"Transfer-Encoding: chunked\r\n\r\n")
    chunks = b"".join(b"%x\r\n%s\r\n" % (1, body[i:i + 1]) for i in range(len(body))) + b"0\r\n\r\n"
    answer = exchange(rig, head + chunks)
    assert status(answer) in (200, 400, 411, 501), answer
    if status(answer) == 200:
        assert b"Plaintext" in answer


def test_bad_chunks(rig):
    before = rig.ok("ListKeys", Limit=1000)
    for chunks in (b"zz\r\n{}\r\n0\r\n\r\n", b"-2\r\n{}\r\n0\r\n\r\n", b"2\r\n{}0\r\n\r\n",
                   b"ffffffffffffffff1\r\n{}\r\n0\r\n\r\n", b"2 2\r\n{}\r\n0\r\n\r\n",
                   b"2\r\n{}x\r\n0\r\n\r\n", b"0x2\r\n{}\r\n0\r\n\r\n", b"+2\r\n{}\r\n0\r\n\r\n"):
        head = signed_head(rig, "CreateKey", b"{}", drop=("content-length",),
                           more=b"Transfer-Encoding: chunked\r\n\r\n")
        answer = exchange(rig, head + chunks, wait=14, shut=True)
        assert status(answer) in (None, 400, 408, 411, 413, 501), answer
    assert rig.ok("ListKeys", Limit=1000) == before


def test_bare_line_feeds_between_chunks_change_nothing(rig):
    """libmicrohttpd takes them; what was signed is the decoded body, and that alone is done."""
    body = b'{"NumberOfBytes":8}'
    head = signed_head(rig, "GenerateRandom", body, drop=("content-length",),
                       more=b"Transfer-Encoding: chunked\r\n\r\n")
    answer = exchange(rig, head + b"%x\n%s\n0\n\n" % (len(body), body), wait=14, shut=True)
    assert status(answer) in (None, 200, 400, 501)
    assert status(answer) != 200 or len(answer.split(b'"Plaintext":"')[1].split(b'"')[0]) == 12


def test_expect_100_continue(rig):
    body = b'{"NumberOfBytes":8}'
    more = f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    connection = rig.socket()
    connection.settimeout(15)
    connection.sendall(signed_head(rig, "GenerateRandom", body, more=more))
    first = connection.recv(4096)
    assert first.startswith(b"HTTP/1.1 100"), first
    connection.sendall(body)
    assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    connection.close()


def test_byte_by_byte(rig):
    body = b'{"NumberOfBytes":8}'
    data = signed_head(rig, "GenerateRandom", body,
                       more=f"Content-Length: {len(body)}\r\n\r\n".encode()) + body
    connection = rig.socket()
    connection.settimeout(15)
    for i in range(len(data)):
        connection.sendall(data[i:i + 1])
    assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    connection.close()


def test_keep_alive_after_errors(rig):
    connection = rig.connect()
    for _ in range(5):
        answer = rig.call("DescribeKey", {"KeyId": "x"}, connection=connection)
        assert answer.status == 400
        assert answer.headers.get("connection", "").lower() != "close"
    local_port = connection.sock.getsockname()[1]
    assert rig.call("ListKeys", connection=connection).status == 200
    assert connection.sock.getsockname()[1] == local_port


def test_answers_are_not_cached(rig, key):
    answer = rig.call("GenerateDataKey", {"KeyId": key, "KeySpec": "AES_256"})
    assert "no-store" in answer.headers["cache-control"]


def test_request_ids_are_unique(rig):
    ids = {rig.call("ListKeys").request_id for _ in range(50)}
    assert len(ids) == 50


def test_slow_request_is_ended_as_a_whole(new_rig):
    """A byte now and then never satisfies the deadline for a request."""
    rig = new_rig(conf="[limits]\nrequest_time = 2000")
    connection = rig.socket()
    connection.settimeout(0.2)
    begun = time.monotonic()
    ended = False
    try:
        connection.sendall(b"POST / HTTP/1.1\r\n")
        while time.monotonic() - begun < 30 and not ended:
            connection.sendall(b"X: y\r\n")
            try:
                ended = connection.recv(4096) is not None
            except (socket.timeout, ssl.SSLWantReadError):
                pass
    except (ConnectionError, ssl.SSLError):
        ended = True
    connection.close()
    assert ended, "a slow head was served for 30 s"
    assert rig.ok("ListKeys")


def test_many_idle_connections_do_not_starve_others(rig):
    idle = [rig.socket() for _ in range(200)]
    try:
        for _ in range(20):
            assert rig.call("ListKeys", connection=rig.connect()).status == 200
    finally:
        for connection in idle:
            connection.close()


def test_parallel_calls(rig, key):
    def work(_):
        made = rig.ok("GenerateDataKey", KeyId=key, KeySpec="AES_256")
        opened = rig.ok("Decrypt", CiphertextBlob=made["CiphertextBlob"])
        return made["Plaintext"] == opened["Plaintext"]

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        assert all(pool.map(work, range(320)))


def test_aborted_connections(rig, key):
    body = json.dumps({"KeyId": key, "KeySpec": "AES_256"}).encode()
    for _ in range(50):
        connection = rig.socket()
        connection.sendall(signed_head(rig, "GenerateDataKey", body,
                                       more=f"Content-Length: {len(body)}\r\n\r\n".encode()) + body)
        connection.close()
    assert rig.ok("DescribeKey", KeyId=key)


def test_only_the_ops_listener_tells_of_itself(rig):
    for path in ("/metrics", "/health", "/debug", "/../metrics"):
        answer = exchange(rig, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert status(answer) is None or status(answer) >= 400, path
    assert rig.metrics()


def test_metrics_are_prometheus_text(rig, key):
    """Each family is described once, and each sample stands once."""
    rig.ok("Encrypt", KeyId=key, Plaintext="aGk=")
    lines = rig.metrics().splitlines()
    families = [line.split()[2] for line in lines if line.startswith("# TYPE ")]
    samples = [line.rsplit(" ", 1)[0] for line in lines if not line.startswith("#")]
    assert len(set(families)) == len(families), sorted(f for f in families if families.count(f) > 1)
    assert len(set(samples)) == len(samples)
    assert all(float(line.rsplit(" ", 1)[1]) >= 0 for line in lines if not line.startswith("#"))


def test_health(rig):
    answer = get(rig, "/health")
    assert answer.startswith(b"HTTP/1.1 200"), answer


def get(rig, path):
    """Asks the ops listener."""
    host, port = rig.exports["HSMKMS_OPS_URL"].split("//")[1].split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        received = b""
        while part := connection.recv(65536):
            received += part
    return received
