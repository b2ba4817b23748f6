"""The proofs of reliability prove what they say; their page is what their figures give."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from suite.reporting.build import Place
from suite.store import Store, StoredCheckpoint, StoredRun, StoredValue
from tests.reliability import plan, record
from tests.reliability.kills import Seen, campaign, settled
from tests.reliability.page import PAGE, page_of
from tests.reliability.scale import MOST_SECONDS, STAGES, measured
from tests.reliability.tested import rows_of, wrong
from tests.reliability.throughput import alone, recorded


def test_the_page_is_what_the_figures_give() -> None:
    assert PAGE.read_text(encoding="utf-8") == page_of(record.read())


def test_no_section_has_failures_that_the_page_does_not_show() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, content in record.read().items():
        if content["figures"].get("failures"):
            assert "Not as it should be" in page or "**failed**" in page or "**not met**" in page, name


def test_a_leaderboard_leaves_the_figures_alone(tmp_path: Path) -> None:
    for name in ("reliability.md", "reliability/kills.json", "figures/old.svg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert Place.within(tmp_path).stale(()) == [tmp_path / "figures/old.svg"]


def a_value(key: str, status: str = "ok") -> StoredValue:
    return StoredValue(key, "", "r", 1, "m", 1, "f", 0.5, None, status, "", 1.0, None, "{}")


def test_what_is_lost_or_made_again_is_seen(tmp_path: Path) -> None:
    seen = Seen()
    seen.look(settled(tmp_path))  # no store yet
    with Store(tmp_path, writing=True) as store:
        run = StoredRun("r", "finished", 3, b"initial", b"curve", (StoredCheckpoint(1, b"w", 0.1, 1.0, 0.2, 0.9),))
        store.record_stack("s", [run], 1.0, {})
        store.record_values([a_value("1"), a_value("2"), a_value("3", "died")])
        seen.look(settled(tmp_path))
        assert set(seen.rows) == {
            ("stacks", "s"), ("runs", "r"), ("checkpoints", "r 1"), ("metric_values", "1 "), ("metric_values", "2 "),
        }  # fmt: skip
        store.record_values([a_value("3")])
        seen.look(settled(tmp_path))
        assert (len(seen.rows), seen.lost, seen.again) == (6, set(), set()), "what had died is made, not made again"
        store.record_values([a_value("1")])  # the same value, measured once more
        seen.look(settled(tmp_path))
        assert (seen.lost, seen.again) == (set(), {("metric_values", "1 ")})
    with sqlite3.connect(tmp_path / "store.db") as db:
        db.execute("DELETE FROM metric_values WHERE key = '2'")
    db.close()
    seen.look(settled(tmp_path))
    assert seen.lost == {("metric_values", "2 ")}


def test_every_empty_job_comes_back_and_is_recorded(tmp_path: Path) -> None:
    assert alone(30)["jobs"] == 30
    assert recorded(20, tmp_path, 3)["values_per_job"] == 3
    with sqlite3.connect(tmp_path / "store.db") as db:
        assert db.execute("SELECT COUNT(*), COUNT(DISTINCT run_id) FROM metric_values").fetchone() == (60, 20)
    db.close()


def test_numbers_of_the_plan_by_hand() -> None:
    taken = [{"processor_seconds": seconds, "peak_mib": 100.0} for seconds in (4.0, 13.0, 203.0)]
    sizes: dict[str, Any] = {str(size): {"read": one} for size, one in zip((100, 1000, 10_000), taken, strict=True)}
    scale = {"sizes": sizes}
    assert plan.measured(scale, "read") == {100: 4.0, 1000: 13.0, 10_000: 203.0}
    # a cell costs 0.01 s in the first step and 190 / 9,000 s in the second
    assert plan.growth(scale, "read") == "× 2.1"
    assert plan.linear(plan.measured(scale, "read")) == pytest.approx(203 + 190 / 9000 * 90_000)
    assert plan.squared(plan.measured(scale, "read")) == 20_300
    sizes["10000"]["read"] = {"ended": "after 1 s of a processor"}
    assert plan.measured(scale, "read") == {100: 4.0, 1000: 13.0}
    assert plan.growth(scale, "read") == "–"


REPORT = """\
<testsuites><testsuite>
<testcase name="test_a_full_disk[1]" time="1.25"/>
<testcase name="test_a_second_driver" time="0.5">
<failure message="AssertionError: assert 1 == 2&#10;more">…</failure></testcase>
<testcase name="test_mounts" time="0.0"><skipped message="no mounts here"/></testcase>
</testsuite></testsuites>
"""


def test_what_became_of_tests_is_read_from_their_report(tmp_path: Path) -> None:
    (tmp_path / "0.xml").write_text(REPORT)
    rows = rows_of(tmp_path / "0.xml", "tests/test_faults.py")
    assert [(row["test"], row["of"], row["outcome"], row["why"]) for row in rows] == [
        ("a full disk", "1", "passed", ""),
        ("a second driver", "", "failed", "AssertionError: assert 1 == 2"),
        ("mounts", "", "skipped", "no mounts here"),
    ]
    assert wrong(rows) == ["tests/test_faults.py: a second driver: AssertionError: assert 1 == 2"]
    one = "tests/keeping/test_gc.py::test_killed_between_rows_and_files"  # of the others nothing is said
    assert {row["file"] for row in rows_of(tmp_path / "0.xml", one)} == {one}


def test_figures_are_written_with_what_they_were_taken_on(tmp_path: Path) -> None:
    path = record.written(record.Taking("kills").content({"kills": 3}), tmp_path)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert record.read(tmp_path) == {"kills": content}
    assert content["figures"] == {"kills": 3}
    assert {"date", "commit", "versions", "processor", "load_average", "seconds"} < set(content["provenance"])


def test_a_section_that_was_not_taken_to_its_end_says_so() -> None:
    figures: dict[str, Any] = {"tests": [], "failures": []}
    part, whole = (record.Taking("faults").content(figures, complete) for complete in (False, True))
    assert "**Not complete:**" in page_of({"faults": part})
    assert "**Not complete:**" not in page_of({"faults": whole})


@pytest.mark.slow
def test_a_made_up_task_goes_all_the_way(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    measured(tmp_path, 100, (MOST_SECONDS, 8 * 2**30), found, lambda _: None)
    assert {*found} == {*STAGES, "store"}
    assert (found["read"]["values"], found["rank"]["settings"], found["publish"]["failures"]) == (6000, 20, 0)
    assert found["store"]["tensor_files"] == 400
    assert "Made up, 100 cells" in (tmp_path / "store/reports/leaderboard.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_killed_six_times(tmp_path: Path) -> None:
    figures = campaign(tmp_path, 6, 20261127)
    assert figures["failures"] == []
    assert figures["kills"] == 6
    assert (figures["done_again"], figures["lost"]) == (0, 0)
    assert figures["identical_leaderboards"] == figures["runs"] > 0
    assert figures["values_recorded"] > 0
