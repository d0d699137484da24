"""A service of several regions, and a client in each of them."""

import json
import pathlib
import uuid

import pytest
from botocore.exceptions import ClientError

HOME, SECOND, THIRD = "us-east-1", "eu-west-1", "ap-south-1"
REGIONS = (HOME, SECOND, THIRD)
ACCOUNT_ROOT = "arn:aws:iam::{}:root"


def serve(service, *regions):
    """Starts the service again with other regions."""
    path = pathlib.Path(service.dir) / "hsmkms.conf"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(f"regions = {' '.join(regions)}" if line.startswith("regions = ")
                              else line for line in lines) + "\n")
    return service.start(check=False)


def make_world(new_rig, **arguments):
    service = new_rig(**arguments)
    service.stop()
    assert serve(service, *REGIONS) == 0
    return World(service)


class World:
    """A service and a client in each of its regions."""

    def __init__(self, service):
        self.service = service
        self.clients = {name: service.boto(region_name=name) for name in REGIONS}

    def __getitem__(self, region):
        return self.clients[region]

    def call(self, region, operation, **parameters):
        """A raw call: the packaged client does not know the newest operations and members."""
        return self.service.call(operation, parameters,
                                 credential=self.service.credential.but(region=region))

    def ok(self, region, operation, **parameters):
        answer = self.call(region, operation, **parameters)
        assert answer.status == 200, answer.text
        return answer.json

    def material(self, region, name):
        return self.ok(region, "DescribeKey", KeyId=name)["KeyMetadata"]["CurrentKeyMaterialId"]

    def primary(self, **parameters):
        return self[HOME].create_key(MultiRegion=True, **parameters)["KeyMetadata"]["KeyId"]

    def family(self, *replicas, **parameters):
        """A primary at home and replicas elsewhere."""
        name = self.primary(**parameters)
        for region in replicas:
            self[HOME].replicate_key(KeyId=name, ReplicaRegion=region)
        return name

    def metadata(self, region, name):
        return self[region].describe_key(KeyId=name)["KeyMetadata"]

    def states(self, name, *regions):
        return [self.metadata(region, name)["KeyState"] for region in regions]


def refused(code, call, **parameters):
    """The text of a refusal."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    error = caught.value.response["Error"]
    assert error["Code"] == code, error
    return error["Message"]


def allow(action, resource="*", **condition):
    """A statement; condition: operator=(key, value)."""
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    if condition:
        statement["Condition"] = {operator: dict([pair]) for operator, pair in condition.items()}
    return statement


class Person(dict):
    """Clients of a user, by region."""

    def __init__(self, arn, clients):
        super().__init__(clients)
        self.arn = arn


def user(shared, *statements):
    """A new user who may only this."""
    rig = shared.service
    name = "user-" + uuid.uuid4().hex[:8]
    path = pathlib.Path(rig.dir) / f"{name}.json"
    path.write_text(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))
    arn = f"arn:aws:iam::000000000000:user/{name}"
    rig.admin("user", "create", name)
    rig.admin("policy", "put", "--user", name, "--name", "p", str(path))
    made = json.loads(rig.admin("key", "create", "--user", name).stdout)
    secrets = {"aws_access_key_id": made["AccessKeyId"],
               "aws_secret_access_key": made["SecretAccessKey"]}
    return Person(arn, {region: rig.boto(region_name=region, **secrets) for region in REGIONS})
