"""One engine for all suites."""

import pytest

from engine import Engine


@pytest.fixture(scope="session")
def engine():
    made = Engine()
    yield made
    made.close()
