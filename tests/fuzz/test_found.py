"""What fuzzing has found, each as small as it goes: once a traceback, a hang, or an answer that nobody could read."""

# ruff: noqa: E501 - tables of what is put in

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.errors import BadInput
from suite.metrics import find_metrics, importing
from suite.metrics.importing import import_elsewhere
from suite.ranking.tables import read_results
from suite.ranking.task import rank_task
from suite.spec.loading import check, load_task
from tests.command import TINY
from tests.ranking.made_up import made_up

# ---- task files ----


def said(text: str, max_cells: int = 1000) -> str:
    return "\n".join(problem.text("x.yaml") for problem in check(text.encode(), max_cells)[1])


def test_numbers_that_no_float_can_hold_are_refused() -> None:
    """The estimate divided by the product of some."""
    for number in (10**16, -(10**16), 10**400):
        assert "training.epochs: the number has too many digits" in said(TINY.replace("epochs: 3", f"epochs: {number}"))
    assert said(TINY.replace("epochs: 3", f"epochs: {10**15}")) == ""


@pytest.mark.parametrize("where", ["sharpness: {count: 10000000}", "checkpoints: {kind: log, count: 10000000}"])
def test_steps_that_are_gone_through_one_by_one_are_bounded(where: str) -> None:
    """The estimate made a set of all of them."""
    text = TINY.replace("kind: grid", "kind: trajectory").replace("epochs: 3", f"epochs: 3\n  {where}")
    assert "count: 10000000 is greater than 10000" in said(text)


def test_a_key_of_digits_is_no_word() -> None:
    assert said(TINY + f"{'1' * 20}: 2\n").endswith(": a key must be a word")
    assert said(TINY + f"{'1' * 900}: 2\n").endswith(": a key must be a word")


def test_cells_are_counted_and_not_made_where_they_are_too_many() -> None:
    """--yes allowed 10^16 of them, and each was looked at."""
    values = [-1 - v for v in range(6_000)]  # each of them wrong
    grid = f"  seed: {values}\n  data.split_seed: {values}\n  training.stop.train_loss: {[v / 7 for v in range(900)]}\n"
    text = TINY.replace("  seed: [0, 1]\n", grid)
    end = "split the task into several"  # and nothing of the values, which are not looked at
    assert said(text) == f"x.yaml:10: grid: 194,400,000,000 cells, more than 1,000: {end}"
    assert said(text, max_cells=10**9) == f"x.yaml:10: grid: 194,400,000,000 cells, more than 100,000: {end}"


def test_a_file_has_no_more_values_than_can_be_looked_at() -> None:
    assert "more than 20,000 values" in said(TINY + f"x: {[0] * 20_000}\n")


def test_a_value_given_many_times_is_counted_once() -> None:
    """In a time that grew with the square of their number."""
    problems = said(TINY.replace("seed: [0, 1]", f"seed: {[0, 1] * 4_000}"), max_cells=10**9).splitlines()
    assert [line.partition("grid.seed: ")[2] for line in problems] == [
        "0 is given 4000 times: keep one",
        "1 is given 4000 times: keep one",
    ]


def test_problems_are_lines_that_can_be_printed() -> None:
    found = said(TINY + '"\\e[31m\\0": 1\n"a\\nb": 1\n"\u202e": 1\n' + f"{'k' * 900}: 1\n")
    assert r"\x1b[31m\x00: unknown key" in found
    assert r"a\nb: unknown key" in found
    assert r"\u202e: unknown key" in found
    assert all(line.isprintable() and len(line) < 2000 for line in found.splitlines())


