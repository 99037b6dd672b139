"""Trainings that give the ground truth begin from weights of their own."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.studies import truth
from jaxntk.studies.config import ExperimentConfig
from jaxntk.studies.job import prepare
from jaxntk.training.population import Training

CONFIG = ExperimentConfig(
    data="digits",
    truth="train",
    batch_norm="frozen",
    archs=("421211", "333333"),
    channels=2,
    cells_per_stage=1,
    train_repeats=3,
    train_seed=2,
)


def accuracy(config):
    job = prepare(config)
    return truth.trained_accuracy(config, job.model, job.dataset)


def test_no_training_begins_from_weights_that_are_scored(monkeypatch):
    drawn = []

    def fake_training(*arguments):
        def init(seeds):
            drawn.append(list(seeds))

        return Training(init, lambda states, archs, x, y: (states, None))

    def fake_evaluation(network):
        return lambda states, archs, seen, splits: {"test": jnp.full(len(archs), 0.5)}

    monkeypatch.setattr(truth, "population_training", fake_training)
    monkeypatch.setattr(truth, "make_evaluation", fake_evaluation)
    assert accuracy(CONFIG)(np.array([4, 2, 1, 2, 1, 1])) == 50.0
    (seeds,) = drawn
    assert seeds == [truth.TRUTH_SEED + 2 + repeat for repeat in range(3)]
    assert not set(seeds) & set(dataclasses.replace(CONFIG, num_inits=1000).init_seeds)


def test_seeds_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="train_seed"):
        accuracy(dataclasses.replace(CONFIG, train_seed=10**9))
