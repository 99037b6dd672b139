"""Laws that hold for every metric, and the numbers of the official implementation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxntk.errors import InputError
from jaxntk.metrics import METRICS, Score, Status, evaluate, ranking_values
from tests.metrics.spectra import random_kernel

SEEDS = st.integers(0, 1000)
LABELS = np.array([0, 0, 1, 1, 2, 0])
NAMES = [
    "lga",
    "lga_off_diagonal",
    "lga_centred",
    "mean",
    "frobenius",
    "condition_number",
    "trace",
    "effective_rank",
]


def test_the_table_names_every_metric_in_order():
    assert list(METRICS) == NAMES
    assert all(METRICS[name].name == name for name in NAMES)
    assert [name for name in NAMES if not METRICS[name].higher_is_better] == ["condition_number"]
    assert all(metric.formula and metric.source for metric in METRICS.values())


def test_evaluate_keeps_the_order_of_names():
    chosen = ["trace", "lga"]
    scores = evaluate(random_kernel(6), LABELS, chosen)
    assert list(scores) == chosen
    assert list(evaluate(random_kernel(6), LABELS)) == NAMES
    assert evaluate(random_kernel(6), LABELS, []) == {}


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(InputError, match="did you mean 'condition_number'"):
        evaluate(random_kernel(6), LABELS, ["lga", "condition_nubmer"])


@pytest.mark.parametrize("name", NAMES)
@given(seed=SEEDS)
def test_a_metric_called_alone_gives_the_same_score(name, seed):
    kernel = random_kernel(6, seed)
    assert METRICS[name](kernel, LABELS) == evaluate(kernel, LABELS)[name]


@pytest.mark.parametrize("name", NAMES)
@given(seed=SEEDS, order=st.permutations(range(6)))
def test_the_order_of_the_data_does_not_matter(name, seed, order):
    kernel = random_kernel(6, seed)
    score = METRICS[name](kernel, LABELS)
    permuted = METRICS[name](kernel[np.ix_(order, order)], LABELS[order])
    np.testing.assert_allclose(permuted.value, score.value, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_and_labels_given_are_not_changed(name):
    kernel, labels = random_kernel(6), LABELS.copy()
    before = kernel.copy()
    METRICS[name](kernel, labels)
    np.testing.assert_array_equal(kernel, before)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize("name", NAMES)
@given(seeds=st.lists(SEEDS, min_size=1, max_size=4), sign=st.sampled_from([1.0, -1.0]))
def test_the_zero_kernel_ranks_last_under_every_metric(name, seeds, sign):
    metric = METRICS[name]
    zero = metric(np.zeros((6, 6)), LABELS)
    scores = [zero] + [metric(sign * random_kernel(6, seed), LABELS) for seed in seeds]
    ranks = ranking_values(scores, metric.higher_is_better)
    valid = np.array([score.valid for score in scores])
    assert zero.status is Status.ZERO_KERNEL
    assert np.all(ranks[valid] > ranks[0]), (ranks, scores)
    assert np.all(ranks[~valid] == ranks[0]), (ranks, scores)


def official(golden_dir):
    """Yields name, kernel, labels and stored (mean, cond, fnorm, lga) of each cell and mode."""
    path = golden_dir / "lga_official_cifar10.npz"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {golden_dir}")
    with np.load(path, allow_pickle=False) as archive:
        labels = archive["y"]
        for cell in range(len(archive["archs"])):
            for mode in ("train", "eval"):
                prefix = f"{cell}.{mode}"
                stored = archive[f"{prefix}.mean_cond_fnorm_lga"]
                yield prefix, archive[f"{prefix}.kernel"], labels, stored


def test_mean_norm_and_lga_are_those_of_the_official_implementation(golden_dir):
    compared = 0
    for prefix, kernel, labels, stored in official(golden_dir):
        scores = evaluate(kernel, labels)
        if not kernel.any():
            assert set(scores.values()) == {Score.invalid(Status.ZERO_KERNEL)}, prefix
            continue
        ours = [scores[name].value for name in ("mean", "frobenius", "lga")]
        np.testing.assert_allclose(ours, stored[[0, 2, 3]], rtol=1e-12, err_msg=prefix)
        compared += 1
    assert compared == 14


def test_condition_number_on_real_kernels_is_that_of_eigvalsh(golden_dir):
    for prefix, kernel, labels, _ in official(golden_dir):
        if not kernel.any():
            continue
        eigenvalues = np.linalg.eigvalsh(kernel)
        score = METRICS["condition_number"](kernel, labels)
        expected = eigenvalues[-1] / eigenvalues[0]
        np.testing.assert_allclose(score.value, expected, rtol=1e-9, err_msg=prefix)


def test_the_all_none_cell_of_the_official_kernels_ranks_last(golden_dir):
    kernels = [(kernel, labels) for _, kernel, labels, _ in official(golden_dir)]
    zero = [index for index, (kernel, _) in enumerate(kernels) if not kernel.any()]
    assert len(zero) == 2
    for metric in METRICS.values():
        ranks = ranking_values([metric(*pair) for pair in kernels], metric.higher_is_better)
        assert np.all(ranks[zero] == 0), metric.name
        assert np.all(np.delete(ranks, zero) > 0), metric.name
