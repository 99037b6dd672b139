"""What a model is: a network whose architecture is an input, as a record of pure functions.

Kernels, training, evaluation and everything above take a :class:`Model`, whatever the family.
:data:`~jaxntk.networks.registry.FAMILIES` makes those of the spaces that are here; one of your own
is another instance.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped

from jaxntk.errors import InputError
from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.spaces import genes

Variables: TypeAlias = Mapping[str, Any]
"""The Flax collections ``params`` and ``batch_stats``, ``{}`` where no statistics are kept."""
Logits: TypeAlias = Callable[[Variables, Array, Array], Array]
"""``(variables, x, arch) -> logits``, one row an image."""
Statistics: TypeAlias = Callable[[Variables, Array, Array], Any]
"""``(variables, x, arch) -> batch_stats`` of these images."""


def check_arch(model: "Model", arch: Any) -> Shaped[np.ndarray, "*genes"]:
    """Refuses what is no architecture of a model.

    Args:
        model: the network.
        arch: an encoding.

    Returns:
        It as the programs take it.

    Raises:
        InputError: another shape or kind of numbers, or an option that there is not.
    """
    found, wanted = np.asarray(arch), model.choice
    if model.options is not None:
        return genes.check_one(found, model.options)
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        got = f"{found.dtype} of shape {found.shape}"
        raise InputError("arch", got, f"give {wanted.dtype} of shape {wanted.shape}")
    return found


def one_for_all(model: "Model", arch: Int[np.ndarray, "*genes"]) -> "Model":
    """Returns the model itself, which serves every architecture."""
    return model


def whole(variables: Variables, image: tuple[int, ...]) -> Variables:
    """Returns all variables, as a network that serves every architecture uses them."""
    return variables


def never(arch: Shaped[np.ndarray, "*genes"]) -> bool:
    """Says of no architecture that its output is constant."""
    return False


class Routed(NamedTuple):
    """Many architectures that share their weights as one network, for a model that has that.

    Args:
        plan: ``(archs, size, multiple) -> (index, routes, slots)``: which architectures are
            computed together, tables with one entry for each part (of the last table, each entry
            has one of its own for each architecture of the part), and static sizes.
        logits: ``(variables, x, routes, slots, places, enters) -> logits (archs, n, classes)``,
            differentiable in `places`, whose cotangents are the kernels, statistics frozen.
    """

    plan: Callable[[np.ndarray, int, int], tuple[np.ndarray, Any, Hashable]]
    logits: Callable[..., Array]


class Model(NamedTuple):
    """A network whose architecture is an input.

    Args:
        network: names the network by value, hashable; models of equal networks share what is
            compiled.
        choice: shape and dtype of an architecture as the programs take it.
        draw: ``(seed, image shape, dtype) -> variables``: weights of all architectures at once.
        apply: ``(mode, axis name) -> logits``; the axis is that of a ``jax.vmap`` along which the
            rest of a batch lies, None where x is the whole batch. A network without batch
            normalisation gives the same function for every mode.
        forward: the network as it is trained: ``(params, batch_stats, x, arch) -> (logits,
            batch_stats of these images)``.
        options: of each gene, for architectures that are vectors of genes; None for others.
        multiple: what height and width of images, in pixels, are multiples of.
        modes: of batch normalisation in which a kernel can be taken.
        statistics: ``axis name -> statistics``, those that a trained network is tested by; None
            without batch normalisation.
        constant: whether no weight of the official LGA choice (no bias, no classifier) changes
            the output of an architecture, so that its kernel is exactly zero.
        distinct: ``archs -> (distinct, index)``: architectures whose kernels over those weights
            differ, and which of them each is; None where all do.
        program: ``(model, arch) -> model``: the network that computes an architecture; itself
            unless the space needs several. All of them share one draw of weights.
        take: ``(variables of all architectures, image shape) -> variables`` of this program, which
            are all of them unless the space needs several.
        patch: size of the patches that it sees, and from one to the next, in pixels; None where it
            sees pixels.
        of_content: a network with patches, for images whose every pixel is what was a patch.
        routed: many architectures at once; None where that is not written.
    """

    network: Any
    choice: jax.ShapeDtypeStruct
    draw: Callable[[int, tuple[int, ...], jnp.dtype], dict[str, Any]]
    apply: Callable[[BatchNormMode, str | None], Logits]
    forward: Callable[[Any, Any, Array, Array], tuple[Array, Any]]
    options: tuple[int, ...] | None = None
    multiple: int = 1
    modes: tuple[BatchNormMode, ...] = (BatchNormMode.NONE,)
    statistics: Callable[[str | None], Statistics] | None = None
    constant: Callable[[Shaped[np.ndarray, "*genes"]], bool] = never
    distinct: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None
    program: Callable[["Model", Int[np.ndarray, "*genes"]], "Model"] = one_for_all
    take: Callable[[Variables, tuple[int, ...]], Variables] = whole
    patch: tuple[int, int] | None = None
    of_content: Callable[[], "Model"] | None = None
    routed: Routed | None = None

    @property
    def logits(self) -> Logits:
        """Logits of each image on its own, by the statistics in ``batch_stats``."""
        return self.apply(BatchNormMode.STORED, None)

    def tested(self, variables: Variables, x: Array, arch: Array) -> dict[str, Any]:
        """Returns variables by which a trained network is tested.

        Args:
            variables: of one network.
            x: images whose statistics it takes.
            arch: the architecture.

        Returns:
            The variables with these statistics.
        """
        if self.statistics is None:
            return dict(variables)
        return {**variables, "batch_stats": self.statistics(None)(variables, x, arch)}
