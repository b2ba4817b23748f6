"""Every room's contracts name every sibling that the table of rooms does not allow it: none is open by omission."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "spec": {"errors"},
    "data": {"spec", "errors"},
    "models": {"spec", "errors"},
    "training": {"spec", "data", "models", "errors"},
    "curvature": set(),
    "metrics": {"curvature", "spec", "errors"},
    # spec and curvature for what tasks and probes are, executors and progress to schedule
    "measuring": {"metrics", "training", "store", "executors", "progress", "curvature", "spec", "errors"},
    "ranking": {"errors"},
    "reporting": {"ranking", "errors"},
    # all that a check of a metric puts together; trained networks come by way of training
    "submission": {
        "curvature",
        "errors",
        "executors",
        "measuring",
        "metrics",
        "progress",
        "publishing",
        "ranking",
        "reporting",
        "spec",
        "store",
        "training",
    },
    # what there is to do by specs, networks' shapes and metrics' names
    "estimating": {"curvature", "data", "errors", "metrics", "models", "reporting", "spec"},
    # plans and published tables; the networks come by way of measuring
    "reproducing": {
        "curvature",
        "data",
        "errors",
        "executors",
        "measuring",
        "metrics",
        "models",
        "progress",
        "publishing",
        "ranking",
        "reporting",
        "spec",
        "store",
        "training",
    },
    "store": {"spec", "errors"},
    # the names of probes and of what reads them; the rest comes by way of measuring
    "keeping": {
        "curvature",
        "data",
        "errors",
        "executors",
        "measuring",
        "metrics",
        "models",
        "progress",
        "spec",
        "store",
        "training",
    },
    "executors": {"errors"},
}
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
SIBLINGS = {p.stem for p in (ROOT / "suite").iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()} - {
    "__init__",
    "__main__",  # nothing to import in it
}
MAY_IMPORT["cli"] = SIBLINGS  # it is above them all


def forbidden(room: str) -> set[str]:
    """The siblings that some contract keeps this room from."""
    found = set()
    for contract in CONTRACTS:
        if contract["type"] == "independence" and f"suite.{room}" in contract["modules"]:
            found |= set(contract["modules"]) - {f"suite.{room}"}
        elif f"suite.{room}" in contract.get("source_modules", ()):
            found |= set(contract["forbidden_modules"])
    return {name.removeprefix("suite.") for name in found}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_what_is_not_allowed_is_forbidden(room: str) -> None:
    assert SIBLINGS - MAY_IMPORT[room] - {room} == forbidden(room) & SIBLINGS


def test_the_table_of_contributing_is_that_of_the_contracts() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.partition("| room | may import |\n")[2].partition("\n\n")[0].splitlines()[1:]
    said = {}
    for row in table:
        rooms, allowed = row.strip("| ").split(" | ")
        said |= {room: set(re.findall(r"`(\w+)`", allowed)) for room in re.findall(r"`(\w+)`", rooms)}
    assert said.pop("cli") == set()
    assert said == {room: allowed - {"errors"} for room, allowed in MAY_IMPORT.items() if room != "cli"}
    assert all(f"`suite/{room}/`" in text for room in MAY_IMPORT), "each is told what for"


def test_every_package_is_a_room_of_the_table() -> None:
    assert {p.parent.name for p in (ROOT / "suite").glob("*/__init__.py")} <= set(MAY_IMPORT)


def test_specs_and_tables_are_kept_from_the_torch_libraries() -> None:
    for room, library in itertools.product(("spec", "ranking", "reporting"), ("torch", "transformers", "safetensors")):
        assert library in forbidden(room), (room, library)


def test_exceptions_are_single_modules() -> None:
    ignored = [edge for contract in CONTRACTS for edge in contract.get("ignore_imports", ())]
    assert sorted(ignored) == [
        "suite.curvature.operator -> scipy",
        "suite.measuring.probes.spectrum -> suite.models.flat",
        "suite.measuring.simulation -> suite.training.optimizers",
        "suite.measuring.simulation -> suite.training.order",
        "suite.measuring.train -> suite.training.stacked",
        "suite.training.sharpness -> suite.curvature",
    ]
