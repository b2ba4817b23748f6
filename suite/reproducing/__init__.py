"""Published cells made again: which ones, what came out, and whether that is what was published."""
