"""The modules that architectures are built of. They import torch at once; a spec imports them only to build."""
