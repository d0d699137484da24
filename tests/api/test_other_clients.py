"""Clients that are neither boto3 nor the AWS command line: JavaScript, MongoDB's library, curl.

NODE_PATH names a folder with @aws-sdk/client-kms as pinned in node/package.json; tests/run.sh
installs it below build/.
"""

import os
import pathlib
import subprocess

import pytest

HERE = pathlib.Path(__file__).parent

pytestmark = pytest.mark.any_listener


def run(command, environment):
    result = subprocess.run(command, check=False, env=environment, text=True, timeout=180,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, result.stdout
    return result.stdout


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_javascript(new_rig, tls):
    packages = os.environ.get("NODE_PATH", "")
    if not (pathlib.Path(packages) / "@aws-sdk" / "client-kms").is_dir():
        pytest.skip("NODE_PATH has no @aws-sdk/client-kms")
    rig = new_rig(tls=tls)
    environment = rig.env(NODE_PATH=packages, AWS_MAX_ATTEMPTS="3")
    if tls:
        environment["NODE_EXTRA_CA_CERTS"] = rig.exports["AWS_CA_BUNDLE"]
    assert "ok" in run(["/usr/bin/node", HERE / "node" / "journey.js"], environment)


def test_libmongocrypt(new_rig):
    rig = new_rig(tls=True)
    key = rig.key()
    assert "ok" in run(["/usr/bin/python3", HERE / "mongocrypt" / "csfle.py", key.arn], rig.env())
    names = {r["eventName"] for r in rig.audit()}
    assert {"Encrypt", "Decrypt"} <= names


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_curl(new_rig, tls):
    rig = new_rig(tls=tls)
    command = ["/usr/bin/curl", "-sS", "--config", "-", "--fail-with-body", "-d", "{}",
               "--aws-sigv4", "aws:amz:us-east-1:kms", "-H", "Content-Type: application/x-amz-json-1.1",
               "-H", "X-Amz-Target: TrentService.CreateKey", rig.url + "/"]
    if tls:
        command += ["--cacert", rig.exports["AWS_CA_BUNDLE"]]
    user = f"user = \"{rig.credential.access_key}:{rig.credential.secret}\"\n"
    result = subprocess.run(command, check=False, input=user, text=True, timeout=60,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0 and "KeyMetadata" in result.stdout, result.stdout
