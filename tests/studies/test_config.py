"""The configuration: JSON and back, and what is refused."""

import dataclasses
import math

import pytest

from jaxntk.cli import load_experiment
from jaxntk.errors import InputError
from jaxntk.runs.config import LOCATIONS
from jaxntk.studies.config import ExperimentConfig, validate
from jaxntk.studies.search.options import SearchOptions
from tests.tiny_runs import REPOSITORY

# Scripts with a command line of their own.
WITHOUT_CONFIGURATION = (
    "compare_searches",
    "digits201",
    "digits_vit",
    "frequency_bias",
    "kernel_dynamics",
    "over_epochs",
    "prune_supernet",
    "search_cells",
    "search_vits",
    "search_tables",
    "vintk_vitbench101",
)
EXPERIMENTS = sorted(
    file
    for file in (REPOSITORY / "experiments").glob("*.py")
    if file.stem not in WITHOUT_CONFIGURATION
)
SMALL = ExperimentConfig(
    data="digits", truth="train", batch_norm="frozen", archs=("421211", "0" * 6)
)


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_every_experiment_is_valid_and_survives_json(file):
    config = load_experiment(file)
    validate(config)
    assert ExperimentConfig.from_json(config.to_json()) == config


def test_there_are_experiments():
    assert {file.stem for file in EXPERIMENTS} >= {"quickstart_digits", "init_metrics_nasbench201"}


def test_json_round_trip():
    row = SMALL.to_json()
    assert row["archs"] == ["421211", "000000"]
    assert ExperimentConfig.from_json(row) == SMALL


def test_an_unknown_field_is_named_with_the_closest_one():
    with pytest.raises(InputError, match=r"unknown field 'num_arch'; .*did you mean 'num_archs'"):
        ExperimentConfig.from_json({**SMALL.to_json(), "num_arch": 3})


def test_a_missing_field_is_named():
    row = SMALL.to_json()
    del row["truth"]
    with pytest.raises(InputError, match="no field 'truth'"):
        ExperimentConfig.from_json(row)


def test_locations_are_fields():
    kinds = (ExperimentConfig, SearchOptions)
    known = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    assert set(LOCATIONS) <= known, set(LOCATIONS) - known


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_archs", 0),
        ("num_archs", 1),
        ("num_archs", 15626),
        ("arch_seed", -1),
        ("archs", ("421211",)),
        ("archs", ("421211", "421211")),
        ("archs", ("42121",)),
        ("archs", ("|nor_conv_3x3~0|",)),
        ("archs", ("|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|",)),
        ("num_images", 1),
        ("channels", 0),
        ("cells_per_stage", 0),
        ("num_inits", 0),
        ("init_seed", -1),
        ("batch_seed", -1),
        ("tile", 0),
        ("metrics", ()),
        ("metrics", ("lgaa",)),
        ("initializer", "he"),
        ("truth", "cifar10/test/100"),
        ("train_epochs", 0),
        ("train_repeats", 0),
        ("train_batch_size", 1),
        ("train_seed", -1),
        ("learning_rate", math.nan),
        ("learning_rate", -0.1),
        ("momentum", math.inf),
        ("weight_decay", -1e-4),
    ],
)
def test_a_wrong_value_is_refused_by_name(field, value):
    changes = {"archs": (), field: value}
    with pytest.raises(InputError) as error:
        validate(dataclasses.replace(SMALL, **changes))
    assert str(error.value).startswith(f"{field}: "), error.value


@pytest.mark.parametrize(
    "field", ["batch_norm", "batch", "split", "outputs", "parameters", "dtype"]
)
def test_a_wrong_choice_is_refused_by_name(field):
    config = dataclasses.replace(SMALL)
    # Past the annotations, which are checked only while testing.
    object.__setattr__(config, field, "fro")
    with pytest.raises(InputError, match=f"^{field}: got 'fro'; choose from "):
        validate(config)
