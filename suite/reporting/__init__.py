"""Reports made from results alone: leaderboard.md, figures, a static site, tables in the terminal. Never torch."""
