"""Both families of vision transformers as one: weights, logits, models."""

from collections.abc import Callable, Mapping
from functools import cache, lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from jaxntk.errors import InputError
from jaxntk.networks import autoformer, pit
from jaxntk.networks.autoformer import AutoFormer
from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.drawing import leaf_by_leaf
from jaxntk.networks.model import Logits, Model, Variables
from jaxntk.networks.pit import PiT
from jaxntk.networks.pit_classes import DEFAULT_CLASSES, class_of, shape_classes
from jaxntk.spaces.pit import GENE_SIZES, PATCH_SIZE, stride_of

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
        The model, which has no batch normalisation.
    """
    return _transformer_model(network)  # pyright: ignore[reportArgumentType]


@cache
def _transformer_model(network: Transformer) -> Model:

    def draw(seed: int, image: tuple[int, ...], dtype: jnp.dtype) -> dict[str, Any]:
        params = init_params(network, jax.random.key(seed), image, dtype)
        return {"params": params, "batch_stats": {}}

    return _model(network, draw)


@cache
def pyramid_model(
    num_classes: int, num_shape_classes: int = DEFAULT_CLASSES, patch_size: int = PATCH_SIZE
) -> Model:
    """Returns the networks of all of PiT as a model: a program for each of a few shape classes.

    Args:
        num_classes: outputs of the classifier.
        num_shape_classes: how many; more of them compute less and compile longer.
        patch_size: height and width of a patch, in pixels; patches overlap by half.

    Returns:
        The model. Its classes share one draw of weights, of which each takes its part.

    Raises:
        InputError: an impossible number of classes, or no patch.
    """
    shape_classes(num_shape_classes)
    widest = PiT(num_classes, pit.widest(), patch_size, stride_of(patch_size))
    return _pyramid(widest, num_shape_classes)  # pyright: ignore[reportArgumentType]


@cache
def _pyramid(network: PiT, num_shape_classes: int) -> Model:
    """A class, which knows the others and, where patches are pixels, its widest one's draw."""

    def draw(seed: int, image: tuple[int, ...], dtype: jnp.dtype) -> dict[str, Any]:
        whole = _whole(network.clone(shape=pit.widest()), seed, image, jnp.dtype(dtype))
        return dict(take({"params": whole, "batch_stats": {}}, image))

    def take(variables: Variables, image: tuple[int, ...]) -> Variables:
        if network.shape == pit.widest():
            return variables
        return {**variables, "params": pit.class_params(variables["params"], network, image)}

    def program(model: Model, arch: Int[np.ndarray, " genes"]) -> Model:
        own = network.clone(shape=class_of(arch, num_shape_classes))
        return _pyramid(own, num_shape_classes)  # pyright: ignore[reportArgumentType]

    def of_content() -> Model:
        own = network.clone(patch_size=1, stride=1)
        return _pyramid(own, num_shape_classes)  # pyright: ignore[reportArgumentType]

    return _model(network, draw)._replace(program=program, take=take, of_content=of_content)


@lru_cache(maxsize=2)
def _widest_params(network: PiT, seed: int, image: tuple[int, ...], dtype: jnp.dtype) -> Any:
    """Keeps the last draw, which every class takes its part of."""
    return init_params(network, jax.random.key(seed), image, dtype)


def _whole(network: PiT, seed: int, image: tuple[int, ...], dtype: jnp.dtype) -> Any:
    """The parameters of the widest class; those of a trace are no values, and are not kept."""
    key = jax.random.key(seed)
    if isinstance(key, Tracer):
        return init_params(network, key, image, dtype)
    return _widest_params(network, seed, image, dtype)  # pyright: ignore[reportArgumentType]


def _model(network: Transformer, draw: Callable[..., dict[str, Any]]) -> Model:
    """What both families have in common."""

    def of_images(variables: Variables, x: Array, arch: Array) -> Array:
        return logits(network, variables["params"], x, arch)

    def apply(mode: BatchNormMode, axis: str | None) -> Logits:
        return of_images

    def forward(params: Any, batch_stats: Any, x: Array, arch: Array) -> tuple[Array, Any]:
        return logits(network, params, x, arch), batch_stats

    for name in ("num_classes", "patch_size"):
        if getattr(network, name) < 1:
            raise InputError(name, getattr(network, name), "give at least 1")
    size, content = network.patch_size, network.clone(patch_size=1)
    if isinstance(network, PiT):
        # Its patches overlap: what is left at the edges is not seen.
        options, stride, multiple = GENE_SIZES, network.stride, 1
        content = content.clone(stride=1)
    else:
        options, stride, multiple = network.space.sizes, size, size
    return Model(
        network,
        jax.ShapeDtypeStruct((num_genes(network),), jnp.int32),
        draw,
        apply,
        forward,
        options=options,
        multiple=multiple,
        patch=(size, stride),
        of_content=partial(transformer_model, content),
    )
