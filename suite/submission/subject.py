"""What is looked at: metrics by name or by file, wherever they live; those of a commit's changes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import suite.metrics
from suite.errors import BadInput
from suite.metrics import Metric, find_metrics
from suite.spec.explain import nearest

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
    files = tuple(dict.fromkeys(path for path in paths.values() if not path.is_relative_to(PACKAGE)))
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


def words_of(given: Sequence[str], since: str | None, root: Path) -> list[str]:
    """What is to be looked at: what was given, and what changed since a commit of the repository that `root` is in.

    Raises:
        BadInput: neither is given; see `changed_since`.
    """
    if not given and since is None:
        raise BadInput("name a file that defines metrics, or a metric, or --since COMMIT")
    return list(dict.fromkeys([*given, *(changed_since(since, root.resolve()) if since is not None else [])]))


def changed_since(commit: str, root: Path) -> list[str]:
    """The metrics of this repository of which the file or published values differ from a commit's; words, as above.

    A file of suite/metrics that defines no metric is not among them: it is what `make test` looks at.

    Raises:
        BadInput: this is no git repository, or it has no such commit; values are of a metric that is not there.
    """
    changed = [root / name for name in _git(root, "diff", "--name-only", "--diff-filter=d", "-z", commit, "--")]
    known = {name: _home(metric) for name, metric in find_metrics().items()}
    words: dict[str, None] = {}
    for path in changed:
        if path.parent.name == "values" and path.suffix == ".csv" and path.is_relative_to(root / "reports/results"):
            if path.stem not in known:
                raise BadInput(f"{path.relative_to(root)}: values of {path.stem}, which is no metric of this suite")
            words[path.stem] = None
        else:
            words |= {name: None for name, home in known.items() if home == path.resolve()}
    return list(words)


def _is_path(word: str) -> bool:
    return word.endswith(".py") or "/" in word


def _home(metric: Metric) -> Path:
    return Path(str(sys.modules[metric.measure.__module__].__file__)).resolve()


def _git(root: Path, *words: str) -> Iterable[str]:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)  # noqa: S603, S607
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["git failed"])[0]
        raise BadInput(f"{words[-2]}: the changes since it cannot be told in {root}: {said}")
    return filter(None, done.stdout.split("\0"))
