"""Uses of parameters are found from shapes alone, and each parameter is read off the right way."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxntk.kernels.function import example_program, function_of
from jaxntk.kernels.traced.survey import survey
from jaxntk.kernels.traced.taps import Reading

SHAPES = {"w": (3, 3), "v": (3, 2), "stack": (4, 3, 3), "s": ()}
TWICE = "used 2 times"
LOOPED = "used by every step of a loop"
BECOMES = "becomes part of another array inside a loop or branch"


def _surveyed(function):
    params = {name: jnp.ones(shape) for name, shape in SHAPES.items()}
    x = jax.ShapeDtypeStruct((2, 3), jnp.float64)
    taken = function_of(function, params, None, "all", None)
    found = survey(example_program(taken, x))
    return found, {path[0]: key for key, path in enumerate(taken.paths)}


def _scanned(step):
    return lambda p, x: lax.scan(lambda x, w: (step(p, x, w), None), x, p["stack"])[0]


def _operations(found, key):
    return sorted(use.operation for use in found.uses.get(key, {}).values())


# Parameter, how it is read, lengths of the loops that take it apart, why its gradients are kept.
READ = {
    "once": (lambda p, x: x @ p["w"], "w", (), ""),
    "moved first": (lambda p, x: x @ p["w"].T.reshape(3, 3)[::-1] * 2, "w", (), ""),
    "changed first": (lambda p, x: x @ jnp.exp(p["w"]), "w", (), ""),
    "with another parameter": (lambda p, x: x @ (p["w"] * p["s"]), "s", (), ""),
    "twice": (lambda p, x: jnp.tanh(x @ p["w"]) @ p["w"], "w", None, TWICE),
    "three times": (lambda p, x: x @ p["w"] @ p["w"] @ p["w"], "w", None, "used 3 times"),
    "in halves": (lambda p, x: x[:, :1] @ p["w"][:1] + x[:, 1:] @ p["w"][1:], "w", None, TWICE),
    "by a loop over it": (_scanned(lambda p, x, w: x @ w), "stack", (4,), ""),
    "by each step": (_scanned(lambda p, x, w: x @ p["w"]), "w", None, LOOPED),
    "by a loop over it, twice": (_scanned(lambda p, x, w: x @ w @ w), "stack", None, TWICE),
    "by a loop over what it becomes": (
        lambda p, x: lax.scan(lambda x, w: (x @ w, None), x, jnp.exp(p["stack"]))[0],
        "stack",
        None,
        BECOMES,
    ),
    "by a loop over parts of it": (
        lambda p, x: lax.scan(lambda x, w: (x @ w, None), x, p["stack"].reshape(2, 2, 3, 3)[0])[0],
        "stack",
        None,
        BECOMES,
    ),
    "by one step": (
        lambda p, x: lax.scan(lambda x, _: (x @ p["w"], None), x, None, length=1)[0],
        "w",
        (),
        "",
    ),
    "by two branches": (
        lambda p, x: lax.cond(p["s"] > 0, lambda: x @ p["w"], lambda: x @ p["w"].T),
        "w",
        (),
        "",
    ),
    "by branches and beside them": (
        lambda p, x: lax.cond(True, lambda: x @ p["w"], lambda: x) @ p["w"],
        "w",
        None,
        TWICE,
    ),
    "by branches of one example each": (
        lambda p, x: lax.cond(x[0, 0] > 0, lambda: x @ p["w"], lambda: x @ p["w"].T),
        "w",
        None,
        TWICE,
    ),
    "by what leaves a branch": (
        lambda p, x: jnp.matmul(
            *lax.cond(True, lambda x: (x, p["w"]), lambda x: (2 * x, p["w"].T), x)
        ),
        "w",
        None,
        BECOMES,
    ),
    "by what leaves a branch without data": (
        lambda p, x: x @ lax.cond(True, lambda: p["w"], lambda: p["w"].T),
        "w",
        (),
        "",
    ),
    "inside calls": (
        lambda p, x: jax.checkpoint(jax.jit(lambda x: x @ p["w"]))(x),
        "w",
        (),
        "",
    ),
}


@pytest.mark.parametrize("name", READ)
def test_parameters_are_read_off_where_that_is_right(name):
    function, which, leading, why = READ[name]
    found, keys = _surveyed(function)
    key = keys[which]
    if why:
        assert found.reading(key) in (Reading.GRADIENT, Reading.FACTORS), found.uses[key]
        assert found.why_gradient(key) == why
        assert found.leading(key) == ()
    else:
        assert found.reading(key) is Reading.KERNEL, found.uses[key]
        assert found.leading(key) == leading
    unused = set(keys) - {which, "s", "w", "stack"}
    assert {found.reading(keys[other]) for other in unused} == {None}


def test_uses_have_the_names_of_operations_and_their_factors():
    def network(p, x):
        hidden = jnp.tanh(lax.map(lambda row: row @ p["w"], x) * p["s"])
        return hidden @ p["v"] + jax.nn.softplus(p["stack"][0, 0, :2])[None]

    found, keys = _surveyed(network)
    assert _operations(found, keys["w"]) == ["dot_general"]
    assert _operations(found, keys["s"]) == ["mul"]
    assert _operations(found, keys["v"]) == ["dot_general"]
    assert _operations(found, keys["stack"]) == ["add"]
    (use,) = found.uses[keys["v"]].values()
    assert (use.gradients.size, use.gradients.tokens) == ((3, 2, 1), 1)
    (use,) = found.uses[keys["s"]].values()
    assert use.gradients is None


def test_what_a_stopped_gradient_holds_back_is_no_use():
    found, keys = _surveyed(lambda p, x: x @ lax.stop_gradient(p["w"]) + p["s"])
    assert found.reading(keys["w"]) is None
    assert found.reading(keys["s"]) is Reading.KERNEL


def test_outputs_that_are_a_parameter_are_a_use_of_it():
    found, keys = _surveyed(lambda p, x: jnp.broadcast_to(p["w"][:1], x.shape))
    assert _operations(found, keys["w"]) == ["identity"]
    assert found.reading(keys["w"]) is Reading.KERNEL


def test_nothing_is_computed():
    def network(p, x):
        return (
            jax.pure_callback(
                lambda x: pytest.fail("it was run"), jax.ShapeDtypeStruct(x.shape, x.dtype), x
            )
            @ p["w"]
        )

    found, keys = _surveyed(network)
    assert found.reading(keys["w"]) is Reading.KERNEL
