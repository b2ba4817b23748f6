"""Metrics that break a rule are found out, by the rule they break; those that keep all of them pass."""

from __future__ import annotations

import dataclasses
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from suite.data.digits import Digits
from suite.errors import BadInput
from suite.metrics import find_metrics
from suite.submission.check import trial_findings
from suite.submission.trial import trial_metric, trial_run, trial_task
from suite.submission.trials import (
    OTHER,
    PLAIN,
    SINGLE,
    Network,
    Outcome,
    Tried,
    read_outcomes,
    state_of,
    train_job,
    trial_job,
    try_metrics,
    watched,
)

METRICS = '''
"""One for each rule."""
import mmap
import os
import pathlib
import resource
import stat
import torch
from suite.metrics import Estimate, metric

def words(title, **more):
    return {"title": title, "family": "test", "source": "Nobody 2020", "sign": 1, **more}

@metric(**words("Good"))
def good(run):
    draw = torch.rand((), generator=run.generator("good"))
    return Estimate(float(run.weights.norm() + draw), 0.5)

@metric(**words("Good too", probes=("spectrum",)))
def good_too(run):
    return {"first": float(run.weights.norm()), "second": 2.0}

@metric(**words("Global"))
def global_random(run):
    return float(torch.rand(()))

@metric(**words("Test data"))
def test_error(run):
    found = run.task.data.load((), pathlib.Path("."))
    logits = run.network(run.weights, torch.as_tensor(found.test_inputs).to(run.weights))
    return float((logits.argmax(1).numpy() != found.test_targets).mean())

@metric(**words("Test split"))
def test_split(run):
    from suite.training.problem import load_test_split
    return float(load_test_split(run.task, run.weights.device, run.weights.dtype).inputs.norm())

@metric(**words("Weights"))
def changes_weights(run):
    run.weights.mul_(2)
    return 1.0

@metric(**words("Inputs"))
def changes_inputs(run):
    run.inputs[0, 0] += 1
    return 1.0

@metric(**words("Graph"))
def asks_for_gradients(run):
    run.weights.requires_grad_()
    return 1.0

@metric(**words("Double"))
def double_only(run):
    if run.weights.dtype != torch.float64:
        raise ValueError("float64 alone")
    return 1.0

@metric(**words("Undefined"))
def undefined(run):
    raise ValueError("never defined")

@metric(**words("Broken"))
def broken(run):
    raise KeyError("x")

@metric(**words("NaN"))
def not_a_number(run):
    return float("nan")

@metric(**words("Hoards"))
def hoards(run):
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return float(len(mmap.mmap(-1, physical * 9 // 10, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)))

@metric(**words("Noise"))
def noise(run):
    os.write(2, b"noise")
    return {
        "open": float(sum(leads_out(number) for number in range(256))),
        "files": float(len(os.listdir("."))),
        "elsewhere": float(not pathlib.Path.cwd().name.startswith("suite-metric-")),
        "without end": float(sum(resource.RLIM_INFINITY in resource.getrlimit(what) for what in LIMITS)),
    }

LIMITS = (resource.RLIMIT_DATA, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)

def leads_out(number):
    try:
        found = os.fstat(number)
    except OSError:
        return False
    if number < 3:
        return not os.path.samestat(found, os.stat(os.devnull))
    of_kernel = os.readlink(f"/proc/self/fd/{number}").startswith("/proc")
    return os.isatty(number) or (stat.S_ISREG(found.st_mode) and not of_kernel)

@metric(**words("Gone"))
def gone(run):
    os._exit(3)
'''


