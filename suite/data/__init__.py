"""Data sources, one file each: a `DataSpec` becomes train and test arrays."""
