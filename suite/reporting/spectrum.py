"""The figure of one spectrum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

_BINS = 120


def draw_spectrum(nodes: NDArray[np.float64], masses: NDArray[np.float64], edge: float | None, path: Path) -> None:
    """Eigenvalues against how many there are, with the edge of stability, as an SVG, PDF or PNG by the suffix.

    Args:
        nodes: eigenvalues or Ritz values, any shape.
        masses: how many eigenvalues each stands for, summing to d.
        edge: of stability, or None.
        path: the file to write.
    """
    nodes, masses = nodes.reshape(-1), masses.reshape(-1)
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    top = max(0.0, float(nodes.max()))
    span = max(top, edge) if edge and edge <= 4 * top else top  # a far edge would leave the spectrum no room
    edges = np.linspace(min(0.0, float(nodes.min())), span * 1.02 or 1.0, _BINS + 1)
    counts, edges = np.histogram(nodes, edges, weights=masses)
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color="#35618f", linewidth=0)
    axes.set_yscale("log")
    axes.set_ylim(bottom=min(0.5, 0.5 * float(counts[counts > 0].min())))
    if edge is None:
        pass
    elif edge <= edges[-1]:
        axes.axvline(edge, color="#b3261e", linestyle="--", label=f"edge of stability {edge:.4g}")
        axes.legend(frameon=False)
    else:
        axes.set_title(f"edge of stability {edge:.4g}, beyond this axis", fontsize="medium", loc="right")
    axes.set_xlabel("eigenvalue α of the minibatch Hessian")
    axes.set_ylabel("eigenvalues in the bin")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
