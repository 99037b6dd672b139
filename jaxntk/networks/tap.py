"""Reads the kernel of a parameter off a layer that computes its output in its own way.

A tap behind the layer does what the rules of :mod:`jaxntk.networks.gram_rules` do inside of one:
the cotangent of its input ``gram``, which does not change the output, is defined to be the kernel.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxntk.networks.gram_rules import Gram, name_rule

TapRule = Callable[[tuple[Array, ...], Array, tuple[int, ...]], Gram]
"""``(what was saved, cotangent, shape of gram) -> gram``."""


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def tap(
    rule: TapRule, out: Float[Array, "n *shape"], saved: tuple[Array, ...], gram: Array
) -> Float[Array, "n *shape"]:
    """Returns ``out`` unchanged, and the kernel of a parameter that it came from as a cotangent.

    For layers that are not ours: they compute their output as they like, and a tap behind them
    reads off the kernel of one parameter.

    Args:
        rule: ``(saved, cotangent of out, shape of gram) -> gram``, with ``saved`` and cotangent in
            the dtype of ``gram``.
        out: what the layer gave.
        saved: what the rule needs, usually the layer's input. Nothing flows back into it.
        gram: where the kernel is read off.

    Returns:
        ``out``.
    """
    del rule, saved, gram
    return name_rule(out)


def _tap_fwd(
    rule: TapRule, out: Array, saved: tuple[Array, ...], gram: Array
) -> tuple[Array, tuple[tuple[Array, ...], Array]]:
    del rule
    return out, (saved, gram)


def _tap_bwd(
    rule: TapRule, saved: tuple[tuple[Array, ...], Array], ct: Array
) -> tuple[Array, None, Array]:
    inputs, gram = saved
    narrow = tuple(
        each.astype(gram.dtype) if jnp.issubdtype(each.dtype, jnp.floating) else each
        for each in inputs
    )
    return ct, None, rule(narrow, ct.astype(gram.dtype), gram.shape)


tap.defvjp(_tap_fwd, _tap_bwd)
