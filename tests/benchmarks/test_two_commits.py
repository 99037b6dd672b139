"""Two commits held against each other: the record is whole, bad input is refused."""

import json

import numpy as np
import pytest

from benchmarks import two_commits


@pytest.mark.slow
@pytest.mark.parametrize("space", ["cells", "pit"])
def test_a_commit_against_itself(tmp_path, space):
    out = tmp_path / "two.json"
    options = ["--base", "HEAD", "--space", space, "--architectures", "2", "--repeats", "1"]
    small = ["--channels", "4", "--cells-per-stage", "1", "--num-images", "4"]
    side = ["--image-size", "8" if space == "cells" else "32"]
    assert two_commits.main([*options, *small, *side, "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    assert len(record["rows"]) == 2
    assert np.isfinite(record["summary"]["ratio_of_sums"])
    assert record["summary"]["largest_relative_difference"] < 1e-2


def test_an_unknown_commit_is_refused(tmp_path, capsys):
    assert two_commits.main(["--base", "nowhere", "--out", str(tmp_path / "two.json")]) == 2
    assert capsys.readouterr().err.startswith("error: base: got nowhere")
