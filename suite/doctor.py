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
from suite.spec.base import DataSpec, family

_PACKAGES = ("torch", "numpy", "pandas", "scipy", "pydantic", "transformers", "safetensors", "matplotlib")


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
    yield _metrics()
    yield _store(home)
    yield from _data()


def _device() -> tuple[str, str, str]:
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return "CUDA", "ok", names
    return "CUDA", "missing", f"no device: the suite runs on {os.cpu_count()} CPU cores"


def _metrics() -> tuple[str, str, str]:
    from suite.measuring.confinement import open_here

    if found := open_here():
        said = "; ".join(f"{what}: {why}" for what, why in found.items())
        return "metrics' confinement", "missing", f"open to them: {said}; run strangers' in a box (docs/security.md)"
    return "metrics' confinement", "ok", "measured without network, and without files and processes of others"


def _store(home: Path) -> tuple[str, str, str]:
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            free = shutil.disk_usage(home).free / 2**30
    except OSError as error:
        return "store", "broken", f"{home}: {error.strerror}; set SUITE_HOME to a folder you can write to"
    return "store", "ok", f"{home.resolve()}, {free:.1f} GiB free"


def _data() -> Iterator[tuple[str, str, str]]:
    """The data sources themselves say what they read and where it lies: a new one is listed without an edit here."""
    try:
        folders, cache = data_folders()
    except SuiteError as error:
        yield "SUITE_DATA_DIR", "broken", str(error)
        return
    kinds = {kind.model_fields["kind"].default: kind for kind in family("suite.data", DataSpec)}
    files = {name: kind.files(folders, cache) for name, kind in kinds.items()}
    made = [name for name, found in files.items() if not found]
    yield f"data: {', '.join(made)}", "ok", "made here, nothing to download"
    sources = {place: kinds[name] for name, found in files.items() for place in found}
    places = {place: path for found in files.values() for place, path in found.items()}
    for name in dict.fromkeys(place.split("/")[0] for place in places):
        yield _set(name, {place: path for place, path in places.items() if place.startswith(f"{name}/")}, sources)


def _set(name: str, places: dict[str, Path | None], sources: dict[str, type[DataSpec]]) -> tuple[str, str, str]:
    found = {place: path for place, path in places.items() if path is not None}
    try:
        for place, path in found.items():
            sources[place].verify(place, path)
    except SuiteError as error:
        return f"data: {name}", "broken", str(error)
    if absent := [place for place in places if place not in found]:
        how = f"downloaded when needed; offline: put {', '.join(absent)} into a folder of SUITE_DATA_DIR"
        return f"data: {name}", "missing", how
    return f"data: {name}", "ok", ", ".join(dict.fromkeys(str(path.parent) for path in found.values()))
