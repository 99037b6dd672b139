"""What is drawn leaf by leaf is what the network draws as a whole, to the last bit."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxntk.networks.autoformer import AutoFormer
from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.drawing import SHORTEST_ROW, draw_row, leaf_by_leaf
from jaxntk.networks.initializers import initialization, normal
from jaxntk.networks.layers import Normalizer
from jaxntk.networks.nasbench201 import NasBench201, init_variables
from jaxntk.networks.nasbench201_cell import Edge
from jaxntk.networks.nasbench201_supernet import Supernet
from jaxntk.networks.pit import PiT
from jaxntk.networks.pit_classes import ShapeClass
from jaxntk.networks.vit import init_params, num_genes
from jaxntk.spaces.autoformer import Choices
from tests.networks import tiny


class OneEdge(nn.Module):
    """A cell of one edge: Flax takes long to draw six of them in every stage."""

    normalizer: Normalizer
    initializer: str
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, arch):
        Edge(self.initializer, name="edge_1_from_0")(x)
        return x, None


class FewEdges(NasBench201):
    """The network of these cells."""

    cell: ClassVar[type[nn.Module]] = OneEdge


FAN_IN = {"pytorch": 1 / 3, "he_normal": 2.0, "lecun_normal": 1.0}
SPACE = Choices((4, 8), (1, 2), (1, 2), (1.0, 2.0), head_dim=None)
PYRAMID = PiT(3, ShapeClass((8, 8, 8), (8, 8, 8), (((4, 1), (8, 2)),) * 3))
FAMILIES = {
    "cells": (FewEdges(3, 3, 2, BatchNormMode.STORED), (8, 8, 3)),
    "autoformer": (AutoFormer(SPACE, 3, 4), (8, 8, 2)),
    "pit": (PYRAMID, (32, 32, 1)),
}
MORE = {
    "nasbench201": (tiny.network(), (8, 8, 3)),
    "supernet": (Supernet(3, 3, 2, BatchNormMode.STORED), (8, 8, 3)),
    "he_normal": (tiny.network(initializer="he_normal"), (8, 8, 3)),
    "lecun_normal": (tiny.network(initializer="lecun_normal"), (8, 8, 3)),
}


@pytest.fixture
def optimised():
    """Float32 as everyone compiles it: what is rounded depends on what XLA puts together."""
    jax.config.update("jax_disable_most_optimizations", False)
    with jax.enable_x64(False):
        yield
    jax.config.update("jax_disable_most_optimizations", True)


def as_a_whole(network, image_shape, dtype):
    """Returns the compiled ``key -> weights`` of Flax."""

    def init(key):
        arch = (
            jnp.zeros(network.choice.shape, network.choice.dtype)
            if isinstance(network, NasBench201)
            else jnp.zeros(num_genes(network), jnp.int32)
        )
        # Cells are drawn in float32 in every precision.
        drawn_in = jnp.float32 if isinstance(network, NasBench201) else dtype
        variables = network.init(key, jnp.zeros((2, *image_shape), drawn_in), arch)
        return jax.tree.map(lambda leaf: leaf.astype(dtype), variables)

    return jax.jit(init)


def in_parts(network, image_shape, dtype):
    """Returns the same function as the package draws it."""

    def init(key):
        if isinstance(network, NasBench201):
            return init_variables(network, key, image_shape, jnp.dtype(dtype))
        return {"params": init_params(network, key, image_shape, jnp.dtype(dtype))}

    return init


def assert_same_bits(got, wanted):
    def compare(got, wanted):
        assert got.dtype == wanted.dtype
        # Bits, because 0 equals -0.
        assert got.shape == wanted.shape
        assert np.asarray(got).tobytes() == np.asarray(wanted).tobytes()

    jax.tree.map(compare, got, wanted)


@pytest.mark.parametrize(
    "family",
    [pytest.param(n, marks=[pytest.mark.slow] if n == "pit" else []) for n in FAMILIES],
)
def test_a_network_is_drawn_as_flax_draws_it(family):
    network, shape = FAMILIES[family]
    whole, parts = (each(network, shape, "float64") for each in (as_a_whole, in_parts))
    for seed in (0, 1, 2**31 + 7):
        key = jax.random.key(seed)
        assert_same_bits(parts(key), whole(key))


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("family", FAMILIES | MORE)
def test_a_network_is_drawn_as_flax_draws_it_with_all_optimisations(family):
    network, shape = (FAMILIES | MORE)[family]
    key = jax.random.key(3)
    wanted = as_a_whole(network, shape, "float32")(key)
    assert_same_bits(in_parts(network, shape, "float32")(key), wanted)


class Layer(nn.Module):
    """A step of a network of Flax, with a parameter that is drawn."""

    @nn.compact
    def __call__(self, x, _):
        return x + self.param("kernel", normal(0.1), (3, 2), x.dtype), None


class Layers(nn.Module):
    """Layers that follow each other, and one parameter beside them."""

    @nn.compact
    def __call__(self, x):
        layers = nn.scan(Layer, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        x, _ = layers(name="layers")(x, None)
        return x * self.param("scale", initialization("pytorch").bias(7), (1, 2), x.dtype)


def layers(key):
    return Layers().init(key, jnp.zeros((3, 2)))


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_other_random_generators(impl):
    key = jax.random.key(0, impl=impl)
    assert_same_bits(leaf_by_leaf(layers)(key), jax.jit(layers)(key))


@pytest.mark.parametrize("key", [jax.random.key(5), jax.random.PRNGKey(5)], ids=["new", "old"])
def test_other_settings_are_other_programs(key):
    """The bits of a key depend on a setting of JAX, which may change between two draws."""
    parts, found = leaf_by_leaf(layers), []
    for partitionable in (True, False, True):
        with jax.threefry_partitionable(partitionable):
            found.append(parts(key))
            assert_same_bits(found[-1], jax.jit(layers)(key))
    assert_same_bits(found[2], found[0])
    kernels = [each["params"]["layers"]["kernel"] for each in found]
    assert np.all(kernels[0] != kernels[1])


def scanned(key):
    """Draws in a scan, backwards, by keys that are carried from step to step."""

    def step(carried, entry):
        key, own = jax.random.split(carried)
        drawn = draw_row(jax.random.uniform, own, (2, 3), jnp.float32, 0.0, 2.0)
        return key, (entry * drawn, drawn.sum())

    entries = jnp.arange(24, dtype=jnp.float32).reshape(4, 2, 3)
    last, (made, sums) = lax.scan(step, key, entries, reverse=True)
    return {"last": jax.random.key_data(last), "made": made, "sums": sums, "given": entries}


def test_scans_that_carry_something_and_run_backwards():
    key = jax.random.key(4)
    assert_same_bits(leaf_by_leaf(scanned)(key), jax.jit(scanned)(key))


@pytest.mark.parametrize("init", [scanned, layers])
@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_it_can_be_traced_and_mapped(init, impl):
    draw, keys = leaf_by_leaf(init), jax.random.split(jax.random.key(1, impl=impl), 3)
    wanted = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(draw, keys))
    if impl != "rbg":  # Which draws other numbers for many keys at once.
        assert_same_bits(jax.vmap(draw)(keys), wanted)
    assert_same_bits(lax.map(draw, keys), wanted)
    assert_same_bits(jax.jit(draw)(keys[0]), draw(keys[0]))


def test_what_no_value_needs_is_not_run():
    def init(key):
        jax.debug.callback(lambda _: calls.append("effect"), bits := jax.random.bits(key))
        jax.pure_callback(lambda bits: calls.append("dead") or bits, bits, bits)
        return draw_row(jax.random.uniform, key, (3,), jnp.float32)

    calls = []
    draw = leaf_by_leaf(init)
    wanted = jax.random.uniform(jax.random.key(0), (3,), jnp.float32)
    assert_same_bits(draw(jax.random.key(0)), wanted)
    assert "dead" not in calls


def test_leaves_of_many_shapes_share_a_program():
    lengths = []

    def uniform(key, shape, dtype):
        lengths.append(shape)
        return jax.random.uniform(key, shape, dtype)

    for shape in [(3,), (2, 5), (3, 3, 16, 16), (SHORTEST_ROW,), (SHORTEST_ROW + 1,)]:
        drawn = draw_row(uniform, jax.random.key(0), shape, jnp.float32)
        assert_same_bits(drawn, jax.random.uniform(jax.random.key(0), shape, jnp.float32))
    assert lengths == [(SHORTEST_ROW,), (4 * SHORTEST_ROW,)]


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, "float32") for name in (*FAN_IN, "normal")), ("pytorch", "bfloat16")],
)
def test_initialisers_are_those_of_flax(name, dtype):
    if name == "normal":
        ours, flax = normal(0.02), nn.initializers.normal(0.02)
    else:
        ours = initialization(name).kernel
        kind = "uniform" if name == "pytorch" else "normal"
        flax = nn.initializers.variance_scaling(FAN_IN[name], "fan_in", kind)
    key, shape = jax.random.key(2), (3, 3, 5, 7)
    wanted = jax.jit(flax, static_argnums=(1, 2))(key, shape, jnp.dtype(dtype))
    assert_same_bits(ours(key, shape, jnp.dtype(dtype)), wanted)


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("name", FAN_IN)
def test_biases_are_uniform_numbers_of_jax(name):
    def uniform(key):
        return jax.random.uniform(key, (50,), jnp.float32, -limit, limit)

    draw, key = initialization(name), jax.random.key(2)
    limit = draw.bias_limit_per_sqrt_fan_in / 27**0.5
    assert_same_bits(draw.bias(27)(key, (50,), jnp.dtype("float32")), jax.jit(uniform)(key))
