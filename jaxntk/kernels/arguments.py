"""The settings of a kernel, and the checks of what is given to it."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxntk.errors import InputError, check_choice
from jaxntk.kernels.function import refuse_non_arrays
from jaxntk.kernels.neural_tangents import NEURAL_TANGENTS_METHODS
from jaxntk.kernels.outputs import Outputs, check_outputs
from jaxntk.kernels.parameters import ParameterChoice
from jaxntk.kernels.traced.contraction import Route, check_route

Method = Literal[
    "auto",
    "gram",
    "per_example_gradients",
    "jacobian_contraction",
    "ntk_vector_products",
    "structured_derivatives",
]
Examples = Literal["independent", "coupled"]


@dataclass(frozen=True)
class NtkSettings:
    """Which kernel is wanted, and how it is to be computed; see ``empirical_ntk``.

    Args:
        outputs: which outputs are differentiated.
        method: how.
        parameters: which parameters enter.
        examples: whether the examples of a batch interact.
        tile: rows computed at a time.
        route: how gradients are contracted.
    """

    outputs: Outputs | str
    method: Method | str = "auto"
    parameters: ParameterChoice = "all"
    examples: Examples | str = "independent"
    tile: int | None = None
    route: Route | str = "auto"

    @property
    def by_batch(self) -> bool:
        """Whether the function is taken batch by batch, rather than example by example."""
        return self.examples == "coupled" or self.method in NEURAL_TANGENTS_METHODS


def examples_of(x: Any) -> int:
    """Returns the number of examples of a batch."""
    return jax.tree.leaves(x)[0].shape[0]


def check_arguments(settings: NtkSettings, x1: Any, x2: Any) -> None:
    """Raises on the first thing that is wrong with what a kernel is asked for.

    Args:
        settings: the kernel.
        x1: the inputs that give the rows.
        x2: those that give the columns, or None.

    Raises:
        InputError: an unknown choice, a bad tile, inputs of the wrong kind, or choices that do not
            go together.
    """
    check_outputs(settings.outputs)
    check_route(settings.route)
    for argument, choices in (("method", Method), ("examples", Examples)):
        check_choice(argument, getattr(settings, argument), get_args(choices))
    tile = settings.tile
    whole = isinstance(tile, int | np.integer) and not isinstance(tile, bool)
    if tile is not None and (not whole or tile < 1):
        raise InputError("tile", repr(tile), "give a whole number from 1, or None for all at once")
    _check_batch("x1", x1)
    if x2 is not None:
        _check_batch("x2", x2)
        _check_alike(x1, x2)
    if settings.examples == "coupled" and settings.method == "gram":
        cure = "choose auto or another method: Gram rules need examples that do not interact"
        raise InputError("method", "gram with examples='coupled'", cure)
    if settings.examples == "coupled" and settings.method == "per_example_gradients":
        settings_cure = "choose auto: an example by itself has no gradient where examples interact"
        raise InputError("method", "per_example_gradients with examples='coupled'", settings_cure)
    nt = settings.method in NEURAL_TANGENTS_METHODS
    if settings.examples == "coupled" and x2 is not None and not nt:
        cure = "give None: coupled examples have the kernel of one batch with itself"
        raise InputError("x2", f"{_shapes(x2)} with examples='coupled'", cure)
    if tile is not None and nt:
        cure = "give None: neural-tangents takes all rows at once"
        raise InputError("tile", f"{tile} with method={settings.method!r}", cure)


def _check_batch(argument: str, x: Any) -> None:
    refuse_non_arrays(argument, x)
    leaves = jax.tree.leaves(x)
    cure = "give an array, or a tree of arrays, with the examples on the first axis"
    if not leaves:
        raise InputError(argument, f"no array in an object of type {type(x).__name__}", cure)
    for leaf in leaves:
        if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
            raise InputError(argument, f"an object of type {type(leaf).__name__}", cure)
        if not leaf.shape or not leaf.shape[0]:
            got = f"shape {leaf.shape}"
            raise InputError(argument, got, "give at least one example, (n, ...)")
    if len({leaf.shape[0] for leaf in leaves}) > 1:
        raise InputError(argument, f"arrays of {_shapes(x)}", "give as many examples in each")


def _check_alike(x1: Any, x2: Any) -> None:
    alike = jax.tree.structure(x1) == jax.tree.structure(x2) and all(
        a.shape[1:] == b.shape[1:] and jnp.result_type(a) == jnp.result_type(b)
        for a, b in zip(jax.tree.leaves(x1), jax.tree.leaves(x2), strict=True)
    )
    if not alike:
        got = f"{_shapes(x2)} beside {_shapes(x1)}"
        raise InputError("x2", got, "give examples of the same shape and dtype as in x1")


def _shapes(x: Any) -> str:
    return "shape " + ", ".join(f"{leaf.shape} {leaf.dtype}" for leaf in jax.tree.leaves(x))
