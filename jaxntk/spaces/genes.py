"""Vectors of choices: uniform samples, mutations and crossovers of any integer encoding.

An encoding is a vector of integers; entry g, a gene, is the index of one of ``sizes[g]`` options.
Genes can be dormant: those of a block that a shallow network does not have, for example. A mutation
changes one that is not, so that a child is never its parent under another name.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int32, Int64, PRNGKeyArray, Shaped

from jaxntk.errors import InputError

GenesLike: TypeAlias = (
    Sequence[int] | Sequence[Sequence[int]] | Shaped[np.ndarray, "..."] | Shaped[jax.Array, "..."]
)
"""What is accepted as an encoding; shape, type and range are checked where it is used."""

CHUNK = 1024
"""Encodings drawn at a time by :func:`sample_distinct`."""
PATIENCE = 100
"""It gives up after so many draws for each that is wanted, and 100 chunks at least."""


def check_genes(
    genes: GenesLike, sizes: Sequence[int], argument: str = "archs"
) -> Int32[np.ndarray, "num genes"]:
    """Returns a population of encodings as int32, or says what is wrong with it.

    Args:
        genes: one row an architecture.
        sizes: options of each gene.
        argument: what to call it in an error.

    Returns:
        The same encodings.

    Raises:
        InputError: wrong shape, not integers, or a gene out of range.

    Example:
        >>> check_genes([[0, 2]], (2, 3)).tolist()
        [[0, 2]]
    """
    cure = f"give one row of {len(sizes)} genes an architecture, shape (num, {len(sizes)})"
    try:
        values = np.asarray(genes)
    except ValueError as error:
        raise InputError(argument, "rows of different lengths", cure) from error
    if values.ndim != 2 or values.shape[1] != len(sizes):
        raise InputError(argument, f"an array of shape {values.shape}", cure)
    if not np.issubdtype(values.dtype, np.integer):
        raise InputError(argument, f"dtype {values.dtype}", "genes are integers")
    wrong = np.argwhere((values < 0) | (values >= np.asarray(sizes)))
    if len(wrong):
        row, gene = wrong[0]
        got = f"{values[row, gene]} for gene {gene}"
        raise InputError(argument, got, f"gene {gene} is one of 0..{sizes[gene] - 1}")
    return values.astype(np.int32)


def check_one(
    genes: GenesLike, sizes: Sequence[int], argument: str = "arch"
) -> Int32[np.ndarray, " genes"]:
    """Returns one encoding as int32, or says what is wrong with it.

    Args:
        genes: the encoding.
        sizes: options of each gene.
        argument: what to call it in an error.

    Returns:
        The same encoding.

    Raises:
        InputError: wrong shape, not integers, or a gene out of range.

    Example:
        >>> check_one([0, 2], (2, 3)).tolist()
        [0, 2]
    """
    _check_shape(np.shape(genes), sizes, argument)
    return check_genes(np.asarray(genes)[None], sizes, argument)[0]


def sample(key: PRNGKeyArray, sizes: Sequence[int], num: int) -> Int32[np.ndarray, "num genes"]:
    """Draws encodings, every gene uniformly and by itself.

    Args:
        key: a JAX random key.
        sizes: options of each gene.
        num: how many.

    Returns:
        The encodings, on the host.

    Raises:
        InputError: fewer than one.

    Example:
        >>> sample(jax.random.key(0), (2, 3, 4), 5).shape
        (5, 3)
    """
    _check_num(num)
    options = jnp.asarray(np.tile(np.asarray(sizes, np.int32), (num, 1)))
    # A fixed dtype, so that the same key draws the same under any precision.
    drawn = jax.random.randint(key, options.shape, 0, options, jnp.int32)
    return np.asarray(drawn, np.int32)


def sample_distinct(
    key: PRNGKeyArray,
    num: int,
    draw: Callable[[PRNGKeyArray, int], Int32[np.ndarray, "drawn genes"]],
    canonical: Callable[[Int32[np.ndarray, "drawn genes"]], Int32[np.ndarray, "drawn genes"]],
) -> Int32[np.ndarray, "num genes"]:
    """Draws until there are enough architectures that differ.

    The first k of a larger sample under the same key are the sample of k.

    Args:
        key: a JAX random key.
        num: how many.
        draw: ``(key, count) -> encodings``.
        canonical: makes encodings of one architecture equal.

    Returns:
        Canonical encodings, in the order in which they were drawn.

    Raises:
        InputError: fewer than one, or so many draws in vain that there may be no more.
    """
    _check_num(num)
    chunks = max(100, -(-PATIENCE * num // CHUNK))
    found: dict[bytes, Int32[np.ndarray, " genes"]] = {}
    for chunk in range(chunks):
        for each in canonical(draw(jax.random.fold_in(key, chunk), CHUNK)):
            found.setdefault(each.tobytes(), each)
        if len(found) >= num:
            return np.stack(list(found.values())[:num])
    got = f"{num}, but {chunks * CHUNK} draws gave {len(found)} that differ"
    raise InputError("num", got, "ask for fewer")


def mutate(
    key: PRNGKeyArray,
    genes: Int32[Array, " genes"],
    sizes: Sequence[int],
    active: Bool[Array, " genes"] | None = None,
) -> Int32[Array, " genes"]:
    """Changes exactly one gene to another of its options; gene and option are uniform.

    Works under ``jit`` and ``vmap``.

    Args:
        key: a JAX random key.
        genes: an encoding; not checked.
        sizes: options of each gene.
        active: genes that may change; None for all. One without a choice never does.

    Returns:
        The mutated encoding.

    Raises:
        InputError: no gene has two options.

    Example:
        >>> int((mutate(jax.random.key(0), jnp.array([1, 2]), (2, 3)) != jnp.array([1, 2])).sum())
        1
    """
    options = np.asarray(sizes, np.int32)
    if options.max() < 2:
        raise InputError("sizes", list(sizes), "there is only one architecture to mutate to")
    free = jnp.asarray(options > 1)
    free = free if active is None else free & active
    gene_key, option_key = jax.random.split(key)
    which = jax.random.randint(gene_key, (), 0, free.sum(), jnp.int32)
    gene = jnp.argsort(~free, stable=True)[which]
    size = jnp.asarray(options)[gene]
    # A step of 1..size-1 around the ring of options reaches every other one, never the same.
    step = jax.random.randint(option_key, (), 1, size, jnp.int32)
    return genes.at[gene].set((genes[gene] + step) % size)


def crossover(
    key: PRNGKeyArray, a: Int32[Array, " genes"], b: Int32[Array, " genes"]
) -> Int32[Array, " genes"]:
    """Takes each gene from one of two parents, with equal chance.

    Works under ``jit`` and ``vmap``.

    Args:
        key: a JAX random key.
        a: one parent; not checked.
        b: the other.

    Returns:
        The child.

    Example:
        >>> crossover(jax.random.key(0), jnp.array([1, 1]), jnp.array([1, 1])).tolist()
        [1, 1]
    """
    return jnp.where(jax.random.bernoulli(key, jnp.float32(0.5), a.shape), a, b)


def take(
    options: Sequence[int] | Sequence[tuple[int, ...]], genes: Int32[np.ndarray, "*shape"]
) -> Int64[np.ndarray, "..."]:
    """Looks up the options that genes name.

    Args:
        options: numbers, or rows of numbers.
        genes: indices of options.

    Returns:
        An option for each gene.
    """
    return np.array(options, np.int64)[genes]


def gene_of(argument: str, option: Any, options: Sequence[Any]) -> int:
    """Looks up the gene of an option.

    Args:
        argument: what is chosen, for an error.
        option: what was chosen.
        options: what there is.

    Returns:
        Its index.

    Raises:
        InputError: there is no such option.

    Example:
        >>> gene_of("depth", 13, (12, 13, 14))
        1
    """
    if option not in options:
        raise InputError(argument, option, f"choose from {', '.join(map(str, options))}")
    return options.index(option)


def _check_shape(shape: tuple[int, ...], sizes: Sequence[int], argument: str) -> None:
    if shape != (len(sizes),):
        cure = f"give {len(sizes)} genes, shape ({len(sizes)},)"
        raise InputError(argument, f"an array of shape {shape}", cure)


def _check_num(num: int) -> None:
    if num < 1:
        raise InputError("num", num, "an empty population cannot be ranked; ask for at least 1")