def test_the_first_problems_are_told_and_how_many_more_there_are(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(TINY + "".join(f"zz{n}: 1\n" for n in range(500)))
    with pytest.raises(BadInput, match=r"x\.yaml: and 480 more$") as caught:
        load_task(tmp_path / "x.yaml")
    assert str(caught.value).count("\n") == 20


# ---- results ----


def _edited(root: Path, file: str, change: Callable[[str], str]) -> None:
    path = root / "a/grid" / file
    path.write_text(change(path.read_text()), encoding="utf-8")


def _entry(key: str, value: object) -> Callable[[str], str]:
    """Another value of an entry: of provenance, or of the first metric."""

    def changed(text: str) -> str:
        content = json.loads(text)
        (content[0] if isinstance(content, list) else content)[key] = value
        return json.dumps(content)

    return changed


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("runs.csv", lambda t: t + t.splitlines()[1] + "\n", r"runs.csv:20: a second row for run r0 at step 10"),
        ("runs.csv", lambda t: t.replace("r0,10,", f"r0,{2**63},"), r"runs.csv:2: step: '9223372036854775808' is not"),
        ("runs.csv", lambda t: t.replace("r0,10,", "r0,-1,"), r"runs.csv:2: step: '-1' is not a number"),
        ("runs.csv", lambda t: t.replace("r0,10,", ",10,"), r"runs.csv:2: run_id is missing"),
        ("runs.csv", lambda t: t.replace("finished", "", 1), r"runs.csv:2: status is missing"),
        ("runs.csv", lambda t: t.splitlines()[0] + "\n", r"runs.csv: no row but the header"),
        ("runs.csv", lambda t: t[: t.rindex(",")], r"runs.csv:19: 14 cells, the header has 15"),
        ("runs.csv", lambda t: t[:-1], r"runs.csv:19: the last line has no end: the file is cut short"),
        ("runs.csv", lambda t: t.replace("\n", ",x\n").replace(",x", "", 1), r"runs.csv:2: 16 cells, the header has 15"),
        ("runs.csv", lambda t: t.replace("test_loss", "train_loss", 1), r"runs.csv:1: column 'train_loss' is there twice"),
        ("runs.csv", lambda t: t.replace("r0,", '"r0,', 1), r"runs.csv:19: not CSV"),
        ("runs.csv", lambda t: t.replace("0.9875", "9" * 500), None),
        ("runs.csv", lambda t: t.replace("0.9875", "x" * 500), r"train_accuracy: 'x{56}… is not a number$"),
        ("values/noise.csv", lambda t: t.replace("r3,", "\x1b[31m,", 1), r"noise.csv:5: run \ufffd\[31m at step 10"),
        ("values/noise.csv", lambda t: t.replace("ok", "", 1), r"noise.csv:2: status is missing"),
        ("metrics.json", lambda t: t.replace('"noise"', '"loss_gap"'), r"loss_gap.csv: there is no such file"),
        ("metrics.json", lambda t: t.replace('"noise"', '"../../x"'), r'metric 3: name: "../../x" is not a name'),
        ("metrics.json", lambda t: t.replace('"noise"', '"lucky"'), r"metrics.json: lucky is there twice"),
        ("metrics.json", lambda t: t.replace('"noise"', "[]"), r"metric 3: name: \[\] is not a name"),
        ("metrics.json", _entry("sign", 0), r"oracle: sign: 0 is not 1 or -1"),
        ("metrics.json", _entry("trivial", None), r"oracle: trivial: null is not true or false"),
        ("metrics.json", _entry("title", "\x07"), r'oracle: title: "\\u0007" is not some text'),
        ("metrics.json", _entry("probes", "spectrum"), r'oracle: probes: "spectrum" is not a list of names'),
        ("provenance.json", lambda t: "[" * 100_000, r"provenance.json: nested too deep"),
        ("provenance.json", lambda t: t.replace('"spec": {}', f'"spec": {"[" * 40}{"]" * 40}'), r"nested more than 30 deep"),
        ("provenance.json", lambda t: t.replace("1000", "1" * 5000), r"provenance.json: cannot be read"),
        ("provenance.json", lambda t: t.replace("1000", "1" * 400), r"parameters: 1+… is not a count"),
        ("provenance.json", lambda t: t.replace("Made", "\\ud800"), r"provenance.json: cannot be read: .*surrogates"),
        ("provenance.json", _entry("task", "../x"), r'provenance.json: task: "../x" is not a task\'s name'),
        ("provenance.json", _entry("kind", "girder"), r'kind: "girder" is not grid or trajectory'),
        ("provenance.json", _entry("targets", []), r"targets: \[\] is not some of accuracy_gap, loss_gap"),
        ("provenance.json", _entry("targets", ["loss_gap", "loss_gap"]), r"targets: .* each once"),
        ("provenance.json", _entry("factors", ["loss_gap"]), r"factors: .* is not names of columns of their own"),
        ("provenance.json", _entry("include", {"train_accuracy": "high"}), r"include: .* its train_accuracy a number"),
        ("provenance.json", _entry("versions", [1]), r"versions: \[1\] is not versions by package"),
        ("provenance.json", _entry("metric_costs", {"noise": 3}), r"metric_costs: .* seconds by metric"),
        ("provenance.json", _entry("seconds", [1]), r"seconds: \[1\] is not seconds by what took them"),
        ("provenance.json", _entry("data", {"n_test": "many"}), r"data: .* its n_test a count"),
        ("provenance.json", _entry("data", None), None),
    ],
)  # fmt: skip
def test_results_that_no_report_could_be_made_of(
    file: str, change: Callable[[str], str], message: str | None, tmp_path: Path
) -> None:
    made_up(tmp_path)
    before = (tmp_path / "a/grid" / file).read_text()
    _edited(tmp_path, file, change)
    assert (tmp_path / "a/grid" / file).read_text() != before
    if message is None:
        assert len(read_results(tmp_path)) == 2
        return
    with pytest.raises(BadInput, match=message) as caught:
        read_results(tmp_path)
    assert str(caught.value).isprintable()
    assert str(tmp_path) in str(caught.value)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("file", ["runs.csv", "values/noise.csv", "provenance.json", "metrics.json"])
