"""Experiments without processes."""

from __future__ import annotations

import pytest
from launchers import FakeLauncher, HereLauncher


@pytest.fixture
def fake() -> FakeLauncher:
    """A launcher that makes results up."""
    return FakeLauncher()


@pytest.fixture
def here() -> HereLauncher:
    """A launcher that runs cells in this process."""
    return HereLauncher()


@pytest.fixture(autouse=True)
def _quiet_arguments(monkeypatch):
    """The command that a report says made it."""
    monkeypatch.setattr("sys.argv", ["recbole-rlmrec", "experiment"])
