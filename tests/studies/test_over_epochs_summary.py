"""Entries of the summary on rows made up so that the answer is known."""

import dataclasses

import numpy as np
import pytest
import scipy.stats

from jaxntk.metrics import Score, Status
from jaxntk.results.correlation import correlate
from jaxntk.spaces import nasbench201
from jaxntk.spaces.registry import SPACES
from jaxntk.spaces.space import groups
from jaxntk.studies.over_epochs_config import OverEpochsConfig
from jaxntk.studies.over_epochs_summary import over_epochs_entries, verdict
from jaxntk.studies.summarize import correlations
from jaxntk.studies.tables.digits201 import distinct_functions

NUM = 60
CONFIG = OverEpochsConfig(
    data="digits201",
    truth="digits201/test",
    num_archs=NUM,
    epochs=(0, 1),
    batch_norms=("frozen", "batch"),
    metrics=("lga", "condition_number"),
    num_seeds=2,
)
SPACE = SPACES["nasbench201"]
FUNCTIONS, _ = distinct_functions()
CELLS = [nasbench201.format_ops(arch) for arch in FUNCTIONS[100 : 100 + NUM]]


@pytest.fixture(scope="module")
def made():
    """After training LGA is the truth; losses say what #params say; the rest is noise.

    What another seed, epoch or mode would give is different everywhere.
    """
    rng = np.random.default_rng(0)
    truth = rng.normal(size=NUM)
    params = truth + rng.normal(size=NUM)
    noise = rng.normal(size=(4, NUM))
    rows = {}
    for at, cell in enumerate(CELLS):
        for seed in CONFIG.seeds:
            for mode in CONFIG.batch_norms:
                for epoch in CONFIG.epochs:
                    right = epoch == 1 and mode == "frozen"
                    rows[cell, seed, epoch, mode, "ntk"] = {
                        "metrics": {
                            "lga": Score.of(truth[at] if right else noise[0, at]).to_json(),
                            # Each seed alone is noise; their mean is the truth's opposite.
                            "condition_number": Score.of(
                                10 - truth[at] + (1 - 2 * seed) * noise[3, at]
                            ).to_json(),
                        },
                        "params": params[at],
                        "flops": params[at],
                        "convolutions": 1.0,
                        "live_params": params[at],
                        "finite": True,
                        "loss": -params[at] if epoch else None,
                        "loss_sum": -params[at] if epoch else None,
                        "train_accuracy": noise[1, at] if epoch else None,
                        "valid_accuracy": truth[at] if epoch else noise[2, at],
                    }
    return truth, rows, params


@pytest.fixture(scope="module")
def entries(made):
    truth, rows, _ = made
    found = over_epochs_entries(CONFIG, SPACE.baselines, CELLS, rows, truth, np.arange(NUM))
    return {(entry["score"], entry["epochs"], entry["batch_norm"]): entry for entry in found}


def test_every_score_has_an_entry_after_every_epoch(entries):
    kernels = {
        (name, epoch, mode)
        for name in CONFIG.metrics
        for epoch in CONFIG.epochs
        for mode in CONFIG.batch_norms
    }
    trained = {
        (name, epoch, None)
        for epoch in CONFIG.epochs
        for name in ("loss", "loss_sum", "train_accuracy", "valid_accuracy")
        if epoch or name == "valid_accuracy"
    }
    baselines = {(name, None, None) for name in ("params", "flops", "convolutions", "live_params")}
    assert set(entries) == kernels | trained | baselines


def test_directions(entries, made):
    truth, _, params = made
    wanted = scipy.stats.kendalltau(params, truth).statistic
    assert entries["lga", 1, "frozen"]["kendall"] == pytest.approx(1.0)
    assert entries["condition_number", 0, "batch"]["kendall"] == pytest.approx(1.0)
    for name in ("loss", "loss_sum"):
        assert entries[name, 1, None]["kendall"] == pytest.approx(wanted)
        assert not entries[name, 1, None]["higher_is_better"]
    assert entries["params", None, None]["kendall"] == pytest.approx(wanted)
    assert entries["convolutions", None, None]["kendall"] is None


def test_the_mode_and_the_epoch_are_the_right_ones(entries):
    for epoch, mode in ((0, "frozen"), (0, "batch"), (1, "batch")):
        assert entries["lga", epoch, mode]["kendall"] < 0.5, (epoch, mode)
    assert entries["valid_accuracy", 1, None]["kendall"] == pytest.approx(1.0)
    assert entries["valid_accuracy", 0, None]["kendall"] < 0.5


