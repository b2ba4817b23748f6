"""A data source is one new file: everything that lists sources finds it, nothing else is edited."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import suite as package
from tests.command import TINY, suite

SOURCE = '''\
"""A data source for this test."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from suite.data.digits import Digits


class Scanned(Digits):
    """Digits that pretend to need two files."""

    kind: Literal["scanned"] = "scanned"

    @classmethod
    def files(cls, folders: tuple[Path, ...], cache: Path) -> dict[str, Path | None]:
        """One that is there, one that is not."""
        return {"scanned/ink": folders[0] / "ink", "scanned/paper": None}
'''


def test_a_new_source_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    copy = shutil.copytree(Path(package.__file__).parent, tmp_path / "code" / "suite", ignore=ignore)
    (copy / "data" / "scanned.py").write_text(SOURCE)
    (tmp_path / "mine.yaml").write_text(TINY.replace("{kind: digits}", "{kind: scanned}"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "code"))
    monkeypatch.setenv("SUITE_DATA_DIR", str(tmp_path))
    code, _, err = suite(tmp_path, "validate", "mine.yaml")
    assert code == 0, err
    schema = copy / "spec" / "task.schema.json"
    assert suite(tmp_path, "schema", "--check", str(schema))[0] == 1
    assert suite(tmp_path, "schema", "--write", str(schema))[0] == 0
    assert "scanned" in json.loads(schema.read_text())["properties"]["data"]["discriminator"]["mapping"]
    _, out, err = suite(tmp_path, "doctor")
    assert "data: scanned" in out, err
    assert "scanned/paper" in out
    assert "scanned/ink" not in out, "it is there"
