"""Official names to variables: a round trip, and the shapes of a real file."""

import jax
import numpy as np
import pytest
from flax import traverse_util

from jaxntk.errors import InputError
from jaxntk.networks.nasbench201_official import count_cells, official_variables
from tests.networks import tiny
from tests.networks.official_layout import initial, official_names


@pytest.fixture(scope="module")
def drawn():
    return initial(tiny.variables(tiny.network()))


@pytest.fixture(scope="module")
def weights(drawn):
    return official_names(drawn["params"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_official_names_give_back_the_variables(drawn, weights, dtype):
    ours = official_variables(weights, dtype)
    wanted = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), drawn)
    assert jax.tree.structure(ours) == jax.tree.structure(wanted)
    jax.tree.map(np.testing.assert_array_equal, ours, wanted)
    assert {leaf.dtype for leaf in jax.tree.leaves(ours)} == {np.dtype(dtype)}


def test_cells_are_counted(weights):
    assert count_cells(weights) == 2


@pytest.mark.parametrize(
    "name",
    [
        "stem.net.0.weight",
        "stem.net.1.bias",
        "top.classifier.bias",
        "reduction2.residual.1.weight",
        "stack_cell3.1.options.27.op.1.weight",
        "stack_cell1.0.options.3.op.1.bias",
    ],
)
def test_a_missing_parameter_is_named(weights, name):
    fewer = {key: array for key, array in weights.items() if key != name}
    with pytest.raises(InputError, match=r"^weights: got no .*every parameter"):
        official_variables(fewer, np.float64)


def test_a_real_file_has_the_shapes_of_the_network(golden_dir):
    path = golden_dir / "lga_official_cifar10.npz"
    if not path.is_file():
        pytest.skip(f"no {path.name} among the golden files")
    with np.load(path) as arrays:
        weights = {name[2:]: arrays[name] for name in arrays.files if name.startswith("w/")}
    ours = official_variables(weights, np.float64)
    net = tiny.network(num_classes=10, channels=4, cells_per_stage=count_cells(weights))
    wanted = tiny.shapes(net, (32, 32, 3))
    assert traverse_util.flatten_dict(jax.tree.map(np.shape, ours, is_leaf=_is_array)) == wanted
    used = sum(leaf.size for leaf in jax.tree.leaves(ours["params"]))
    assert used == sum(array.size for array in weights.values()), "every parameter is used once"


def _is_array(leaf):
    return isinstance(leaf, np.ndarray)
