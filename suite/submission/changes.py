"""What changed since a commit; published results may change only where changed code explains it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from suite.errors import BadInput

RESULTS = "reports/results/"
METRICS = "suite/metrics/"
_REST = "(all but metric_costs)"


@dataclass(frozen=True)
class Changes:
    """Of the work tree of a repository since a commit; files that git does not track are not looked at.

    Attributes:
        commit, root: since which commit, and the top folder of the repository.
        paths: that differ, were added or were deleted, from `root` on; a file that was renamed counts twice.
    """

    commit: str
    root: Path
    paths: tuple[str, ...]

    @classmethod
    def since(cls, commit: str, folder: Path) -> Changes:
        """Those of the repository that a folder is in, wherever in it that is.

        Raises:
            BadInput: there is no git, this is no repository, or it has no such commit.
        """
        root = Path(_git(folder, commit, "rev-parse", "--show-toplevel").removesuffix("\n"))
        names = _git(root, commit, "diff", "--name-only", "--no-renames", "-z", commit, "--")
        return cls(commit, root, tuple(filter(None, names.split("\0"))))

    def gone(self, known: Collection[str]) -> set[str]:
        """Functions of changed files of suite/metrics, as they were, of which the name is no metric's any more."""
        texts = [self._before(p) or "" for p in self.paths if p.startswith(METRICS) and p.endswith(".py")]
        return {name for text in texts for name in re.findall(r"^def (\w+)\(", text, re.MULTILINE)} - set(known)

    def unexplained(self, metrics: Collection[str]) -> list[str]:
        """Every change of published results but to the values, entries and costs of these metrics, in words."""
        return [said for path in self.paths if path.startswith(RESULTS) for said in self._unexplained(path, metrics)]

    def _unexplained(self, path: str, metrics: Collection[str]) -> Iterator[str]:
        file = PurePosixPath(path)
        if file.parent.name == "values" and file.suffix == ".csv":
            if file.stem not in metrics:
                yield path
        elif file.name in ("metrics.json", "provenance.json"):
            now = (self.root / path).read_text(encoding="utf-8") if (self.root / path).is_file() else None
            one, other = _parts(path, self._before(path)), _parts(path, now)
            changed = {part for part in one | other if one.get(part) != other.get(part)} - set(metrics)
            if changed:
                yield f"{path}: {', '.join(sorted(changed))}"
        else:
            yield path

    def _before(self, path: str) -> str | None:
        """A file as the commit has it; None if it has none."""
        there = _git(self.root, self.commit, "ls-tree", "-z", "--name-only", self.commit, "--", path)
        return _git(self.root, self.commit, "show", f"{self.commit}:{path}") if there else None


def _parts(path: str, text: str | None) -> dict[str, Any]:
    """What a file of results says of each metric, by name, and all the rest."""
    if text is None:
        return {}
    try:
        content = json.loads(text)
        if path.endswith("metrics.json"):
            return {entry["name"]: entry for entry in content}
        costs = content.pop("metric_costs", {})
        return {_REST: content, **costs}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(f"{path}: is not what `suite publish` writes ({error})") from None


def _git(folder: Path, commit: str, *words: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - words of their own, the commit among them: no shell reads them
            ["git", "-C", str(folder), *words],  # noqa: S607 - the user's own git, wherever it lies
            capture_output=True, encoding="utf-8", errors="surrogateescape", check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise BadInput(f"{commit}: the changes since it cannot be told: git is not installed here") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["git failed"])[0]
        raise BadInput(f"{commit}: the changes since it cannot be told in {folder}: {said}")
    return done.stdout
