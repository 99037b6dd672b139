"""Neural tangent kernels for neural architecture search, in JAX.

A search space is one network that reads an architecture as data, a kernel is one gradient of that
network, a metric is a number with a status. Each step is a subpackage of its own, and data flows
one way through them: ``data`` -> ``spaces`` -> ``networks`` -> ``kernels`` -> ``metrics`` ->
``results``.
"""

__version__ = "0.1.0"
