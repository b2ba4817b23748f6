"""What is looked at: metrics by name or by file, wherever they live; those of a commit's changes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import suite.metrics
from suite.errors import BadInput
from suite.metrics import Metric, find_metrics
from suite.metrics.importing import import_elsewhere
from suite.spec.explain import nearest
from suite.submission.changes import METRICS, Changes

PACKAGE = Path(suite.metrics.__file__).resolve().parent


@dataclass(frozen=True)
class Subject:
    """Metrics to look at.

    Attributes:
        metrics: by name.
        files: those outside of the package, which are to be loaded beside it.
        homes: the file of each metric.
    """

    metrics: dict[str, Metric]
    files: tuple[Path, ...]
    homes: dict[str, Path]


def subject_of(words: Sequence[str]) -> Subject:
    """The metrics that words name: each a metric's name, or the path of a file that defines some.

    Raises:
        BadInput: a word is neither, or a file cannot be imported or has a metric whose name is taken.
    """
    paths = {word: Path(word).resolve() for word in words if _is_path(word)}
    files = _outside(words)
    known = find_metrics(files)
    homes = {name: _home(metric) for name, metric in known.items()}
    chosen: dict[str, Metric] = {}
    for word in words:
        names = [name for name, home in homes.items() if home == paths[word]] if word in paths else [word]
        if word not in paths and word not in known:
            near = nearest(word, known)
            hint = f"; did you mean {near}?" if near else ": give a name that `suite metrics` lists, or a file"
            raise BadInput(f"{word}: no metric of that name{hint}")
        if not names:
            raise BadInput(f"{word}: defines no metric; put `@metric(…)` of suite.metrics before its function")
        chosen |= {name: known[name] for name in names}
    return Subject(chosen, files, {name: homes[name] for name in chosen})


def words_of(given: Sequence[str], since: str | None, folder: Path) -> list[str]:
    """What is to be looked at: what was given, and what changed since a commit of the repository that `folder` is in.

    All that is imported later is imported in another process first, see `import_elsewhere`.

    Raises:
        BadInput: neither is given, or importing ends the process; see `changed_since`.
    """
    if not given and since is None:
        raise BadInput("name a file that defines metrics, or a metric, or --since COMMIT")
    import_elsewhere(_outside(given))
    return list(dict.fromkeys([*given, *(changed_since(since, folder) if since is not None else [])]))


def changed_since(commit: str, folder: Path) -> list[str]:
    """The metrics of the repository that a folder is in of which the file differs from a commit's; words, as above.

    A file of suite/metrics that defines no metric is not among them: it is what `make test` looks at.

    Raises:
        BadInput: this is no git repository, it has no such commit, it is not the one of the suite that runs, or
            published results changed that are not the values of metrics whose file changed.
    """
    changes = Changes.since(commit, folder)
    if changes.root.resolve() / METRICS != PACKAGE:
        raise BadInput(f"--since {commit}: {changes.root} is not the repository of the suite that runs ({PACKAGE})")
    changed = {(changes.root / path).resolve() for path in changes.paths}
    known = find_metrics()
    names = [name for name, metric in known.items() if _home(metric) in changed]
    if strange := changes.unexplained({*names, *changes.gone(known)}):
        raise BadInput(
            f"published results changed that are not of metrics whose file changed since {commit}: "
            f"{'; '.join(strange)}. A pull request adds what `suite publish --metric` writes of its own metrics"
        )
    return names


def _is_path(word: str) -> bool:
    return word.endswith(".py") or "/" in word


def _outside(words: Sequence[str]) -> tuple[Path, ...]:
    """The files among words that are not this package's."""
    paths = [Path(word).resolve() for word in words if _is_path(word)]
    return tuple(dict.fromkeys(path for path in paths if not path.is_relative_to(PACKAGE)))


def _home(metric: Metric) -> Path:
    """Its file; of a file outside of the package as it was named: two of one stem share a module's name."""
    if isinstance(metric.origin, Path):
        return metric.origin.resolve()
    return Path(str(sys.modules[metric.measure.__module__].__file__)).resolve()
