"""What works on this machine, what is missing, and how to get it."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from suite import __version__
from suite.data.folders import data_folders
from suite.errors import SuiteError

_PACKAGES = ("torch", "numpy", "pandas", "scipy", "pydantic", "transformers", "safetensors", "matplotlib")
_SETS = {
    "mnist": ("mnist/train-images-idx3-ubyte*",),
    "fashion-mnist": ("fashion-mnist/train-images-idx3-ubyte*",),
    "wikitext-2": ("wikitext-2/test.txt", "wikitext-2/wiki.test.tokens", "wikitext-2/*.zip"),
    "gpt2-bpe": ("gpt2-bpe/vocab.bpe",),
}
"""Patterns of a file of each data set, in a data folder."""


def diagnose(home: Path) -> list[dict[str, str]]:
    """Rows of what, state (ok, missing, broken) and a word on it; missing things have a way to get them."""
    return [{"what": what, "state": state, "note": note} for what, state, note in _rows(home)]


def _rows(home: Path) -> Iterator[tuple[str, str, str]]:
    yield "suite", "ok", f"{__version__} on Python {platform.python_version()}"
    for package in _PACKAGES:
        try:
            yield package, "ok", version(package)
        except PackageNotFoundError:
            yield package, "broken", "not installed: `make run` sets up .venv, or pip install -c constraints.txt -e ."
    yield _device()
    yield _store(home)
    yield from _data()


def _device() -> tuple[str, str, str]:
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return "CUDA", "ok", names
    return "CUDA", "missing", f"no device: the suite runs on {os.cpu_count()} CPU cores"


def _store(home: Path) -> tuple[str, str, str]:
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            free = shutil.disk_usage(home).free / 2**30
    except OSError as error:
        return "store", "broken", f"{home}: {error.strerror}; set SUITE_HOME to a folder you can write to"
    return "store", "ok", f"{home.resolve()}, {free:.1f} GiB free"


def _data() -> Iterator[tuple[str, str, str]]:
    yield "data: digits, modular, markov", "ok", "made here, nothing to download"
    try:
        folders, cache = data_folders()
    except SuiteError as error:
        yield "SUITE_DATA_DIR", "broken", str(error)
        return
    for name, patterns in _SETS.items():
        found = [file for folder in (*folders, cache) for pattern in patterns for file in folder.glob(pattern)]
        if found:
            yield f"data: {name}", "ok", str(found[0].parent)
        else:
            yield f"data: {name}", "missing", "downloaded when needed; offline: put it in a folder of SUITE_DATA_DIR"
