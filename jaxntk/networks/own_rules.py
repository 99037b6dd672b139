"""Functions with a derivative written by hand, which is that of their body.

Speed needs some: XLA's CPU backend runs JAX's own gradients of convolutions far slower inside
``scan`` and ``switch`` than outside, and JAX hands on what every branch of a switch may need. What
such a function gives is marked, so that kernels may be followed into its body
(:mod:`jaxntk.kernels.traced`); the rules of others are taken as they are.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array

from jaxntk.networks.forward_mode import in_forward_mode

OWN_RULE = "jaxntk_own_rule"
"""Name in the traced program of what one of our functions gives."""


def own_rule(
    primal: Callable[..., Array],
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    nondiff_argnums: tuple[int, ...] = (),
) -> Callable[..., Array]:
    """Returns a function with its derivative in reverse mode; a plain one in forward mode.

    Args:
        primal: the function.
        forward: as ``jax.custom_vjp`` takes it.
        backward: as there.
        nondiff_argnums: as there.

    Returns:
        The function.
    """

    @wraps(primal)
    def named(*arguments: Any) -> Array:
        return mark(primal(*arguments))

    rule = jax.custom_vjp(named, nondiff_argnums=nondiff_argnums)
    rule.defvjp(forward, backward)

    @wraps(primal)
    def operation(*arguments: Any) -> Array:
        return primal(*arguments) if in_forward_mode() else rule(*arguments)

    return operation


def mark(out: Array) -> Array:
    """Marks what a function gives whose derivative is that of its body.

    Args:
        out: an array among its results.

    Returns:
        The same; nothing is computed.
    """
    return checkpoint_name(out, OWN_RULE)
