"""What is kept of the runs of a task: the policy by which `suite gc` frees the rest. In no name of any work."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from suite.spec.base import Strict

Kept = Literal["all", "last", "none"]


class Keep(Strict):
    """What is kept of runs; `suite gc` frees the rest, unless values need it (docs/keeping.md). In no key."""

    weights: Kept = Field(
        default="all", description="of all checkpoints, of each run's last one, or none (initial weights neither)"
    )
    states: Kept = Field(default="all", description="the optimizer's, of all checkpoints, of the last one, or none")
    distances: Literal["all", "none"] = Field(default="all", description="those between the last iterates of training")
    probes: Kept = Field(
        default="all", description="spectra, gradients and the like, of all checkpoints, of the last one, or none"
    )
