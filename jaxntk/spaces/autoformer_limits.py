"""Limits of parameters and FLOPs in spaces of AutoFormer's kind, which are too large to be listed.

What an architecture costs is what it costs without blocks and what each block adds; both are read
off the costs of architectures whose blocks are all alike. Counts are added up in float32, so that
limits hold with a margin of a millionth.
"""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxntk.spaces.autoformer_encoding import Choices
from jaxntk.spaces.space import Admits, CountFn


def keeps(choices: Choices, costs: CountFn, limits: Mapping[str, int | float]) -> Admits:
    """Returns the predicate of what keeps limits.

    Args:
        choices: the space.
        costs: of its architectures.
        limits: the most that is allowed, of ``params`` or ``flops``.

    Returns:
        Pure JAX: whether an encoding keeps all of them.
    """
    fixed, added = _cost_tables(choices, costs, tuple(limits))
    depths, blocks = jnp.asarray(choices.depths), choices.max_depth
    most = jnp.asarray([(1 - 1e-6) * each for each in limits.values()], jnp.float32)

    def admits(arch: Int[Array, " genes"]) -> Bool[Array, ""]:
        heads, ratios = arch[2 : 2 + blocks], arch[2 + blocks :]
        awake = jnp.arange(blocks) < depths[arch[1]]
        each = jnp.where(awake, added[:, arch[0], heads, ratios], 0.0)
        return (fixed[:, arch[0]] + each.sum(axis=1) <= most).all()

    return admits


def _cost_tables(
    choices: Choices, costs: CountFn, names: tuple[str, ...]
) -> tuple[Float[Array, "counts widths"], Float[Array, "counts widths heads ratios"]]:
    """What an architecture costs without blocks, and what a block adds."""
    depths = np.array(choices.depths)
    shape = (len(choices.embed_dims), len(choices.heads), len(choices.mlp_ratios))
    width, heads, ratio = (each.ravel() for each in np.indices(shape))

    def of_depth(at: int) -> Float[np.ndarray, "counts alike"]:
        repeated = [np.repeat(each[:, None], choices.max_depth, axis=1) for each in (heads, ratio)]
        depth = np.full((len(width), 1), at)
        archs = np.concatenate([width[:, None], depth, *repeated], axis=1).astype(np.int32)
        counts = costs(archs)
        return np.array([getattr(counts, name) for name in names], np.float64)

    low, high = int(np.argmin(depths)), int(np.argmax(depths))
    added = (of_depth(high) - of_depth(low)) / (depths[high] - depths[low])
    fixed = (of_depth(low) - depths[low] * added).reshape(len(names), *shape)[:, :, 0, 0]
    added = added.reshape(len(names), *shape)
    return jnp.asarray(fixed, jnp.float32), jnp.asarray(added, jnp.float32)
