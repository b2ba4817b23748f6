"""Architectures, one file each: a `ModelSpec` becomes an `nn.Module`."""
