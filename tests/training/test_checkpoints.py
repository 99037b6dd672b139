"""What is saved comes back, and another training does not get it."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.networks.nasbench201_model import cell_model
from jaxntk.training.checkpoints import restore, save
from jaxntk.training.population import population_training
from jaxntk.training.recipe import Recipe
from tests.networks import tiny

ABOUT = {"recipe": "lga", "seeds": [0, 1], "learning_rate": 0.025}


@pytest.fixture(scope="module")
def states():
    net = tiny.network(cells_per_stage=1)
    training = population_training(cell_model(net), Recipe(), 3, (8, 8, 3), jnp.dtype("float64"))
    return training.init([0, 1])


def leaves(tree):
    import jax

    return jax.tree.leaves(tree)


def test_a_state_comes_back_bit_for_bit(tmp_path, states):
    save(tmp_path / "run", 2, states, ABOUT)
    found = restore(tmp_path / "run", states, ABOUT)
    assert found is not None
    assert found.epoch == 2
    assert type(found.state) is type(states)
    for one, other in zip(leaves(found.state), leaves(states), strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


def test_the_newest_state_replaces_the_one_before(tmp_path, states):
    for epoch in (0, 1, 2):
        save(tmp_path, epoch, states._replace(epoch=states.epoch + epoch), ABOUT)
    found = restore(tmp_path, states, ABOUT)
    assert found is not None
    assert (found.epoch, found.state.epoch.tolist()) == (2, [2, 2])
    assert [path.name for path in tmp_path.iterdir() if path.name.isdigit()] == ["2"]


def test_nothing_there_is_no_checkpoint(tmp_path, states):
    assert restore(tmp_path / "none", states, ABOUT) is None
    assert restore(tmp_path, states, ABOUT) is None


@pytest.mark.parametrize(
    "changed", [{"recipe": "adamw"}, {"seeds": [0, 2]}, {"learning_rate": 0.1}, {"more": 1}]
)
def test_a_checkpoint_of_another_training_is_refused(tmp_path, states, changed):
    save(tmp_path, 1, states, ABOUT)
    with pytest.raises(InputError, match=f"checkpoint.*{next(iter(changed))}"):
        restore(tmp_path, states, ABOUT | changed)


def test_a_torn_write_leaves_the_state_before(tmp_path, states):
    save(tmp_path, 1, states, ABOUT)
    torn = tmp_path / "2.orbax-checkpoint-tmp-0"
    torn.mkdir()
    (torn / "state").write_bytes(b"torn")
    found = restore(tmp_path, states, ABOUT)
    assert found is not None
    assert found.epoch == 1
