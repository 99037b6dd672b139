"""What a model of the zoo is, how its parameters are drawn, and its Jacobian by JAX itself."""

import contextlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

LARGE = 1000
"""Parameters of a model that is large, as models of the zoo go."""


class ZooModel(NamedTuple):
    """A model as its user has it.

    Args:
        apply_fn: ``(params, x) -> outputs (n, ...)``, with a third argument for a state.
        params: any tree; what is not floating-point in it is held constant.
        x: a tree of arrays with the examples on axis 0.
        state: a tree that is not differentiated, or None.
        tolerance: of a kernel, relative to its largest entry.
        idle: parameters of which the outputs have no derivative, as ``jax.tree_util.keystr`` names
            them, or their beginnings.
    """

    apply_fn: Callable[..., jax.Array]
    params: Any
    x: Any
    state: Any = None
    tolerance: float = 1e-10
    idle: tuple[str, ...] = ()

    @property
    def examples(self) -> int:
        return len(jax.tree.leaves(self.x)[0])

    @property
    def size(self) -> int:
        """The number of parameters that have a derivative."""
        leaves = jax.tree.leaves(self.params)
        return sum(math.prod(jnp.shape(leaf)) for leaf in leaves if is_floating(leaf))

    @property
    def large(self) -> bool:
        return self.size > LARGE

    def apply(self, params: Any, x: Any, state: Any) -> jax.Array:
        """Calls ``apply_fn`` with the state if there is one."""
        return self.apply_fn(params, x) if state is None else self.apply_fn(params, x, state)


Make = Callable[..., ZooModel]
"""Makes a model; the largest take ``times``, how many times as wide they are to be."""


def entry(models: dict[str, Make], name: str) -> Callable[[Make], Make]:
    """Puts the decorated function into a part of the zoo."""

    def put(make: Make) -> Make:
        assert name not in models, name
        models[name] = make
        return make

    return put


@contextlib.contextmanager
def as_users_have_it():
    """JAX's defaults: libraries mix float64 with float32, and everyone adds a bias to a batch."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def is_floating(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape) * scale)


def side_of(side: int, times: int) -> int:
    """Returns the side of an image, or the length of a sequence, for a wider network."""
    return side * math.isqrt(times)


def integers(high: int, *shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).integers(0, high, shape), jnp.int32)


def drawn(tree: Any, seed: int = 1) -> Any:
    """Draws the floating-point leaves of a tree of arrays or shapes, and leaves the others.

    No bias is zero and no scale is one: they would hide what is added or multiplied in the wrong
    place. Vectors are positive, for they may be variances.
    """
    rng = np.random.default_rng(seed)

    def draw(leaf: Any) -> Any:
        if not is_floating(leaf):
            return leaf
        if len(leaf.shape) < 2:
            return jnp.asarray(rng.uniform(0.3, 0.9, leaf.shape))
        fan_in = math.prod(leaf.shape[:-1])
        return jnp.asarray(rng.normal(size=leaf.shape) / np.sqrt(fan_in))

    return jax.tree.map(draw, tree)


def shaken(tree: Any, seed: int = 1) -> Any:
    """Makes the floating-point leaves float64, and moves them away from 0 and 1."""
    rng = np.random.default_rng(seed)

    def shake(leaf: Any) -> Any:
        if not is_floating(leaf):
            return leaf
        return jnp.asarray(np.asarray(leaf, np.float64) + rng.uniform(0.1, 0.5, jnp.shape(leaf)))

    return jax.tree.map(shake, tree)


class Reference:
    """The outputs of a model and their float64 Jacobian, by ``jax.jacrev`` on the whole batch."""

    def __init__(self, model: ZooModel) -> None:
        leaves, tree = jax.tree.flatten(model.params)
        floating = [at for at, leaf in enumerate(leaves) if is_floating(leaf)]

        def flat_outputs(chosen, x, state):
            every = list(leaves)
            for at, leaf in zip(floating, chosen, strict=True):
                every[at] = leaf
            out = model.apply(jax.tree.unflatten(tree, every), x, state)
            out = out.reshape(len(out), -1)
            return out, out

        # Exact for narrower parameters; what a model computes in is its own affair.
        chosen = [jnp.asarray(leaves[at], jnp.float64) for at in floating]
        differentiate = jax.jit(jax.jacrev(flat_outputs, has_aux=True))
        jac, out = differentiate(chosen, model.x, model.state)
        names = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(model.params)]
        self.outputs = np.asarray(out, np.float64)
        self.jacobian = {
            names[at]: np.asarray(leaf, np.float64).reshape(*out.shape, -1)
            for at, leaf in zip(floating, jac, strict=True)
        }

    def kernel(self, outputs: str) -> np.ndarray:
        """Returns the kernel ``trace`` or ``sum``, in NumPy."""
        flat = np.concatenate(list(self.jacobian.values()), axis=2)
        if outputs == "sum":
            flat = flat.sum(axis=1, keepdims=True)
        else:
            assert outputs == "trace", outputs
        return np.einsum("icp,jcp->ij", flat, flat)
