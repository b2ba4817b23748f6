"""What a YAML file may say: models, grids, run ids, loading with file and line in every error."""