@pytest.mark.parametrize(
    "make", [_pipe, Path.mkdir, lambda p: p.symlink_to("/dev/zero"), lambda p: p.symlink_to(p.name)]
)
def test_what_is_no_file_is_not_read(file: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    """A pipe was waited for, for ever; a device filled the memory."""
    made_up(tmp_path)
    path = tmp_path / "a/grid" / file
    path.unlink()
    make(path)
    with pytest.raises(BadInput, match=file):
        read_results(tmp_path)


def test_a_spectrum_has_one_row_for_each_share(tmp_path: Path) -> None:
    made_up(tmp_path)
    rows = "r0,10,0.5,2.5,-0.25\nr0,10,1,-1,-0.5\nr0,10,0.5,2.5,-0.25\n"
    (tmp_path / "a/grid/spectra.csv").write_text(f"run_id,step,share,eigenvalue,exponent\n{rows}")
    with pytest.raises(BadInput, match=r"spectra.csv:4: a second row for the same run, step and share"):
        read_results(tmp_path)


def test_a_component_ends_where_its_name_ends(tmp_path: Path) -> None:
    """An array of words forgets the nulls at their ends, and no row was of that name any more."""
    made_up(tmp_path)
    _edited(tmp_path, "values/parts.csv", lambda t: t.replace(",a,", ",a\0,").replace(",b,", ",\x1b\u202e,"))
    ranking = rank_task(read_results(tmp_path)[0])
    assert {"parts.a\ufffd", "parts.\ufffd\ufffd"} <= {*ranking.rows["metric"]}


def test_texts_of_results_can_be_printed(tmp_path: Path) -> None:
    made_up(tmp_path)
    _edited(tmp_path, "metrics.json", lambda t: t.replace("made up", "a\\u001b[31m\\nb\\u202e"))
    _edited(tmp_path, "provenance.json", lambda t: t.replace("Made", "\\u0000Made"))
    grid = read_results(tmp_path)[0]
    assert grid.title == "Made <b>up</b>"
    assert set(grid.metrics["family"]) == {"a[31m b"}


# ---- files of metrics ----

GOOD = "from suite.metrics import Run, metric\n\n\n@metric(title='T', family='f', source='S 2020', sign=1)\ndef mine(run): return 1.0\n"


def file_of(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise BaseException('x')", "cannot be imported: BaseException: x"),
        ("raise GeneratorExit", "cannot be imported: GeneratorExit"),
        ("class E(BaseException):\n    def __str__(self): raise self\nraise E", "cannot be imported: E"),
        ("raise ValueError('\\x1b[31m\\u202e')", "cannot be imported: ValueError: \ufffd\\[31m\ufffd"),
        (GOOD.replace("sign=1", "sign=1.0"), "sign 1.0: 1 if"),
        (GOOD.replace("sign=1", "sign=1, trivial='no'"), "trivial 'no': True or False"),
        (GOOD.replace("sign=1", "sign=1, version=10**5000"), "version"),
        (GOOD.replace("sign=1", "sign=1, probes=('spectrum', 'spectrum')"), "probes 'spectrum': given twice"),
        (GOOD.replace("'T'", "'\\ud800'"), r"title '\\ud800': some text"),
        (GOOD.replace("'T'", "'a\\nb'"), r"title 'a\\nb': some text is meant, one line"),
        (GOOD.replace("'S 2020'", "'x' * 500"), "source 'x+….*: some text"),
        (GOOD + "f = lambda run: 1.0\nf.__name__ = '../../x'\ng = metric(title='T', family='f', source='S', sign=1)(f)", "'../../x': a function"),
        (GOOD.replace("mine", "é"), "'é': a function with a plain ASCII name"),
        (GOOD + "from suite.metrics.registry import Metric\nx = Metric(3, lambda run: 1.0, 1, 2, 3, 9)\n", "3 is not made by"),
    ],
)  # fmt: skip
def test_what_a_file_does_or_says_when_it_is_imported(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        find_metrics([file_of(tmp_path, text)])
    assert "mine.py" in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text", ["while True: pass", "import time\ntime.sleep(1000)", "import os\nos.read(os.pipe()[0], 1)"]
)
def test_importing_comes_to_an_end(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "LIMIT", 0.2)
    with pytest.raises(BadInput, match=r"mine\.py: cannot be imported: TooLong: importing takes longer than 0.2 s"):
        find_metrics([file_of(tmp_path, text)])


