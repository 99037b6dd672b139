"""Populations against a plain loop over steps, and what every epoch must do."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh

from jaxntk.errors import InputError
from jaxntk.networks.nasbench201 import init_variables
from jaxntk.networks.nasbench201_model import cell_model
from jaxntk.networks.nasbench201_plain import batch_statistics, plain_logits, standardize
from jaxntk.training import population
from jaxntk.training.augment import augment
from jaxntk.training.population import (
    batches,
    epoch_keys,
    population_training,
    steps_of,
)
from jaxntk.training.recipe import Recipe, make_optimizer
from tests.networks import tiny

CELLS = np.array([tiny.ALL_OPS, (1, 1, 1, 1, 1, 1), tiny.NONE, tiny.CHAIN], np.int32)
SEEDS = np.array([0, 1, 2, 0], np.int32)
SHAPE, NUM, EPOCHS = (8, 8, 3), 14, 5
RECIPE = Recipe(batch_size=3, learning_rate=0.02, schedule="cosine", pad=1)
STEPS = EPOCHS * (NUM // 3)


@pytest.fixture(scope="module")
def net():
    return tiny.network(cells_per_stage=1)


@pytest.fixture(scope="module")
def data():
    return tiny.labelled_images(NUM)


def made(net, recipe=RECIPE, strategy="map", steps=STEPS):
    return population_training(
        cell_model(net), recipe, steps, SHAPE, jnp.dtype("float64"), strategy=strategy
    )


@pytest.fixture(scope="module")
def training(net):
    return made(net)


def plain_training(net, data, arch, seed):
    """The same 20 steps by a Python loop over the plain network of one cell."""
    x, y = data
    variables = init_variables(net, jax.random.key(seed), SHAPE, jnp.dtype("float64"))
    params, optimizer = variables["params"], make_optimizer(RECIPE, STEPS)
    state = optimizer.init(params)

    def normalize(path, x):
        return standardize(x, x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2)))

    def loss(params, x, y):
        out = plain_logits(params, x, arch, normalize)
        return optax.softmax_cross_entropy_with_integer_labels(out, y).mean()

    step, losses = jax.jit(jax.value_and_grad(loss)), []
    for epoch in range(EPOCHS):
        key_order, key_augment = epoch_keys(seed, epoch)
        order = batches(key_order, NUM, RECIPE)
        for index, key_step in zip(order, jax.random.split(key_augment, len(order)), strict=True):
            value, grads = step(params, augment(key_step, x[index], RECIPE), y[index])
            updates, state = optimizer.update(grads, state, params)
            params = optax.apply_updates(params, updates)
            losses.append(float(value))
    return params, np.reshape(losses, (EPOCHS, -1)).mean(axis=1)


@pytest.fixture(scope="module")
def plain(net, data):
    """Parameters and losses of the plain training of every cell."""
    return [
        plain_training(net, data, tuple(arch), seed)
        for arch, seed in zip(CELLS.tolist(), SEEDS.tolist(), strict=True)
    ]


@pytest.mark.parametrize("strategy", ["map", pytest.param("vmap", marks=pytest.mark.slow)])
def test_weights_after_20_steps_are_those_of_a_plain_loop(net, training, plain, data, strategy):
    training = training if strategy == "map" else made(net, strategy=strategy)
    states, losses = training.init(SEEDS), []
    assert STEPS == 20
    for _ in range(EPOCHS):
        states, row = training.epoch(states, jnp.asarray(CELLS), *data)
        losses.append(row.loss)
    for index, (params, wanted) in enumerate(plain):
        got = jax.tree.map(lambda leaf, index=index: leaf[index], states.params)
        for (path, one), other in zip(
            jax.tree.leaves_with_path(got), jax.tree.leaves(params), strict=True
        ):
            error = float(jnp.abs(one - other).max())
            assert error < 1e-9, (CELLS[index], jax.tree_util.keystr(path), error)
        np.testing.assert_allclose([row[index] for row in losses], wanted, rtol=1e-9)


def test_training_goes_on_from_a_state_as_if_never_stopped(net, training, data):
    archs = jnp.asarray(CELLS)
    whole = training.init(SEEDS)
    for _ in range(3):
        whole, _ = training.epoch(whole, archs, *data)
    half, _ = training.epoch(training.init(SEEDS), archs, *data)
    half = jax.tree.map(lambda leaf: leaf.copy(), half)
    for _ in range(2):
        half, _ = training.epoch(half, archs, *data)
    for one, other in zip(
        jax.tree.leaves((whole.params, whole.batch_stats, whole.optimizer)),
        jax.tree.leaves((half.params, half.batch_stats, half.optimizer)),
        strict=True,
    ):
        assert np.array_equal(one, other)
    assert half.epoch.tolist() == [3] * len(CELLS)


def test_an_architecture_does_not_depend_on_its_company(training, data):
    together, rows = training.epoch(training.init(SEEDS), jnp.asarray(CELLS), *data)
    alone, row = training.epoch(training.init(SEEDS[2:3]), jnp.asarray(CELLS[2:3]), *data)
    assert float(row.loss[0]) == pytest.approx(float(rows.loss[2]), rel=1e-12)
    tiny.assert_close(
        alone.params["classifier"]["kernel"][0], together.params["classifier"]["kernel"][2], 1e-12
    )


def test_one_trace_serves_all_architectures(net, data, monkeypatch):
    traces = []
    once = population.train_one_epoch

    def counted(*arguments):
        epoch = once(*arguments)

        def one(*values):
            traces.append(None)
            return epoch(*values)

        return one

    monkeypatch.setattr(population, "train_one_epoch", counted)
    counting = made(net)
    for cells in (CELLS, CELLS[::-1]):
        counting.epoch(counting.init(SEEDS), jnp.asarray(cells), *data)
    assert len(traces) == 1


def test_training_learns_and_running_statistics_move(net, data):
    recipe = Recipe(batch_size=3, learning_rate=0.01, augmentation="none")
    training = made(net, recipe, steps=40)
    start = training.init(SEEDS)
    before = jax.tree.map(np.asarray, start.batch_stats)
    states, rows = start, []
    for _ in range(20):
        states, row = training.epoch(states, jnp.asarray(CELLS), *data)
        rows.append(row)
    assert rows[-1].loss[0] < 0.5 * rows[0].loss[0], (rows[0].loss, rows[-1].loss)
    assert rows[-1].accuracy[0] > 0.9, rows[-1].accuracy
    assert bool(jnp.all(rows[-1].finite))
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), before, states.batch_stats)
    assert moved["stem_norm"] == {"mean": True, "var": True}


def test_running_statistics_are_a_moving_average(net, data):
    # One step an epoch over all images, so that its statistics are those of the first weights.
    training = made(net, Recipe(batch_size=NUM, augmentation="none"), steps=1)
    start = training.init(SEEDS)
    before = jax.tree.map(lambda leaf: np.asarray(leaf[0]), start.variables)
    states, _ = training.epoch(start, jnp.asarray(CELLS), *data)
    seen = batch_statistics(before["params"], data[0], tuple(CELLS[0].tolist()))
    for at, name in enumerate(("mean", "var")):
        wanted = 0.9 * before["batch_stats"]["stem_norm"][name] + 0.1 * seen["stem_norm"][at]
        tiny.assert_close(states.batch_stats["stem_norm"][name][0], wanted, 1e-10)


@pytest.mark.slow
def test_a_row_of_devices_gives_the_same_numbers(net, training, data):
    """One device here; four below."""
    mesh = Mesh(jax.devices()[: len(CELLS)], ("cells",))
    assert mesh.size == int(os.environ.get("JAX_NUM_CPU_DEVICES", "1"))
    sharded = population_training(
        cell_model(net), RECIPE, STEPS, SHAPE, jnp.dtype("float64"), mesh=mesh
    )
    archs = jnp.asarray(CELLS)
    one, row = training.epoch(training.init(SEEDS), archs, *data)
    other, other_row = sharded.epoch(sharded.init(SEEDS), archs, *data)
    assert row.loss.tolist() == pytest.approx(other_row.loss.tolist(), rel=1e-12)
    for leaf, shard in zip(jax.tree.leaves(one.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_allclose(leaf, shard, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_four_devices_give_the_same_numbers():
    """In a process of its own, as the number of devices is fixed when JAX begins."""
    this = f"{__file__}::{test_a_row_of_devices_gives_the_same_numbers.__name__}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", this, "-q", "-n", "0", "-p", "no:cacheprovider"],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "4"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "1 passed" in done.stdout


def test_divergence_is_a_status(net, data):
    recipe = Recipe(batch_size=3, learning_rate=1e200, augmentation="none")
    training = made(net, recipe)
    states, row = training.epoch(training.init(SEEDS), jnp.asarray(CELLS), *data)
    assert not row.finite[0]
    assert states.epoch.tolist() == [1] * len(CELLS)


def test_a_batch_larger_than_the_data_is_refused():
    assert steps_of(14, RECIPE) == 4
    with pytest.raises(InputError, match="batch_size"):
        steps_of(2, RECIPE)
