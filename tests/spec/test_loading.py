"""Every mistake has its file, line and field; no input whatever gives anything but a task or clear problems."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from suite.errors import BadInput
from suite.spec.loading import check, find_tasks, load_task, resolve
from tests.command import TINY, TINY_TRAJECTORY

ROOT = Path(__file__).parents[2]


def said(text: str | bytes) -> str:
    _, problems = check(text.encode() if isinstance(text, str) else text)
    return "\n".join(problem.text("x.yaml") for problem in problems)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("learning_rate: 0.1", "learning_rat: 0.1", r"x.yaml:7: training.optimizer.learning_rat: unknown key; did you mean learning_rate"),
        ("learning_rate: 0.1", "learning_rate: -1", r"x.yaml:7: training.optimizer.learning_rate: -1 is not greater than 0"),
        ("learning_rate: 0.1", "learning_rate: .nan", r"x.yaml:7: training.optimizer.learning_rate: nan is not a finite"),
        ("learning_rate: 0.1", "learning_rate: fast", r"x.yaml:7: training.optimizer.learning_rate: 'fast' is text, a number is meant"),
        ("kind: mlp", "kind: mpl", r"x.yaml:5: model: kind 'mpl' is unknown; did you mean mlp"),
        ("batch_size: 32", "batch_size: 5000", r"x.yaml:8: training.batch_size: 5000 is more than the 1438 inputs"),
        ("epochs: 3", "epochs: 3\n  epochs: 4", r"x.yaml:10: training.epochs: given twice, first in line 9"),
        ("epochs: 3", "epochs: 3\n  sharpness: {count: 0}", r"x.yaml:10: training.sharpness.count: 0 is not greater than 0"),
        ("epochs: 3", "epochs: 3\n  sharpness: {iterations: 1}", r"x.yaml:10: training.sharpness.iterations: 1 is less than 2"),
        ("epochs: 3", "epochs: 3\n  sharpness: {kind: final}", r"x.yaml:10: training.sharpness.kind: 'final' is (unknown|not one of)"),
        ("epochs: 3", "epochs: 3\n  sharpness: {sample: 9}", r"x.yaml:10: training.sharpness.sample: unknown key; did you mean samples"),
        ("  seed: [0, 1]", "  seed: []", r"x.yaml:13: grid.seed: no values"),
        ("  seed: [0, 1]", "  seeed: [0, 1]", r"x.yaml:13: grid.seeed: no such field; did you mean seed"),
        ("[0.03, 0.1, 0.3]", "[0.03, 0, 0.3]", r"x.yaml:11: grid.training.optimizer.learning_rate: 0 is not greater than 0"),
        ("[0.03, 0.1, 0.3]", "[0.03, .inf]", r"x.yaml:11: grid.training.optimizer.learning_rate: inf is not a finite number"),
        ("[0.03, 0.1, 0.3]", "[0.1, 0.1]", r"x.yaml:11: .*0.1 is given twice"),
        ("[32, 64]", "[32, 9999]", r"x.yaml:12: grid.training.batch_size: 9999 is more than"),
        ("training.batch_size: [", "training.optimizer: [", r"x.yaml:12: grid.training.optimizer: is a group of fields"),
        ("kind: grid", "kind: trajectory", r"x.yaml:3: kind: kind trajectory needs training.checkpoints"),
        ("name: tiny/digits", "name: Tiny Digits", r"x.yaml:1: name: 'Tiny Digits' cannot be a name: small letters and digits"),
        ("data: {kind: digits}", "data: &a {kind: digits}", r"x.yaml:4: anchors and aliases are not allowed"),
        ("data: {kind: digits}", "data: {kind: digits", r"x.yaml:\d+: not YAML"),
        ("data: {kind: digits}\n", "", r"x.yaml:1: data: is missing"),
    ],
)  # fmt: skip
def test_mistakes_have_file_line_and_field(old: str, new: str, expected: str) -> None:
    assert old in TINY
    assert re.search(expected, said(TINY.replace(old, new, 1))), said(TINY.replace(old, new, 1))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (  # a misspelt kind does not hide what is wrong inside of it
            {"kind: mlp, widths: [4]": "kind: mpl, activation: tanhh, widths: [0]"},
            [
                "model: kind 'mpl' is unknown; did you mean mlp?",
                "model.widths[0]: 0 is not greater than 0",
                "model.activation: 'tanhh' is not one of relu, gelu, tanh; did you mean tanh?",
            ],
        ),
        (  # nor a misspelt field a wrong value, and what it is meant to be is not missing as well
            {"learning_rate: 0.1": "learning_rat: -1"},
            [
                "training.optimizer.learning_rat: unknown key; did you mean learning_rate?",
                "training.optimizer.learning_rate: -1 is not greater than 0",
            ],
        ),
        ({"learning_rate: 0.1": "learning_rat: 1.0"}, ["training.optimizer.learning_rat: unknown key; did you mean learning_rate?"]),
        (  # nor a wrong field that others do not fit the data
            {
                "learning_rate: 0.1": "learning_rate: fast",
                "batch_size: 32": "batch_size: 5000",
                "minibatches: 2": "batch_size: 6000",
                "mlp, widths: [4], bias: false": "transformer, layers: 1, width: 4, heads: 2",
                "[32, 64]": "[32, 7000]",
            },
            [
                "model.kind: model transformer takes tokens",
                "training.optimizer.learning_rate: 'fast' is text, a number is meant",
                "training.batch_size: 5000 is more than the 1438 inputs",
                "grid.training.batch_size: 7000 is more than the 1438 inputs",
                "probes.spectrum.batch_size: 6000 is more than the 1438 inputs",
            ],
        ),
        (  # all that does not fit, where every field is right by itself
            {"batch_size: 32": "batch_size: 5000", "minibatches: 2": "batch_size: 6000"},
            ["training.batch_size: 5000 is more", "probes.spectrum.batch_size: 6000 is more"],
        ),
        (  # nor a wrong field what its kind of task needs
            {"title: A tiny grid": "title: 3", "kind: grid": "kind: trajectory"},
            ["title: 3 is a whole number, text is meant", "kind: kind trajectory needs training.checkpoints"],
        ),
        (
            {"probes:": "inculde: {train_accuracy: 2.0}\nprobes:"},
            ["inculde: unknown key; did you mean include?", "include.train_accuracy: 2.0 is greater than 1"],
        ),
        ({"probes:": "inculde: {}\nprobes:"}, ["inculde: unknown key; did you mean include?"]),
        ({"title: A": "titel: A"}, ["titel: unknown key; did you mean title?"]),
        (
            {"probes:": "xyzzy: {}\nprobes:"},
            ["xyzzy: unknown key; known are data, description, grid, include, keep, kind, limits, model, name, probes, seed, targets"],
        ),
    ],
)  # fmt: skip
def test_all_mistakes_at_once_each_once(changes: dict[str, str], expected: list[str]) -> None:
    text = TINY
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new, 1)
    lines = [re.sub(r"^x\.yaml:\d+: ", "", line) for line in said(text).splitlines()]
    assert len(lines) == len(expected), lines
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("data.kind: [digits, mnist]", ["cannot be varied: the other fields depend on it"]),
        ("model.widths: [[4], [8]]", ["cannot be varied: it is a list"]),
        ("title: [a, b]", ["cannot be varied: it does not change what is trained"]),
        ("probes.spectrum: [a]", ["cannot be varied: it does not change what is trained"]),
        ("training.sharpness.count: [1, 2]", ["cannot be varied: it does not change what is trained"]),
        ("training.sharpness: [a]", ["cannot be varied: it does not change what is trained"]),
        ("training.stack_size: [1, 2]", ["cannot be varied: it does not change what is trained"]),
        ("training.batch_size: [-1]", ["-1 is not greater than 0 (or say full)"]),
        ("training.batch_size: [0.5]", ["0.5 is a number, a whole number is meant (or say full)"]),
        ("training.batch_size: [ful]", ["'ful' is unknown; did you mean full?"]),
        ("seed: [.inf]", ["inf is not a finite number"]),
        ("seed: [[1]]", ["[1] is not a single value"]),
        ("seed: 3", ["3 is a whole number, a list of values is meant"]),
        ("seed:", ["is empty, a list of values is meant"]),
        ("seed: [1, 1, 1, 2]", ["1 is given 3 times: keep one"]),
        ("seed: [-1, -1]", ["-1 is less than 0", "-1 is given twice: keep one"]),
    ],
)
def test_a_line_of_the_grid_has_plain_words(line: str, expected: list[str]) -> None:
    start, rest = TINY.split("grid:\n")
    text = f"{start}grid:\n  training.optimizer.learning_rate: [0.1]\n  {line}\nprobes:{rest.split('probes:')[1]}"
    words = [problem.message for problem in check(text.encode())[1]]
    assert len(words) == len(expected), words
    for word, beginning in zip(words, expected, strict=True):
        assert word.startswith(beginning)


def test_only_fields_that_can_be_varied_are_offered() -> None:
    offered = said(TINY.replace("  seed: [0, 1]", "  qqqq: [0, 1]")).split("that can be varied are ")[1].split(", ")
    assert {"seed", "data.test_fraction", "model.activation", "training.batch_size"} <= set(offered)
    assert {word.split(".")[0] for word in offered} == {"data", "model", "training", "seed"}
    assert not [word for word in offered if word.endswith(("kind", "widths", "stack_size"))]


def test_an_empty_grid_is_said_in_words() -> None:
    text = TINY.split("grid:\n")[0] + "grid:\n"
    assert said(text).endswith("grid: is empty, a mapping is meant")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the file is empty"),
        ("- a\n- b\n", "the file is a list"),
        ("hello", "a single value"),
        ("a: 1\n---\nb: 2\n", "second document"),
        ("a: !!python/object:os.system x\n", "tag"),
        ("a: " + "[" * 30 + "]" * 30, "nested more than 20"),
        (b"a: \xff\xfe", "byte 3 is not UTF-8"),
        ("a: " + "1" * 5000, "too many digits"),
        ("a: &x [1]\nb: [*x, *x]\n", "anchors and aliases"),
        (b"a: 1\n" * 300_000, "at most 1,000,000"),
    ],
)
def test_files_that_are_not_tasks(text: str | bytes, expected: str) -> None:
    assert expected in said(text)


def test_numbers_and_words_are_those_of_yaml_1_2() -> None:
    task, problems = check(TINY.replace("0.03", "3e-2").replace("title: A tiny grid", "title: on").encode())
    assert not problems
    assert task is not None
    assert task.title == "on"
    assert task.grid["training.optimizer.learning_rate"][0] == 0.03


def test_too_many_cells_are_refused_until_allowed() -> None:
    many = TINY.replace("seed: [0, 1]", f"seed: {list(range(400))}")
    assert "2,400 cells, more than 1,000: allow it with --yes" in said(many)
    assert check(many.encode(), max_cells=10_000)[1] == []


def test_absent_files_and_unknown_names_suggest_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text(TINY)
    with pytest.raises(BadInput, match=r"no such file; did you mean .*digits.yaml"):
        load_task(tmp_path / "digit.yaml")
    with pytest.raises(BadInput, match="did you mean digits"):
        resolve(["digts"], tmp_path)
    with pytest.raises(BadInput, match=r"did you mean .*/digits\.yaml\?"):
        resolve([str(tmp_path / "digit.yaml")], tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"there is no folder .*nowhere/ in .*: give the path of a task file"):
        resolve(["digits"], tmp_path / "nowhere")
    assert resolve(["digits"], tmp_path) == [tmp_path / "digits.yaml"]


def test_an_endless_file_is_read_no_further_than_a_task_may_be() -> None:
    (endless,) = resolve(["/dev/zero"], Path("tasks"))
    with pytest.raises(BadInput, match=r"/dev/zero:1: the file is too long: a task file has at most 1,000,000 bytes"):
        load_task(endless)


def test_every_task_of_the_repository_is_valid_and_named_by_its_place() -> None:
    for path in find_tasks(ROOT / "tasks"):
        assert load_task(path).name == str(path.relative_to(ROOT / "tasks").with_suffix(""))
        assert path.read_text().startswith("# yaml-language-server: $schema=../../suite/spec/task.schema.json")


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**9), 10**9), st.floats(), st.text(max_size=8), st.builds(list), st.builds(dict),
    st.lists(st.integers(-2, 2), max_size=3), st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A task with a few random cuts in its text, or a few random fields replaced, removed or added."""
    text = draw(st.sampled_from([TINY, TINY_TRAJECTORY]))
    if draw(st.booleans()):
        for _ in range(draw(st.integers(1, 4))):
            start = draw(st.integers(0, len(text)))
            stop = min(len(text), start + draw(st.integers(0, 12)))
            text = text[:start] + draw(st.text(alphabet="{}[]:,-&*!|>#'\"%@ \n\t0.1eaz\x00é", max_size=6)) + text[stop:]
        return text.encode("utf-8", "surrogatepass")
    data = yaml.safe_load(text)
    for _ in range(draw(st.integers(1, 4))):
        node = data
        while True:
            key = draw(st.sampled_from(sorted(node))) if node and draw(st.integers(0, 5)) else draw(st.text(max_size=6))
            if isinstance(node.get(key), dict) and draw(st.booleans()):
                node = node[key]
                continue
            if draw(st.integers(0, 4)) == 0:
                node.pop(key, None)
            else:
                node[key] = draw(JUNK)
            break
    return yaml.safe_dump(data, allow_unicode=True).encode("utf-8", "surrogatepass")


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutated())
def test_mutated_specs_never_give_a_traceback(content: bytes) -> None:
    task, problems = check(content)
    assert problems or task is not None
    for problem in problems:
        assert problem.line >= 1
        assert problem.message.strip()
        assert re.match(r"x\.yaml:\d+: ", problem.text("x.yaml"))
