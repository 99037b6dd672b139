"""Neural tangent kernels for neural architecture search, in JAX.

A search space is one network that reads an architecture as data, a kernel is one gradient of that
network, a metric is a number with a status. Each step is a subpackage of its own, and data flows
one way through them: ``data`` -> ``spaces`` -> ``networks`` -> ``kernels`` -> ``metrics`` ->
``results``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxntk.data import load_images, make_batch, standardize
    from jaxntk.kernels import KernelSettings, ModelKernels, check_model, empirical_ntk, plan_ntk
    from jaxntk.metrics import METRICS, evaluate
    from jaxntk.networks import FAMILIES, Family, Model, add_space
    from jaxntk.population import population_kernels
    from jaxntk.spaces import SPACES, Space, sample

__version__ = "0.1.0"

_HOMES = {
    "data": ("load_images", "make_batch", "standardize"),
    "kernels": ("KernelSettings", "ModelKernels", "check_model", "empirical_ntk", "plan_ntk"),
    "metrics": ("METRICS", "evaluate"),
    "networks": ("FAMILIES", "Family", "Model", "add_space"),
    "population": ("population_kernels",),
    "spaces": ("SPACES", "Space", "sample"),
}
_HOME = {name: f"jaxntk.{home}" for home, names in _HOMES.items() for name in names}

__all__ = [
    "FAMILIES",
    "METRICS",
    "SPACES",
    "Family",
    "KernelSettings",
    "Model",
    "ModelKernels",
    "Space",
    "add_space",
    "check_model",
    "empirical_ntk",
    "evaluate",
    "load_images",
    "make_batch",
    "plan_ntk",
    "population_kernels",
    "sample",
    "standardize",
]


def __getattr__(name: str) -> Any:
    # Looked up when it is asked for: what needs the version alone does not load JAX.
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
