"""Where work is done, and the settings of a worker that decide the bits of its results."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from suite.executors import UNUSABLE_DEVICE
from suite.spec.cells import Environment

WORKER_VARIABLES = {
    # one thread a worker: as fast in all, and sums do not depend on how many cores a machine has
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # cuBLAS sums in a fixed order only in a workspace of fixed size; read when CUDA starts
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # joblib, which scikit-learn imports, asks for semaphores, and warns where a confined worker is refused them
    "JOBLIB_MULTIPROCESSING": "0",
}

WORKER_MODULES = ("suite.measuring.jobs", "suite.measuring.train")
"""What workers have imported as they begin."""


@dataclass(frozen=True)
class Place:
    """An environment (what is in the keys: the kind of device and the dtype) and which of its devices it is."""

    environment: Environment
    number: int = 0

    @classmethod
    def of(cls, device: str, dtype: str) -> Place:
        """From `cpu` or `cuda:N`, and the name of a dtype."""
        kind, _, number = device.partition(":")
        return cls(Environment(kind, dtype), int(number or 0))

    @property
    def device(self) -> torch.device:
        """The device, with its number where there may be several."""
        kind = self.environment.device
        return torch.device(kind) if kind == "cpu" else torch.device(kind, self.number)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of training."""
        found: torch.dtype = getattr(torch, self.environment.dtype)
        return found

    def prepare(self) -> None:
        """Set up this process for work here: one thread; on CUDA no reduced precision, and no sums in random order.

        Numbers below 1e-38 (float32) count as zero. Where a network is sure of itself its softmax is full of them, and
        a CPU takes many times as long to calculate with them: a third of a Hessian product's time was left of a
        perceptron that has memorised modular addition. What they add to numbers of ordinary size is below rounding.
        """
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        if self.device.type == "cpu":
            return
        torch.cuda.set_device(self.device)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

    def leave_if_unusable(self) -> None:
        """End this process if the device no longer answers in it.

        After an error inside a CUDA kernel every later call of the process fails: whoever came next would be blamed.
        """
        if self.device.type == "cpu":
            return
        try:
            torch.cuda.synchronize(self.device)
        except RuntimeError:
            os._exit(UNUSABLE_DEVICE)
