"""Random programs with independent examples, for whatever follows parameters through a program.

A program is a chain of stages ``(p, h) -> (p, h)``: ``p`` is the list of all parameters, which a
stage may change for those that follow, ``h`` the data, ``(n, *shape)``. A stage is a layer, or
other stages inside a loop, a branch, a wrapper or another order of the examples. What a layer takes
as a weight is a function of ``p`` too: a parameter, part of one, or one that is changed first.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.kernels.programs import (
    batches,
    layers,
    layers_by_data,
    layers_in_loops,
    layers_of_images,
    stages,
)
from tests.kernels.programs.draft import EXAMPLES, Draft, Program, Table
from tests.kernels.programs.layers import Layer, bias
from tests.kernels.programs.stages import finished, no_change_of_p, stage
from tests.kernels.programs.weights import NARROW, weight

LAYERS = Table(
    layers.LAYERS | layers_by_data.LAYERS | layers_in_loops.LAYERS | layers_of_images.LAYERS
)
STAGES = Table(stages.STAGES | batches.STAGES)


def random_program(seed: int, layers: int = 5) -> Program:
    """Returns one program; the same for the same seed and number of layers, about."""
    d = Draft(np.random.default_rng(seed), layers, LAYERS, STAGES)
    x, encode, shape = _inputs(d)
    chain = []
    for _ in range(d.upto(max(1, min(3, layers - 1)))):
        run, shape = stage(d, shape, depth=d.upto(min(layers, 3), 0))
        chain.append(run)
    last, shape = _readout(d, shape)
    if not d.known():
        run, shape = no_change_of_p(d, *finished(d, bias(d, shape), shape))
        chain.append(run)
    places, params = _tree(d)

    def apply_fn(params: Any, x: jax.Array) -> jax.Array:
        p = _collect(places, params)
        h = encode(p, x)
        for run in chain:
            p, h = run(p, h)
        return last(h)

    description = f"random_program({seed}, {layers}): " + " | ".join(d.notes)
    return Program(apply_fn, params, x, description, 1e-5 if NARROW in d.notes else 1e-9)


def _inputs(d: Draft) -> tuple[jax.Array, Layer, tuple[int, ...]]:
    """Returns inputs, the function that makes numbers of them, and their shape."""
    kind = d.pick(["vectors", "vectors", "tokens", "tokens", "images", "words", "small", "truth"])
    d.note(kind)
    if kind == "words":
        ids = d.rng.integers(0, 5, (EXAMPLES, 3)).astype(d.pick([np.int32, np.int64, np.uint8]))
        table = weight(d, (5, 2))
        return jnp.asarray(ids), (lambda p, x: table(p)[x]), (3, 2)
    if kind in ("small", "truth"):
        x = d.rng.integers(0, 2 if kind == "truth" else 100, (EXAMPLES, 4))
        x = x.astype(bool if kind == "truth" else d.pick([np.uint8, np.int8]))
        by, gain = d.constant(4), 1.0 if kind == "truth" else 0.02
        return jnp.asarray(x), (lambda p, x: x.astype(jnp.float64) * gain + 0.3 * by), (4,)
    shape = {
        "vectors": (int(d.rng.integers(2, 5)),),
        "tokens": (int(d.rng.integers(2, 4)), int(d.rng.integers(2, 4))),
        "images": (3, int(d.rng.integers(2, 4)), int(d.rng.integers(1, 3))),
    }[kind]
    return jnp.asarray(d.constant(EXAMPLES, *shape)), (lambda p, x: x), shape


def _readout(d: Draft, shape: tuple[int, ...]) -> tuple[Callable, tuple[int, ...]]:
    if math.prod(shape) <= 6 and d.chance(0.5):
        return (lambda h: h), shape
    how = d.pick(["projected", "summed", "mean", "one number"])
    d.note(how)
    matrix = d.constant(math.prod(shape), 2)
    return {
        "projected": lambda h: h.reshape(len(h), -1) @ matrix,
        "summed": lambda h: h.sum(tuple(range(1, h.ndim - 1))) if h.ndim > 2 else h,
        "mean": lambda h: h.mean(tuple(range(2, h.ndim))) if h.ndim > 2 else h,
        "one number": lambda h: h.reshape(len(h), -1) @ matrix[:, 0],
    }[how], shape


class Pair(NamedTuple):
    """A node that is none of the usual ones."""

    first: Any
    second: Any


def _tree(d: Draft) -> tuple[Any, Any]:
    """Returns a tree of places in the list of parameters, and the tree of parameters."""
    if d.chance(0.2):
        d.leaves.append(d.pick([np.int32(7), np.array([True, False]), np.arange(3)]))
    if len(d.leaves) == 1 and d.chance(0.5):
        return 0, jnp.asarray(d.leaves[0])
    kind = d.pick(["dict", "list", "tuple", "named", "nested", "nested", "numbered", "slashes"])
    d.note(kind)
    places: Any = list(range(len(d.leaves)))
    if kind == "tuple":
        places = (*places, ())
    elif kind == "named":
        places = Pair(places, {"nothing": {}, "none": None})
    elif kind == "dict":
        places = {f"layer_{at}": at for at in reversed(places)} | {"empty": {}}
    elif kind == "numbered":
        places = {at * 7 % 11 + 11 * at: at for at in places}
    elif kind == "slashes":
        half = len(places) // 2
        places = {"a/b": {"c": places[:half]}, "a": {"b": {"c": places[half:]}}}
    elif kind == "nested":
        for _ in range(int(d.rng.integers(1, 4))):
            cut = int(d.rng.integers(len(places) + 1))
            rest, inner = places[:cut], places[cut:]
            inner = d.pick([inner, tuple(inner), Pair({}, inner), {"z": inner, "b": {}}])
            places = [*rest, inner]
    leaves = [jnp.asarray(leaf) for leaf in d.leaves]
    return places, jax.tree.map(lambda at: leaves[at], places)


def _collect(places: Any, params: Any) -> list:
    """Returns the list of parameters, and sees to it that the tree is of the right kinds."""
    found: dict[int, Any] = {}

    def walk(place, given):
        if isinstance(place, int):
            found[place] = given
            return
        assert type(place) is type(given), (type(place), type(given))
        if isinstance(place, dict):
            assert place.keys() == given.keys(), (place.keys(), given.keys())
            for key, inner in place.items():
                walk(inner, given[key])
        elif place is not None:
            for inner, inner_given in zip(place, given, strict=True):
                walk(inner, inner_given)

    walk(places, params)
    return [found[at] for at in range(len(found))]
