"""The picture of scores over training: panels, lines, and entries without a number."""

from jaxntk.results.over_epochs_plot import SHOWN, over_epochs_figure


def entry(score, epochs, mode, kendall=0.3, ci95=(0.2, 0.4)):
    return {
        "score": score,
        "epochs": epochs,
        "batch_norm": mode,
        "kendall": kendall,
        "kendall_ci95": ci95,
    }


ENTRIES = [
    *(entry(name, t, mode) for name in (*SHOWN, "trace") for t in (0, 5) for mode in ("a", "b")),
    entry("loss", 5, None, -0.1, None),
    entry("valid_accuracy", 0, None, None, None),
    entry("valid_accuracy", 5, None),
    entry("params", None, None, 0.5),
]


def test_a_panel_a_mode_and_one_without_a_kernel():
    figure = over_epochs_figure(ENTRIES, "accuracy")
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["kernel, a", "kernel, b", "without a kernel"]
    names = [[text.get_text() for text in ax.get_legend().get_texts()] for ax in figure.axes]
    assert set(names[0]) == {*SHOWN, "#params"}
    assert set(names[2]) == {"loss", "valid_accuracy", "#params"}
    assert figure.axes[0].get_ylabel() == "Kendall tau with accuracy"


def test_lines_stand_near_their_epochs_and_at_their_taus():
    figure = over_epochs_figure(ENTRIES, "accuracy")
    for container in figure.axes[0].containers:
        x, y = container.lines[0].get_data()
        assert abs(x - [0, 5]).max() < 0.2
        assert list(y) == [0.3, 0.3]
    (valid,) = (c for c in figure.axes[2].containers if c.get_label() == "valid_accuracy")
    assert len(valid.lines[0].get_data()[0]) == 1


def test_one_epoch_and_baselines_without_a_tau():
    entries = [entry("lga", 0, "a"), entry("params", None, None, None, None)]
    assert len(over_epochs_figure(entries, "accuracy").axes) == 1
