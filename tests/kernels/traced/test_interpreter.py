"""The interpreter gives what the program gives, and tells of each place where data meet weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxntk.kernels.traced.control_flow import CONTROL_FLOW
from jaxntk.kernels.traced.interpreter import Interpreter
from jaxntk.kernels.traced.weights import Constant, Data, Node, Root, root_node
from tests.networks.tiny import assert_close


class Seen:
    """Notes what an interpreter tells."""

    def __init__(self):
        self.sites, self.pushed = [], []

    def site(self, site, where, loops, steps, data, outs):
        self.sites.append((site.eqn.primitive.name, loops, len(site.roots), where))

    def push(self, node):
        self.pushed.append(node)


def _network(w, x):
    def step(x, row):
        return jnp.tanh(x * row), x.sum()

    hidden = jax.jit(lambda w, x: jnp.exp(w) @ x)(w, x)
    last, sums = lax.scan(step, hidden, w)
    chosen = lax.cond(w[0, 0] > 0, lambda: last * w[0], lambda: last)
    return jax.checkpoint(lambda x: w @ x)(chosen), sums, w.T, jnp.argmax(w)


def _run(weight, data, observer=None):
    program = jax.make_jaxpr(_network)(weight, data)
    tag = jnp.zeros((), jnp.float32)
    interpreter = Interpreter(None, tag, observer, CONTROL_FLOW)
    return interpreter.run(program, [root_node(Root((0,), weight)), Data(data)])


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(size=(3, 3))), jnp.asarray(rng.normal(size=3))


def test_values_are_those_of_the_program(arrays):
    # Compiled: every operation by itself would be, one after another.
    got = jax.jit(lambda w, x: [each.value for each in _run(w, x)])(*arrays)
    for mine, wanted in zip(got, _network(*arrays), strict=True):
        assert_close(mine, wanted, 1e-14)


def test_values_are_known_as_data_weights_and_constants(arrays):
    kinds = []
    jax.eval_shape(lambda w, x: kinds.extend(map(type, _run(w, x))), *arrays)
    assert kinds == [Data, Data, Node, Constant]


def test_sites_are_told_with_the_loops_around_them(arrays):
    seen = Seen()
    jax.eval_shape(lambda w, x: [each.value for each in _run(w, x, seen)], *arrays)
    # JAX may trace the body of a loop twice; the way to a site is the same then.
    sites = {where: rest for *rest, where in seen.sites}
    found = sorted((name, loops) for name, loops, _ in sites.values())
    assert found == [("dot_general", 0), ("dot_general", 0), ("mul", 0), ("mul", 1)]
    assert not seen.pushed


def test_a_weight_that_enters_a_loop_changed_is_told(arrays):
    def looped(w, x):
        return lax.scan(lambda x, row: (x * row, None), x, jnp.exp(w))[0]

    seen = Seen()

    def run(w, x):
        program = jax.make_jaxpr(looped)(w, x)
        tag = jnp.zeros((), jnp.float32)
        inputs = [root_node(Root((0,), w)), Data(x)]
        return Interpreter(None, tag, seen, CONTROL_FLOW).run(program, inputs)[0].value

    jax.eval_shape(run, *arrays)
    assert {root.keys for node in seen.pushed for root in node.roots} == {(0,)}


def test_operations_on_weights_alone_are_no_sites(arrays):
    seen = Seen()
    program = jax.make_jaxpr(lambda w: jnp.tanh(w @ w.T))(arrays[0])
    (out,) = Interpreter(None, None, seen, CONTROL_FLOW).run(
        program, [root_node(Root((0,), arrays[0]))]
    )
    assert isinstance(out, Node)
    assert not seen.sites


def test_constants_go_through_as_they_are(arrays):
    w, x = arrays
    program = jax.make_jaxpr(lambda a, b: a @ b + w @ b)(w, x)
    (out,) = Interpreter(None, None, None, {}).run(program, [Constant(w), Constant(x)])
    assert isinstance(out, Constant)
    assert_close(out.value, 2 * w @ x, 1e-14)


def test_convolutions_have_the_same_value_and_derivative():
    images = jnp.asarray(np.random.default_rng(0).normal(size=(1, 6, 5, 2)))
    kernel = jnp.asarray(np.random.default_rng(1).normal(size=(3, 2, 1, 4)))

    def convolve(x, w):
        return lax.conv_general_dilated(
            x,
            w,
            (2, 1),
            [(1, 0), (0, 2)],
            rhs_dilation=(1, 2),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=2,
        )

    program = jax.make_jaxpr(convolve)(images, kernel)

    def interpreted(x, w):
        (out,) = Interpreter(None, None, None, {}).run(program, [Data(x), Constant(w)])
        return out.value

    @jax.jit
    def both(x, w):
        results = []
        for function in (interpreted, convolve):
            out, pull_back = jax.vjp(function, x, w)
            results.append((out, *pull_back(jnp.cos(out))))
        return results

    for mine, wanted in zip(*both(images, kernel), strict=True):
        assert_close(mine, wanted, 1e-13)
