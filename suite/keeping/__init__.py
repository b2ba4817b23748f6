"""What is kept of runs, and whether it is whole: `suite gc` and `suite verify` (docs/keeping.md)."""
