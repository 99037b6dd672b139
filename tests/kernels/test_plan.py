"""A plan says, from shapes alone, how the kernel of each parameter is computed, and why."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxntk.kernels.arguments import NtkSettings
from jaxntk.kernels.empirical import plan_ntk
from jaxntk.kernels.plan import NtkPlan
from tests.kernels import models

TRACE = NtkSettings("trace")


def _network(p, x):
    def step(x, w):
        return jnp.tanh(x @ w), None

    x, _ = lax.scan(step, x @ p["embed"], p["blocks"])
    x = jnp.tanh(jnp.tanh(x @ p["tied"]) @ p["tied"])
    x = lax.fori_loop(0, 3, lambda _, x: jnp.tanh(x @ p["cell"]), x)
    return x @ p["readout"] + p["bias"][None]


def _params(hidden=4):
    shapes = {
        "embed": (3, hidden),
        "blocks": (2, hidden, hidden),
        "tied": (hidden, hidden),
        "cell": (hidden, hidden),
        "readout": (hidden, 2),
        "bias": (2,),
        "dead": (5,),
    }
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}


X = jax.ShapeDtypeStruct((8, 3), "float32")


@pytest.fixture(scope="module")
def plan():
    return plan_ntk(_network, _params(), X, TRACE)


def test_each_parameter_has_its_way(plan):
    ways = {path[0]: each.way for path, each in plan.parameters.items()}
    assert ways == {
        "embed": "factorised",
        "blocks": "factorised",
        "tied": "joined, materialised",
        "cell": "joined, materialised",
        "readout": "materialised",
        "bias": "materialised",
        "dead": "unused",
    }
    assert (plan.method, plan.count) == ("gram", 2)
    assert {path[0]: each.size for path, each in plan.parameters.items()} == {
        name: like.size for name, like in _params().items()
    }


def test_shared_weights_have_a_reason_and_others_none(plan):
    reasons = {path[0]: each.reason for path, each in plan.parameters.items() if each.reason}
    assert reasons == {"tied": "used 2 times", "cell": "used by every step of a loop"}


def test_operations_are_named(plan):
    operations = {path[0]: set(each.operations) for path, each in plan.parameters.items()}
    assert operations["bias"] == {"add"}
    assert operations["dead"] == set()
    assert operations["tied"] == operations["blocks"] == {"dot_general"}


def test_shares_are_by_size_of_what_is_used(plan):
    used = 12 + 32 + 16 + 16 + 8 + 2
    assert plan.share("joined") == pytest.approx(32 / used)
    assert plan.share("joined", "materialised") == pytest.approx(42 / used)
    assert plan.share("collected") == 0
    assert plan.share("factorised", "materialised", "collected") == pytest.approx(1.0)


def test_a_plan_is_a_table(plan):
    lines = str(plan).splitlines()
    assert lines[0] == "gram: 7 parameters"
    by_name = {line.split()[0]: line for line in lines[1:]}
    assert by_name["dead"].split() == ["dead", "5", "unused"]
    assert by_name["bias"].split() == ["bias", "2", "materialised", "add"]
    assert by_name["tied"].endswith("joined, materialised  dot_general (used 2 times)"), by_name[
        "tied"
    ]
    assert all(line == line.rstrip() for line in lines)


def test_large_numbers_can_be_read():
    plan = plan_ntk(lambda p, x: x @ p["embed"], _params(hidden=1000), X, TRACE)
    assert "3,000  " in str(plan)


@pytest.mark.parametrize(
    ("tokens", "features", "way"), [(1, 64, "factorised"), (64, 2, "materialised")]
)
def test_the_route_follows_the_costs(tokens, features, way):
    params = {"w": jax.ShapeDtypeStruct((features, features), jnp.float32)}
    x = jax.ShapeDtypeStruct((8, tokens, features), jnp.float32)
    plan = plan_ntk(lambda p, x: jnp.tanh(x @ p["w"]).sum(axis=1), params, x, TRACE)
    assert plan.parameters["w",].way == way


@pytest.mark.parametrize("route", ["factorised", "materialised"])
def test_a_route_asked_for_is_taken(route):
    plan = plan_ntk(_network, _params(), X, NtkSettings("trace", route=route))
    assert plan.parameters["embed",].way == route
    # What has no factors has one way.
    assert plan.parameters["bias",].way == "materialised"


def test_branches_of_different_operations_are_both_told():
    def by_a_weight(p, x):
        return lax.cond(p["s"] > 0, lambda: (x @ p["w"])[:, :3], lambda: x * p["w"][:1, :3])

    params = {"w": jax.ShapeDtypeStruct((3, 30), jnp.float32)}
    scale = {"s": jax.ShapeDtypeStruct((), jnp.float32)}
    found = plan_ntk(by_a_weight, params | scale, X, TRACE).parameters
    assert sorted(found["w",].operations) == ["dot_general", "mul"]
    assert found["w",].way == "factorised or materialised"
    assert found["s",].way == "unused"


@pytest.mark.parametrize(
    ("settings", "method"),
    [
        (NtkSettings("trace", method="per_example_gradients"), "per_example_gradients"),
        (NtkSettings("trace", method="ntk_vector_products"), "ntk_vector_products"),
        (NtkSettings("trace", examples="coupled"), "coupled"),
    ],
)
def test_other_methods_have_no_table(settings, method):
    plan = plan_ntk(_network, _params(), X, settings)
    assert plan == NtkPlan(method, {}, 2)
    assert str(plan) == method


def test_a_state_and_picked_outputs_are_planned_for():
    plan = plan_ntk(
        lambda p, x, state: (x * state["scale"], x @ p["embed"]),
        _params(),
        X,
        NtkSettings("trace", parameters=lambda path: path == ("embed",)),
        state={"scale": jnp.ones((), jnp.float32)},
        pick=lambda out: out[1],
    )
    assert set(plan.parameters) == {("embed",)}
    assert plan.count == 4


@pytest.mark.parametrize("name", ["layer norm", "loop over one layer", "shared weights"])
def test_networks_of_flax_are_told_by_their_layers(name):
    with jax.numpy_dtype_promotion("standard"):
        apply_fn, params, x = models.make(name)
        plan = plan_ntk(apply_fn, params, x, TRACE)
    collected = {path[0]: each.reason for path, each in plan.parameters.items() if each.reason}
    assert (
        collected
        == {
            "layer norm": {},
            "loop over one layer": {"cell": "used by every step of a loop"},
            "shared weights": {"twice": "used 2 times"},
        }[name]
    )
