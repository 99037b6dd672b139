"""Bad input is refused in one line, before anything is computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.kernels.arguments import NtkSettings, check_arguments, examples_of
from jaxntk.kernels.empirical import empirical_ntk, plan_ntk

X = np.ones((2, 4))
BAD = {
    "method": ({"method": "gramm"}, r"^method: got 'gramm'.*gram"),
    "outputs": ({"outputs": "summ"}, r"^outputs: got 'summ'.*sum"),
    "examples": ({"examples": "couple"}, r"^examples: got 'couple'.*coupled"),
    "route": ({"route": "fast"}, r"^route: got 'fast'.*factorised"),
    "tile": ({"tile": 0}, r"^tile: got 0"),
    "tile of a truth value": ({"tile": True}, r"^tile: got True"),
    "tile of neural-tangents": (
        {"tile": 1, "method": "jacobian_contraction"},
        r"^tile: got 1 with method='jacobian_contraction'",
    ),
    "precision": ({"matmul_precision": "sharp"}, r"^matmul_precision: got 'sharp'"),
    "columns": ({"x2": np.ones((2, 3))}, r"^x2: got shape \(2, 3\) .* beside shape \(2, 4\)"),
    "columns of another dtype": ({"x2": np.ones((2, 4), np.float32)}, r"^x2: got .*float32 beside"),
    "columns of another tree": ({"x2": {"x": X}}, r"^x2: got .*same shape and dtype"),
    "no columns": ({"x2": np.ones((0, 4))}, r"^x2: got shape \(0, 4\)"),
    "nothing": ({"x1": np.ones((0, 4))}, r"^x1: got shape \(0, 4\)"),
    "a number": ({"x1": np.float64(1)}, r"^x1: got shape \(\)"),
    "a Python number": ({"x1": 1.0}, r"^x1: got an object of type float"),
    "a word": ({"x1": "images"}, r"^x1: got a tree that is one leaf of type str"),
    "an empty tree": ({"x1": {}}, r"^x1: got no array in an object of type dict"),
    "uneven inputs": ({"x1": (X, X[:1])}, r"^x1: got arrays of shape \(2, 4\).*\(1, 4\)"),
    "no parameter": ({"params": {}}, r"^params: got no parameter"),
    "none with a derivative": ({"params": {"w": np.ones((4, 1), int)}}, r"^params: got no param"),
    "empty parameters": ({"params": {"w": np.ones((0, 1))}}, r"^params: got no parameter"),
    "complex": ({"params": {"w": np.ones((4, 1), complex)}}, r"^params: got w of dtype complex"),
    "a function": (
        {"params": {"w": np.ones((4, 1)), "act": jnp.tanh}},
        r"^params: got act of type",
    ),
    "a name of a dtype": ({"params": {"w": np.ones((4, 1)), "of": "float32"}}, r"^params: got of "),
    "a class": ({"params": {"w": np.ones((4, 1)), "of": float}}, r"^params: got of of type type"),
    "objects": ({"params": {"w": np.array([None])}}, r"^params: got w of type ndarray"),
    "a function as state": ({"state": {"f": jnp.tanh}}, r"^state: got f of type"),
    "coupled columns": ({"x2": X, "examples": "coupled"}, r"^x2: got .*coupled"),
    "coupled gram": ({"method": "gram", "examples": "coupled"}, r"^method: got gram with"),
    "coupled per-example gradients": (
        {"method": "per_example_gradients", "examples": "coupled"},
        r"^method: got per_example_gradients with",
    ),
    "parameters": ({"parameters": lambda path: False}, r"^parameters: got .*paths look like w"),
    "one output": ({"outputs": "class_balanced"}, r"^outputs: got class_balanced"),
    "one output of examples alone": (
        {"outputs": "class_balanced", "method": "per_example_gradients"},
        r"^outputs: got class_balanced",
    ),
}


def _linear(p, x, *state):
    return x @ p["w"]


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_refused_in_one_line(what):
    changes, message = BAD[what]
    arguments = {"params": {"w": np.ones((4, 1))}, "x1": X, "x2": None, "outputs": "sum"} | changes
    with pytest.raises(InputError, match=message) as caught:
        empirical_ntk(
            _linear,
            arguments.pop("params"),
            arguments.pop("x1"),
            arguments.pop("x2"),
            **arguments,
        )
    assert len(str(caught.value).splitlines()) == 1


NO_ROWS = {
    "two arrays": lambda x: (x, x),
    "one row": lambda x: x[:1],
    "a sum": lambda x: x.sum(),
    "no outputs": lambda x: x[:, :0],
    "whole numbers": lambda x: jnp.argmax(x, axis=1),
    "complex": lambda x: x.astype(complex),
    "nothing": lambda x: None,
}


@pytest.mark.parametrize("what", NO_ROWS)
def test_functions_without_one_row_an_example_are_refused(what):
    with pytest.raises(InputError, match=r"^apply_fn: got (no )?outputs") as caught:
        empirical_ntk(lambda p, x: NO_ROWS[what](x * p["w"]), {"w": np.ones(())}, X, outputs="sum")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("method", ["auto", "per_example_gradients"])
def test_a_function_of_one_size_of_batch_is_told_what_to_do(method):
    with pytest.raises(InputError, match=r"^apply_fn: got a function that takes batches of 2"):
        empirical_ntk(
            lambda p, x: x.reshape(2, 4)[:, :3] @ p["w"],
            {"w": np.ones(3)},
            X,
            outputs="sum",
            method=method,
        )


def test_what_a_function_itself_raises_is_raised():
    def wrong(p, x):
        raise RuntimeError("no such layer")

    with pytest.raises(RuntimeError, match="no such layer"):
        empirical_ntk(wrong, {"w": np.ones(3)}, X, outputs="sum")


@pytest.mark.parametrize("what", ["method", "tile", "route", "outputs", "parameters", "complex"])
def test_a_plan_refuses_what_a_kernel_does(what):
    changes, message = BAD[what]
    asked = {"outputs": "sum", "params": {"w": np.ones((4, 1))}} | changes
    params = asked.pop("params")
    with pytest.raises(InputError, match=message):
        plan_ntk(_linear, params, X, NtkSettings(**asked))


@pytest.mark.parametrize("method", ["auto", "gram", "structured_derivatives"])
def test_methods_that_take_whole_batches_are_known(method):
    settings = NtkSettings("trace", method=method)
    check_arguments(settings, X, X)
    assert settings.by_batch == (method == "structured_derivatives")
    assert NtkSettings("trace", examples="coupled").by_batch


def test_shapes_are_as_good_as_arrays():
    shapes = jax.ShapeDtypeStruct((3, 4), jnp.float32)
    check_arguments(NtkSettings("trace"), {"x": shapes}, None)
    assert examples_of({"x": shapes}) == 3
