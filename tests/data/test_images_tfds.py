"""Reading TensorFlow Datasets without TensorFlow."""

import importlib
import io
import subprocess
import sys

import numpy as np
import pytest

from jaxntk.data.images import load_images
from jaxntk.data.images_tfds import read_tfds
from jaxntk.errors import InputError

CLASSES = ("ant", "bee", "cow")
SPLITS = ("train", "test")


@pytest.fixture(scope="module")
def tfds():
    pytest.importorskip("array_record", reason="array_record is not installed")
    return pytest.importorskip("tensorflow_datasets", reason="tensorflow-datasets not installed")


def images(split):
    rng = np.random.default_rng({"train": 0, "test": 1}[split])
    return rng.integers(0, 256, ({"train": 9, "test": 5}[split], 6, 4, 3), dtype=np.uint8)


def prepare(tfds, folder, class_name="Tiny", *, labels=CLASSES, shape=(6, 4, 3), splits=SPLITS):
    """Writes a small data set the way TensorFlow Datasets does, without TensorFlow."""

    def examples(self, split):
        for index, pixels in enumerate(images(split)):
            height = shape[0] or 6 - index % 2
            label = CLASSES[index % 3] if labels else float(index)
            yield index, {"picture": png(pixels[:height]), "kind": label}

    def info(self):
        kind = tfds.features.ClassLabel(names=labels) if labels else np.float32
        features = {"picture": tfds.features.Image(shape=shape), "kind": kind}
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("picture", "kind"),
        )

    body = {
        "VERSION": tfds.core.Version("1.0.0"),
        "_info": info,
        "_split_generators": lambda self, _: {s: examples(self, s) for s in splits},
        "_generate_examples": examples,
        "__module__": __name__,
    }
    with tfds.core.registered.skip_registration():
        builder = type(class_name, (tfds.core.GeneratorBasedBuilder,), body)
    builder(data_dir=str(folder), file_format="array_record").download_and_prepare()


def png(pixels):
    """A file, because TensorFlow Datasets needs TensorFlow to encode an array."""
    file = io.BytesIO()
    importlib.import_module("PIL.Image").fromarray(pixels).save(file, "png")
    file.seek(0)
    return file


def refusal(name, **kwargs):
    with pytest.raises(InputError) as error:
        load_images(f"tfds:{name}", **kwargs)
    line = str(error.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("name", ["tiny", "tiny:1.0.0"])
@pytest.mark.parametrize("where", ["argument", "environment"])
def test_a_prepared_data_set_is_read_pixel_by_pixel(tfds, tmp_path, monkeypatch, name, where):
    prepare(tfds, tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))
    if where == "environment":
        monkeypatch.setenv("JAXNTK_DATA", str(tmp_path))
    dataset = load_images(f"tfds:{name}", data_dir=tmp_path if where == "argument" else None)
    assert dataset.name == f"tfds:{name}"
    assert dataset.class_names == CLASSES
    for split in SPLITS:
        x, y = getattr(dataset, f"x_{split}"), getattr(dataset, f"y_{split}")
        # Preparation shuffles: match every image read with the one written.
        written = images(split)
        distance = np.abs(np.rint(255 * x)[:, None] - written[None]).sum(axis=(2, 3, 4))
        origin = distance.argmin(axis=1)
        assert sorted(origin) == list(range(len(written)))
        assert distance.min(axis=1).max() == 0
        np.testing.assert_array_equal(y, origin % 3)
    assert "tensorflow" not in sys.modules


def test_a_stock_data_set_through_the_library_s_own_mock(tfds):
    with tfds.testing.mock_data(num_examples=20):
        cifar = load_images("tfds:cifar10")
    assert cifar.x_train.shape == (20, 32, 32, 3)
    assert cifar.num_classes == 10
    assert 0.9 < cifar.x_train.max() <= 1


def test_stock_data_that_are_not_prepared(tfds, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    line = refusal("cifar10")
    assert "tfds build cifar10 --file_format=array_record" in line


def test_an_unknown_name(tfds):
    assert "did you mean 'cifar10'?" in refusal("cifra10")


def test_a_data_set_without_a_test_split(tfds, tmp_path):
    prepare(tfds, tmp_path, "TrainOnly", splits=["train"])
    assert "whose test split is not here" in refusal("train_only", data_dir=tmp_path)


def test_a_data_set_without_class_labels(tfds, tmp_path):
    prepare(tfds, tmp_path, "Regression", labels=None)
    line = refusal("regression", data_dir=tmp_path)
    assert "features kind, picture" in line


def test_images_of_different_shapes(tfds, tmp_path):
    prepare(tfds, tmp_path, "Ragged", shape=(None, 4, 3))
    assert "2 different shapes" in refusal("ragged", data_dir=tmp_path)


@pytest.mark.parametrize(
    "missing", ["tensorflow_datasets", "array_record.python.array_record_data_source"]
)
def test_a_missing_package_gets_the_command_that_installs_it(tfds, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match="pip install tensorflow-datasets array_record pillow"):
        read_tfds("mnist")


def test_the_package_is_imported_only_when_asked_for():
    """In a fresh interpreter, loading digits does not import TensorFlow Datasets."""
    code = "import sys; from jaxntk.data.images import load_images; load_images('digits'); "
    code += "assert 'tensorflow_datasets' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
