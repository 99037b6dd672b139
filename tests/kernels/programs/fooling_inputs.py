"""Small whole numbers and other kinds of inputs, and examples that are moved."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tests.kernels.programs.fooling import (
    Fooling,
    conv,
    images,
    mlp,
    mlp_params,
    named,
    normal,
    small_numbers,
    square,
    tokens,
    vectors,
    weights,
)

FOOLING = Fooling()


@FOOLING.add("small numbers: int8 images into a convolution")
def _():
    def f(p, x):
        return jnp.tanh(0.02 * conv(x.astype(float), p)).mean((1, 2))

    return f, weights((2, 2, 1, 3))[0], small_numbers(np.int8, 4, 4, 4, 1)


@FOOLING.add("small numbers: truth values choose rows")
def _():
    def f(p, x):
        return jnp.where(x[..., None], p["a"], p["b"]).sum(1) ** 2 + jnp.logical_not(x) @ p["a"]

    return f, square(), small_numbers(bool, 4, 3, top=2)


@FOOLING.add("small numbers: uint8 as an index and as a number")
def _():
    def f(p, x):
        return p["table"][x // 20].sum(1) + x.astype(float) @ p["w"] * 0.01

    shapes = {"table": (5, 2), "w": (3, 2)}
    return (
        f,
        named(**shapes),
        small_numbers(np.uint8, 4, 3),
    )


@FOOLING.add("small numbers: bits of each number")
def _():
    def f(p, x):
        bits = (x[..., None] >> np.arange(7, dtype=np.uint8)) & 1
        return jnp.tanh(jnp.einsum("nib,bo->no", bits.astype(float), p))

    return f, weights((7, 2))[0], small_numbers(np.uint8, 4, 3)


@FOOLING.add("other inputs: complex numbers")
def _():
    x = jnp.asarray(normal(1, 4, 3) + 1j * normal(2, 4, 3))
    return (lambda p, x: jnp.abs(x @ p["a"] + 0.5) + (x**2 @ p["b"]).imag), square(), x


@FOOLING.add("other inputs: no axis but that of the examples")
def _():
    return (
        (lambda p, x: p["a"] * jnp.sin(p["b"] * x)),
        named(a=(), b=()),
        jnp.asarray(normal(1, 4)),
    )


@FOOLING.add("other inputs: as many examples as features and tokens")
def _():
    def f(p, x):
        return jnp.tanh(jnp.einsum("nij,jk->nki", x, p["a"]) @ p["b"])

    return f, square(), tokens(3, 3, 3)


@FOOLING.add("other inputs: an input that nothing uses")
def _():
    return (lambda p, x: jnp.broadcast_to(p["a"] @ p["b"], (len(x), 3, 3))), square(), vectors()


def moved(name: str, move: Callable) -> None:
    """``move(f, x)`` applies a network to all examples, in some order, and puts them back."""

    @FOOLING.add(f"moved: {name}")
    def _():
        return (lambda p, x: move(functools.partial(mlp, p), x)), mlp_params(), vectors()


moved("by vmap over two axes", lambda f, x: jax.vmap(jax.vmap(lambda a: f(a[None])[0]))(x[None])[0])
moved(
    "by a scan from the end",
    lambda f, x: lax.scan(lambda c, a: (c, f(a[None])[0]), 0, x, reverse=True)[1],
)
moved("by a Python loop", lambda f, x: jnp.stack([f(a[None])[0] for a in x]))
moved(
    "through a sum over a diagonal",
    lambda f, x: jnp.diagonal(f(x)[:, None] * jnp.ones((1, len(x), 1)), axis1=0, axis2=1).T,
)
moved(
    "added up by their numbers",
    lambda f, x: jax.ops.segment_sum(f(x), jnp.arange(len(x)), num_segments=len(x)),
)
moved(
    "taken along an axis",
    lambda f, x: jnp.take_along_axis(f(x), jnp.arange(len(x))[:, None] * jnp.ones((1, 2), int), 0),
)
moved(
    "split over one device",
    lambda f, x: jax.shard_map(
        f, mesh=_mesh(), in_specs=PartitionSpec("d"), out_specs=PartitionSpec("d")
    )(x),
)
moved(
    "with a constraint of where they are",
    lambda f, x: lax.with_sharding_constraint(f(x), NamedSharding(_mesh(), PartitionSpec("d"))),
)


def _mesh() -> Mesh:
    return Mesh(np.array(jax.devices()[:1]), ("d",))


@FOOLING.add("moved: examples are the last axis of a convolution")
def _():
    def f(p, x):
        numbers = ("HWCN", "OIHW", "CNHW")
        out = lax.conv_general_dilated(
            jnp.moveaxis(x, 0, -1), p, (2, 1), ((1, 0), (0, 2)), (1, 2), (1, 2), numbers
        )
        return jnp.tanh(out).mean((2, 3)).T

    return f, weights((3, 2, 2, 2))[0], images()


@FOOLING.add("moved: tokens are examples of a convolution")
def _():
    def f(p, x):
        rows = x.reshape(-1, 4, 2)
        out = lax.conv_general_dilated(
            rows, p, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
        )
        return jnp.tanh(out).reshape(len(x), 4, 4, 3).mean((1, 2))

    return f, weights((3, 2, 3))[0], images()


@FOOLING.add("moved: views of an example are groups of the batch")
def _():
    def f(p, x):
        def one(views):
            return lax.conv_general_dilated(
                views,
                p,
                (1,),
                "VALID",
                dimension_numbers=("NWC", "WIO", "NWC"),
                batch_group_count=2,
            )[0]

        return jnp.tanh(jax.vmap(one)(x.reshape(len(x), 2, 4, -1))).mean(1)

    return f, weights((2, 2, 4))[0], jnp.asarray(normal(4, 3, 2, 4, 2))
