"""Nothing from outside is unpickled: a file of weights runs no code, and no file of ours opens another door."""

from __future__ import annotations

import ast
import contextlib
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from suite.errors import BadInput
from suite.measuring.saved import from_task
from suite.spec.task import TaskSpec
from tests.command import TINY

ROOT = Path(__file__).parents[1] / "suite"


class Evil:
    """Makes a folder where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        import os

        return os.mkdir, (self.folder,)


def as_pickle(path: Path, evil: Evil) -> None:
    path.write_bytes(pickle.dumps({"0.weight": evil}))


def as_saved_by_torch(path: Path, evil: Evil) -> None:
    torch.save({"0.weight": evil}, path)


def as_saved_by_an_old_torch(path: Path, evil: Evil) -> None:
    torch.save({"0.weight": evil}, path, _use_new_zipfile_serialization=False)


def as_a_part_of_good_weights(path: Path, evil: Evil) -> None:
    """A state dict that torch saved, in which the list of tensors was replaced."""
    good = path.with_suffix(".good")
    torch.save({"0.weight": torch.zeros(2)}, good)
    with zipfile.ZipFile(good) as read, zipfile.ZipFile(path, "w") as written:
        for name in read.namelist():
            written.writestr(name, pickle.dumps(evil, 2) if name.endswith("data.pkl") else read.read(name))


def as_numpy(path: Path, evil: Evil) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([evil], dtype=object), allow_pickle=True)


WRITERS = (as_pickle, as_saved_by_torch, as_saved_by_an_old_torch, as_a_part_of_good_weights, as_numpy)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".bin"])
@pytest.mark.parametrize("write", WRITERS)
def test_weights_from_outside_run_nothing(write: Callable[[Path, Evil], None], suffix: str, tmp_path: Path) -> None:
    folder, file = tmp_path / "made", tmp_path / f"weights{suffix}"
    write(file, Evil(folder))
    with pytest.raises(BadInput, match="not a file of tensors alone"):
        from_task(file, TaskSpec.model_validate(yaml.safe_load(TINY)), torch.device("cpu"), torch.float64)
    assert not folder.exists()


@pytest.mark.parametrize("write", WRITERS)
def test_who_unpickles_them_is_had(write: Callable[[Path, Evil], None], tmp_path: Path) -> None:
    """The files above do what they are said to do."""
    folder, file = tmp_path / "made", tmp_path / "weights"
    write(file, Evil(folder))
    if write is as_numpy:
        np.load(file, allow_pickle=True)
    else:
        with contextlib.suppress(RuntimeError):  # of a plain pickle: it is read whole, and then called no checkpoint
            torch.load(file, weights_only=False)
    assert folder.is_dir()


UNPICKLING = {
    "executors/wire.py": "results of its own workers in which no stranger's code ran",
    "executors/worker.py": "jobs of the driver's own",
    "executors/parcel.py": "jobs of the driver's own, on another machine",
    "submission/trials.py": "records of the workers that train, which run no metrics",
}
"""Where something is unpickled, and whose it is."""
DOORS = {
    "eval",
    "exec",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "read_pickle",
    "system",
    "popen",
    "mktemp",
}


def nodes(source: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse(source)))


def names_in(nodes: list[ast.AST]) -> set[str]:
    """Every name that a file reads or imports, and every method that it calls."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {part for alias in node.names for part in alias.name.split(".")}
            found |= set((getattr(node, "module", None) or "").split("."))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            evaluates = node.func.attr == "eval" and not node.args  # torch's word for a network that is not trained
            found |= set() if evaluates else {node.func.attr}
    return found


def doors(nodes: list[ast.AST]) -> list[str]:
    """What a file does that could run what it reads."""
    found = sorted(names_in(nodes) & DOORS)
    for call in (node for node in nodes if isinstance(node, ast.Call)):
        words = {word.arg: ast.unparse(word.value) for word in call.keywords if word.arg in WORDS}
        called = ast.unparse(call.func) if getattr(call.func, "attr", None) in LOADERS else ""
        if called == "torch.load" and words.get("weights_only") != "True":
            found.append("torch.load without weights_only=True")
        if called.startswith("yaml.") and words.get("Loader") not in SAFE:
            found.append(f"{called} without a safe loader")
        if words.get("allow_pickle", "False") != "False":
            found.append("allow_pickle")
        if words.get("shell", "False") != "False":
            found.append("a shell")
    return found


WORDS = ("weights_only", "Loader", "allow_pickle", "shell")
LOADERS = ("load", "load_all", "compose", "compose_all", "parse", "scan")
SAFE = ("yaml.SafeLoader", "yaml.CSafeLoader")


def test_no_file_of_ours_opens_a_door() -> None:
    files = {path.relative_to(ROOT).as_posix(): nodes(path.read_text("utf-8")) for path in ROOT.rglob("*.py")}
    assert {name: found for name, content in files.items() if (found := doors(content))} == {}
    assert {name for name, content in files.items() if "pickle" in names_in(content)} <= set(UNPICKLING)


@pytest.mark.parametrize(
    "source",
    [
        "eval(x)",
        "import os\nos.system(x)",
        "from marshal import loads",
        "import torch\ntorch.load(x)",
        "import torch\ntorch.load(x, weights_only=False)",
        "import yaml\nyaml.load(x, Loader=yaml.Loader)",
        "import numpy as np\nnp.load(x, allow_pickle=True)",
        "import subprocess\nsubprocess.run(x, shell=True)",
        "import pandas as pd\npd.read_pickle(x)",
    ],
)
def test_doors_are_seen(source: str) -> None:
    assert doors(nodes(source))


def test_what_is_no_door_is_none() -> None:
    source = (
        "import torch, yaml\nnetwork.eval()\ntorch.load(x, weights_only=True)\nyaml.compose(x, Loader=yaml.SafeLoader)"
    )
    assert doors(nodes(source)) == []
