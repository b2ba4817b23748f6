"""The `@metric` decorator, and how metrics are found: in this package, by entry point, by path. Nobody edits a list."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Literal, get_args

from suite.curvature.estimate import Estimate
from suite.errors import BadInput, first_line
from suite.metrics.run import Run

Value = float | Estimate
Measure = Callable[[Run], Value | dict[str, Value]]
Cost = Literal["free", "forward", "spectrum"]


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
        cost: `spectrum` reads the shared spectral probe, `forward` evaluates the network, `free` does neither.
        trivial: True for predictors that any real metric must beat.
        fingerprint: sha256 of the file for metrics given by path, whose version nobody keeps; else empty.
    """

    name: str
    measure: Measure
    title: str
    family: str
    source: str
    sign: Literal[1, -1]
    version: int = 1
    cost: Cost = "spectrum"
    trivial: bool = False
    fingerprint: str = ""

    @property
    def reads_spectrum(self) -> bool:
        """Whether the metric is given the spectral probe; without it nothing is measured where the probe failed."""
        return self.cost == "spectrum"


def metric(
    *,
    title: str,
    family: str,
    source: str,
    sign: Literal[1, -1],
    version: int = 1,
    cost: Cost = "spectrum",
    trivial: bool = False,
) -> Callable[[Measure], Metric]:
    """Make a metric of a function `Run -> value`; see `Metric` for the words.

    Raises:
        BadInput: a word that is not one of those `Metric` allows.
    """
    _check(title=title, family=family, source=source)
    if isinstance(sign, bool) or sign not in (1, -1):
        raise BadInput(f"@metric: sign {sign!r}: 1 if the gap is expected to grow with the metric, -1 if to shrink")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise BadInput(f"@metric: version {version!r}: a whole number from 1")
    if cost not in get_args(Cost):
        raise BadInput(f"@metric: cost {cost!r}: one of {', '.join(get_args(Cost))}")

    def made(measure: Measure) -> Metric:
        return Metric(measure.__name__, measure, title, family, source, sign, version, cost, trivial)

    return made


def _check(**words: str) -> None:
    for name, word in words.items():
        if not isinstance(word, str) or not word.strip():
            raise BadInput(f"@metric: {name} {word!r}: some text is meant")


def find_metrics(files: Iterable[Path] = ()) -> dict[str, Metric]:
    """All metrics by name: this package's, installed ones (entry points `suite.metrics`), those in `files`.

    Raises:
        BadInput: a file that cannot be imported or has no metric, or a name that two metrics claim.
    """
    home = importlib.import_module("suite.metrics")
    modules = [importlib.import_module(f"suite.metrics.{m.name}") for m in pkgutil.iter_modules(home.__path__)]
    for entry in entry_points(group="suite.metrics"):
        try:
            modules.append(importlib.import_module(entry.module))
        except (Exception, SystemExit) as error:
            raise BadInput(f"entry point {entry.name} ({entry.value}): {first_line(error)}") from error
    found: dict[str, Metric] = {}
    homes: dict[str, str] = {}
    for module, fingerprint in [*((module, "") for module in modules), *(_from_file(path) for path in files)]:
        for one in vars(module).values():
            if isinstance(one, Metric) and one.measure.__module__ == module.__name__:
                if one.name in found:
                    raise BadInput(f"two metrics are called {one.name}: {homes[one.name]} and {module.__file__}")
                found[one.name] = replace(one, fingerprint=fingerprint)
                homes[one.name] = str(module.__file__)
    return dict(sorted(found.items()))


def _from_file(path: Path) -> tuple[ModuleType, str]:
    """The module that a file makes, and the file's fingerprint."""
    try:
        module = module_of(path, f"suite_metric_file_{path.stem}")
    except (Exception, SystemExit) as error:
        raise BadInput(f"{path}: cannot be imported: {first_line(error)}") from error
    if module is None:
        raise BadInput(f"{path}: not a Python file; `--metric` takes the path of a file that defines metrics")
    if not any(isinstance(one, Metric) for one in vars(module).values()):
        raise BadInput(f"{path}: defines no metric; put `@metric(…)` of suite.metrics.registry before its function")
    return module, hashlib.sha256(path.read_bytes()).hexdigest()


def module_of(path: Path, name: str) -> ModuleType | None:
    """The module that a Python file makes, or None if it is none; whatever the file raises is the caller's to tell."""
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses, for one, look their module up
    spec.loader.exec_module(module)
    return module
