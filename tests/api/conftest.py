"""Rigs for the suites: one shared by all that only add keys of their own, new ones for the rest."""

import contextlib
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import kms  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "faketime: moves the daemon's clock; not with sanitizers")
    config.addinivalue_line("markers", "memory: reads the daemon's memory; not with sanitizers")
    config.addinivalue_line("markers", "slow: repeats much; left out of sanitizer runs")


def pytest_collection_modifyitems(items):
    if not kms.SANITIZED:
        return
    for item in items:
        for name in ("faketime", "memory", "slow"):
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=f"{name} and a sanitizer do not go together"))


def end(service):
    """Takes a service away; a sanitizer that complained fails the test."""
    if kms.SANITIZED and service.running():
        service.stop()
    log = service.log()
    service.down()
    assert "Sanitizer" not in log, log[-8000:]


@pytest.fixture(scope="session")
def rig():
    """The shared service; a suite touches only keys it made."""
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
