"""What is measured at a checkpoint, and at what budget."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from suite.spec.base import Strict

ProbeBatch = PositiveInt | Literal["training", "full"]
At = Literal["all", "last"]


class DenseSpectrum(Strict):
    """All eigenvalues of the Hessian on each of `minibatches` random minibatches (Def. 4.2, "SD exact")."""

    kind: Literal["dense"] = "dense"
    minibatches: PositiveInt = 8
    batch_size: ProbeBatch = "training"
    dtype: Literal["float32", "float64"] = "float64"


class LanczosSpectrum(Strict):
    """Stochastic Lanczos quadrature: `runs` runs of `steps` steps, one probe and one fixed minibatch a run.

    With `share` above 1 as many runs share a minibatch: then SD by quantile averaging, which is averaged over
    minibatches and not pooled, has several probes to know each minibatch's spectrum by.
    """

    kind: Literal["lanczos"] = "lanczos"
    runs: PositiveInt = 8
    steps: Annotated[int, Field(ge=2)] = 60
    share: PositiveInt = 1
    batch_size: ProbeBatch = "training"
    dtype: Literal["float32", "float64"] = "float32"


Spectrum = Annotated[DenseSpectrum | LanczosSpectrum, Field(discriminator="kind")]


class Gradients(Strict):
    """Gradients of single samples and of minibatches, and the traces that follow from them."""

    samples: PositiveInt = Field(default=512, description="training inputs whose own gradients are taken")
    minibatches: PositiveInt = Field(default=16, description="minibatches of the training batch size")


class Exponents(Strict):
    """Lyapunov exponents of the optimizer's own map along its trajectory from the checkpoint on."""

    steps: PositiveInt = 200
    leading: PositiveInt | Literal["all"] = Field(default=8, description="how many exponents, or all d of them")
    dtype: Literal["float32", "float64"] = "float64"
    at: At = "last"


class Attractor(Strict):
    """Spectra at several points of the attractor: snapshots of training that goes on from the checkpoint (Def. 4.1)."""

    snapshots: Annotated[int, Field(ge=2)] = 4
    every: PositiveInt = Field(default=100, description="steps from one snapshot to the next")
    spectrum: Spectrum = LanczosSpectrum(runs=4, steps=40)
    at: At = "last"


class Forward(Strict):
    """Distances between the iterates of training that goes on from the checkpoint."""

    steps: PositiveInt = 5000
    points: Annotated[int, Field(ge=10)] = Field(default=500, description="iterates kept of them, evenly spaced")
    samples: PositiveInt = Field(
        default=512, description="training inputs whose losses make the data-dependent distance"
    )
    at: At = "last"


SPECTRA = ("spectrum", "common", "whole", "optimizer")
"""The probes that are spectra, each with a `batch_size`."""


class Probes(Strict):
    """The probes of a task: metrics read these and nothing dearer. One that is null is not made, nor what reads it."""

    spectrum: Spectrum = DenseSpectrum()
    common: Spectrum | None = Field(default=None, description="the spectrum at a batch size that all cells share")
    whole: Spectrum | None = Field(default=None, description="the spectrum on the whole training set: batch_size: full")
    optimizer: LanczosSpectrum | None = Field(
        default=None,
        description="the spectrum of the Hessian preconditioned as AdamW does; for SGD `spectrum` tells all",
    )
    gradients: Gradients | None = Gradients()
    exponents: Exponents | None = None
    attractor: Attractor | None = None
    forward: Forward | None = None

    @model_validator(mode="after")
    def _sizes_mean_something(self) -> Self:
        if self.whole is not None and self.whole.batch_size != "full":
            raise ValueError("whole is on the whole training set: write batch_size: full in it")
        if self.common is not None and not isinstance(self.common.batch_size, int):
            raise ValueError("common is at one batch size for all cells: write a number as batch_size in it")
        return self

    def spectra(self) -> dict[str, DenseSpectrum | LanczosSpectrum]:
        """The spectral probes asked for, by name."""
        return {name: spec for name in SPECTRA if (spec := getattr(self, name)) is not None}
