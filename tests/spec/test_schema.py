"""The schema of task files: with plug-ins for those who have them, without them in the repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suite.spec.schema import json_schema
from tests.command import install, suite

PLUGIN = """\
from typing import Literal

from suite.data.digits import Digits


class Reversed(Digits):
    kind: Literal["reversed-digits"] = "reversed-digits"
"""


def kinds(text: str) -> set[str]:
    return set(json.loads(text)["properties"]["data"]["discriminator"]["mapping"])


def test_without_plugins_both_schemas_are_the_same() -> None:
    assert json_schema(outsiders=False) == json_schema()
    assert {"digits", "mnist", "wikitext-2"} <= kinds(json_schema())


def test_bases_of_kinds_are_no_kinds() -> None:
    definitions = json.loads(json_schema())["$defs"]
    assert {"Mnist", "GPT2"} <= set(definitions)
    assert not {"Images", "AttentionSpec"} & set(definitions)


def test_an_installed_plugin_is_in_the_schema_shown_but_not_in_the_one_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(install(tmp_path, "suite.data", PLUGIN)))
    code, shown, err = suite(tmp_path, "schema")
    assert code == 0, err
    assert kinds(shown) == kinds(json_schema()) | {"reversed-digits"}
    code, _, err = suite(tmp_path, "schema", "--write", "written.json")
    assert code == 0, err
    assert (tmp_path / "written.json").read_text() == json_schema(outsiders=False)
    assert suite(tmp_path, "schema", "--check", "written.json")[0] == 0


def test_check_writes_nothing_and_says_how_to_write(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("{}\n")
    for name in ("old.json", "absent.json"):
        code, _, err = suite(tmp_path, "schema", "--check", name)
        assert code == 1
        assert f"`suite schema --write {name}`" in err
    assert [p.read_text() for p in tmp_path.iterdir()] == ["{}\n"]


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    code, _, err = suite(tmp_path, "schema", "--write", "nowhere/task.json")
    assert code == 2
    assert "nowhere/task.json cannot be written (No such file or directory)" in err
    assert len(err.splitlines()) == 1
