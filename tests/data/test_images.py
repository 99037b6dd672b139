"""Loading images: what each source gives, and one clear line for each thing that can be wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxntk.data.images import ImageDataset, load_images
from jaxntk.errors import InputError

NUM_TRAIN, NUM_TEST = 12, 6


def arrays(**changes):
    """Arrays of a small valid npz, with some replaced; None drops one."""
    rng = np.random.default_rng(0)
    content = {
        "x_train": rng.integers(0, 256, (NUM_TRAIN, 5, 4, 3), dtype=np.uint8),
        "y_train": np.arange(NUM_TRAIN, dtype=np.uint8) % 3,
        "x_test": rng.integers(0, 256, (NUM_TEST, 5, 4, 3), dtype=np.uint8),
        "y_test": np.arange(NUM_TEST, dtype=np.uint8) % 3,
        "class_names": np.array(["cat", "dog", "eel"]),
    }
    content.update(changes)
    return {key: value for key, value in content.items() if value is not None}


def write(folder, **changes):
    path = folder / "small.npz"
    np.savez_compressed(path, **arrays(**changes))
    return path


def refusal(spec, **kwargs):
    """The one line in which a source is refused."""
    with pytest.raises(InputError) as error:
        load_images(str(spec), **kwargs)
    line = str(error.value)
    assert "\n" not in line
    return line


def test_digits():
    digits = load_images("digits")
    assert digits.name == "digits"
    assert digits.x_train.shape == (1347, 8, 8, 1)
    assert digits.x_test.shape == (450, 8, 8, 1)
    assert digits.x_train.dtype == np.float32
    assert digits.y_train.dtype == np.int32
    assert (digits.x_train.min(), digits.x_train.max()) == (0.0, 1.0)
    assert digits.class_names == tuple("0123456789")
    share = np.bincount(digits.y_test) / np.bincount(np.append(digits.y_train, digits.y_test))
    assert np.all(np.abs(share - 450 / 1797) < 0.005), share


def test_digits_are_split_the_same_way_every_time_and_no_image_is_lost():
    first, second = load_images("digits"), load_images("digits")
    np.testing.assert_array_equal(first.x_train, second.x_train)
    np.testing.assert_array_equal(first.y_test, second.y_test)
    # The sum of all pixels of scikit-learn's digits, in sixteenths.
    total = 16 * (first.x_train.sum(dtype=np.float64) + first.x_test.sum(dtype=np.float64))
    assert total == 561718


def test_npz_of_bytes(tmp_path):
    content = arrays()
    small = load_images(f"npz:{write(tmp_path)}")
    assert small.name == "small"
    assert (small.num_classes, small.class_names) == (3, ("cat", "dog", "eel"))
    for split in ("train", "test"):
        x, y = getattr(small, f"x_{split}"), getattr(small, f"y_{split}")
        assert x.dtype == np.float32
        assert y.dtype == np.int32
        np.testing.assert_array_equal(np.rint(x * 255), content[f"x_{split}"])
        np.testing.assert_array_equal(y, content[f"y_{split}"])
    assert small.x_train.max() <= 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_npz_of_floats(tmp_path, dtype):
    x_train = np.random.default_rng(0).uniform(size=(NUM_TRAIN, 5, 4, 3)).astype(dtype)
    small = load_images(f"npz:{write(tmp_path, x_train=x_train)}")
    np.testing.assert_array_equal(small.x_train, x_train.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_npz_labels_of_any_integer_type(tmp_path, dtype):
    labels = (np.arange(NUM_TRAIN) % 3).astype(dtype)
    small = load_images(f"npz:{write(tmp_path, y_train=labels)}")
    np.testing.assert_array_equal(small.y_train, labels)


def test_npz_without_class_names_numbers_them(tmp_path):
    small = load_images(f"npz:{write(tmp_path, class_names=None)}")
    assert small.class_names == ("0", "1", "2")


def test_a_relative_file_is_looked_up_in_order(tmp_path, monkeypatch):
    folders = [tmp_path / name for name in ("here", "argument", "environment")]
    for folder in folders:
        folder.mkdir()
        write(folder, class_names=np.array([f"from {folder.name}", "b", "c"]))
    here, argument, environment = folders
    monkeypatch.chdir(here)
    monkeypatch.setenv("JAXNTK_DATA", str(environment))
    for folder in folders:
        loaded = load_images("npz:small.npz", data_dir=argument)
        assert loaded.class_names[0] == f"from {folder.name}"
        line = refusal("npz:other.npz", data_dir=argument)
        assert all(str(place / "other.npz") in line for place in (argument, environment))
        (folder / "small.npz").unlink()
    assert "does not exist" in refusal("npz:small.npz", data_dir=argument)


def image(**pixels):
    """Training images in [0, 1] with some pixels replaced."""
    x = np.full((NUM_TRAIN, 5, 4, 3), 0.5)
    x[7, 0, 0, 0] = pixels["value"]
    return x


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"x_train": None}, ["small without x_train"]),
        ({"y_test": None, "x_test": None}, ["small without x_test, y_test"]),
        ({"x_train": image(value=np.nan)}, ["x_train", "NaN", "1 images, first in 7"]),
        ({"x_train": image(value=np.inf)}, ["x_train", "infinite", "first in 7"]),
        ({"x_train": image(value=255.0)}, ["x_train: got float pixels from 0.5 to 255"]),
        ({"x_train": image(value=-1.0)}, ["x_train: got float pixels from -1 to 0.5"]),
        ({"x_train": np.zeros((NUM_TRAIN, 5, 4), np.uint8)}, ["x_train: got shape (12, 5, 4)"]),
        ({"x_train": np.zeros((NUM_TRAIN, 3, 8, 8), np.uint8)}, ["channels come last"]),
        ({"x_train": np.zeros((NUM_TRAIN, 5, 4, 3), np.int64)}, ["x_train: got dtype int64"]),
        ({"x_test": np.zeros((NUM_TEST, 5, 5, 3), np.uint8)}, ["x_test", "(5, 5, 3)", "(5, 4, 3)"]),
        ({"x_test": np.zeros((NUM_TEST, 5, 4, 1), np.uint8)}, ["x_test", "(5, 4, 1)"]),
        ({"x_test": np.zeros((0, 5, 4, 3), np.uint8)}, ["x_test: got shape (0, 5, 4, 3)"]),
        ({"y_train": np.arange(11) % 3}, ["y_train: got shape (11,)", "shape (12,)"]),
        ({"y_train": np.zeros((NUM_TRAIN, 1), int)}, ["y_train: got shape (12, 1)"]),
        ({"y_train": np.arange(NUM_TRAIN) % 3 / 1.0}, ["y_train: got dtype float64"]),
        ({"y_train": np.arange(NUM_TRAIN) % 4}, ["y_train: got label 3 at position 3", "0..2"]),
        ({"y_test": np.arange(NUM_TEST) - 1}, ["y_test: got label -1 at position 0"]),
        ({"y_test": np.full(NUM_TEST, 2**32 + 1)}, ["y_test", "4294967297"]),
        ({"y_train": np.full(NUM_TRAIN, 999), "class_names": None}, ["label 999", "class_names"]),
        ({"y_train": np.arange(NUM_TRAIN) - 1, "class_names": None}, ["y_train: got label -1"]),
        ({"class_names": np.array(["only"])}, ["num_classes: got 1"]),
        ({"x_train": np.array([{}, {}])}, ["no .npz of plain arrays"]),
    ],
)
def test_contents_that_are_no_dataset_get_one_line(tmp_path, changes, expected):
    line = refusal(f"npz:{write(tmp_path, **changes)}")
    assert all(part in line for part in expected), line


@settings(max_examples=50)
@given(kept=st.floats(0, 1, exclude_max=True))
def test_a_truncated_npz_gets_one_line_wherever_it_ends(tmp_path_factory, kept):
    folder = tmp_path_factory.mktemp("truncated")
    whole = write(folder).read_bytes()
    path = folder / "truncated.npz"
    path.write_bytes(whole[: int(kept * len(whole))])
    assert "truncated" in refusal(f"npz:{path}")


def test_a_damaged_array_inside_a_whole_npz(tmp_path):
    path = write(tmp_path)
    content = bytearray(path.read_bytes())
    content[200:300] = bytes(100)
    path.write_bytes(content)
    assert "write it again" in refusal(f"npz:{path}")


@pytest.mark.parametrize(("offset", "value"), [(8, 1), (10, 99)], ids=["encrypted", "compression"])
def test_an_npz_whose_directory_is_damaged(tmp_path, offset, value):
    path = write(tmp_path)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + offset] = value
    path.write_bytes(content)
    assert "write it again" in refusal(f"npz:{path}")


@pytest.mark.parametrize("write_wrong", [np.save, lambda file, x: file.write(b"not a zip file")])
def test_a_file_of_another_kind(tmp_path, write_wrong):
    path = tmp_path / "other.npz"
    with path.open("wb") as file:
        write_wrong(file, np.zeros(3))
    assert "no .npz" in refusal(f"npz:{path}")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("digit", "did you mean 'digits'?"),
        ("nzp:file.npz", "did you mean 'npz'?"),
        ("tdfs:mnist", "did you mean 'tfds'?"),
        ("npz:", "use one of digits, digits201, npz:FILE, tfds:NAME"),
        ("digits:3", "use one of digits, digits201, npz:FILE, tfds:NAME"),
        ("", "use one of digits, digits201, npz:FILE, tfds:NAME"),
    ],
)
def test_an_unknown_source(spec, expected):
    assert expected in refusal(spec)


def stored(data_dir, name):
    if not (data_dir / name).is_file():
        pytest.skip(f"no {name} in {data_dir}")
    return load_images(f"npz:{name}", data_dir=data_dir)


def test_cifar10(data_dir):
    cifar = stored(data_dir, "cifar10_5k1k.npz")
    assert cifar.x_train.shape == (5000, 32, 32, 3)
    assert cifar.x_test.shape == (1000, 32, 32, 3)
    assert cifar.class_names[:3] == ("airplane", "automobile", "bird")
    np.testing.assert_array_equal(np.bincount(cifar.y_train), np.full(10, 500))
    np.testing.assert_array_equal(np.bincount(cifar.y_test), np.full(10, 100))
    # Channel means of the whole of CIFAR-10 are 0.491, 0.482, 0.447.
    means = cifar.x_train.mean(axis=(0, 1, 2), dtype=np.float64)
    np.testing.assert_allclose(means, [0.491, 0.482, 0.447], atol=0.004)


def test_cifar100(data_dir):
    cifar = stored(data_dir, "cifar100_5k1k.npz")
    assert cifar.num_classes == 100
    np.testing.assert_array_equal(np.bincount(cifar.y_train), np.full(100, 50))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ("a",)}, "class_names: got 1 names"),
        ({"num_classes": 1, "class_names": ("a",)}, "num_classes: got 1"),
        ({"y_test": np.array([2, 0], np.int32)}, "y_test: got label 2 at position 0"),
    ],
)
def test_a_dataset_made_by_hand_is_checked_too(changes, message):
    fields = {
        "name": "hand",
        "x_train": np.zeros((2, 4, 4, 1), np.float32),
        "y_train": np.array([0, 1], np.int32),
        "x_test": np.zeros((2, 4, 4, 1), np.float32),
        "y_test": np.array([0, 1], np.int32),
        "num_classes": 2,
        "class_names": ("a", "b"),
    }
    assert ImageDataset(**fields).num_classes == 2
    with pytest.raises(InputError) as error:
        ImageDataset(**(fields | changes))
    assert message in str(error.value)
