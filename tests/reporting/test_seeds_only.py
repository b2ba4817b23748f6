"""A grid task in which nothing but the seed differs is ranked and reported, every part of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from suite.reporting.board import PUBLISHED, read_board
from suite.reporting.build import Place, build
from tests.ranking.made_up import row, write_task


def test_a_report_on_seeds_alone(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    rows = [row(f"r{seed}", 10, random) | {"seed": seed} for seed in range(12)]
    write_task(tmp_path / "results" / "a/seeds", "grid", pd.DataFrame(rows), ["seed"])
    board = read_board(tmp_path / "results")
    assert board.tasks[0].results.hyperparameters == []
    assert board.tasks[0].clusters == 12
    assert board.tasks[0].drawn == "runs"
    assert board.row("oracle")["score"] == 1.0
    assert board.row("wrong_way")["score"] == -1.0
    build(board, PUBLISHED, Place.within(tmp_path), tmp_path / "site")
    text = (tmp_path / "leaderboard.md").read_text()
    assert "12 networks of 12 runs, 0 left out" in text
    assert "intervals from 12 runs" in text
    assert (tmp_path / "figures/a--seeds.svg").exists()
    assert (tmp_path / "site/a--seeds.html").exists()
