"""Both families of vision transformers as one: their weights, logits and length of encodings."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxntk.networks import autoformer, pit
from jaxntk.networks.autoformer import AutoFormer
from jaxntk.networks.drawing import leaf_by_leaf
from jaxntk.networks.model import Model, Variables
from jaxntk.networks.pit import PiT
from jaxntk.spaces.pit import GENE_SIZES

Transformer = AutoFormer | PiT


def logits(
    network: Transformer,
    params: Mapping[str, Any],
    x: Float[Array, "n h w c"],
    arch: Int[Array, " genes"],
) -> Float[Array, "n classes"]:
    """Applies a network of either family.

    Args:
        network: the network.
        params: its parameters.
        x: standardised images.
        arch: the encoding of an architecture.

    Returns:
        The logits.

    Raises:
        InputError: an architecture that is no part of a PiT's class, where it is not traced.
    """
    if isinstance(network, PiT):
        return pit.logits(network, params, x, arch)
    return autoformer.logits(network, params, x, arch)


def num_genes(network: Transformer) -> int:
    """Returns the length of the encodings that a network takes.

    Args:
        network: of either family.

    Returns:
        The number of genes.
    """
    return len(GENE_SIZES if isinstance(network, PiT) else network.space.sizes)


def init_params(
    network: Transformer, key: Array, image_shape: tuple[int, ...], dtype: jnp.dtype
) -> dict[str, Any]:
    """Draws the parameters of a network, which serve all of its architectures.

    Args:
        network: of either family.
        key: a JAX random key.
        image_shape: height, width, channels of one image.
        dtype: of the parameters, in which they are drawn.

    Returns:
        The Flax collection ``params``.

    Raises:
        InputError: images that do not fit the network.
    """
    # A Flax module is a frozen dataclass and hashes by value, which pyright does not see.
    init = _init_fn(network, image_shape, jnp.dtype(dtype))  # pyright: ignore[reportArgumentType]
    return init(key)


@cache
def _init_fn(
    network: Transformer, image_shape: tuple[int, ...], dtype: jnp.dtype
) -> Callable[[Array], dict[str, Any]]:
    # Kept, so that another seed does not compile anew.
    @leaf_by_leaf
    def init(key: Array) -> dict[str, Any]:
        x = jnp.zeros((1, *image_shape), dtype)
        variables: Any = network.init(key, x, jnp.zeros(num_genes(network), jnp.int32))
        return variables["params"]

    return init


def transformer_model(network: Transformer) -> Model:
    """Returns a network as a model: it is trained, tested and scored as the same function.

    Weights that an architecture does not use get no gradient; a recipe's weight decay shrinks them.

    Args:
        network: of a space, or of a class of one.

    Returns:
        The model, which keeps no statistics of a batch.
    """

    def draw(seed: int, image: tuple[int, ...], dtype: jnp.dtype) -> dict[str, Any]:
        params = init_params(network, jax.random.key(seed), image, dtype)
        return {"params": params, "batch_stats": {}}

    def apply(variables: Variables, x: Array, arch: Array) -> Array:
        return logits(network, variables["params"], x, arch)

    def forward(params: Any, batch_stats: Any, x: Array, arch: Array) -> tuple[Array, Any]:
        return logits(network, params, x, arch), batch_stats

    def tested(variables: Variables, x: Array, arch: Array) -> dict[str, Any]:
        return dict(variables)

    return Model(network, apply, draw, forward, tested)
