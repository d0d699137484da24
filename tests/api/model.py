"""The public model of the AWS KMS API, as botocore carries it: operations, members, constraints.

The distribution's botocore is years old, so tests/run.sh also puts the version that botocore.txt
names below build/botocore. HSMKMS_MODEL names another service-2.json. Whichever is there is used,
the newest first.
"""

import functools
import gzip
import json
import os
import subprocess

import botocore
import pytest

from kms import BUILD, ROOT

KMS = "data/kms/2014-11-01/service-2.json"


def places():
    """Where a model may lie, the newest first."""
    if os.environ.get("HSMKMS_MODEL"):
        yield "HSMKMS_MODEL", os.environ["HSMKMS_MODEL"]
    for name, folder in (("pinned", ROOT / "build/botocore/botocore"),
                         ("distribution", botocore.__path__[0])):
        for suffix in ("", ".gz"):
            yield name, f"{folder}/{KMS}{suffix}"


@functools.cache
def found():
    """{name: path} of the models that are there."""
    there = {}
    for name, path in places():
        if os.path.exists(path):
            there.setdefault(name, path)
    return there


class Model:
    """One model."""

    def __init__(self, path):
        with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as file:
            raw = json.load(file)
        self.shapes = raw["shapes"]
        self.operations = raw["operations"]

    def members(self, operation):
        """{name: (shape, required)} of a request."""
        given = self.operations[operation].get("input")
        shape = self.shapes[given["shape"]] if given else {"members": {}}
        return {name: (self.resolved(member["shape"]), name in shape.get("required", []))
                for name, member in shape["members"].items()}

    def errors(self, operation):
        """Names of the errors that an operation declares."""
        return {error["shape"] for error in self.operations[operation].get("errors", [])}

    def answer(self, operation):
        """The shape of an answer, or None."""
        given = self.operations[operation].get("output")
        return self.resolved(given["shape"]) if given else None

    def resolved(self, name):
        """A shape with what its elements and members are."""
        shape = dict(self.shapes[name], name=name)
        if shape["type"] == "list":
            shape["element"] = self.resolved(shape["member"]["shape"])
        if shape["type"] == "structure":
            shape["inner"] = {inner: self.resolved(member["shape"])
                              for inner, member in shape["members"].items()}
        return shape

    def with_member(self, member):
        """Operations whose request has this member."""
        return sorted(o for o in self.operations if member in self.members(o))


def require_new():
    """Skips a suite where there is only the distribution's model, which lacks what is served here."""
    if not {"HSMKMS_MODEL", "pinned"} & set(found()):
        pytest.skip("no new model of the API: tests/run.sh packages gets it", allow_module_level=True)


@functools.cache
def newest():
    """The newest model that is there."""
    return Model(next(iter(found().values())))


@functools.cache
def tables():
    """The service's own tables."""
    program = BUILD / "tests" / "op_tables"
    return json.loads(subprocess.run([program], check=True, stdout=subprocess.PIPE, timeout=60).stdout)


def rows():
    """{operation: {field: row}} of the operations that are served."""
    return tables()["operations"]
