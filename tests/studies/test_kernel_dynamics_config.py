"""The configuration of kernel dynamics: cells at quantiles, and fields that are refused."""

import dataclasses

import numpy as np
import pytest

from jaxntk.data.digits201 import load_digits201
from jaxntk.errors import InputError
from jaxntk.spaces import nasbench201
from jaxntk.studies.kernel_dynamics_config import (
    KernelDynamicsConfig,
    validate_dynamics,
    with_archs,
)
from tests.tiny_runs import OVER_EPOCHS_FIELDS

CONFIG = KernelDynamicsConfig(**OVER_EPOCHS_FIELDS, archs=("000000", "123443"), epochs=(0, 1, 3))


def test_cells_are_taken_at_quantiles_of_the_truth():
    look_up = lambda archs: load_digits201().accuracy(archs, "test")  # noqa: E731
    config = dataclasses.replace(CONFIG, archs=(), quantiles=(0.0, 0.5, 1.0))
    named = with_archs(config, look_up)
    cells = np.stack([nasbench201.parse_ops(ops) for ops in named.archs])
    assert all(nasbench201.is_connected(cell) for cell in cells)
    found = look_up(cells)
    space = nasbench201.enumerate_space()
    everything = look_up(space[[nasbench201.is_connected(cell) for cell in space]])
    assert found[0] == everything.min()
    assert found[2] == everything.max()
    assert abs(np.mean(everything < found[1]) - 0.5) < 0.02
    assert with_archs(CONFIG, look_up) is CONFIG


def test_one_cell_is_enough():
    validate_dynamics(dataclasses.replace(CONFIG, archs=("421211",)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch_norms", ("frozen", "batch")),
        ("num_seeds", 2),
        ("epochs", (1, 0)),
        ("quantiles", ()),
        ("quantiles", (1.5,)),
        ("quantiles", (0.5, 0.5)),
        ("recipe", "sgd"),
    ],
)
def test_bad_fields_are_named(field, value):
    with pytest.raises(InputError, match=field):
        validate_dynamics(dataclasses.replace(CONFIG, **{field: value}))
