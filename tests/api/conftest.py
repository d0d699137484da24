"""Rigs for the suites: one shared by all that only add keys of their own, new ones for the rest."""

import contextlib
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import kms  # noqa: E402
import regions  # noqa: E402


def pytest_configure(config):
    os.environ["HSMKMS_PORTS"] = ports()
    config.addinivalue_line("markers", "faketime: moves the daemon's clock; not with sanitizers")
    config.addinivalue_line("markers", "memory: reads the daemon's memory; not with sanitizers")
    config.addinivalue_line("markers", "slow: repeats much; left out of sanitizer runs")
    config.addinivalue_line("markers", "any_listener: works below or beside the listener, or on both; "
                                       "left out when the same programs run behind TLS")
    config.addinivalue_line("markers", "lengthy: begun first, so that no worker ends alone with it")


def ports():
    """This worker's part of all ports: nobody gets those of a daemon that another has stopped."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    share = (32768 - 15000) // workers
    return f"{15000 + number * share}-{15000 + (number + 1) * share}"


def left_out():
    """Markers of what this run does without, and why."""
    if kms.SANITIZED:
        return {name: f"{name} and a sanitizer do not go together"
                for name in ("faketime", "memory", "slow")}
    return {"any_listener": "the same behind another listener"} if kms.TLS else {}


def pytest_collection_modifyitems(items):
    reasons = left_out()
    for item in items:
        for name, reason in reasons.items():
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=reason))
    items.sort(key=lambda item: item.get_closest_marker("lengthy") is None)


def end(service):
    """Takes a service away; a sanitizer that complained fails the test."""
    if kms.SANITIZED and service.running():
        service.stop()
    log = service.log()
    service.down()
    assert "Sanitizer" not in log, log[-8000:]


@pytest.fixture(scope="session")
def rig():
    """The service that all tests of one worker share; a suite touches only keys it made."""
    service = kms.Rig()
    yield service
    alive = service.running()
    log = service.log()
    end(service)
    assert alive, "the shared daemon did not survive the suites:\n" + log[-3000:]


@pytest.fixture()
def new_rig():
    """Makes services for one test alone: new_rig(conf=..., tls=..., env=...)."""
    with contextlib.ExitStack() as stack:
        def make(**arguments):
            service = kms.Rig(**arguments)
            stack.callback(end, service)
            return service
        yield make


@pytest.fixture()
def key(rig):
    """A new key of the shared service."""
    return rig.key()


@pytest.fixture(scope="session")
def shared():
    """A service of several regions for suites that touch only keys they made."""
    service = kms.Rig()
    service.stop()
    assert regions.serve(service, *regions.REGIONS) == 0
    yield regions.World(service)
    alive = service.running()
    log = service.log()
    end(service)
    assert alive, "the shared daemon did not survive the suites:\n" + log[-3000:]
