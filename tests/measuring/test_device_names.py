"""A device is named in words that results can be read with, or not at all."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from suite.measuring.costs import metric_costs
from suite.measuring.provenance import device_name
from suite.ranking.entries import _costs
from suite.store import StoredValue

ROW = StoredValue("v", "", "r1", 10, "m", 1, "f", 0.3, None, "ok", "", 1.0, 7, "{}", "GPU one")


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ("model name\t: \nmodel name\t: \n", "from the system"),
        ("model name\t:\nmodel name\t: A processor\n", "A processor"),
        ("flags\t\t: fpu\n", "from the system"),
        ("model name\t: A processor\nmodel name\t: Another\n", "A processor"),
    ],
)
def test_a_processor_without_a_name_gets_one(lines: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: lines)
    monkeypatch.setattr(platform, "processor", lambda: " ")
    monkeypatch.setattr(platform, "machine", lambda: "from the system")
    assert device_name.__wrapped__(torch.device("cpu")) == name
    monkeypatch.setattr(platform, "machine", lambda: "")
    assert device_name.__wrapped__(torch.device("cpu")) == (name if name != "from the system" else "cpu")


def test_a_graphics_card_without_a_name_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: " ")
    assert device_name.__wrapped__(torch.device("cuda")) == "cuda"


@pytest.mark.parametrize("blank", ["", " "])
def test_a_blank_name_in_a_store_costs_no_results(blank: str) -> None:
    rows = [replace(ROW, device=blank, seconds=3.0), replace(ROW, device=blank, seconds=3.0), ROW]
    found = metric_costs({"m": rows}, "GPU one")
    assert _costs(found)
    assert found["m"] == {"seconds": 3.0, "memory_mib": 7e-06, "device": None}
