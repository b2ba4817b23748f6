"""What is said of the edge of stability along training."""

from __future__ import annotations

from suite.ranking.edge import edge_counts
from suite.ranking.tables import TaskResults


def edge_sentence(results: TaskResults) -> str:
    """In how many networks of a task the edge ratio exceeded 1, in a sentence; empty where it was not recorded."""
    counts = edge_counts(results.edge)
    if counts is None:
        return ""
    if not counts.networks:
        return "λ_max was recorded along training, but there is no edge ratio: the optimizer has none."
    diverged = bool((results.runs["status"] == "diverged").any())
    caveat = " (of a network that diverged: at the last before that)" if diverged else ""
    return (
        f"The edge ratio η (λ_max + ω) / 2 (1 + μ) exceeded 1 at some recorded step of training in {counts.ever} of "
        f"{counts.networks} networks, and at the last one{caveat} in {counts.last}."
    )
