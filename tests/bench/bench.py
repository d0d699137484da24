"""Runs the programs of this folder and prints one row per measurement. Started by run.sh."""

import argparse
import json
import os
import shlex
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 3          # of what a ratio is made of: floor and daemon in turn, medians compared
IDLE = 500          # idle TLS connections to measure memory with


class Rig:
    """A daemon of provisioning/rig.sh in a folder of its own."""

    def __init__(self, build, folder, *options, extra=""):
        self.build, self.folder = build, folder
        self.rig("up", *options, *(["--conf", extra] if extra else []))

    def rig(self, command, *options):
        done = subprocess.run([ROOT / "provisioning/rig.sh", command, self.folder, *options],
                              env={**os.environ, "HSMKMS_BUILD": str(self.build)},
                              stdout=subprocess.PIPE, text=True, check=True)
        for line in done.stdout.splitlines():
            if line.startswith("export "):
                name, value = shlex.split(line)[1].split("=", 1)
                setattr(self, name, value)

    @property
    def port(self):
        return self.AWS_ENDPOINT_URL_KMS.rsplit(":", 1)[1]

    def credentials(self):
        path = Path(self.folder) / "bench-credentials"
        path.write_text(f"{self.AWS_ACCESS_KEY_ID}\n{self.AWS_SECRET_ACCESS_KEY}\n")
        path.chmod(0o600)
        return path

    def rss(self):
        status = Path(f"/proc/{self.HSMKMS_PID}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024


class Bench:
    def __init__(self, build, work, options):
        self.build, self.work, self.options, self.rows = build, work, options, []

    def row(self, name, **figures):
        self.rows.append({"row": name, **figures})
        print(f"{name:<44}", "  ".join(f"{k} {v:,.2f}" if isinstance(v, float) else f"{k} {v:,}"
                                        for k, v in figures.items()), flush=True)

    def program(self, name, *arguments, env=None):
        done = subprocess.run([self.build / "tests" / name, *map(str, arguments)],
                              env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, text=True)
        if not done.stdout:
            raise RuntimeError(f"{name} ended with status {done.returncode}")
        return json.loads(done.stdout)  # a row with errors is shown; they decide the exit status

    def load(self, port, *arguments, connections=64, tls=True, count=None):
        length = ["--requests", count] if count else ["--seconds", self.options.seconds]
        return self.program("load", "--port", port, "--connections", connections, "--threads", 1,
                            *length, *(["--tls"] if tls else []), *arguments)

    def call(self, rig, operation, body, **how):
        path = Path(rig.folder) / f"body-{operation}"
        path.write_text(json.dumps(body))
        return self.load(rig.port, "--credentials", rig.credentials(), "--operation", operation,
                         "--body", path, **how)


def client(rig):
    import boto3
    return boto3.client("kms", endpoint_url=rig.AWS_ENDPOINT_URL_KMS, region_name="us-east-1",
                        aws_access_key_id=rig.AWS_ACCESS_KEY_ID,
                        aws_secret_access_key=rig.AWS_SECRET_ACCESS_KEY,
                        verify=getattr(rig, "AWS_CA_BUNDLE", None))


def shown(result):
    return {"per_second": round(result["rate"]), "p50_us": result["p50_us"],
            "p99_us": result["p99_us"], "max_us": result["max_us"], "errors": result["errors"]}


def token_rows(bench, rig):
    """The daemon is stopped meanwhile: one process has the token."""
    rig.rig("stop")
    for threads in (1, 2, 4):
        result = bench.program("token_loop", "--config", rig.HSMKMS_CONFIG, "--threads", threads,
                               "--seconds", bench.options.seconds,
                               env={"SOFTHSM2_CONF": rig.SOFTHSM2_CONF})
        bench.row(f"token alone, {threads} threads", per_second=round(result["rate"]))
    rig.rig("start")


class Floor:
    """The bare server, over a token of its own."""

    def __init__(self, bench, rig):
        rig.rig("stop")
        self.port = rig.port
        self.process = subprocess.Popen(
            [bench.build / "tests/floor_server", "--config", rig.HSMKMS_CONFIG],
            env={**os.environ, "SOFTHSM2_CONF": rig.SOFTHSM2_CONF}, stdout=subprocess.PIPE)
        assert b"ready" in self.process.stdout.readline()
        self.request = Path(rig.folder) / "floor-request"
        body = b'{"KeyId": "alias/bench", "KeySpec": "AES_256"}'
        # as many header bytes as a signed request has
        self.request.write_bytes(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.1\r\n"
            b"X-Amz-Target: TrentService.GenerateDataKey\r\nX-Filler: " + b"x" * 300 +
            b"\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)


def ratio_rows(bench, rig, floor_rig, key_id):
    """Floor and daemon in turn, so that both meet the same weather."""
    data_key = {"KeyId": key_id, "KeySpec": "AES_256"}
    floors, daemons = [], []
    floor = Floor(bench, floor_rig)
    bench.call(rig, "GenerateDataKey", data_key)  # warm
    for _ in range(ROUNDS):
        floors.append(bench.load(floor.port, "--request", floor.request))
        daemons.append(bench.call(rig, "GenerateDataKey", data_key))
    floor.stop()
    for name, results in (("floor server, TLS, 64 connections", floors),
                          ("hsmkmsd GenerateDataKey, TLS, 64 connections", daemons)):
        middle = sorted(results, key=lambda r: r["rate"])[ROUNDS // 2]
        bench.row(name, **shown(middle))
    rate = [statistics.median(r["rate"] for r in results) for results in (floors, daemons)]
    p50, p99 = (statistics.median(r[p] for r in daemons) for p in ("p50_us", "p99_us"))
    bench.row("hsmkmsd / floor", ratio=rate[1] / rate[0])
    bench.row("hsmkmsd p99 / p50", ratio=p99 / p50)


def operation_rows(bench, rig, key_id):
    import base64
    blob = client(rig).generate_data_key(KeyId=key_id, KeySpec="AES_256")["CiphertextBlob"]
    plain = base64.b64encode(b"x" * 32).decode()
    rows = (("Decrypt", {"CiphertextBlob": base64.b64encode(blob).decode()}),
            ("Encrypt", {"KeyId": key_id, "Plaintext": plain}),
            ("DescribeKey", {"KeyId": key_id}), ("GenerateRandom", {"NumberOfBytes": 32}))
    for operation, body in rows:
        bench.row(f"hsmkmsd {operation}, TLS, 64 connections",
                  **shown(bench.call(rig, operation, body)))
    for connections in (1, 16, 256):
        result = bench.call(rig, "GenerateDataKey", {"KeyId": key_id, "KeySpec": "AES_256"},
                            connections=connections)
        bench.row(f"hsmkmsd GenerateDataKey, TLS, {connections} connections", **shown(result))


def idle_rows(bench, rig):
    context = ssl.create_default_context(cafile=rig.AWS_CA_BUNDLE)
    held, before = [], rig.rss()
    for _ in range(IDLE):
        plain = socket.create_connection(("127.0.0.1", int(rig.port)))
        held.append(context.wrap_socket(plain, server_hostname="localhost"))
    time.sleep(1)
    bench.row("memory per idle TLS connection", bytes=(rig.rss() - before) // IDLE)
    for connection in held:
        connection.close()


def key_rows(bench, count):
    """A start with many keys in the token."""
    with tempfile.TemporaryDirectory(dir=bench.work) as folder:
        rig = Rig(bench.build, folder + "/rig")
        empty = rig.rss()
        bench.call(rig, "CreateKey", {}, connections=4, tls=False, count=count)
        rig.rig("stop")
        begun = time.monotonic()
        rig.rig("start")
        bench.row(f"start with {count} keys", milliseconds=round((time.monotonic() - begun) * 1000))
        bench.row("memory per key, token library included", bytes=(rig.rss() - empty) // count)
        rig.rig("down")


def stress_rows(bench, rig, plain_rig, count):
    """Requests shared out over six settings; every one answered, no connection left behind."""
    for each, tls in ((plain_rig, False), (rig, True)):
        key_id = client(each).create_key()["KeyMetadata"]["KeyId"]
        for connections in (16, 64, 256):
            result = bench.call(each, "GenerateDataKey", {"KeyId": key_id, "KeySpec": "AES_256"},
                                connections=connections, tls=tls, count=count // 6)
            bench.row(f"stress, {'TLS' if tls else 'plain'}, {connections} connections",
                      requests=result["requests"], errors=result["errors"],
                      max_us=result["max_us"],
                      least_per_connection=result["per_connection_min"],
                      median=result["per_connection_median"],
                      most=result["per_connection_max"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=Path)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--keys", type=int, default=0)
    parser.add_argument("--stress", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    work = tempfile.mkdtemp(prefix="hsmkms-bench-")
    bench = Bench(options.build.resolve(), work, options)
    rigs = []
    try:
        rigs = [Rig(bench.build, f"{work}/tls", "--tls"), Rig(bench.build, f"{work}/floor", "--tls"),
                Rig(bench.build, f"{work}/plain")]
        tls, floor, plain = rigs
        key_id = client(tls).create_key()["KeyMetadata"]["KeyId"]
        token_rows(bench, tls)
        ratio_rows(bench, tls, floor, key_id)
        operation_rows(bench, tls, key_id)
        idle_rows(bench, tls)
        if options.keys:
            key_rows(bench, options.keys)
        if options.stress:
            stress_rows(bench, tls, plain, options.stress)
        if options.json:
            options.json.write_text(json.dumps(bench.rows, indent=1) + "\n")
    finally:
        for rig in rigs:
            rig.rig("down")
        shutil.rmtree(work, ignore_errors=True)
    return 1 if any(row.get("errors") for row in bench.rows) else 0


sys.exit(main())
