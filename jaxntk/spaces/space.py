"""What a search space is: a record of pure functions on vectors of genes.

An architecture is a vector of genes (:mod:`jaxntk.spaces.genes`), whatever the space. Everything
that depends on the space is a field of its :class:`Space`; :data:`~jaxntk.spaces.registry.SPACES`
lists those that are here, and one of your own is another instance.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jaxtyping import Array, Bool, Int, Int32, PRNGKeyArray
from matplotlib.figure import Figure

from jaxntk.errors import InputError
from jaxntk.spaces import genes

Arch: TypeAlias = Int[np.ndarray, " genes"]
Archs: TypeAlias = Int[np.ndarray, "num genes"]
Costs: TypeAlias = Any
"""A NamedTuple of counts, an entry an architecture: ``params``, ``flops``, what else is cheap."""
CountFn = Callable[[Archs], Costs]
Admits = Callable[[Int[Array, " genes"]], Bool[Array, ""]]

LISTED = 100_000
"""Encodings that are still listed."""


class Space(NamedTuple):
    """A search space.

    Args:
        name: as configurations have it.
        sizes: options of each gene.
        read: any written form to an encoding, the canonical one.
        describe: fields that name an architecture in a row; ``arch`` is one that `read` reads.
        canonical: makes encodings of one architecture equal.
        function: names what is scored once: architectures of one name share their scores.
        same: names what is one in a sample: resamples keep architectures of one name together, as
            they are copies; None for `function`.
        representative: the encoding that is scored for a name.
        costs: counts of architectures, given sizes of images, classes and `network` by name.
        network: sizes of the network that counts depend on, by name.
        baselines: names of the counts, trivial scores that others are held against, all of them
            the higher the better; the last one is taken to be the strongest.
        draw: ``(arch, title) -> figure``; None where there is no picture.
        active: genes of an architecture that a mutation may change, pure JAX; None for all.
        limit: ``(costs, limits) -> whether an architecture keeps them``, pure JAX, for a space that
            is too large to be listed; None where it cannot be limited.
    """

    name: str
    sizes: tuple[int, ...]
    read: Callable[[str], Arch]
    describe: Callable[[Arch], dict[str, str]]
    canonical: Callable[[Archs], Archs]
    function: Callable[[Arch], str]
    representative: Callable[[str], Arch]
    costs: Callable[..., Costs]
    network: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ("params",)
    same: Callable[[Arch], str] | None = None
    draw: Callable[[Arch, str], Figure] | None = None
    active: Callable[[Int[Array, " genes"]], Bool[Array, " genes"]] | None = None
    limit: Callable[[CountFn, Mapping[str, int | float]], Admits] | None = None


def label(space: Space, arch: Arch) -> str:
    """Returns the shortest name of an architecture, the last that a row has.

    Args:
        space: that it is of.
        arch: its encoding.

    Returns:
        A written form.
    """
    *_, last = space.describe(arch).values()
    return last


def written(space: Space, arch: Arch) -> str:
    """Returns the name by which rows are told apart, their field ``arch``.

    Args:
        space: that it is of.
        arch: its encoding.

    Returns:
        The written form, one for each encoding.
    """
    return space.describe(arch)["arch"]


def groups(space: Space, archs: Archs) -> Int[np.ndarray, " num"]:
    """Numbers what architectures compute, in the order in which it first comes.

    Args:
        space: that they are of.
        archs: the encodings.

    Returns:
        A number an architecture, the same for those that compute one function.
    """
    name, numbers = space.same or space.function, {}
    return np.array([numbers.setdefault(name(arch), len(numbers)) for arch in archs])


def read_arch(space: Space, text: str, argument: str) -> Arch:
    """Reads an architecture that a field of another name holds.

    Args:
        space: that it is of.
        text: what is written.
        argument: what to call it in an error.

    Returns:
        Its encoding.

    Raises:
        InputError: no architecture of the space.
    """
    try:
        return space.read(text)
    except InputError as error:
        raise InputError(argument, error.got, error.cure) from error


def listed(space: Space) -> Int32[np.ndarray, "all genes"] | None:
    """Lists all encodings of a space, dormant genes included, the last gene running fastest.

    Args:
        space: the space.

    Returns:
        The encodings; None where there are more than :data:`LISTED`.
    """
    if most(space) > LISTED:
        return None
    return np.indices(space.sizes, np.int32).reshape(len(space.sizes), -1).T


def most(space: Space) -> int:
    """Counts encodings: at most so many architectures there are.

    Args:
        space: the space.

    Returns:
        The number, dormant genes included.
    """
    return math.prod(space.sizes)


def sample(space: Space, key: PRNGKeyArray, num: int) -> Int32[np.ndarray, "num genes"]:
    """Draws architectures that differ.

    Where every encoding is another architecture and all can be listed, they are drawn uniformly
    without replacement. Elsewhere genes are drawn uniformly, and what was drawn before is dropped,
    so that of networks with few blocks and with many there are alike many. The first k of a larger
    sample under the same key are the sample of k.

    Args:
        space: the space.
        key: a JAX random key.
        num: how many.

    Returns:
        Canonical encodings, on the host.

    Raises:
        InputError: fewer than one, or more than there are.
    """
    every = listed(space) if space.active is None else None
    if every is None:
        return genes.sample_distinct(
            key, num, lambda each, count: genes.sample(each, space.sizes, count), space.canonical
        )
    if num < 1:
        raise InputError("num", num, "an empty population cannot be ranked; ask for at least 1")
    if num > len(every):
        raise InputError("num", num, f"the space has {len(every)} architectures; ask for fewer")
    return every[np.asarray(jax.random.permutation(key, len(every))[:num])]
