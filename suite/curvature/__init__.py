"""Spectra of neural-network curvature: operators, dense spectra, Lanczos quadrature, dimensions. Torch and numpy only.

A network enters as a loss on one flat parameter vector: a function `[d] → scalar`, the mean loss of one batch, written
in operations that `torch.func` can transform.
"""
