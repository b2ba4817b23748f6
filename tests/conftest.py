"""What all tests share."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

from tests.command import suite, workplace

if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread a worker, said before numpy or torch is imported: two workers of two threads each on two cores spin
    # against one another, and linear algebra takes many times as long (to see it: pytest -n 2 tests/measuring).
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of the real data sets: the first of SUITE_DATA_DIR, or shared/data beside the repository."""
    named = os.environ.get("SUITE_DATA_DIR", "").split(os.pathsep)[0]
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data sets: {folder} is not a folder (set SUITE_DATA_DIR)")
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder after `suite run tasks/tiny`, made once for all workers of pytest: to be copied, not changed."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "tiny-run"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            shutil.rmtree(making := folder.with_name("tiny-run-making"), ignore_errors=True)
            code, out, err = suite(workplace(making), "run", "tasks/tiny")
            assert code == 0, err
            assert "tiny/digits" in out
            making.rename(folder)
    return folder


_LONGEST = (
    "test_kill.py",
    "test_pipeline.py",
    "test_hostile.py",
    "test_contributing.py",
    "test_reproducing.py",
    "test_faults_runs.py",
)
"""Files of tests that start whole runs."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: begun last they would be waited for while other workers have nothing to do."""
    items.sort(key=lambda item: item.path.name not in _LONGEST)  # stable: all else stays in order


# the same examples in every run, and no limit on an example's time: these machines are shared and noisy
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def _denormals_as_before() -> Iterator[None]:
    """What prepares a worker in this process makes it flush denormals: hypothesis draws no floats in such a process."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
