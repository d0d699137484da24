"""One journey, the same for every SDK: whatever an ordinary program does with a key service.

Data keys with a context, moves between keys, rotation, signatures that the language itself checks,
MACs, a grant with its token, a session of a role, key states, pages, and each refusal as the
exception of its own that the SDK has for it.

tests/api/clients.sh builds the programs from the lock files beside them; a folder below build/ for each,
named by HSMKMS_CLIENTS. What could not be had is skipped and says so.
"""

import os
import pathlib
import subprocess

import pytest

from kms import NO_SUCH_KEY, client_program
from test_grants import ACCOUNT, People, allow

HERE = pathlib.Path(__file__).parent

pytestmark = pytest.mark.any_listener


def profiles(rig):
    """Environment of a journey: the account root by its keys, two more people by their profiles.

    guest    a user without any policy: what it may, a grant gives it
    session  a role that may list keys and make random bytes, assumed by a user
    lent     a session of that role, for an SDK that is used without its part for STS
    """
    people = People(rig)
    guest, assumer = people.user("guest"), people.user("assumer", allow("sts:AssumeRole"))
    role = people.role(allow("kms:ListKeys", "kms:GenerateRandom"))
    lines = []
    for name, person in (("guest", guest), ("assumer", assumer)):
        lines += [f"[profile {name}]", f"aws_access_key_id = {person.credential.access_key}",
                  f"aws_secret_access_key = {person.credential.secret}"]
    lent = people.session(role)
    lines += ["[profile lent]", f"aws_access_key_id = {lent.credential.access_key}",
              f"aws_secret_access_key = {lent.credential.secret}",
              f"aws_session_token = {lent.token}"]
    lines += ["[profile session]", f"role_arn = arn:aws:iam::{ACCOUNT}:role/{role}",
              "role_session_name = journey", "source_profile = assumer"]
    file = rig.dir / "aws-profiles"
    file.write_text("\n".join([*lines, ""]))
    file.chmod(0o600)
    return rig.env(AWS_CONFIG_FILE=str(file), AWS_SHARED_CREDENTIALS_FILE=str(rig.dir / "none"),
                   AWS_REGION="us-east-1", JOURNEY_GUEST_ARN=guest.arn)


def run(command, environment):
    result = subprocess.run(command, check=False, env=environment, text=True, timeout=300,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0 and "ok" in result.stdout, result.stdout
    print(result.stdout)


def trust_store(rig):
    """The CA of a rig as Java wants it."""
    store = rig.dir / "trust.p12"
    subprocess.run(["keytool", "-importcert", "-noprompt", "-alias", "rig", "-storetype", "PKCS12",
                    "-storepass", "changeit", "-file", rig.exports["AWS_CA_BUNDLE"],
                    "-keystore", store], check=True, capture_output=True, timeout=60)
    return [f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStorePassword=changeit"]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_java(new_rig, tls):
    classes = client_program("java", "Journey.class", made_by="the AWS SDK for Java").parent
    rig = new_rig(tls=tls)
    run(["java", "-XX:TieredStopAtLevel=1", *(trust_store(rig) if tls else []),
         "-cp", f"{classes}:{classes}/lib/*", "Journey"], profiles(rig))


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_rust(new_rig, tls):
    journey = client_program("rust", "debug", "journey", made_by="the AWS SDK for Rust")
    run([journey], profiles(new_rig(tls=tls)))


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_go(new_rig, tls):
    journey = client_program("go", "journey", made_by="the AWS SDK for Go")
    run([journey], profiles(new_rig(tls=tls)))


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_sops(new_rig, tls):
    sops = client_program("go", "sops", made_by="SOPS's package")
    rig = new_rig(tls=tls)
    run([sops, rig.key().arn, "guest"], profiles(rig))


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_auto_unseal(new_rig, tls):
    unseal = client_program("go", "unseal", made_by="Vault's package")
    rig = new_rig(tls=tls)
    key = rig.key()
    environment = rig.env(AWS_KMS_ENDPOINT=rig.url, AWS_REGION="us-east-1")
    bundle = environment.pop("AWS_CA_BUNDLE", None)
    if bundle:  # Go's own way: the package replaces the client that AWS_CA_BUNDLE would change
        environment["SSL_CERT_FILE"] = bundle
    run([unseal, key.arn, key.arn.replace(key, NO_SUCH_KEY)], environment)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_encryption_sdk(new_rig, tls):
    packages = client_program("encryption_sdk", "aws_encryption_sdk", made_by="the Encryption SDK").parent
    rig = new_rig(tls=tls)
    file = rig.dir / "plain"
    file.write_bytes(os.urandom(100_000))
    run(["/usr/bin/python3", HERE / "encryption_sdk" / "journey.py", rig.key().arn, rig.key().arn, file],
        rig.env(PYTHONPATH=str(packages)))
