"""The `@metric` decorator, and how metrics are found: in this package, by entry point, by path. Nobody edits a list."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Literal, TypeVar, get_args

from suite.curvature.estimate import Estimate
from suite.errors import BadInput, first_line
from suite.metrics.fingerprint import FILE_PREFIX, fingerprint_of
from suite.metrics.importing import bounded
from suite.metrics.run import Run
from suite.spec.positions import shortened
from suite.spec.task import TaskSpec

Value = float | Estimate
Measure = Callable[[Run], Value | dict[str, Value]]
Cost = Literal["free", "forward", "gradient", "search"]
Invariance = Literal["rescaling", "reparametrisation", "logit scale", "last layer"]
Optimizer = Literal["sgd", "adamw"]
Origin = str | Path | None
"""Where a metric comes from: a module that an entry point names, a file, or this package (None)."""

COSTS: tuple[Cost, ...] = get_args(Cost)
"""From the cheapest to the dearest."""
_EVERY: tuple[Optimizer, ...] = get_args(Optimizer)
_LONGEST, _LATEST = 400, 10**9
"""Characters of a text, and the highest version."""
ProbeName = Literal[
    "spectrum", "common", "whole", "optimizer", "gradients", "exponents", "attractor", "forward", "backward"
]


def everywhere(task: TaskSpec) -> bool:
    """Of a metric that is defined on every task."""
    return True


def on_vectors(task: TaskSpec) -> bool:
    """Of a metric that is defined for networks on input vectors, not on tokens."""
    return task.data.shape().encoding == "vectors"


@dataclass(frozen=True)
class Metric:
    """Everything that is known of a metric.

    Attributes:
        name: the function's name; names the file of its published values.
        measure: `Run` → float, `Estimate`, or a dict of them by component.
        title: for tables.
        family: for grouping, e.g. "spectrum".
        source: paper and equation.
        sign: +1 if its authors expect the gap to grow with it, −1 if to shrink.
        version: raised whenever its values change; old values are then measured again.
        probes: the shared probes that it reads; it is given no others. Where a task does not ask for one of them, the
            metric has no value there.
        cost: beyond its probes, on each checkpoint: `free` reads what is there; `forward` evaluates the network up to a
            hundred times; `gradient` differentiates it; `search` does either many hundred times.
        invariances: what leaves it unchanged, as far as is known: `rescaling` of the layers of a ReLU network that
            leaves the function as it is; any smooth `reparametrisation`; `logit scale`, a positive factor on the logits
            with the weights as they are (what reads weights alone need not claim it); `last layer`, a positive factor
            on the last layer's weights (and its biases).
        trivial: True for predictors that any real metric must beat.
        optimizers: those that it is defined for; with another the metric has no value, and that is no failure.
        applies: whether it is defined on a task at all, by the task's spec; where not it has no value, which is no
            failure either, and counts 0 there.
        fingerprint: hash of its function and of what that reaches, other modules of this package and the library of
            curvature included (`suite.metrics.fingerprint`). Values are measured again when it changes.
        origin: where it comes from. What comes from outside this package never shares a process with what does not.
    """

    name: str
    measure: Measure
    title: str
    family: str
    source: str
    sign: Literal[1, -1]
    version: int = 1
    probes: tuple[ProbeName, ...] = ()
    cost: Cost = "free"
    invariances: tuple[Invariance, ...] = ()
    trivial: bool = False
    optimizers: tuple[Optimizer, ...] = _EVERY
    applies: Callable[[TaskSpec], bool] = everywhere
    fingerprint: str = ""
    origin: Origin = None


def metric(
    *,
    title: str,
    family: str,
    source: str,
    sign: Literal[1, -1],
    version: int = 1,
    probes: tuple[ProbeName, ...] = (),
    cost: Cost = "free",
    invariances: tuple[Invariance, ...] = (),
    trivial: bool = False,
    optimizers: tuple[Optimizer, ...] = _EVERY,
    applies: Callable[[TaskSpec], bool] = everywhere,
) -> Callable[[Measure], Metric]:
    """Make a metric of a function `Run -> value`; see `Metric` for the words.

    Raises:
        BadInput: a word that is not one of those `Metric` allows.
    """
    _check(title=title, family=family, source=source)
    if type(sign) is not int or sign not in (1, -1):
        raise BadInput(
            f"@metric: sign {_shown(sign)}: 1 if the gap is expected to grow with the metric, -1 if to shrink"
        )
    if type(version) is not int or not 1 <= version < _LATEST:
        raise BadInput(f"@metric: version {_shown(version)}: a whole number from 1")
    if type(trivial) is not bool:
        raise BadInput(f"@metric: trivial {_shown(trivial)}: True or False")
    _among("cost", (cost,), get_args(Cost))
    probes = _among("probes", probes, get_args(ProbeName))
    invariances = _among("invariances", invariances, get_args(Invariance))
    optimizers = _among("optimizers", optimizers, _EVERY)
    if not optimizers:
        raise BadInput("@metric: optimizers (): at least one is meant")
    if not callable(applies):
        raise BadInput(f"@metric: applies {_shown(applies)}: a function of a task's spec is meant")

    def made(measure: Measure) -> Metric:
        words = (title, family, source, sign, version, probes, cost, invariances, trivial, optimizers, applies)
        return Metric(_name_of(measure), measure, *words, fingerprint_of(measure))

    return made


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name.isascii() and name.isidentifier() and len(name) <= _LONGEST // 4


def _name_of(measure: object) -> str:
    """The name of a function: it is a file's, too."""
    name = getattr(measure, "__name__", None)
    if _is_name(name):
        return str(name)
    raise BadInput(f"@metric: {_shown(measure if name is None else name)}: a function with a plain ASCII name is meant")


