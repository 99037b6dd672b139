import errno
import json
import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.metrics import METRICS, Status
from jaxntk.results.report import STATUS_NOTES, headline, write_report

VOID = {"meta", "br", "link", "img", "input", "hr"}
ATTACK = "<script>alert('x')</script><img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """Collects tags, references, ids and words of a page, and checks that tags are closed."""

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.references, self.ids, self.words = [], [], [], [], []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name in {"src", "href", "xlink:href", "data", "action", "srcset"}:
                self.references.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def read(folder):
    path = write_report(folder)
    assert path == folder / "report.html"
    return path.read_text("utf-8")


def edit(folder, name, change):
    path = folder / name
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def cache():
    return {}


@pytest.fixture
def shared(make_run, cache):
    """One report of 60 cells, for the tests that only read it: its source and its summary."""
    if not cache:
        folder = make_run()
        cache["source"] = read(folder)
        cache["summary"] = json.loads((folder / "summary.json").read_text())
    return cache


@pytest.fixture
def page(shared):
    return Page(shared["source"])


def test_every_metric_and_baseline_is_there(page):
    for name in (*METRICS, "#params", "#FLOPs", "#convolutions"):
        assert page.words.count(name) >= 2, name
    for metric in METRICS.values():
        assert metric.formula in page.text


def test_numbers_stand_with_their_intervals(page, shared):
    text, summary = page.text, shared["summary"]
    for row in (*summary["metrics"].values(), *summary["baselines"].values()):
        low, high = (f"{bound:.2f}".replace("-", "\N{MINUS SIGN}") for bound in row["kendall_ci95"])
        tau = f"{row['kendall']:.2f}".replace("-", "\N{MINUS SIGN}")
        assert f"{tau} {low} to {high}" in text


def test_nothing_comes_from_elsewhere(page, shared):
    source = shared["source"]
    assert not re.search(r"https?:|@import", source)
    assert all(place.startswith("#") for place in re.findall(r"url\(['\"]?([^)]*)", source))
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    for reference in page.references:
        assert reference.startswith(("#", "data:image/png;base64,")), reference[:60]
    assert {place[1:] for place in page.references if place.startswith("#")} <= set(page.ids)


def test_ids_are_unique(page):
    assert len(page.ids) == len(set(page.ids))


def test_pictures(page):
    # Bars, a scatter a score, two cells and two kernels.
    assert page.tags.count("svg") == 1 + len(METRICS) + 3 + 2 + 2
    assert {"in", "out", "conv 3\N{MULTIPLICATION SIGN}3", "class of image"} <= set(page.words)


def test_captions_say_which_direction_is_better(page):
    assert page.words.count("higher is better \N{RIGHTWARDS ARROW}") == len(METRICS) - 1 + 3
    assert page.words.count("\N{LEFTWARDS ARROW} lower is better") == 1
    assert "longer to the right is better" in page.text


def test_configuration_environment_and_command(page):
    assert page.tags.count("details") == 3
    for word in ("versions.jax", "0.10.2", "git.commit", "0123456789abcdef", "num_archs"):
        assert word in page.words, word
    assert "jaxntk run experiments/quickstart_digits.py --out runs/quickstart" in page.text
    for word in (
        "frozen",
        "sum",
        "float32",
        "highest",
        "64 of digits, train split, balanced, seed 0",
    ):
        assert word in page.words, word


def test_both_colour_schemes(shared, page):
    assert "prefers-color-scheme: dark" in shared["source"]
    assert "var(--metric)" in shared["source"]


def test_size_of_a_report_of_300_cells(make_run):
    assert len(read(make_run(num=300))) < 2_000_000


def test_the_same_run_gives_the_same_report(make_run):
    folder = make_run(num=8)
    assert read(folder) == read(folder)


def test_every_status_has_its_note():
    assert set(STATUS_NOTES) == set(Status) - {Status.OK}


def test_invalid_scores_are_counted_by_status(make_run):
    folder = make_run(num=60, num_inits=2)
    rows = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    bad = {"value": None, "status": "eigensolver_failed"}
    rows[0]["metrics"]["trace"] = rows[1]["metrics"]["trace"] = rows[2]["metrics"]["trace"] = bad
    (folder / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    edit(folder, "summary.json", lambda summary: summary["metrics"]["trace"].update(invalid=2))
    text = Page(read(folder)).text
    assert "trace 2 3 eigensolver_failed" in text
    assert STATUS_NOTES["eigensolver_failed"] in text


def test_a_run_without_invalid_scores_says_so(make_run):
    folder = make_run(num=20, num_inits=1)
    rows = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    for row in rows:
        row["metrics"] = {name: {"value": 1.5, "status": "ok"} for name in METRICS}
    (folder / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def none_invalid(summary):
        for row in summary["metrics"].values():
            row["invalid"] = 0

    edit(folder, "summary.json", none_invalid)
    text = Page(read(folder)).text
    assert "Every score of every cell is valid." in text


@pytest.mark.parametrize(
    "arguments",
    [
        {"num": 2, "num_inits": 1},
        {"num": 1, "num_inits": 1},
        {"num": 5, "num_inits": 1, "all_invalid": True},
        {"num": 2, "num_inits": 3, "all_invalid": True, "kernels": False},
    ],
    ids=["two cells", "one cell", "all invalid", "nothing"],
)
def test_degenerate_runs_have_a_report(make_run, arguments):
    text = Page(read(make_run(**arguments))).text
    assert "None" not in text
    assert "nan" not in re.findall(r"[a-z]+", text)
    assert ("No metric gave a ranking" in text) == (
        arguments["num"] == 1 or arguments.get("all_invalid", False)
    )
    assert ("kept no kernels" in text) == (not arguments.get("kernels", True))


def test_optional_parts_of_the_summary_may_be_missing(make_run):
    folder = make_run(num=5)

    def strip(summary):
        for key in ("compilations", "seconds", "memory"):
            del summary[key]
        summary["data"]["standardization"] = None

    edit(folder, "summary.json", strip)
    assert "quickstart_digits" in Page(read(folder)).text


def test_names_from_files_are_never_markup(make_run):
    folder = make_run(num=5)
    edit(folder, "config.json", lambda config: config.update(command=ATTACK))
    edit(folder, "config.json", lambda config: config["config"].update({ATTACK: ATTACK}))
    edit(folder, "environment.json", lambda environment: environment.update({ATTACK: ATTACK}))

    def attack(summary):
        summary["experiment"] = summary["truth"]["source"] = summary["data"]["name"] = ATTACK
        summary["metrics"][ATTACK] = summary["metrics"]["lga"]

    edit(folder, "summary.json", attack)
    rows = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    for row in rows:
        row["metrics"][ATTACK] = {"value": None, "status": "constant"}
        row["batch_norm"] = ATTACK
    (folder / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = read(folder)
    page = Page(source)
    assert not {"script", "img"} & set(page.tags)
    assert "<script" not in source
    assert page.text.count("<script>alert('x')</script>") >= 8


def test_an_unfinished_run_gets_no_report(make_run):
    folder = make_run(num=5)
    (folder / "summary.json").unlink()
    with pytest.raises(InputError, match="run it to the end"):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_a_search_gets_no_report(tmp_path):
    for name in ("config.json", "environment.json", "summary.json"):
        (tmp_path / name).write_text('{"experiment": "cell_search", "command": "x"}')
    with pytest.raises(InputError, match="which holds cell_search; its tables"):
        write_report(tmp_path)


def test_a_folder_without_a_run_gets_no_report(tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        write_report(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_the_old_report(make_run, monkeypatch):
    folder = make_run(num=5)
    before = read(folder)

    def refuse(_fd, _data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(InputError, match="free some space"):
        write_report(folder)
    assert (folder / "report.html").read_text("utf-8") == before


@pytest.mark.slow
def test_a_run_of_the_whole_space_has_a_small_report(make_run):
    folder = make_run(num=3000, num_inits=1)
    assert len(read(folder)) < 2_000_000


def row(kendall, bounds):
    return {"kendall": kendall, "kendall_ci95": bounds, "n": 300}


@pytest.mark.parametrize(
    ("metric", "baseline", "words"),
    [
        (row(0.6, [0.55, 0.65]), row(0.4, [0.35, 0.45]), "the metric is ahead"),
        (row(0.4, [0.35, 0.45]), row(0.6, [0.55, 0.65]), "the baseline is ahead"),
        (row(0.5, [0.45, 0.55]), row(0.6, [0.54, 0.65]), "the intervals overlap"),
        (row(0.5, None), row(0.6, None), "#params, reaches 0.60 (no interval)."),
        (row(None, None), row(0.6, [0.5, 0.7]), "No metric gave a ranking"),
    ],
)
def test_headline(metric, baseline, words):
    summary = {
        "metrics": {"trace": row(-0.9, [-0.95, -0.85]), "mean": metric},
        "baselines": {"params": baseline, "flops": row(None, None)},
    }
    if metric["kendall"] is None:
        summary["metrics"]["trace"] = metric
    assert words in " ".join(headline(summary))


def test_headline_without_a_baseline():
    (sentence,) = headline({"metrics": {"mean": row(0.5, [0.4, 0.6])}, "baselines": {}})
    assert sentence.startswith("mean ranks the 300 architectures best of 1 metrics")


def test_gram_matrices_of_many_images_stay_small(make_run):
    folder = make_run(num=5)
    with np.load(folder / "kernels.npz") as stored:
        arrays = dict(stored)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(256, 50))
    arrays.update(
        best_gram=features @ features.T,
        worst_gram=features @ features.T,
        labels=np.arange(256) % 10,
    )
    np.savez(folder / "kernels.npz", **arrays)
    assert len(read(folder)) < 1_000_000
