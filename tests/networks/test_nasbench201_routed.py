"""Cells routed to their operations, against the network that takes one cell at a time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.kernels.layer_kernels import total
from jaxntk.kernels.parameters import predicate
from jaxntk.kernels.program import layer_kernel_fn
from jaxntk.kernels.settings import KernelSettings
from jaxntk.networks import nasbench201_routing
from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.nasbench201_routed import routed_logits
from tests.networks import tiny

IMAGE = (8, 8, 3)
N = tiny.NUM_IMAGES

POPULATIONS = {
    # Two orbits: no slot is empty.
    "orbits": nasbench201_routing.orbits()[[1234, 7]].reshape(-1, 6),
    # Copies, a cell of no operation, one without a path, slots that stay empty.
    "unbalanced": np.array([
        tiny.ALL_OPS,
        tiny.CHAIN,
        tiny.NONE,
        (3,) * 6,
        (3,) * 6,
        (1, 2, 4, 0, 0, 0),
    ]),
    "only pooling": np.full((2, 6), 4),
    "no operation": np.array([(1,) * 6, (0, 1, 1, 0, 0, 1)]),
}


def _last_stage_kernels(path):
    return path[0] == "stage_3" and path[-1] == "kernel"


CHOICES = {"lga": "lga", "all": "all", "a rule": _last_stage_kernels}


@functools.cache
def one_group(name):
    """Returns the cells of a population in the order of their group, tables and slots."""
    packing = nasbench201_routing.pack(POPULATIONS[name], len(POPULATIONS[name]))
    tables = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), nasbench201_routing.routes(packing))
    return packing.archs[0], tables, packing.slots


@pytest.fixture(scope="module")
def variables():
    return tiny.variables(tiny.network())


@pytest.fixture(scope="module")
def x():
    return jnp.asarray(tiny.images())


@pytest.fixture(scope="module")
def one_by_one(variables, x):
    """Returns the kernel of one cell from the network that takes one at a time."""

    @functools.cache
    def compiled():
        settings = KernelSettings(batch_norm="frozen", parameters="all", dtype="float64")
        return jax.jit(layer_kernel_fn(tiny.model(), settings, IMAGE))

    @functools.cache
    def layers(arch):
        return compiled()(variables, x, jnp.asarray(arch, jnp.int32))

    def kernel(arch, choice):
        rule = predicate(CHOICES[choice])
        chosen = layers(tuple(int(op) for op in arch)).items()
        return total({path: gram for path, gram in chosen if rule(path)})

    return kernel


@pytest.fixture(scope="module")
def routed_kernels(variables, x):
    """Returns the kernels of a population from the routed network, compiled once."""

    @functools.cache
    def kernels(name, choice):
        cells, tables, slots = one_group(name)
        enters = predicate(CHOICES[choice])

        @jax.jit
        def pulled_back(places):
            out, pull_back = jax.vjp(
                lambda places: routed_logits(
                    tiny.network(), variables, x, tables, slots, places, enters
                ),
                places,
            )
            return pull_back(jnp.ones_like(out))[0]

        return pulled_back(jnp.zeros((len(cells), N, N)))

    return kernels


@pytest.mark.parametrize(
    ("name", "choice"),
    [
        pytest.param("orbits", "lga", marks=pytest.mark.slow),
        ("unbalanced", "all"),
        ("only pooling", "a rule"),
        ("no operation", "all"),
    ],
)
def test_kernels_are_those_of_one_cell_at_a_time(routed_kernels, one_by_one, name, choice):
    cells = one_group(name)[0]
    wanted = [np.asarray(one_by_one(arch, choice)) for arch in cells]
    scale = max(np.abs(gram).max() for gram in wanted)
    for arch, gram, expected in zip(cells, routed_kernels(name, choice), wanted, strict=True):
        if np.abs(expected).max() > 1e-12 * scale:
            tiny.assert_close(gram, expected)
        else:
            # Without a path from input to output both networks give rounding errors.
            error = float(np.abs(gram).max())
            assert error <= 1e-12 * scale, f"{arch}: {error:.2e} where others have {scale:.2e}"


def test_kernels_are_jacobians_times_themselves(routed_kernels, variables, x):
    cells = [tuple(int(op) for op in arch) for arch in one_group("unbalanced")[0]]
    jac = tiny.plain_jacobian(BatchNormMode.FROZEN, variables, x, tiny.ALL_OPS)
    wanted = tiny.explicit_kernel(jac, "sum", lambda path: True)
    tiny.assert_close(routed_kernels("unbalanced", "all")[cells.index(tiny.ALL_OPS)], wanted)


@pytest.mark.parametrize("mode", ["frozen", "stored"])
def test_logits_are_those_of_one_cell_at_a_time(variables, x, mode):
    net = tiny.network(batch_norm=BatchNormMode(mode))
    cells, tables, slots = one_group("unbalanced")
    zeros = jnp.zeros((len(cells), N, N))
    got = jax.jit(
        lambda places: routed_logits(net, variables, x, tables, slots, places, lambda path: True)
    )(zeros)
    apply = jax.jit(lambda arch: net.apply(variables, x, arch))
    for arch, logits in zip(cells, got, strict=True):
        tiny.assert_close(logits, apply(jnp.asarray(arch)))


def test_an_operation_is_one_convolution_over_all_its_images(variables):
    cells, tables, slots = one_group("orbits")
    # In the last stage the images are four pixels wide: narrower ones go by patches.
    x = jnp.asarray(tiny.images((N, 16, 16, 3)))

    def logits(places):
        return routed_logits(tiny.network(), variables, x, tables, slots, places, predicate("lga"))

    zeros = jnp.zeros((len(cells), N, N))
    convolutions = list(_convolutions(jax.make_jaxpr(logits)(zeros).jaxpr))
    assert all(each.params["feature_group_count"] == 1 for each in convolutions)
    assert all(each.params["batch_group_count"] == 1 for each in convolutions)
    batches = [each.invars[0].aval.shape[0] for each in convolutions]
    # The stem; in each stage six edges; in each reduction three convolutions of all cells.
    assert sorted(batches) == [N] + 18 * [slots[0][1] * N] + 4 * [len(cells) * N], batches


def _convolutions(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield equation
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from _convolutions(inner)


def test_weights_are_constants(variables, x):
    _, tables, slots = one_group("only pooling")

    def summed(variables):
        places = jnp.zeros((2, N, N))
        net = tiny.network()
        out = routed_logits(net, variables, x, tables, slots, places, lambda path: True)
        return jnp.sum(out)

    gradient = jax.jit(jax.grad(summed))(variables)
    assert all(not leaf.any() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("mode", ["batch", "running"])
def test_interacting_images_are_refused(variables, x, mode):
    _, tables, slots = one_group("only pooling")
    net = tiny.network(batch_norm=BatchNormMode(mode))
    with pytest.raises(InputError, match="choose frozen or stored"):
        routed_logits(net, variables, x, tables, slots, jnp.zeros((2, N, N)), lambda path: True)
