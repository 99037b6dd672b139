"""Empirical neural tangent kernels: from a network and inputs to Gram matrices."""

from jaxntk.kernels.arguments import NtkSettings
from jaxntk.kernels.check import ModelCheck, check_model
from jaxntk.kernels.compiled import clear_caches
from jaxntk.kernels.empirical import empirical_ntk, plan_ntk
from jaxntk.kernels.fisher import FisherSpectrum, fisher_spectrum
from jaxntk.kernels.fourier import FourierMap, ViNTK, vintk_kernel
from jaxntk.kernels.gradients import gradient_dots, per_example_norms
from jaxntk.kernels.gram import layer_kernels
from jaxntk.kernels.guard import MethodFallback, NonFiniteKernel, ZeroKernel
from jaxntk.kernels.layer_kernels import total
from jaxntk.kernels.linearized import linearized
from jaxntk.kernels.memory import MemoryEstimate, estimate_memory, largest_tile
from jaxntk.kernels.model_kernels import ModelKernels
from jaxntk.kernels.nngp import empirical_nngp
from jaxntk.kernels.plan import NtkPlan, ParameterPlan
from jaxntk.kernels.program import CompiledKernel, compile_kernel, layer_kernel_fn
from jaxntk.kernels.regression import RidgePrediction, kernel_ridge_regression
from jaxntk.kernels.settings import KernelSettings
from jaxntk.kernels.vector_products import ntk_operator, ntk_vector_product

__all__ = [
    "CompiledKernel",
    "FisherSpectrum",
    "FourierMap",
    "KernelSettings",
    "MemoryEstimate",
    "MethodFallback",
    "ModelCheck",
    "ModelKernels",
    "NonFiniteKernel",
    "NtkPlan",
    "NtkSettings",
    "ParameterPlan",
    "RidgePrediction",
    "ViNTK",
    "ZeroKernel",
    "check_model",
    "clear_caches",
    "compile_kernel",
    "empirical_nngp",
    "empirical_ntk",
    "estimate_memory",
    "fisher_spectrum",
    "gradient_dots",
    "kernel_ridge_regression",
    "largest_tile",
    "layer_kernel_fn",
    "layer_kernels",
    "linearized",
    "ntk_operator",
    "ntk_vector_product",
    "per_example_norms",
    "plan_ntk",
    "total",
    "vintk_kernel",
]
