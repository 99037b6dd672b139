"""Augmentation inside the compiled step: random shifts and mirror images."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxntk.training.recipe import Recipe


def augment(
    key: PRNGKeyArray, x: Float[Array, "n h w c"], recipe: Recipe
) -> Float[Array, "n h w c"]:
    """Changes images as a recipe says, each in its own way.

    Args:
        key: a JAX random key.
        x: images.
        recipe: names the augmentation.

    Returns:
        Images of the same shape.
    """
    key_shift, key_flip = jax.random.split(key)
    if recipe.augmentation in ("crop", "crop_flip") and recipe.pad:
        x = random_shift(key_shift, x, recipe.pad)
    if recipe.augmentation == "crop_flip":
        x = random_flip(key_flip, x)
    return x


def random_shift(
    key: PRNGKeyArray, x: Float[Array, "n h w c"], pad: int
) -> Float[Array, "n h w c"]:
    """Pads images with zeros on all sides and crops each at a random place.

    Args:
        key: a JAX random key.
        x: images.
        pad: zeros on each side, and so the largest shift.

    Returns:
        Images of the same shape.

    Example:
        >>> x = jnp.ones((2, 4, 4, 1))
        >>> random_shift(jax.random.key(0), x, 1).shape
        (2, 4, 4, 1)
    """
    corners = jax.random.randint(key, (len(x), 2), 0, 2 * pad + 1)
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))

    def crop(image: Array, corner: Array) -> Array:
        return lax.dynamic_slice(image, (corner[0], corner[1], 0), x.shape[1:])

    return jax.vmap(crop)(padded, corners)


def random_flip(key: PRNGKeyArray, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Mirrors each image left to right with probability 1/2.

    Args:
        key: a JAX random key.
        x: images.

    Returns:
        Images of the same shape.
    """
    flipped = jax.random.bernoulli(key, 0.5, (len(x), 1, 1, 1))
    return jnp.where(flipped, x[:, :, ::-1, :], x)
