"""Empirical neural tangent kernels: from a network and inputs to Gram matrices."""

from jaxntk.kernels.check import ModelCheck, check_model
from jaxntk.kernels.coverage import Coverage, gram_coverage
from jaxntk.kernels.empirical import (
    MethodFallback,
    NtkPlan,
    NtkSettings,
    empirical_ntk,
    plan_ntk,
)
from jaxntk.kernels.gram import gram_kernels
from jaxntk.kernels.layer_kernels import total
from jaxntk.kernels.linearized import linearized
from jaxntk.kernels.memory import MemoryEstimate, estimate_memory, largest_tile
from jaxntk.kernels.nngp import empirical_nngp
from jaxntk.kernels.regression import RidgePrediction, kernel_ridge_regression
from jaxntk.kernels.vector_products import ntk_operator, ntk_vector_product

__all__ = [
    "Coverage",
    "MemoryEstimate",
    "MethodFallback",
    "ModelCheck",
    "NtkPlan",
    "NtkSettings",
    "RidgePrediction",
    "check_model",
    "empirical_nngp",
    "empirical_ntk",
    "estimate_memory",
    "gram_coverage",
    "gram_kernels",
    "kernel_ridge_regression",
    "largest_tile",
    "linearized",
    "ntk_operator",
    "ntk_vector_product",
    "plan_ntk",
    "total",
]
