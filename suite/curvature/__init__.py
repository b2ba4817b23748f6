"""Spectra of neural-network curvature: operators, exact spectra, Lanczos quadrature, dimensions, Lyapunov exponents.

A library of its own on torch and numpy (`README.md` beside this file). A network enters as a loss on one flat parameter
vector: a function `[d] → scalar`, the mean loss of one batch; `Network` makes one of a torch module.
"""

from suite.curvature.bootstrap import adaptive, bootstrap
from suite.curvature.combined import DeflatedOperator, MicroBatchedOperator, PreconditionedOperator
from suite.curvature.dimension import sharpness_dimension
from suite.curvature.eigenpairs import krylov_spectrum, top_eigenpairs
from suite.curvature.estimate import Estimate
from suite.curvature.estimators import AveragedQuantiles, Histogram, Kernel, PseudoSpectrum, Quadrature
from suite.curvature.gauss_newton import empirical_fisher, gauss_newton, true_fisher
from suite.curvature.hessian import HessianOperator, StackedHessian, dense_hessian
from suite.curvature.jacobian import AdamStep, Step, log_singular_values, preconditioner, supremum_over_points
from suite.curvature.lanczos import lanczos_quadrature
from suite.curvature.lyapunov import lyapunov_exponents, multi_step_dimension
from suite.curvature.measure import SpectralMeasure
from suite.curvature.network import Network
from suite.curvature.operator import SymmetricOperator
from suite.curvature.quadrature import spectral_measure, stacked_measure
from suite.curvature.subspace import MLPBatch, RangeBasis, exact_eigenvalues

__all__ = [
    "AdamStep",
    "AveragedQuantiles",
    "DeflatedOperator",
    "Estimate",
    "HessianOperator",
    "Histogram",
    "Kernel",
    "MLPBatch",
    "MicroBatchedOperator",
    "Network",
    "PreconditionedOperator",
    "PseudoSpectrum",
    "Quadrature",
    "RangeBasis",
    "SpectralMeasure",
    "StackedHessian",
    "Step",
    "SymmetricOperator",
    "adaptive",
    "bootstrap",
    "dense_hessian",
    "empirical_fisher",
    "exact_eigenvalues",
    "gauss_newton",
    "krylov_spectrum",
    "lanczos_quadrature",
    "log_singular_values",
    "lyapunov_exponents",
    "multi_step_dimension",
    "preconditioner",
    "sharpness_dimension",
    "spectral_measure",
    "stacked_measure",
    "supremum_over_points",
    "top_eigenpairs",
    "true_fisher",
]
