"""Random NAS-Bench-201 cells: uniform samples, mutations and crossovers from explicit JAX keys."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Int32, PRNGKeyArray

from jaxntk.errors import InputError
from jaxntk.spaces import genes
from jaxntk.spaces.nasbench201_encoding import (
    NUM_EDGES,
    OPS,
    SPACE_SIZE,
    ArchLike,
    check_arch,
    from_indices,
)


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


def mutate(key: PRNGKeyArray, arch: ArchLike) -> Int32[Array, "6"]:
    """Changes the operation on exactly one edge, to another one; edge and operation are uniform.

    Works under ``jit`` and ``vmap``; operations out of range can be told only outside them.

    Args:
        key: a JAX random key.
        arch: six operations, integers 0..4.

    Returns:
        The mutated cell.

    Raises:
        InputError: not a cell.

    Example:
        >>> child = mutate(jax.random.key(0), [4, 2, 1, 2, 1, 1])
        >>> int((child != np.array([4, 2, 1, 2, 1, 1])).sum())
        1
    """
    return genes.mutate(key, _on_device(arch, "arch"), (len(OPS),) * NUM_EDGES)


def crossover(key: PRNGKeyArray, a: ArchLike, b: ArchLike) -> Int32[Array, "6"]:
    """Takes each edge's operation from one of two parents, with equal chance.

    Works under ``jit`` and ``vmap``; operations out of range can be told only outside them.

    Args:
        key: a JAX random key.
        a: one parent, six operations, integers 0..4.
        b: the other.

    Returns:
        The child.

    Raises:
        InputError: a parent is not a cell.

    Example:
        >>> crossover(jax.random.key(0), [1] * 6, [1] * 6).tolist()
        [1, 1, 1, 1, 1, 1]
    """
    return genes.crossover(key, _on_device(a, "a"), _on_device(b, "b"))


def _on_device(arch: ArchLike, argument: str) -> Int32[Array, "6"]:
    """Checks a cell as far as it is known (a traced one by its shape) and makes it a JAX array."""
    if not isinstance(arch, Tracer):
        return jnp.asarray(check_arch(arch, argument))
    if arch.shape != (NUM_EDGES,):
        cure = f"give {NUM_EDGES} operations, one an edge, shape ({NUM_EDGES},)"
        raise InputError(argument, f"an array of shape {arch.shape}", cure)
    return arch.astype(jnp.int32)
