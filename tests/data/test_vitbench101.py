"""The table of ViT-Bench-101: what is read, and what is refused."""

import numpy as np
import pytest

from jaxntk.data.vitbench101 import load_vitbench101
from jaxntk.errors import InputError
from jaxntk.spaces import autoformer, pit

HEADER = "set,idx,embed_dim,depth,num_heads,mlp_ratio,params_c100,c100_base_acc,c100_kd_acc"
HEADS, RATIOS = " ".join(["3", "4"] * 6), " ".join(["4.0"] * 12)
AUTOFORMER = f"autoformer_main,0,192,12,{HEADS},{RATIOS},5543716,68.66,"
PIT = "pit,7,16,2 8 4,2 4 4,6,893828,68.33,72.5"


def table(tmp_path, *lines):
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_sets_are_read_apart(tmp_path):
    other = PIT.replace("pit,7", "pit_more,8")
    sets = load_vitbench101(table(tmp_path, HEADER, AUTOFORMER, PIT, other))
    assert list(sets) == ["autoformer_main", "pit", "pit_more"]
    assert [each.family for each in sets.values()] == ["autoformer", "pit", "pit"]
    assert [each.names for each in sets.values()] == [("0",), ("7",), ("8",)]
    first, second = sets["autoformer_main"], sets["pit"]
    text = autoformer.to_string(first.archs[0], autoformer.VITBENCH101)
    assert text == "192:" + ",".join(["3x4", "4x4"] * 6)
    assert pit.to_string(second.archs[0]) == "16:2x2,8x4,4x4:6"
    assert first.accuracies["c100_base_acc"].tolist() == [68.66]
    assert np.isnan(first.accuracies["c100_kd_acc"][0])
    assert second.accuracies["c100_kd_acc"].tolist() == [72.5]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([HEADER], "holds no row"),
        ([HEADER.replace("depth,", ""), PIT.replace("2 8 4,", "")], "needs the columns set, idx"),
        (["set,idx", "pit,1"], "needs the columns"),
        ([HEADER + ",idx", PIT + ",1"], "each once"),
        ([HEADER, PIT + ",1"], "10 fields instead of 9 in line 2"),
        ([HEADER, PIT.replace("pit,", "swin,")], "set 'swin'.*begin with autoformer or pit"),
        ([HEADER, PIT.replace("2 8 4", "2 9 4")], r"pit 7 \(depths of stage 2: got 9"),
        ([HEADER, PIT.replace("2 8 4", "two")], r"pit 7 \(invalid literal"),
        ([HEADER, AUTOFORMER.replace(",12,", ",13,")], "12 for depth 13"),
        ([HEADER, PIT.replace("893828", "893829")], "params_c100=893829 .*has 893828"),
        ([HEADER, PIT.replace("72.5", "725")], "c100_kd_acc = 725.0"),
        ([HEADER, PIT.replace("72.5", "high")], "c100_kd_acc .*could not convert"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, lines, words):
    with pytest.raises(InputError, match=f"table: got .*{words}"):
        load_vitbench101(table(tmp_path, *lines))


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"table: got .*absent\.csv"):
        load_vitbench101(tmp_path / "absent.csv")


def test_the_table_at_hand_is_read_whole(data_dir):
    """Which it is only if our parameter counts are the published ones, all 150 of them."""
    path = data_dir / "vitbench101_dev.csv"
    if not path.is_file():
        pytest.skip(f"{path.name} is not at hand")
    sets = load_vitbench101(path)
    assert {name: len(each.archs) for name, each in sets.items()} == {
        "autoformer_main": 100,
        "pit": 50,
    }
    assert all(len(each.accuracies) == 7 for each in sets.values())
