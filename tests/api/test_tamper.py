"""Edited records, an older database, a cut or edited trail: the daemon refuses to serve.

Exit statuses are those of README, "When it does not start".
"""

import json
import pathlib
import shutil
import sqlite3
import subprocess

import boto3
import pytest

CLUSTER = "cluster-tamperedwith"
INTEGRITY = 4
ROLLBACK = 5

pytestmark = pytest.mark.any_listener


@pytest.fixture(scope="module")
def stopped():
    """An installation with something in every table, stopped, and the folder of its copies."""
    import kms
    rig = kms.Rig(stores=(CLUSTER,))
    try:
        key = rig.key(Description="d", Tags=[{"TagKey": "a", "TagValue": "b"}])
        rig.ok("CreateAlias", AliasName="alias/tamper", TargetKeyId=key)
        rig.ok("RotateKeyOnDemand", KeyId=key)
        rig.ok("GenerateDataKeyWithoutPlaintext", KeyId=key, NumberOfBytes=1)  # its last use
        rig.ok("GetParametersForImport", KeyId=rig.key(Origin="EXTERNAL"),
               WrappingAlgorithm="RSAES_OAEP_SHA_256", WrappingKeySpec="RSA_2048")
        rig.ok("PutKeyPolicy", KeyId=key, Policy=rig.ok("GetKeyPolicy", KeyId=key)["Policy"])
        rig.admin("user", "create", "somebody")
        rig.admin("key", "create", "--user", "somebody")
        rig.ok("CreateGrant", KeyId=key, Operations=["Decrypt"],
               GranteePrincipal="arn:aws:iam::000000000000:user/somebody")
        fill_principals(rig)
        rig.ok("CreateCustomKeyStore", CustomKeyStoreName="store", CloudHsmClusterId=CLUSTER,
               KeyStorePassword="not-used", TrustAnchorCertificate=certificate())
        rig.stop()
        shutil.copytree(rig.dir, str(rig.dir) + ".good")
        yield rig
    finally:
        shutil.rmtree(str(rig.dir) + ".good", ignore_errors=True)
        rig.down()


def certificate():
    """One as clients give it."""
    return subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                           "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=cluster", "-keyout",
                           "/dev/null"], check=True, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, timeout=60).stdout


def fill_principals(rig):
    """A row for every table of principals and their credentials."""
    document = rig.dir / "policy.json"
    document.write_text('{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:*", '
                        '"Resource": "*"}]}')
    whose = ("--user", "somebody")
    rig.admin("account", "add", "123456789012", "--foreign")
    made = json.loads(rig.admin("policy", "create", str(document), "--name", "managed").stdout)
    rig.admin("attach", made["Policy"]["Arn"], *whose)
    rig.admin("policy", "put", str(document), "--name", "inline", *whose)
    rig.admin("tag", "set", "team", "storage", *whose)
    rig.admin("cert", "bind", "ab" * 32, *whose)
    rig.admin("token", "create", *whose)
    boto3.client("sts", endpoint_url=rig.url, region_name="us-east-1",
                 aws_access_key_id=rig.credential.access_key,
                 aws_secret_access_key=rig.credential.secret,
                 verify=rig.exports.get("AWS_CA_BUNDLE", True)).get_session_token()


@pytest.fixture(autouse=True)
def restored(stopped):
    """Each test begins with the good copy."""
    stopped.stop()
    for part in ("state", "audit", "token"):
        shutil.rmtree(stopped.dir / part)
        shutil.copytree(f"{stopped.dir}.good/{part}", stopped.dir / part)


def database(rig):
    found = [p for p in (rig.dir / "state").iterdir()
             if p.is_file() and p.read_bytes()[:15] == b"SQLite format 3"]
    assert len(found) == 1
    return found[0]


def other(value):
    """A value of the same kind that differs as little as can be."""
    if value is None:
        return "x"
    if isinstance(value, int):
        return value + 1
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:] if value else b"\0"
    return value[:-1] + chr(ord(value[-1]) ^ 1) if value else "x"


def tables(connection):
    return [row[0] for row in connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")]


def cells(rig):
    """Every column of every table that has a row: (table, column)."""
    connection = sqlite3.connect(database(rig))
    for table in tables(connection):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0], f"{table} is empty"
        for column in connection.execute(f"PRAGMA table_info({table})").fetchall():
            yield table, column[1]
    connection.close()


def refuses(rig, what, statuses=(INTEGRITY,)):
    status = rig.start(check=False)
    if status == 0:
        rig.stop()
    assert status in statuses, f"{what}: exit status {status}\n{rig.log()[-500:]}"