def driven(program: str, file: Path) -> subprocess.CompletedProcess[str]:
    """A process that imports a file of metrics, and then does something."""
    begin = "import sys\nfrom pathlib import Path\nfrom suite.metrics import importing\nfrom suite.metrics.registry import metrics_of\n"
    words = [sys.executable, "-c", f"{begin}{program}", str(file)]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)


def test_a_file_that_goes_on_all_the_same_ends_the_process_with_a_line(tmp_path: Path) -> None:
    again = "    try: os.kill(os.getpid(), signal.SIGALRM)\n    except BaseException: pass\n"  # as the clock would
    done = driven(
        "importing.LIMIT = 3.0\nmetrics_of(Path(sys.argv[1]))\n",
        file_of(tmp_path, f"import os, signal\nwhile True:\n{again}"),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("mine.py: importing takes longer than 3 s\n")


def test_there_is_one_driver_and_its_answer_is_its_own(tmp_path: Path) -> None:
    """A fork at import was a second one; what the file printed stood before the JSON; a closed stream lost it."""
    text = f"import os, sys\nos.fork()\nprint('garbage')\nos.write(1, b'more')\nsys.stdout.close()\nos.close(1)\n{GOOD}"
    done = driven("print([one.name for one in metrics_of(Path(sys.argv[1]))])\n", file_of(tmp_path, text))
    assert (done.returncode, done.stdout) == (0, "['mine']\n")
    assert "garbage" in done.stderr


ENDED, LONG = r"importing ended the process \(exit code", "importing takes longer than 5 s"
LEFT = f"{LONG}: what it started does not end"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "limit", "message"),
    [
        ("import os\nos._exit(0)\n", 60, f"{ENDED} 0"),
        ("import ctypes\nctypes.string_at(0)\n", 60, f"{ENDED} -11"),
        ("raise KeyboardInterrupt\n", 60, f"{ENDED} .*KeyboardInterrupt"),
        ("import os\nos.fork()\n", 60, r"importing forks the process"),
        (GOOD + "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))\n", 60, r"limits .*\(RLIMIT_NOFILE\)"),
        ("import os, sys\nos.write(int(sys.argv[2]), b'l\\xff')\n", 60, r"importing changes limits of the process: a"),
        ("import os, sys\nos.write(int(sys.argv[2]), b'l\\x1b]0;owned\\x07\\nfake line')\n", 60, r"changes limits of the process: a"),
        ("import os\nos.write(2, b'\\x1b]0;owned\\x07')\nos._exit(3)\n", 60, f"{ENDED} 3; \ufffd]0;owned\ufffd"),
        (GOOD + "import sys\nsys.setrecursionlimit(60)\n", 60, r"limits .*\(the recursion limit\)"),
        ("import os\nwhile True: os.write(1, b'x' * 10**6), os.write(2, b'x' * 10**6)\n", 5, f"{LONG}$"),
        ("sum(iter(int, 1))\n", 5, f"{LONG}$"),
        (GOOD + "import atexit, time\natexit.register(time.sleep, 1000)\n", 5, f"{LEFT}$"),
        (GOOD + "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\n", 5, f"{LEFT}$"),
        (GOOD + "import subprocess\nsubprocess.Popen(['sleep', '1000'])\n", 60, None),
    ],
)  # fmt: skip
def test_what_only_another_process_survives(
    text: str, limit: float, message: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "LIMIT", limit)
    file = file_of(tmp_path, text)
    if message is None:
        import_elsewhere([file], package=False)
        return
    with pytest.raises(BadInput, match=message) as caught:
        import_elsewhere([file], package=False)
    assert "mine.py" in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_loop_in_c_ends_with_a_line(tmp_path: Path) -> None:
    """It hears no signal: the process that looks on kills it."""
    file = file_of(tmp_path, "sum(iter(int, 1))\n")
    program = f"""
        from pathlib import Path
        from suite.metrics import importing
        importing.LIMIT, importing._GRACE = 0.5, 0.25
        with importing.bounded(Path({str(file)!r})):
            exec(Path({str(file)!r}).read_text())
    """
    words = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (-9, "")
    assert done.stderr == f"{file}: importing takes longer than 0.5 s\n"


@pytest.mark.slow
def test_a_file_beside_hides_no_module_from_the_other_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file_of(tmp_path, "raise SystemExit('hidden')", "json.py")
    monkeypatch.chdir(tmp_path)
    import_elsewhere([file_of(tmp_path, GOOD)], package=False)
