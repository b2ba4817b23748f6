"""Spectra at several points of the attractor."""

from __future__ import annotations

from dataclasses import dataclass

from suite.curvature.spectrum import Spectrum


@dataclass(frozen=True)
class Attractor:
    """Spectra of the minibatch Hessian at the checkpoint and at snapshots of the trajectory that goes on from it.

    Attributes:
        spectra: one a point, by ascending step, the checkpoint's first; all points meet the same minibatches.
    """

    spectra: tuple[Spectrum, ...]