def test_untouched_copy_starts(stopped):
    assert stopped.start() == 0
    assert len(stopped.ok("ListKeys")["Keys"]) == 2


def test_every_column_of_every_table(stopped):
    accepted = []
    for table, column in list(cells(stopped)):
        path = database(stopped)
        good = path.read_bytes()
        connection = sqlite3.connect(path)
        value, row = connection.execute(f"SELECT {column}, rowid FROM {table} LIMIT 1").fetchone() \
            if not without_rowid(connection, table) else \
            (connection.execute(f"SELECT {column} FROM {table} LIMIT 1").fetchone()[0], None)
        where = "rowid = ?" if row is not None else f"{column} IS ?"
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where}",
                           (other(value), row if row is not None else value))
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        status = stopped.start(check=False)
        if status != INTEGRITY:
            accepted.append(f"{table}.{column}: exit status {status}")
            stopped.stop()
        path.write_bytes(good)
        for more in ("-wal", "-shm"):
            pathlib.Path(f"{path}{more}").unlink(missing_ok=True)
    assert not accepted, "\n".join(accepted)


def without_rowid(connection, table):
    sql = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
    return "WITHOUT ROWID" in sql.upper()


def change(rig, sql, *values):
    connection = sqlite3.connect(database(rig))
    connection.execute(sql, values)
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def test_removed_rows(stopped):
    for table in {t for t, _ in cells(stopped)}:
        path = database(stopped)
        good = path.read_bytes()
        change(stopped, f"DELETE FROM {table}")
        # without the row that names the installation there is none to be served
        refuses(stopped, f"{table} emptied", (INTEGRITY, 2))
        path.write_bytes(good)
        for more in ("-wal", "-shm"):
            pathlib.Path(f"{path}{more}").unlink(missing_ok=True)


def test_older_database_is_noticed(stopped):
    """The trail has seen more changes than the database knows of."""
    old = database(stopped).read_bytes()
    stopped.start()
    stopped.key()
    stopped.stop()
    database(stopped).write_bytes(old)
    refuses(stopped, "an older database", (ROLLBACK,))


def segments(rig):
    return sorted((rig.dir / "audit").glob("audit-*.jsonl"))


@pytest.mark.parametrize("edit", ["flip", "drop", "swap", "empty", "remove"])
def test_edited_trail(stopped, edit):
    import kms
    path = segments(stopped)[-1]
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) > 4
    if edit == "flip":
        lines[2] = lines[2].replace(b'"eventName"', b'"eventNamf"')
    elif edit == "drop":
        del lines[2]
    elif edit == "swap":
        lines[1], lines[2] = lines[2], lines[1]
    path.write_bytes(b"" if edit == "empty" else b"".join(lines))
    if edit == "remove":
        path.unlink()
    else:
        import subprocess
        verdict = subprocess.run([kms.BUILD / "hsmkms-audit", "verify", stopped.dir / "audit"],
                                 check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert verdict.returncode or edit == "empty"
    refuses(stopped, f"trail: {edit}", (INTEGRITY, ROLLBACK))


def test_torn_last_line_is_cut_off(stopped):
    """What a power cut leaves behind is no attack: the last, unfinished line is dropped."""
    path = segments(stopped)[-1]
    with path.open("ab") as file:
        file.write(b'{"seq":99999,"prev":"00')
    assert stopped.start() == 0
    stopped.key()
    stopped.audit_verify()


def test_other_installations_database(stopped, new_rig):
    other_rig = new_rig()
    other_rig.stop()
    database(stopped).write_bytes(database(other_rig).read_bytes())
    refuses(stopped, "another installation's database", (INTEGRITY, ROLLBACK, 6))


def test_truncated_database(stopped):
    path = database(stopped)
    data = path.read_bytes()
    path.write_bytes(data[:len(data) // 2])
    refuses(stopped, "half a database", (INTEGRITY, 1, 2))


def test_missing_token_object_makes_its_key_unavailable(stopped):
    """A master key that is gone takes its key out of service and nothing else."""
    stopped.start()
    gone = stopped.key()
    stopped.stop()
    newest = max((stopped.dir / "token").glob("*/*.object"), key=lambda p: (p.stat().st_mtime_ns, p.name))
    newest.unlink()
    status = stopped.start(check=False)
    assert status == 0, stopped.log()[-500:]
    states = {k["KeyId"]: stopped.ok("DescribeKey", KeyId=k["KeyId"])["KeyMetadata"]["KeyState"]
              for k in stopped.ok("ListKeys")["Keys"]}
    assert states.pop(gone) == "Unavailable"
    assert sorted(states.values()) == ["Enabled", "PendingImport"], states
