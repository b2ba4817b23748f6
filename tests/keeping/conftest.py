"""What the tests of keeping share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up stores have hundreds of files, and none of them must outlast a power failure."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
