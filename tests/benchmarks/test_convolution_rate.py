"""The rates that the benchmark of the convolutions reports are work over time."""

import json

import pytest

from benchmarks import convolution_rate
from benchmarks.convolution_rate import Options, convolution_flops, figure, stages


def test_all_stages_do_as_much_arithmetic():
    options = Options(n=4, channels=16)
    assert stages(options) == [(32, 16), (16, 32), (8, 64)]
    counts = {convolution_flops(options.n, *stage) for stage in stages(options)}
    # A window of nine pixels and 16 channels for each of 16 x 1,024 outputs of four images.
    assert counts == {2 * 4 * 1024 * 16 * 9 * 16}


def test_the_picture_has_a_bar_for_every_rate():
    rates = {"convolution": 8e10, "forward and backward": 5e10, "kernel": 4e10}
    (ax,) = figure(rates, 8e10).axes
    assert [bar.get_width() for bar in ax.patches] == [40, 50, 80]
    assert list(ax.lines[0].get_xdata()) == [40, 40]


@pytest.mark.slow
def test_a_run_writes_rates_and_their_ratios(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(convolution_rate, "set_up", lambda cores, platform: None)
    monkeypatch.setattr(convolution_rate, "MATRIX", 64)
    out = tmp_path / "rate.json"
    arguments = ["--n", "2", "--channels", "2", "--cells", "1", "--out", str(out)]
    assert convolution_rate.main(arguments) == 0
    record = json.loads(out.read_text(encoding="utf-8"))
    for name, rate in record["rates"].items():
        assert rate == pytest.approx(record["flops"][name] / min(record["seconds"][name]))
    ratio = record["summary"]["forward_backward_over_convolution"]
    assert f"{ratio:.2f}" in capsys.readouterr().out
    assert out.with_suffix(".png").is_file()


def test_bad_input_is_told_in_one_line(capsys):
    assert convolution_rate.main(["--cores", "0"]) == 2
    assert capsys.readouterr().err.startswith("error: cores: got 0;")
