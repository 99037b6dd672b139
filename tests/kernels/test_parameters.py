"""Which parameters enter a kernel, by name and by rule."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.kernels.empirical import empirical_ntk
from jaxntk.kernels.parameters import (
    Places,
    by_path,
    enters_lga,
    is_real,
    named_paths,
    predicate,
    refuse_complex,
    select,
    split_real,
    with_leaves,
)
from tests.kernels import models
from tests.kernels.explicit import full_kernel, jacobians
from tests.networks.tiny import assert_close

F64 = {"param_dtype": jnp.float64}


@pytest.mark.parametrize(
    ("tree", "paths"),
    [
        ({"a": [1, {"b": 2}]}, [("a", "0"), ("a", "1", "b")]),
        ({0: 1, 1: 2}, [("0",), ("1",)]),
        ((1.0,), [("0",)]),
        ([{"x/y": 1}, 2], [("0", "x/y"), ("1",)]),
        ({"a": {}, "b": None, "c": 1}, [("c",)]),
        (1.0, [("params",)]),
        ({"w": {"value": 1}, "b": {"value": 2}}, [("b", "value"), ("w", "value")]),
        ({"w": {"value": 1}, "b": 2}, [("b",), ("w", "value")]),
    ],
)
def test_leaves_of_any_tree_have_paths(tree, paths):
    assert named_paths(tree) == paths
    assert list(by_path(tree)) == paths


def test_leaves_whose_names_would_be_the_same_have_others():
    class Odd:
        """A node with a 0 and a "0" among its keys."""

    def flatten(odd):
        keys = (jax.tree_util.SequenceKey(0), jax.tree_util.DictKey("0"))
        return tuple(zip(keys, (1, 2), strict=True)), None

    jax.tree_util.register_pytree_with_keys(Odd, flatten, lambda _, leaves: Odd())
    assert len(set(named_paths(Odd()))) == 2


def test_leaves_are_changed_by_path_and_the_tree_stays_as_it_was():
    tree = {"a": 1, "empty": {}, "list": [2, (3, None)]}
    changed = with_leaves(tree, {("list", "1", "0"): 7})
    assert changed == {"a": 1, "empty": {}, "list": [2, (7, None)]}


@pytest.mark.parametrize(
    ("path", "enters"),
    [
        (("stem", "kernel"), True),
        (("norm", "scale"), True),
        (("stem", "bias"), False),
        (("classifier", "kernel"), False),
        (("net", "classifier", "kernel"), False),
        (("a", "b", "classifier", "c", "kernel"), False),
        (("classifier_norm", "scale"), True),
        (("embed", "embedding"), False),
    ],
)
def test_lga_takes_weights_but_those_of_the_classifier(path, enters):
    assert enters_lga(path) == predicate("lga")(path) == enters


class Net(nn.Module):
    """A stem and a classifier, with biases."""

    @nn.compact
    def __call__(self, x):
        hidden = jnp.tanh(nn.LayerNorm(name="norm", **F64)(nn.Dense(4, name="stem", **F64)(x)))
        return nn.Dense(2, name="classifier", **F64)(hidden)


class Wrapped(nn.Module):
    """The same, deeper in the tree."""

    levels: int

    @nn.compact
    def __call__(self, x):
        return (Wrapped(self.levels - 1, name="net") if self.levels else Net(name="net"))(x)


def _kernels(path):
    return path[-1] == "kernel"


@pytest.fixture(scope="module")
def nested():
    model, x = Wrapped(1), models.inputs((4, 3))
    with jax.numpy_dtype_promotion("standard"):
        params = model.init(jax.random.key(0), x)["params"]

        def apply_fn(p, x):
            return model.apply({"params": p}, x)

        yield apply_fn, params, x, jacobians(apply_fn, params, x)


CHOICES = {
    "lga": ("lga", lambda name: "classifier" not in name and name.split("/")[-1] != "bias"),
    "all": ("all", lambda name: True),
    "kernels": (_kernels, lambda name: name.endswith("kernel")),
    "one": (lambda path: path == ("net", "net", "stem", "bias"), lambda n: n.endswith("stem/bias")),
}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("method", ["auto", "per_example_gradients", "jacobian_contraction"])
def test_the_kernel_is_that_of_the_parameters_that_enter(nested, choice, method):
    apply_fn, params, x, rows = nested
    rule, wanted = CHOICES[choice]
    chosen = {name: jac for name, jac in rows.items() if wanted(name)}
    assert chosen
    kernel = empirical_ntk(
        apply_fn,
        params,
        x,
        outputs="full",
        parameters=rule,
        method=method,
        check=choice == "lga" and method == "auto",
    )
    assert_close(kernel, full_kernel(chosen), 1e-10)


def test_kernels_of_parts_add_up(nested):
    apply_fn, params, x, _ = nested

    def kernel(choice):
        return np.asarray(
            empirical_ntk(apply_fn, params, x, outputs="sum", parameters=choice, check=False)
        )

    assert_close(kernel(_kernels) + kernel(lambda path: not _kernels(path)), kernel("all"), 1e-12)


def test_parts_of_a_shared_layer_can_be_left_out():
    def network(p, x):
        twice = jnp.tanh(x @ p["w"] + p["b"][None])
        return twice @ p["w"] + p["b"][None]

    params, x = {"w": models.inputs((3, 3), 1), "b": models.inputs((3,), 2)}, models.inputs((4, 3))
    rows = jacobians(network, params, x)
    for name in params:
        kernel = empirical_ntk(
            network, params, x, outputs="full", parameters=lambda p, n=name: p == (n,), check=False
        )
        assert_close(kernel, full_kernel({name: rows[name]}), 1e-12)


def test_a_rule_is_asked_for_leaves_with_a_derivative_alone():
    asked = []
    params = {"w": jnp.ones(2), "steps": 3, "key": jax.random.key(0), "none": jnp.ones((0,))}
    real = {path: () for path, leaf in by_path(params).items() if is_real(leaf)}
    select(Places(real), lambda path: asked.append(path) or True)
    assert asked == [("none",), ("w",)]


def test_real_leaves_are_parted_and_joined():
    leaves, joined = split_real({"steps": 7, "w": jnp.ones(2), "deep": [0.5, True]})
    assert len(leaves) == 2
    assert joined([1.5, 2.5]) == {"steps": 7, "w": 2.5, "deep": [1.5, True]}


def test_a_misspelt_choice_is_refused():
    with pytest.raises(InputError, match=r"^parameters: got 'lgaa'.*did you mean 'lga'"):
        predicate("lgaa")


def test_complex_leaves_are_named():
    with pytest.raises(InputError, match=r"^params: got a/b of dtype complex64"):
        refuse_complex({"a": {"b": np.ones(2, np.complex64)}})


def test_no_parameter_and_none_chosen_are_told_apart():
    with pytest.raises(InputError, match=r"^params: got no parameter"):
        select(Places({}), "all")
    with pytest.raises(InputError, match=r"^parameters: got a rule no path .*look like a/w"):
        select(Places({("a", "w"): ()}), lambda path: False)