def _check(**words: str) -> None:
    for name, word in words.items():
        if type(word) is not str or not word.strip() or not word.isprintable() or len(word) > _LONGEST:
            raise BadInput(
                f"@metric: {name} {_shown(word)}: some text is meant, one line of at most {_LONGEST} characters"
            )


_Word = TypeVar("_Word", bound=str)


def _among(name: str, words: Iterable[_Word], known: tuple[str, ...]) -> tuple[_Word, ...]:
    if isinstance(words, str):
        raise BadInput(f"@metric: {name} {_shown(words)}: a tuple is meant, ({_shown(words)},)")
    given = tuple(words)
    for word in given:
        if word not in known:
            raise BadInput(f"@metric: {name} {_shown(word)}: one of {', '.join(known)}")
        if given.count(word) > 1:
            raise BadInput(f"@metric: {name} {_shown(word)}: given twice")
    return given


def _shown(value: object) -> str:
    return shortened(repr(value), _LONGEST // 4)


def find_metrics(files: Iterable[Path] = ()) -> dict[str, Metric]:
    """All metrics by name: this package's, installed ones (entry points `suite.metrics`), those in `files`.

    Raises:
        BadInput: a file that cannot be imported or has no metric, or a name that two metrics claim.
    """
    installed = dict.fromkeys(entry.module for entry in entry_points(group="suite.metrics"))
    found: dict[str, Metric] = {}
    for origin in (None, *installed, *files):
        for one in metrics_of(origin):
            if one.name in found:
                raise BadInput(f"two metrics are called {one.name}: {_home(found[one.name])} and {_home(one)}")
            found[one.name] = one
    return dict(sorted(found.items()))


def _home(one: Metric) -> str:
    """The file of a metric, for people."""
    return str(one.origin if isinstance(one.origin, Path) else sys.modules[one.measure.__module__].__file__)


def metrics_of(origin: Origin) -> list[Metric]:
    """The metrics of one origin; nothing of the others is imported.

    Raises:
        BadInput: it cannot be imported, or a file has no metric.
    """
    if origin is None:
        home = importlib.import_module("suite.metrics")
        modules = [importlib.import_module(f"suite.metrics.{m.name}") for m in pkgutil.iter_modules(home.__path__)]
        return [one for module in modules for one in _defined(module)]
    if isinstance(origin, Path):
        return [replace(one, origin=origin) for one in _from_file(origin)]
    try:
        module = importlib.import_module(origin)
    except (Exception, SystemExit) as error:
        raise BadInput(f"entry point of suite.metrics, {origin}: {first_line(error)}") from error
    return [replace(one, origin=origin) for one in _unchanged(_defined(module), origin)]


def _defined(module: ModuleType) -> list[Metric]:
    """The metrics that a module itself defines."""
    found = [one for one in vars(module).values() if isinstance(one, Metric)]
    own = [one for one in found if getattr(one.measure, "__module__", None) == module.__name__]
    return [one for number, one in enumerate(own) if one not in own[:number]]  # one may have two names


def _from_file(path: Path) -> list[Metric]:
    try:
        with bounded(path):
            module = module_of(path.absolute(), f"{FILE_PREFIX}{path.stem}")
            found = [] if module is None else _defined(module)
    except KeyboardInterrupt:  # whoever waits had enough of it
        raise
    except BaseException as error:
        raise BadInput(f"{path}: cannot be imported: {_said(error)}") from error
    if module is None:
        raise BadInput(f"{path}: not a Python file; `--metric` takes the path of a file that defines metrics")
    if not found:
        raise BadInput(f"{path}: defines no metric; put `@metric(…)` of suite.metrics.registry before its function")
    if made := [one for one in found if not one.fingerprint]:
        raise BadInput(f"{path}: {_shown(made[0].name)} is not made by `@metric(…)`, which checks what is said of it")
    return _unchanged(found, path)


def _unchanged(found: list[Metric], where: Origin) -> list[Metric]:
    """The same, if nothing was made of them since that `@metric` would not have made: their names are files' names.

    Raises:
        BadInput: a name or a text is another.
    """
    for one in found:
        if not _is_name(one.name):
            raise BadInput(f"{where}: {_shown(one.name)}: a function with a plain ASCII name is meant")
        try:
            _check(title=one.title, family=one.family, source=one.source)
        except BadInput as error:
            raise BadInput(f"{where}: {one.name}: {error}") from None
    return found


def _said(error: BaseException) -> str:
    """What an error of a stranger's says, in a line."""
    try:
        return shortened(first_line(error), _LONGEST)
    except BaseException:  # noqa: BLE001 - an error about an error, of any kind
        return type(error).__name__


def module_of(path: Path, name: str) -> ModuleType | None:
    """The module that a Python file makes, or None if it is none; whatever the file raises is the caller's to tell."""
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses, for one, look their module up
    spec.loader.exec_module(module)
    return module
