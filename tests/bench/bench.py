"""Runs the programs of this folder and prints one row per measurement. Started by run.sh."""

import argparse
import base64
import concurrent.futures
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


def in_turn(bench, rows, ratio):
    """Measurements in turn, so that all meet the same weather: medians, and the last to the first."""
    results = {name: [] for name, _ in rows}
    for _ in range(ROUNDS):
        for name, measure in rows:
            results[name].append(measure())
    for name, each in results.items():
        bench.row(name, **shown(sorted(each, key=lambda r: r["rate"])[ROUNDS // 2]))
    first, last = (statistics.median(r["rate"] for r in results[name])
                   for name in (rows[0][0], rows[-1][0]))
    bench.row(ratio, ratio=last / first)


def transit_rows(bench, rig, key_id):
    """The same key by the AWS door and by the transit door."""
    def transit(route, body, name=None):
        text = json.dumps(body)
        path = Path(rig.folder) / f"transit-{route.replace('/', '-')}"
        path.write_text(f"POST /v1/transit/{route}/{key_id} HTTP/1.1\r\nHost: localhost\r\n"
                        f"X-Vault-Token: {rig.HSMKMS_TRANSIT_TOKEN}\r\n"
                        f"Content-Length: {len(text)}\r\n\r\n{text}")
        path.chmod(0o600)
        return lambda: bench.load(rig.port, "--request", path)

    blob = client(rig).generate_data_key(KeyId=key_id, KeySpec="AES_256")["CiphertextBlob"]
    aws = {"CiphertextBlob": base64.b64encode(blob).decode()}
    vault = {"ciphertext": "vault:v1:" + aws["CiphertextBlob"]}
    in_turn(bench, (
        ("GenerateDataKey, AWS door, TLS", lambda: bench.call(
            rig, "GenerateDataKey", {"KeyId": key_id, "KeySpec": "AES_256"})),
        ("datakey, transit door, TLS", transit("datakey/plaintext", {}))), "transit / AWS, data key")
    in_turn(bench, (
        ("Decrypt, AWS door, TLS", lambda: bench.call(rig, "Decrypt", aws)),
        ("decrypt, transit door, TLS", transit("decrypt", vault))), "transit / AWS, decrypt")


def policy_rows(bench):
    """Processor time of one decision, without token and HTTP."""
    text = subprocess.run([bench.build / "tests/policy_bench"], stdout=subprocess.PIPE, text=True,
                          check=True).stdout
    for line in text.splitlines():
        statements, _, nanoseconds, _ = line.split()
        if statements in ("1", "20"):
            bench.row(f"policy decision, {statements} statements", cpu_ns=int(nanoseconds))


class Grantee:
    """A user whom nothing but grants lets decrypt, each for a volume of its own."""

    def __init__(self, bench, rig):
        self.bench, self.rig, self.made = bench, rig, 0
        admin = shlex.split(rig.HSMKMS_ADMIN)
        subprocess.run([*admin, "user", "create", "granted"], check=True, stdout=subprocess.PIPE)
        made = subprocess.run([*admin, "key", "create", "--user", "granted"], check=True,
                              stdout=subprocess.PIPE, text=True)
        key = json.loads(made.stdout)
        self.path = Path(rig.folder) / "granted"
        self.path.touch(0o600)
        self.path.write_text(f"{key['AccessKeyId']}\n{key['SecretAccessKey']}\n")
        self.kms = client(rig)
        self.key_id = self.kms.create_key()["KeyMetadata"]["KeyId"]
        account = self.kms.describe_key(KeyId=self.key_id)["KeyMetadata"]["AWSAccountId"]
        self.arn = f"arn:aws:iam::{account}:user/granted"
        context = {"volume": "mine"}
        blob = self.kms.encrypt(KeyId=self.key_id, Plaintext=b"x" * 32,
                                EncryptionContext=context)["CiphertextBlob"]
        self.body = Path(rig.folder) / "body-granted"
        self.body.write_text(json.dumps({"CiphertextBlob": base64.b64encode(blob).decode(),
                                         "EncryptionContext": context}))

    def grant(self, volume):
        self.kms.create_grant(KeyId=self.key_id, GranteePrincipal=self.arn, Operations=["Decrypt"],
                              Constraints={"EncryptionContextEquals": {"volume": volume}})

    def grow(self, count):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda i: self.grant(f"vol-{i}"), range(self.made, count)))
        self.made = count

    def decrypt(self):
        return self.bench.load(self.rig.port, "--credentials", self.path, "--operation",
                               "Decrypt", "--body", self.body)


def grant_rows(bench, rig, most):
    """The root by the key policy of a key without grants, in turn with one grant among so many."""
    grantee = Grantee(bench, rig)
    plain = client(rig).generate_data_key(
        KeyId=client(rig).create_key()["KeyMetadata"]["KeyId"], KeySpec="AES_256")["CiphertextBlob"]
    body = {"CiphertextBlob": base64.b64encode(plain).decode()}
    grantee.grant("mine")
    for count in (1, 1000, 50000):
        if count <= max(most, 1):
            grantee.grow(count - 1)
            in_turn(bench, (("Decrypt, TLS, 0 grants on the key",
                             lambda: bench.call(rig, "Decrypt", body)),
                            (f"Decrypt, TLS, {count:,} grants on the key",
                             grantee.decrypt)), f"{count:,} grants / 0 grants")


def handshake_rows(bench, rig):
    """Full handshakes: the key in a file and in a token, of the same kind."""
    kinds = {"ec": ("P-256", ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]),
             "rsa": ("RSA-3072", ["rsa:3072"])}
    for kind, (name, new) in kinds.items():
        tls = Path(rig.folder) / "tls"
        subprocess.run(["openssl", "req", "-x509", "-newkey", *new, "-nodes", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost", "-keyout", tls / "key.pem", "-out",
                        tls / "certificate.pem"], check=True, stderr=subprocess.DEVNULL)
        os.kill(int(rig.HSMKMS_PID), signal.SIGHUP)
        other = Rig(bench.build, f"{bench.work}/token-{kind}", "--tls-key", kind)
        time.sleep(1)

        def measure(each):
            return bench.program("handshakes", "--port", each.port, "--ca", each.AWS_CA_BUNDLE,
                                 "--seconds", bench.options.seconds)
        try:
            in_turn(bench, ((f"TLS handshakes, {name} in a file", lambda: measure(rig)),
                            (f"TLS handshakes, {name} in a token", lambda: measure(other))),
                    f"token / file, {name}")
        finally:
            other.rig("down")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=Path)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--keys", type=int, default=0)
    parser.add_argument("--stress", type=int, default=0)
    parser.add_argument("--grants", type=int, default=1000)
    parser.add_argument("--only", default="")
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
        parts = {
            "token": lambda: token_rows(bench, tls),
            "ratio": lambda: ratio_rows(bench, tls, floor, key_id),
            "operations": lambda: operation_rows(bench, tls, key_id),
            "transit": lambda: transit_rows(bench, tls, key_id),
            "policy": lambda: policy_rows(bench),
            "grants": lambda: grant_rows(bench, tls, options.grants),
            "idle": lambda: idle_rows(bench, tls),
            "keys": lambda: options.keys and key_rows(bench, options.keys),
            "stress": lambda: options.stress and stress_rows(bench, tls, plain, options.stress),
            "handshakes": lambda: handshake_rows(bench, tls),  # changes the certificate: the last
        }
        chosen = options.only.split(",") if options.only else list(parts)
        bench.row("machine", cores=os.cpu_count(), load_average=os.getloadavg()[0])
        for name, measure in parts.items():
            if name in chosen:
                measure()
        if options.json:
            options.json.write_text(json.dumps(bench.rows, indent=1) + "\n")
    finally:
        for rig in rigs:
            rig.rig("down")
        shutil.rmtree(work, ignore_errors=True)
    return 1 if any(row.get("errors") for row in bench.rows) else 0


sys.exit(main())
