"""Gram rules of any traced program: follow each parameter to where it meets data, read there.

The function of *one* example is traced (:mod:`.program`) and interpreted under ``jax.vmap``
(:mod:`.interpreter`, :mod:`.control_flow`). A value that depends on parameters alone is a
:class:`~.weights.Node`; where an operation joins it with data stands a tap (:mod:`.taps`), whose
backward pass sees the operands and cotangents of all examples at once and gives the kernel
(:mod:`.contraction`); where a parameter is used more than once, the factors of each use
(:mod:`.joined`) or the per-example gradients. Which of these, :mod:`.survey` finds out beforehand
by running the same interpreter on shapes.
"""
