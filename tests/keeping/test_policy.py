"""The policy of what is kept is in no name of any work, and is checked like the rest of a task file."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import yaml

from suite.errors import BadInput
from suite.measuring.jobs import Point
from suite.measuring.measure import value_key
from suite.measuring.probes import probe_key
from suite.metrics import find_metrics
from suite.spec.cells import spec_hash, stacks
from suite.spec.keep import Keep
from suite.spec.loading import load_task
from tests.keeping.made_store import HERE, TASK, run_ids, task_file


def keys(file: Path) -> list[str]:
    """Every kind of name that work has."""
    task = load_task(file)
    cell, run_id = stacks(task)[0].cells[0].task, run_ids(task)[0]
    point = Point(cell, run_id, 20, False, Path(), Path(), Path())
    metric = next(one for one in find_metrics().values() if one.probes == ("spectrum",))
    made = [stack.key(HERE) for stack in stacks(task)]
    return [spec_hash(task), *made, *run_ids(task), probe_key(run_id, 20, cell, "spectrum"), value_key(point, metric)]


def test_it_is_in_no_key(tmp_path: Path) -> None:
    without = tmp_path / "without.yaml"
    without.write_text(TASK.replace("NAME", "made"))
    kept = keys(without)
    assert kept == keys(task_file(tmp_path)) == keys(task_file(tmp_path, keep="{weights: last, probes: none}"))
    assert kept[:3] == ["bbafe1e8f210d5d0", "34d404001d48b3c8", "686d58a00cd1fc80"], (
        "names are those of before there was a policy"
    )


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ("{weights: lst}", "made.yaml:17: keep.weights: 'lst' is not one of all, last, none; did you mean last?"),
        ("{spectra: none}", "made.yaml:17: keep.spectra: unknown key"),
        ("{distances: last}", "made.yaml:17: keep.distances: 'last' is not one of all, none"),
        ("last", "made.yaml:17: keep: 'last' is text, a mapping is meant"),
    ],
)
def test_what_is_no_policy_is_said_with_its_line(tmp_path: Path, keep: str, said: str) -> None:
    with pytest.raises(BadInput) as error:
        load_task(task_file(tmp_path, keep=keep))
    assert said in str(error.value)


def test_a_grid_cannot_vary_it(tmp_path: Path) -> None:
    text = TASK.replace("grid:\n", "grid:\n  keep.weights: [all, none]\n")
    with pytest.raises(BadInput, match=r"grid\.keep\.weights: "):
        load_task(task_file(tmp_path, text=text))


def test_the_page_says_every_choice() -> None:
    page = (Path(__file__).parents[2] / "docs/keeping.md").read_text(encoding="utf-8")
    example = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])["keep"]
    assert Keep.model_validate(example).model_dump() == example
    rows = {row.split("|")[1].strip(" `"): row.split("|")[2] for row in page.splitlines() if row.startswith("| `")}
    for name, field in Keep.model_fields.items():
        assert [word.strip(" `") for word in rows[name].split(",")] == list(get_args(field.annotation))
