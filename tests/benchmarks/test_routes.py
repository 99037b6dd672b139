"""The comparison of routes: both are right, auto is one of them, records are whole."""

import json

import jax
import pytest

from benchmarks import routes, switched_convolution, zoo


@pytest.fixture(autouse=True)
def this_process_stays_as_it_is(monkeypatch):
    """The benchmarks confine their process to some cores; here the tests go on in it."""
    for module in (routes, switched_convolution, zoo):
        monkeypatch.setattr(module, "set_up", lambda *given: None)


def test_routes_agree_and_what_is_too_large_is_left_out(tmp_path, capsys):
    out = tmp_path / "routes.json"
    options = ["--tokens", "1", "8", "--examples", "4", "--layers", "8", "8", "--repeats", "1"]
    assert routes.main([*options, "--most", "1e4", "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    few, many = record["rows"]
    assert few["seconds"].keys() == {"factorised", "materialised", "auto"}
    assert few["relative_error"] < 1e-5
    assert many["auto_takes"] == "materialised"
    assert "factorised" not in many["seconds"]
    assert record["summary"]["compared"] == 1
    assert out.with_suffix(".png").exists()
    assert "8x8" in capsys.readouterr().out


def test_without_anything_to_compare_it_says_so(tmp_path, capsys):
    options = ["--tokens", "8", "--examples", "4", "--layers", "8", "8", "--most", "1"]
    assert routes.main([*options, "--out", str(tmp_path / "routes.json")]) == 2
    assert "raise most" in capsys.readouterr().err


def test_convolutions_in_switches_are_timed(tmp_path):
    out = tmp_path / "switched.json"
    options = ["--n", "2", "--channels", "2", "--side", "4", "--repeats", "1"]
    assert switched_convolution.main([*options, "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    assert len(record["seconds"]) == 4
    assert record["summary"]["flax_over_ours_switched"] > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:No .* rule found")
def test_methods_agree_on_a_model_of_the_zoo(tmp_path):
    out = tmp_path / "zoo.json"
    options = ["--models", "linen language model, tied", "--n", "3", "--times", "1"]
    options += ["--outputs", "sum", "--repeats", "1", "--out", str(out)]
    with jax.numpy_rank_promotion("allow"):  # as models have it that users write
        assert zoo.main(options) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row["relative_error"] < 1e-2
    assert {"auto", "per_example_gradients"} <= row["seconds"].keys()


def test_unknown_models_are_refused(capsys):
    assert zoo.main(["--models", "linen rasnet"]) == 2
    assert capsys.readouterr().err.startswith("error: models: got linen rasnet")
