"""Spectra at several points of the attractor."""

from __future__ import annotations

from dataclasses import dataclass

from suite.curvature.spectrum import Spectrum


@dataclass(frozen=True)
class Attractor:
    """Spectra of the minibatch Hessian at snapshots of a trajectory that goes on from the checkpoint.

    Attributes:
        spectra: one a snapshot, by ascending step.
    """

    spectra: tuple[Spectrum, ...]
