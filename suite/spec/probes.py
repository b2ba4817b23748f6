"""What is measured at a checkpoint, and at what budget."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from suite.spec.base import Strict

ProbeBatch = PositiveInt | Literal["training", "full"]


class DenseSpectrum(Strict):
    """All eigenvalues of the Hessian on each of `minibatches` random minibatches (Def. 4.2, "SD exact")."""

    kind: Literal["dense"] = "dense"
    minibatches: PositiveInt = 8
    batch_size: ProbeBatch = "training"
    dtype: Literal["float32", "float64"] = "float64"


class LanczosSpectrum(Strict):
    """Stochastic Lanczos quadrature: `runs` runs of `steps` steps, one probe and one fixed minibatch a run."""

    kind: Literal["lanczos"] = "lanczos"
    runs: PositiveInt = 8
    steps: Annotated[int, Field(ge=2)] = 60
    batch_size: ProbeBatch = "training"
    dtype: Literal["float32", "float64"] = "float32"


class Probes(Strict):
    """The probes of a task; metrics read these and nothing dearer."""

    spectrum: Annotated[DenseSpectrum | LanczosSpectrum, Field(discriminator="kind")] = DenseSpectrum()
