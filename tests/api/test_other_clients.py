"""Clients that are neither boto3 nor the AWS command line: JavaScript, Ruby, MongoDB's library, curl.

NODE_PATH names a folder with the packages that node/package-lock.json pins; tests/run.sh makes it
below build/. Ruby's library is that of Debian. For Java, Rust and Go see test_sdk_journeys.py.
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


@pytest.mark.parametrize("package, program", [("@aws-sdk/client-kms", "journey.js"),
                                              ("aws-sdk", "journey_v2.js")], ids=["v3", "v2"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_javascript(new_rig, tls, package, program):
    packages = os.environ.get("NODE_PATH", "")
    if not (pathlib.Path(packages) / package).is_dir():
        pytest.skip(f"NODE_PATH has no {package}")
    rig = new_rig(tls=tls)
    environment = rig.env(NODE_PATH=packages, AWS_MAX_ATTEMPTS="3")
    if tls:
        environment["NODE_EXTRA_CA_CERTS"] = rig.exports["AWS_CA_BUNDLE"]
    assert "ok" in run(["/usr/bin/node", HERE / "node" / program], environment)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_ruby(new_rig, tls):
    if not pathlib.Path("/usr/bin/ruby").exists():
        pytest.skip("package ruby-aws-sdk-kms is not installed")
    rig = new_rig(tls=tls)
    result = subprocess.run(["/usr/bin/ruby", HERE / "ruby" / "journey.rb"], check=False, text=True,
                            env=rig.env(), timeout=180, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode == 77:
        pytest.skip(result.stdout.strip())
    assert result.returncode == 0 and "ok" in result.stdout, result.stdout


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
