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

__all__ = [
    "Coverage",
    "MethodFallback",
    "ModelCheck",
    "NtkPlan",
    "NtkSettings",
    "check_model",
    "empirical_ntk",
    "gram_coverage",
    "gram_kernels",
    "plan_ntk",
    "total",
]
