"""Verification against a file of official numbers that the plain network wrote."""

import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.studies import verify as module
from jaxntk.studies.verify import Comparison, print_comparisons, read_golden, verify
from tests.networks import tiny
from tests.networks.official_layout import initial, official_arrays

CORRUPTED = 1


@pytest.fixture(scope="module")
def arrays():
    net = tiny.network(num_classes=6, channels=2)
    variables = initial(tiny.variables(net, (16, 16, 3)))
    x, y = tiny.images((5, 16, 16, 3)), np.array([0, 1, 5, 0, 1])
    return official_arrays(variables, x, y, [tiny.ALL_OPS])


@pytest.fixture(scope="module")
def comparisons(arrays, tmp_path_factory):
    """The comparisons of a file whose second cell repeats the first, one kernel entry changed."""
    both = {**arrays, "archs": np.repeat(arrays["archs"], 2)}
    for name, array in arrays.items():
        if name.startswith("0."):
            both[f"{CORRUPTED}{name[1:]}"] = array.copy()
    kernel = both[f"{CORRUPTED}.eval.kernel"]
    kernel[2, 3] += 1e-3 * np.abs(kernel).max()
    path = tmp_path_factory.mktemp("golden") / "golden.npz"
    np.savez(path, **both)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TOLERANCES", {"float64": module.TOLERANCES["float64"]})
        return list(verify(path))


def _broken(item):
    return not item.passed


@pytest.mark.slow
def test_an_independent_network_passes(comparisons, capsys):
    good = [item for item in comparisons if not _broken(item)]
    assert [item.mode for item in good] == ["train", "train", "eval"]
    for item in good:
        assert max(item.errors.values()) < 1e-8, item
        assert {"logits", "kernel", "mean", "frobenius", "lga"} <= set(item.errors)
    assert print_comparisons(good)
    assert "3 of 3 lines" in capsys.readouterr().out


def test_one_changed_entry_fails(comparisons, capsys):
    (bad,) = [item for item in comparisons if _broken(item)]
    assert bad.mode == "eval"
    assert bad.errors["kernel"] == pytest.approx(1e-3, rel=2e-3)
    assert bad.errors["logits"] < 1e-10
    assert not print_comparisons(comparisons)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:4] for line in lines[:-1]] == ["ok  ", "ok  ", "ok  ", "FAIL"]
    assert "1 differ" in lines[-1]


@pytest.mark.parametrize(
    "name", ["x", "y", "archs", "w/stem.net.0.weight", "0.train.kernel", "0.eval.logits"]
)
def test_a_missing_array_is_named(arrays, tmp_path, name):
    path = tmp_path / "golden.npz"
    np.savez(path, **{key: array for key, array in arrays.items() if key != name})
    with pytest.raises(InputError, match=f"without '{name}'"):
        read_golden(path)


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(arrays, tmp_path, part):
    path = tmp_path / "golden.npz"
    np.savez(path, **arrays)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(InputError, match="truncated"):
        read_golden(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_golden(tmp_path / "none.npz")


def _comparison(dtype="float64", tolerance=1e-3, **errors):
    return Comparison(dtype, "train", "cell", {"logits": 0.0, "kernel": 0.0} | errors, tolerance)


@pytest.mark.parametrize(
    ("item", "passed", "within_sign_changes"),
    [
        (_comparison(), True, False),
        (_comparison("float32"), True, True),
        (_comparison("float32", kernel=1e-3), True, True),
        (_comparison("float32", kernel=0.05), False, True),
        (_comparison("float32", kernel=0.2), False, False),
        (_comparison("float32", logits=0.01), False, False),
        (_comparison("float32", kernel=np.nan), False, False),
        (_comparison("mixed", kernel=0.05), False, False),
        (_comparison("float64", kernel=0.05), False, False),
    ],
)
def test_verdicts(item, passed, within_sign_changes):
    assert (item.passed, item.within_sign_changes) == (passed, within_sign_changes)


KINK = _comparison("float32", kernel=0.05)


@pytest.mark.parametrize(
    ("items", "word", "fine"),
    [
        ([_comparison("mixed"), KINK], "relu", True),
        ([_comparison("mixed", kernel=0.05), KINK], "FAIL", False),
        ([KINK], "FAIL", False),
        ([_comparison("float64"), KINK], "FAIL", False),
        ([_comparison("mixed"), _comparison("float32", kernel=0.5)], "FAIL", False),
        ([_comparison("mixed"), _comparison("float32")], "ok", True),
    ],
)
def test_sign_changes_excuse_float32_only_where_mixed_is_exact(items, word, fine, capsys):
    assert print_comparisons(items) == fine
    last = capsys.readouterr().out.splitlines()[len(items) - 1]
    assert last.split()[0] == word