@pytest.fixture(autouse=True, scope="module")
def _not_confined() -> Iterator[None]:
    """Some tests do a worker's job in this process, which is needed afterwards; workers do not hear of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("suite.submission.trials.confine", lambda device, share: None)
        yield


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("metrics") / "rules.py"
    path.write_text(METRICS)
    return path


def silent(done: int, total: int) -> None:
    """Progress that nobody watches."""


@pytest.fixture(scope="module")
def tried_here(file: Path) -> dict[str, Tried]:
    """As `try_metrics` does, in this process: but for who ends it."""
    made: dict[str, Tried] = {}
    metrics = find_metrics([file])
    records: dict[Network, tuple[bytes, bytes]] = {}
    for name in [n for n, m in metrics.items() if m.source == "Nobody 2020" and n not in ("gone", "hoards", "noise")]:
        network = Network.of(metrics[name])
        if network not in records:
            records[network] = (train_job(network, False, silent), train_job(network, True, silent))
        plain, other = records[network]
        sent = trial_job(name, (file,), network, ((PLAIN, plain), (SINGLE, plain)), 1, silent)
        again = trial_job(name, (file,), network, ((OTHER, other), (PLAIN, plain)), 2, silent)
        first, second = read_outcomes(sent, 2), read_outcomes(again, 2)
        assert not isinstance(first, str)
        assert not isinstance(second, str)
        made[name] = Tried(first[0], second[1], second[0], first[1], None, True)
    return made


def test_what_is_sent_is_read_as_outcomes_and_nothing_else() -> None:
    good = '{"values": [["", 1.5, null]], "reason": "", "undefined": false, "changed": [], "read": 0, "seconds": 0.1}'
    found = read_outcomes(f"[{good}]", 1)
    assert not isinstance(found, str)
    assert found[0].values == (("", 1.5, None),)
    for sent in (f"[{good}]" * 2, f"[{good}, {good}]", good, f"[{good}]".replace("1.5", '"a"'), b"", ["a"], "[]"):
        assert isinstance(read_outcomes(sent, 1), str), sent


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("good", []),
        ("good_too", []),
        ("global_random", ["deterministic"]),
        ("test_error", ["test data"]),
        ("test_split", ["test data"]),
        ("changes_weights", ["unchanged"]),
        ("changes_inputs", ["unchanged"]),
        ("asks_for_gradients", ["unchanged"]),
        ("double_only", ["float32"]),
        ("undefined", []),
        ("broken", ["trial"]),
        ("not_a_number", ["trial"]),
    ],
)
def test_the_rule_that_is_broken_is_the_one_that_is_told(
    tried_here: dict[str, Tried], name: str, wrong: list[str]
) -> None:
    assert [f.what for f in trial_findings(tried_here[name]) if f.state == "wrong"] == wrong


def test_the_finding_on_test_data_claims_what_it_shows(tried_here: dict[str, Tried]) -> None:
    (finding,) = [f for f in trial_findings(tried_here["good"]) if f.what == "test data"]
    assert finding.said.startswith("the data source is not read")
    assert "in any other way are for reviewers" in finding.said


def test_what_is_changed_is_named(tried_here: dict[str, Tried]) -> None:
    assert tried_here["changes_weights"].plain.changed == ("weights",)
    assert tried_here["changes_inputs"].plain.changed == ("inputs",)
    assert tried_here["test_error"].plain.read == 1
    assert tried_here["test_error"].plain.values != tried_here["test_error"].other.values


def test_other_test_data_are_others_and_train_the_same_weights() -> None:
    plain, other = (pickle.loads(train_job(Network((), "sgd"), o, silent)).checkpoints[-1] for o in (False, True))
    assert torch.equal(plain.weights, other.weights)
    assert plain.train_loss == other.train_loss
    assert plain.test_loss != other.test_loss
    with watched(Digits, True) as reads:
        changed = Digits().load((), Path())
    real = Digits().load((), Path())
    assert len(reads) == 1
    assert np.array_equal(changed.train_inputs, real.train_inputs)
    assert not np.array_equal(changed.test_inputs, real.test_inputs)


def test_workers_of_their_own_survive_who_ends_them_and_change_nothing_here(file: Path) -> None:
    chosen = {name: one for name, one in find_metrics([file]).items() if name in ("gone", "changes_weights", "good")}
    tried = try_metrics(chosen, (file,), 60.0)
    assert "exit code 3" in tried["gone"].plain.reason
    assert [f.what for f in trial_findings(tried["gone"]) if f.state == "wrong"] == ["trial"]
    # the weights that one metric changes in its worker are whole for the next call
    assert tried["changes_weights"].plain.changed == tried["changes_weights"].again.changed == ("weights",)
    assert tried["changes_weights"].same_training
    assert [f.what for f in trial_findings(tried["good"]) if f.state == "wrong"] == []
    assert tried["good"].plain.values[0][2] == 0.5
    assert tried["good"].plain.values[0][1] == pytest.approx(tried["good"].single.values[0][1], rel=1e-5)


@pytest.mark.skipif(sys.platform != "linux", reason="limits and open files as Linux has them")
def test_trials_are_bounded_silent_and_isolated_as_workers_of_a_run_are(file: Path) -> None:
    """Nine tenths of the machine's memory, of which nothing is used; what leads to an output; where it runs."""
    tried = try_metrics({name: find_metrics([file])[name] for name in ("hoards", "noise")}, (file,), 60.0)
    assert tried["hoards"].plain.reason == "OSError: [Errno 12] Cannot allocate memory"
    assert {name: value for name, value, _ in tried["noise"].plain.values} == {
        "open": 0.0,
        "files": 0.0,
        "elsewhere": 0.0,
        "without end": 0.0,
    }


