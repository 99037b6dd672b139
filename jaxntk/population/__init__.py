"""Kernels of many architectures at once, and of images that are spread over devices."""

from jaxntk.population.kernels import PopulationKernels, population_kernels
from jaxntk.population.sharded_images import sharded_kernel

__all__ = ["PopulationKernels", "population_kernels", "sharded_kernel"]
