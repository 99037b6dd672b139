"""Kernels against explicit Jacobians of the plain network, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.kernels.layer_kernels import total
from jaxntk.kernels.parameters import Places, enters_lga, select
from jaxntk.kernels.program import compile_kernel, kernel_places, layer_kernel_fn
from jaxntk.kernels.settings import KernelSettings
from jaxntk.networks.batch_norm import BatchNormMode
from jaxntk.networks.nasbench201 import init_variables
from tests.networks import tiny

IMAGE = (8, 8, 3)


def _stage_two_kernels(path):
    return path[0] == "stage_2" and path[-1] == "kernel"


CHOICES = {"lga": enters_lga, "all": lambda path: True, "a rule": _stage_two_kernels}


class Kernels:
    """Compiles each kernel and each Jacobian once for the whole module."""

    def __init__(self):
        self.variables = tiny.variables(tiny.network())
        self.x = jnp.asarray(tiny.images())
        self._functions, self._results, self._jacobians = {}, {}, {}

    def layers(self, mode, outputs="sum", tile=None, arch=tiny.ALL_OPS):
        name = (mode, outputs, tile)
        if name not in self._functions:
            settings = KernelSettings(
                batch_norm=mode, outputs=outputs, parameters="all", dtype="float64", tile=tile
            )
            self._functions[name] = jax.jit(layer_kernel_fn(tiny.model(), settings, IMAGE))
        if (*name, arch) not in self._results:
            cell = jnp.asarray(arch, jnp.int32)
            self._results[*name, arch] = self._functions[name](self.variables, self.x, cell)
        return self._results[*name, arch]

    def jacobian(self, mode, arch=tiny.ALL_OPS):
        if (mode, arch) not in self._jacobians:
            self._jacobians[mode, arch] = tiny.plain_jacobian(
                BatchNormMode(mode), self.variables, self.x, arch
            )
        return self._jacobians[mode, arch]


@pytest.fixture(scope="module")
def kernels():
    return Kernels()


CASES = [
    ("frozen", "sum", None, tiny.ALL_OPS),
    ("frozen", "sum", None, tiny.CHAIN),
    ("frozen", "sum", None, tiny.NONE),
    ("frozen", "sum", 2, tiny.ALL_OPS),
    ("frozen", "sum", 2, tiny.CHAIN),
    ("frozen", "trace", None, tiny.ALL_OPS),
    ("frozen", "trace", None, tiny.CHAIN),
    ("batch", "sum", None, tiny.ALL_OPS),
    pytest.param("batch", "sum", 3, tiny.ALL_OPS, marks=pytest.mark.slow),
    pytest.param("batch", "trace", None, tiny.ALL_OPS, marks=pytest.mark.slow),
    ("running", "sum", None, tiny.ALL_OPS),
]


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize(("mode", "outputs", "tile", "arch"), CASES)
def test_kernel_is_the_jacobian_times_itself(kernels, mode, outputs, tile, arch, choice):
    layers = kernels.layers(mode, outputs, tile, arch)
    gram = total({path: kernel for path, kernel in layers.items() if CHOICES[choice](path)})
    wanted = tiny.explicit_kernel(kernels.jacobian(mode, arch), outputs, CHOICES[choice])
    assert gram.dtype == np.float64
    tiny.assert_close(gram, wanted, 1e-10)


@pytest.mark.parametrize(("mode", "outputs", "tile", "arch"), CASES)
def test_each_layer_is_its_own_block_of_the_jacobian(kernels, mode, outputs, tile, arch):
    layers, jac = kernels.layers(mode, outputs, tile, arch), kernels.jacobian(mode, arch)
    assert set(layers) == set(jac)
    largest = max(np.abs(kernel).max() for kernel in layers.values())
    for path, kernel in layers.items():
        stacked = path[0].startswith("stage")
        wanted = tiny.layer_kernel(jac[path], stacked, outputs)
        assert kernel.shape == wanted.shape, path
        error = np.abs(kernel - wanted).max() / max(np.abs(wanted).max(), 1e-6 * largest)
        assert error < 1e-9, f"{path}: relative error {error:.3e}"


@pytest.mark.parametrize(("mode", "outputs", "tile", "arch"), CASES)
def test_kernels_are_symmetric_and_positive_semi_definite(kernels, mode, outputs, tile, arch):
    gram = np.asarray(total(kernels.layers(mode, outputs, tile, arch)))
    tiny.assert_close(gram, gram.T, 1e-14)
    eigenvalues = np.linalg.eigvalsh(gram)
    assert eigenvalues[0] >= -1e-12 * eigenvalues[-1], eigenvalues


def test_modes_give_different_kernels(kernels):
    grams = [np.asarray(total(kernels.layers(mode))) for mode in ("frozen", "batch", "running")]
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        assert not np.allclose(grams[one], grams[other], rtol=1e-3)


def _frozen_sum(kernels, variables, x):
    kernels.layers("frozen")
    function = kernels._functions["frozen", "sum", None]
    return function(variables, x, jnp.asarray(tiny.ALL_OPS, jnp.int32))


def test_permuted_images_permute_the_kernel(kernels):
    order = np.array([3, 0, 4, 1, 2])
    permuted = total(_frozen_sum(kernels, kernels.variables, kernels.x[order]))
    gram = np.asarray(total(kernels.layers("frozen")))
    tiny.assert_close(permuted, gram[np.ix_(order, order)], 1e-10)


def test_kernels_scale_with_the_square_of_the_classifier(kernels):
    params = kernels.variables["params"]
    classifier = {**params["classifier"], "kernel": 3 * params["classifier"]["kernel"]}
    scaled = {**kernels.variables, "params": {**params, "classifier": classifier}}
    before = kernels.layers("frozen")
    for path, kernel in _frozen_sum(kernels, scaled, kernels.x).items():
        factor = 1 if path[0] == "classifier" else 9
        tiny.assert_close(kernel, factor * np.asarray(before[path]), 1e-10)


def test_classifier_bias_kernel_counts_classes(kernels):
    for outputs in ("sum", "trace"):
        kernel = kernels.layers("frozen", outputs)["classifier", "bias"]
        wanted = np.full((tiny.NUM_IMAGES, tiny.NUM_IMAGES), float(tiny.NUM_CLASSES))
        np.testing.assert_array_equal(kernel, wanted)


@pytest.fixture(scope="module")
def compiled():
    settings = KernelSettings(batch_norm="frozen", dtype="float64")
    return compile_kernel(tiny.model(), settings, tiny.images())


def test_a_cell_of_none_has_a_kernel_of_exact_zeros(compiled):
    np.testing.assert_array_equal(compiled(np.array(tiny.NONE)), np.zeros((5, 5)))


def test_one_compilation_serves_cells_and_initialisations(compiled):
    first, chain = compiled(np.array(tiny.ALL_OPS)), compiled(np.array(tiny.CHAIN))
    other = compiled(np.array(tiny.ALL_OPS), init_seed=1)
    assert compiled.compilations == 1
    assert compiled.compile_seconds > 0
    # At least the parameters, which are arguments.
    parameters = sum(leaf.nbytes for leaf in jax.tree.leaves(compiled.variables(1)))
    assert compiled.memory_bytes is None or compiled.memory_bytes >= parameters
    assert not np.allclose(first, chain)
    assert not np.allclose(first, other)
    np.testing.assert_array_equal(first, compiled(np.array(tiny.ALL_OPS), init_seed=0))


@pytest.mark.parametrize("dtype", ["float64", "mixed"])
def test_float64_needs_x64(dtype):
    settings = KernelSettings(batch_norm="frozen", dtype=dtype)
    with jax.enable_x64(False), pytest.raises(InputError, match=rf"^dtype: got {dtype}; call"):
        compile_kernel(tiny.model(), settings, tiny.images())


@pytest.mark.parametrize("shape", [(5, 3, 8, 3), (5, 8, 2, 1), (5, 10, 10, 3)])
def test_images_that_cannot_be_halved_twice_are_refused(shape):
    settings = KernelSettings(batch_norm="frozen", dtype="float64")
    with pytest.raises(InputError, match=r"^x: got shape .*multiples of 4"):
        compile_kernel(tiny.model(), settings, tiny.images(shape))


def test_a_rule_that_no_path_satisfies_is_refused():
    with pytest.raises(InputError, match="a rule no path satisfies"):
        kernel_places(tiny.model(), IMAGE, lambda path: False)


def test_places_carry_the_cells_in_front():
    chosen = kernel_places(tiny.model(), IMAGE, "all").leading
    assert {path[0]: lead for path, lead in chosen.items()} == {
        **dict.fromkeys(("stem", "stem_norm", "reduction_1", "reduction_2"), ()),
        **dict.fromkeys(("stage_1", "stage_2", "stage_3"), (2,)),
        **dict.fromkeys(("norm", "classifier"), ()),
    }
    assert select(Places(chosen), lambda path: path[0] == "stage_2").leading == {
        path: (2,) for path in chosen if path[0] == "stage_2"
    }


def test_one_key_gives_one_network_in_every_precision():
    net, key = tiny.network(), jax.random.key(3)
    drawn = [
        init_variables(net, key, (8, 8, 3), jnp.dtype(name)) for name in ("float32", "float64")
    ]
    for narrow, wide in zip(*map(jax.tree.leaves, drawn), strict=True):
        assert (narrow.dtype, wide.dtype) == (jnp.float32, jnp.float64)
        np.testing.assert_array_equal(np.asarray(narrow, np.float64), np.asarray(wide))


@pytest.mark.parametrize("arch", [[9, 2, 1, 2, 1, 1], [4, 2, 1, 2, 1], [0.5] * 6])
def test_what_is_no_cell_is_refused(compiled, arch):
    with pytest.raises(InputError, match=r"^arch: got"):
        compiled(np.array(arch))
