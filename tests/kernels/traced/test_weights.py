"""Values made of parameters alone, and the way of a gradient back through what was done to them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxntk.kernels.traced.interpreter import Interpreter
from jaxntk.kernels.traced.weights import (
    Constant,
    Node,
    Root,
    evaluator,
    is_bare,
    leaves_of,
    pull_back_layout,
    root_node,
)
from tests.networks.tiny import assert_close

RNG = np.random.default_rng(0)
W = RNG.normal(size=(4, 6))


def _followed(function, *weights):
    """Returns what an interpreter makes of a function of weights."""
    weights = list(map(jnp.asarray, weights))
    roots = [root_node(Root((at,), weight)) for at, weight in enumerate(weights)]
    program = jax.make_jaxpr(function)(*weights)
    return roots, Interpreter(None, None, None, {}).run(program, roots)


def _random_step(rng, shape):
    """Returns one operation that moves, cuts, repeats or scales entries, for arrays of a shape."""
    axis = int(rng.integers(len(shape)))
    order = tuple(map(int, rng.permutation(len(shape))))
    steps = [
        lambda w: lax.transpose(w, order),
        lambda w: lax.rev(w, (axis,)),
        lambda w: lax.reshape(w, (w.size,)),
        lambda w: lax.expand_dims(w, (axis,)),
        lambda w: -w,
        lambda w: w * 0.5,
        lambda w: w * jnp.asarray(-3.0),
        lambda w: lax.slice_in_dim(w, 0, max(1, w.shape[axis] - 1), axis=axis),
        lambda w: lax.broadcast_in_dim(w, (2, *w.shape), tuple(range(1, w.ndim + 1))),
    ]
    if shape[axis] % 2 == 0:
        half = shape[axis] // 2
        steps.append(lambda w: lax.split(w, (half, half), axis)[1])
        steps.append(lambda w: lax.reshape(w, (2, half, *np.delete(shape, axis).tolist())))
    return steps[int(rng.integers(len(steps)))]


def _random_chain(seed):
    rng, like, steps = np.random.default_rng(seed), jax.eval_shape(lambda: jnp.asarray(W)), []
    for _ in range(5):
        step = _random_step(rng, like.shape)
        like = jax.eval_shape(step, like)
        steps.append(step)

    def chain(w):
        for step in steps:
            w = step(w)
        return w

    return chain


@pytest.mark.parametrize("seed", range(16))
def test_a_gradient_goes_back_through_a_chain_as_jax_takes_it(seed):
    chain = _random_chain(seed)
    _, (node,) = _followed(chain, W)
    assert node.layout is not None
    scales = [scale.value for scale in node.layout.scales]

    def both(ct):
        mine = pull_back_layout(node.layout, W.shape, scales, ct)
        return mine, jax.vjp(chain, jnp.asarray(W))[1](ct)[0]

    ct = jnp.asarray(RNG.normal(size=node.value.shape))
    mine, wanted = jax.jit(both)(ct)
    assert_close(mine, wanted, 1e-14)
    # Where no entry is repeated, the derivative times itself is a multiple of the identity.
    rows = np.asarray(jax.jit(jax.jacobian(chain))(W)).reshape(node.value.size, W.size)
    scale = np.prod([float(each) ** 2 for each in scales])
    same = np.abs(rows @ rows.T - scale * np.eye(len(rows))).max() <= 1e-13 * scale
    assert same == node.layout.isometric, f"seed {seed}: {node.layout}"


MASK = RNG.integers(0, 2, (4, 6)).astype(float)
NO_LAYOUT = {
    "square": lambda w: w * w,
    "exponential": jnp.exp,
    "sum with a number": lambda w: w + 1.0,
    "mask": lambda w: w * MASK,
    "product": lambda w: w @ jnp.ones((6, 6)),
    "joined with itself": lambda w: jnp.concatenate([w, w]),
    "padded": lambda w: lax.pad(w, jnp.zeros(()), [(1, 0, 0), (0, 0, 0)]),
    "chosen": lambda w: lax.select(jnp.asarray(MASK > 0), w, jnp.zeros_like(w)),
    "moved after a square": lambda w: (w * w).T,
    "complex": lambda w: w.astype(complex),
}


@pytest.mark.parametrize("name", NO_LAYOUT)
def test_what_changes_entries_has_no_layout(name):
    _, (node,) = _followed(NO_LAYOUT[name], W)
    assert isinstance(node, Node)
    assert node.layout is None
    assert [root.keys for root in node.roots] == [(0,)]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_change_of_dtype_is_no_step(dtype):
    _, (node,) = _followed(lambda w: w.astype(dtype).T, W)
    assert node.value.dtype == dtype
    assert len(node.layout.steps) == 1
    back = pull_back_layout(node.layout, W.shape, [], jnp.ones((6, 4), jnp.float32))
    assert (back.dtype, back.shape) == (jnp.float32, W.shape)


def test_a_value_of_two_parameters_has_both_as_roots():
    (first, second), (node,) = _followed(lambda a, b: a * b[0, 0], W, 2 * W)
    assert node.layout is None
    assert {root.keys for root in node.roots} == {(0,), (1,)}
    assert is_bare(first)
    assert not is_bare(node)
    leaves, inner = leaves_of([node])
    assert {first.serial, second.serial} <= {leaf.serial for leaf in leaves}
    seen = {leaf.serial for leaf in leaves}
    for each in inner:
        assert {one.serial for one in each.inputs} <= seen, "inputs come first"
        seen.add(each.serial)


def test_a_scale_may_be_made_of_constants():
    scale = jnp.asarray(3.0)
    _, (node,) = _followed(lambda w: w * jnp.sqrt(scale), W)
    assert [float(each.value) for each in node.layout.scales] == [float(jnp.sqrt(3.0))]


@pytest.mark.parametrize(
    "function",
    [lax.stop_gradient, lambda w: w > 0, lambda w: jnp.argmax(w), lambda w: w.astype(jnp.int32)],
)
def test_what_has_no_derivative_is_a_constant(function):
    _, (value,) = _followed(function, W)
    assert isinstance(value, Constant)


def test_a_graph_is_evaluated_anew_from_other_values_of_its_leaves():
    def both(a, b):
        return jnp.tanh(a @ b.T), a + b

    roots, nodes = _followed(both, W, 2 * W)
    leaves, evaluate = evaluator(nodes)
    changed = {roots[0].serial: 3 * W, roots[1].serial: -W}
    got = evaluate([changed.get(leaf.serial, leaf.value) for leaf in leaves])
    for mine, wanted in zip(got, both(3 * W, -W), strict=True):
        assert_close(mine, wanted, 1e-14)
