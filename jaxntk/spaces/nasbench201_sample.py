"""Random NAS-Bench-201 cells."""

import jax
import numpy as np
from jaxtyping import Int32, PRNGKeyArray

from jaxntk.errors import InputError
from jaxntk.spaces.nasbench201_encoding import SPACE_SIZE, from_indices


def sample(key: PRNGKeyArray, num: int, *, unique: bool = True) -> Int32[np.ndarray, "num 6"]:
    """Draws cells uniformly from the whole space.

    With ``unique``, the first k cells of a larger sample under the same key are the sample of k, so
    a study can grow without losing what it has.

    Args:
        key: a JAX random key.
        num: how many cells.
        unique: no cell twice (drawing without replacement).

    Returns:
        The cells, on the host.

    Raises:
        InputError: fewer than one cell, or more unique cells than there are.

    Example:
        >>> sample(jax.random.key(0), 3).shape
        (3, 6)
    """
    if num < 1:
        raise InputError("num", num, "an empty population cannot be ranked; ask for at least 1")
    if not unique:
        return from_indices(np.asarray(jax.random.randint(key, (num,), 0, SPACE_SIZE)))
    if num > SPACE_SIZE:
        cure = f"the space has {SPACE_SIZE} cells; ask for fewer, or pass unique=False"
        raise InputError("num", num, cure)
    return from_indices(np.asarray(jax.random.permutation(key, SPACE_SIZE)[:num]))