def test_cuda_is_not_checked_without_one_and_judged_with_one() -> None:
    outcome = Outcome((("", 1.0, None),))
    near, far = Outcome((("", 1.0 + 1e-9, None),)), Outcome((("", 1.001, None),))
    found = {}
    for name, cuda in (("none", None), ("near", near), ("far", far)):
        tried = Tried(outcome, outcome, outcome, outcome, cuda, True)
        (found[name],) = [f for f in trial_findings(tried) if f.what == "CUDA"]
    assert found["none"].said == "not checked: no CUDA device"
    assert (found["none"].state, found["near"].state, found["far"].state) == ("told", "good", "wrong")


@pytest.mark.gpu
def test_a_metric_agrees_on_cuda(file: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    tried = try_metrics({"good": find_metrics([file])["good"]}, (file,), 60.0)["good"]
    assert tried.cuda is not None
    assert tried.cuda.values[0][1] == pytest.approx(tried.plain.values[0][1], rel=1e-9)


def test_a_trial_run_is_what_it_says() -> None:
    run = trial_run()
    assert run.weights.shape == (296,)
    assert run.weights.dtype == torch.float64
    assert run.step == 60
    assert run.training_loss() < 2.0 < trial_run(training={"steps": 1}).training_loss()
    assert trial_run(dtype=torch.float32).weights.dtype == torch.float32
    assert torch.equal(run.weights, trial_run().weights)


def test_a_trial_has_the_probes_that_are_asked_for() -> None:
    run = trial_run("spectrum", "whole", "backward")
    hessian = torch.func.hessian(lambda w: run.batch_loss(w, run.inputs, run.targets))(run.weights)
    top = torch.linalg.eigvalsh(hessian)[-1]
    assert set(run.probes) == {"spectrum", "whole", "backward"}
    assert float(run.whole_spectrum.largest().value) == pytest.approx(float(top), rel=1e-9)
    assert run.backward.euclidean.shape == (40, 40)
    assert trial_task("optimizer").training.optimizer.kind == "adamw"
    with pytest.raises(BadInput, match="no probe of_mine"):
        trial_run("of_mine")


def test_the_state_of_a_run_knows_every_part_of_it() -> None:
    run = trial_run("spectrum")
    state = state_of(run)
    assert {"weights", "initial", "inputs", "targets", "curve", "task", "step"} <= set(state)
    assert any(name.startswith("probes.spectrum.") for name in state)
    assert state == state_of(run)
    changed = dataclasses.replace(run, weights=run.weights + 1e-16)
    run.targets[0] += 1
    assert {n for n in state if state[n] != state_of(run)[n]} == {"targets"}
    assert changed.weights is not run.weights


def test_a_metric_beside_its_test_is_found_before_an_installed_one(tmp_path: Path, file: Path) -> None:
    beside = file.with_name("good.py")
    beside.write_text(METRICS)
    assert trial_metric("good", str(file.with_name("test_good.py"))).title == "Good"
    assert (
        trial_metric("weight_norm", str(tmp_path / "test_weight_norm.py")).title == find_metrics()["weight_norm"].title
    )
    with pytest.raises(BadInput, match="no metric nothing"):
        trial_metric("nothing", str(tmp_path / "test_nothing.py"))
