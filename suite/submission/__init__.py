"""How a stranger's metric gets in: a file to begin with, everything that CI asks of it, its published values."""
