import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from jaxntk.errors import InputError
from jaxntk.results import plots, theme
from jaxntk.results.correlation import Correlation
from jaxntk.spaces.nasbench201 import EDGES, OPS, decode

FOUND = Correlation(0.43, (0.37, 0.49), 0.6, 300, 0)
UNDEFINED = Correlation(None, None, None, 2, 2)


def draw(figure):
    """Draws a figure as a picture and returns its pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def texts(figure):
    """Returns the texts that drawing a figure puts on it; others wait outside of its axes."""
    shown, draw_text = [], mpl.text.Text.draw

    def record(self, renderer):
        if self.get_text() and self.get_visible():
            shown.append(self)
        return draw_text(self, renderer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mpl.text.Text, "draw", record)
        draw(figure)
    return shown


def strings(figure):
    return {text.get_text() for text in texts(figure)}


def scatter(score, truth=None, direction="higher", correlation=FOUND):
    score = np.asarray(score, np.float64)
    truth = np.linspace(80.0, 94.0, score.size) if truth is None else np.asarray(truth, np.float64)
    return plots.scatter_figure(score, truth, "mean", direction, correlation)


def row(kendall, bounds, n=300):
    return {"kendall": kendall, "kendall_ci95": bounds, "n": n}


def summary(metrics):
    return {"metrics": metrics, "baselines": {"params": row(0.5, [0.4, 0.6])}}


def gram(num=24, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, num)
    features = rng.normal(size=(num, 50)) + np.eye(3)[labels] @ np.ones((3, 50))
    return features @ features.T, labels


CELL = decode(np.array([4, 0, 1, 2, 3, 3], np.int32))
FIGURES = {
    "scatter": lambda: scatter(np.arange(1.0, 60.0)),
    "scatter, invalid": lambda: scatter([1.0, np.nan, 3.0], correlation=UNDEFINED),
    "bars": lambda: plots.correlation_figure(summary({"lga": row(-0.1, [-0.2, 0.0])})),
    "gram": lambda: plots.gram_figure(*gram(), "kernel"),
    "cell": lambda: plots.cell_figure(CELL, "cell"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_clipped_and_no_words_overlap(name):
    figure = FIGURES[name]()
    shown = texts(figure)
    page = figure.bbox
    boxes = [text.get_window_extent() for text in shown]
    for text, box in zip(shown, boxes, strict=True):
        inside = page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
        assert inside, (text.get_text(), box, page)
    for one in range(len(shown)):
        for other in range(one):
            pair = shown[one].get_text(), shown[other].get_text()
            assert not boxes[one].overlaps(boxes[other]), pair


@pytest.mark.parametrize("name", FIGURES)
def test_no_global_state_is_touched(name):
    before = dict(mpl.rcParams)
    figure = FIGURES[name]()
    theme.inline_svg(figure, key="a", label="b")
    assert dict(mpl.rcParams) == before
    pyplot = __import__("sys").modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_the_same_twice(name):
    first, second = (theme.inline_svg(FIGURES[name](), key="a", label="b") for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", ["$x$", "a_b$", "<b>&amp;", "$\\frac{1$", "x" * 40])
def test_names_are_shown_as_they_are(name):
    figure = plots.scatter_figure(np.arange(3.0), np.arange(3.0), name, "higher", FOUND)
    assert name in strings(figure)


@pytest.mark.parametrize(
    ("direction", "words", "strip_first"),
    [
        ("higher", "higher is better \N{RIGHTWARDS ARROW}", True),
        ("lower", "\N{LEFTWARDS ARROW} lower is better", False),
    ],
)
def test_invalid_cells_stand_at_the_worse_end(direction, words, strip_first):
    figure = scatter([1.0, np.nan, 3.0, np.inf], direction=direction)
    assert {words, "invalid", "mean", "tau 0.43 (0.37 to 0.49)"} <= strings(figure)
    counts = [len(ax.collections[0].get_offsets()) for ax in figure.axes]
    places = [ax.get_position().x0 for ax in figure.axes]
    assert counts == [2, 2]
    assert places == sorted(places)
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert (ticks == ["invalid"]) is strip_first


def test_without_invalid_cells_there_is_no_strip():
    assert len(scatter(np.arange(1.0, 9.0)).axes) == 1


@pytest.mark.parametrize(
    ("score", "scale"),
    [
        ([1.0, 60.0], "log"),
        ([1.0, 40.0], "linear"),
        ([-1.0, 60.0], "linear"),
        ([0.0, 60.0], "linear"),
        ([np.nan, np.nan], "linear"),
        ([1e-30, 1e30], "log"),
        ([5.0, 5.0], "linear"),
    ],
)
def test_scale_of_the_score(score, scale):
    figure = scatter(score)
    draw(figure)
    assert figure.axes[-1].get_xscale() == scale


@pytest.mark.parametrize(
    ("truth", "scale"),
    [
        ([10.0, 91.0, 94.0], "function"),
        ([10.0, 100.0, 100.0], "function"),
        ([80.0, 82.0, 84.0], "linear"),
        ([100.0, 100.0, 100.0], "linear"),
        ([0.1, 0.5, 0.9], "linear"),
    ],
)
def test_scale_of_the_accuracy(truth, scale):
    figure = scatter([1.0, 2.0, 3.0], truth)
    draw(figure)
    ax = figure.axes[0]
    low, high = ax.get_ylim()
    assert ax.get_yscale() == scale
    assert low < min(truth) <= max(truth) < high
    assert len(ax.get_yticks()) >= 2


def test_no_cell_at_all():
    assert "tau undefined" in strings(scatter([], correlation=Correlation(None, None, None, 0, 0)))


def test_thousands_of_cells_become_a_picture():
    rng = np.random.default_rng(0)
    figure = scatter(rng.normal(size=15_625), rng.uniform(80, 94, 15_625))
    assert len(theme.inline_svg(figure, key="a", label="b")) < 200_000


def test_unknown_direction_is_refused():
    # Past the type check of the tests: users have none.
    unchecked = getattr(plots.scatter_figure, "__wrapped__", plots.scatter_figure)
    with pytest.raises(InputError, match="direction: got up; give 'higher' or 'lower'"):
        unchecked(np.ones(2), np.ones(2), "x", "up", FOUND)


def test_bars_are_sorted_and_baselines_set_apart():
    metrics = {
        "lga": row(-0.1, [-0.2, 0.0]),
        "trace": row(None, None),
        "mean": row(0.3, [0.2, 0.4]),
        "lga_centred": row(0.2, None),
    }
    figure = plots.correlation_figure(summary(metrics))
    draw(figure)
    bars, numbers = figure.axes
    names = [label.get_text() for label in bars.get_yticklabels()]
    assert names == ["mean", "lga_centred", "lga", "trace", "#params"]
    widths = [patch.get_width() for patch in bars.patches]
    assert widths == pytest.approx([0.3, 0.2, -0.1, 0.5])
    colours = [mpl.colors.to_hex(patch.get_facecolor()) for patch in bars.patches]
    assert colours == [theme.METRIC] * 3 + [theme.BASELINE]
    assert "undefined" in {text.get_text().strip() for text in bars.texts}
    assert {"0.20 to 0.40", "\N{EN DASH}"} <= {text.get_text() for text in numbers.texts}
    intervals = [line.get_xdata() for line in bars.lines if len(set(line.get_xdata())) == 2]
    assert [list(ends) for ends in intervals] == [[0.2, 0.4], [-0.2, 0.0], [0.4, 0.6]]


def test_no_score_at_all():
    assert draw(plots.correlation_figure({"metrics": {}, "baselines": {}})).size


def test_gram_matrix_is_sorted_by_class_and_square():
    matrix, labels = gram()
    figure = plots.gram_figure(matrix, labels, "kernel")
    draw(figure)
    ax = figure.axes[0]
    order = np.argsort(labels, kind="stable")
    np.testing.assert_array_equal(ax.images[0].get_array(), matrix[np.ix_(order, order)])
    box = ax.get_window_extent()
    assert box.width == pytest.approx(box.height, rel=1e-3)
    borders = sorted(line.get_ydata()[0] for line in ax.lines if len(set(line.get_ydata())) == 1)
    assert borders == list(np.cumsum(np.bincount(labels))[:-1])


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((4, 4)),
        np.full((4, 4), np.nan),
        np.full((4, 4), 1e300),
        np.diag([1e-20, 1.0, np.inf, -3.0]),
        np.eye(4) * 1e-12,
    ],
    ids=["zero", "nan", "huge", "mixed", "tiny"],
)
def test_degenerate_gram_matrices_are_drawn(matrix):
    assert draw(plots.gram_figure(matrix, np.array([0, 0, 1, 1]), "kernel")).size


def test_a_hundred_classes_keep_readable_ticks():
    matrix, _ = gram(200)
    figure = plots.gram_figure(matrix, np.arange(200) // 2, "kernel")
    draw(figure)
    assert len(figure.axes[0].get_xticklabels()) <= 12


def test_operations_that_reach_nothing_are_faint():
    """334100 is a skip connection: its convolutions lie on no way to the output."""
    figure = plots.cell_figure(decode(np.array([3, 3, 4, 1, 0, 0], np.int32)), "cell")
    alphas = [patch.get_alpha() for patch in figure.axes[0].patches]
    assert alphas[3] == 1.0
    assert max(alphas[:3] + alphas[4:]) < 0.7, alphas


@pytest.mark.parametrize("operation", range(5))
def test_cell_shows_the_operation_on_each_edge(operation):
    for edge in range(6):
        arch = np.full(6, (operation + 1) % 5, np.int32)
        arch[edge] = operation
        figure = plots.cell_figure(decode(arch), "cell")
        draw(figure)
        (ax,) = figure.axes
        end, start = EDGES[edge]
        place = np.array(plots._LABELS[end, start])
        (label,) = [text for text in ax.texts if np.allclose(text.get_position(), place)]
        assert label.get_text() == plots._OPERATION_NAMES[OPS[operation]]
        dashed = [patch.get_linestyle() != "-" for patch in ax.patches]
        assert dashed == [OPS[op] == "none" for op in arch]


def test_cell_must_be_one():
    with pytest.raises(InputError):
        plots.cell_figure("|what~0|", "cell")