def test_what_is_added(entries):
    perfect, loss = entries["lga", 1, "frozen"], entries["loss_sum", 1, None]
    names = ("live_params", "live_params+loss_sum", "live_params+valid_accuracy")
    assert tuple(perfect["beyond"]) == (names[0], names[1], names[2])
    assert set(entries["lga", 0, "frozen"]["beyond"]) == {names[0], names[2]}
    for name in names[:2]:
        found = perfect["beyond"][name]
        assert found["gain"] > 0.1
        assert 0 < found["gain_low_of_all"] < found["gain"]
    # The validation accuracy is the truth itself: nothing is left to add.
    assert perfect["beyond"][names[2]]["gain"] == pytest.approx(0.0, abs=1e-9)
    assert loss["beyond"]["live_params"]["gain"] == pytest.approx(0.0, abs=1e-9)
    assert loss["partial"] is None
    assert perfect["partial"] == pytest.approx(1.0)
    assert perfect["with_live_params"] > loss["with_live_params"]


def test_the_verdict_counts_and_names(entries):
    sentences = verdict(list(entries.values()))
    assert len(sentences) == 3
    # Three kernel scores of LGA are noise, one is the truth; the condition number always is.
    assert sentences[0].startswith("5 of 8 kernel scores add to live_params ")
    assert "lga after 1 epochs, frozen" in sentences[0] or "condition_number" in sentences[0]
    nothing = {"gain": None, "gain_ci95": None, "gain_low_of_all": None}
    constant = [entry | {"beyond": {"params": nothing}} for entry in entries.values()]
    (sentence,) = verdict(constant)
    assert sentence == "too few cells to say what kernel scores add to params"


def test_one_diverged_seed_makes_a_cell_last(made):
    truth, rows, _ = made
    best, config = int(truth.argmax()), dataclasses.replace(CONFIG, epochs=(1,))
    bad = {"value": None, "status": str(Status.NONFINITE)}
    changed = {
        **rows,
        (CELLS[best], 1, 1, "frozen", "ntk"): rows[CELLS[best], 1, 1, "frozen", "ntk"]
        | {"finite": False, "metrics": {"lga": bad, "condition_number": bad}},
    }
    found = over_epochs_entries(config, SPACE.baselines, CELLS, changed, truth, np.arange(NUM))
    entries = {(entry["score"], entry["batch_norm"]): entry for entry in found}
    pairs = NUM * (NUM - 1) / 2
    for key in (("lga", "frozen"), ("condition_number", "frozen"), ("loss", None)):
        assert entries[key]["invalid"] == 1
    assert entries["lga", "frozen"]["kendall"] == pytest.approx(1 - 2 * (NUM - 1) / pairs)


def test_intervals_are_over_functions(made):
    """Half of the cells compute functions of the other half: intervals know, taus do not."""
    truth, rows, params = made
    twins = {}
    for arch in nasbench201.enumerate_space():
        twins.setdefault(nasbench201.function_form(arch), []).append(nasbench201.format_ops(arch))
    pairs = [names[:2] for names in twins.values() if len(names) > 1][: NUM // 2]
    cells = [name for pair in pairs for name in pair]
    archs = np.stack([SPACE.read(cell) for cell in cells])
    copies = groups(SPACE, archs)
    assert copies.tolist() == np.repeat(np.arange(NUM // 2), 2).tolist()
    renamed = {
        (cells[CELLS.index(cell)], *rest): row | {"arch": cells[CELLS.index(cell)]}
        for (cell, *rest), row in rows.items()
    }
    wanted, loose = (
        correlate(params, truth, invalid=0, groups=each).kendall_ci95 for each in (copies, None)
    )
    assert wanted != loose
    entries = over_epochs_entries(CONFIG, SPACE.baselines, cells, renamed, truth, copies)
    found = next(entry for entry in entries if entry["score"] == "params")
    assert found["kendall_ci95"] == [*wanted]
    alone = [[renamed[cell, 0, 1, "frozen", "ntk"]] for cell in cells]
    order = np.argsort(cells)
    summary = correlations(SPACE, alone, truth, ["lga"])["baselines"]["params"]
    numbered = groups(SPACE, archs[order])
    sorted_ci = correlate(params[order], truth[order], invalid=0, groups=numbered).kendall_ci95
    assert summary["kendall_ci95"] == [*sorted_ci]
