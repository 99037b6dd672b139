"""The configuration of a study that ranks vision transformers by their kernels."""

from dataclasses import dataclass
from typing import Literal

from jaxntk.errors import InputError, check_choice
from jaxntk.kernels.fourier import NTK, ViNTK
from jaxntk.kernels.outputs import check_outputs
from jaxntk.metrics import METRICS
from jaxntk.networks.precision import at_precision
from jaxntk.runs.config import Config
from jaxntk.studies.config import check_seed


@dataclass(frozen=True, kw_only=True)
class VintkConfig(Config):
    """Score the networks of a table of ViT-Bench-101 by the NTK and by ViNTKs."""

    table: str | None = None
    """ViT-Bench-101's table, a CSV file; see jaxntk.data.vitbench101."""
    data: str = "npz:cifar100_5k1k.npz"
    """Images: npz:FILE, tfds:NAME, digits or digits201."""
    data_dir: str | None = None
    """Folder of data files; by default what the environment variable JAXNTK_DATA names."""
    image_size: int = 112
    """Pixels that images are enlarged to, height and width; the networks were trained at 224."""
    num_images: int = 32
    """Images the kernel is computed on."""
    batch_classes: int = 8
    """Classes that the images are from, drawn with batch_seed: alignment with labels needs several
    images of each."""
    batch_seed: int = 0
    """Seed of the draw of classes and images."""
    split: Literal["train", "valid", "test"] = "train"
    """Where the images come from."""
    outputs: Literal["sum", "trace", "class_balanced"] = "sum"
    """Kernel of the sum of logits, trace over outputs, or the trace without the mean of logits."""
    dtype: Literal["float32", "float64"] = "float32"
    """Precision of kernels. Metrics are evaluated in float64."""
    matmul_precision: Literal["highest", "high", "default"] = "highest"
    """Of matrix products; lower ones matter on GPU and TPU."""
    tile: int | None = None
    """Images whose kernel is computed at a time; by default all."""
    num_shape_classes: int = 8
    """Programs that PiT's shapes share."""
    init_seed: int = 0
    """Seed of the weights, which all networks of a family share."""
    feature_seed: int = 0
    """Seed of the Fourier features' frequencies."""
    vintks: tuple[str, ...] = (
        "pixel_values:sigma=0.1/fourier_only",
        "pixel_values:sigma=0.1/sum",
        "pixel_values:sigma=0.1/product",
        "pixel_values:sigma=1/fourier_only",
        "pixel_values:sigma=1/sum",
        "pixel_values:sigma=1/product",
        "patch_content:sigma=1/fourier_only",
        "patch_content:sigma=1/sum",
        "patch_content:sigma=1/product",
        "coordinates:sigma=4/fourier_only",
        "coordinates:sigma=4/sum",
        "coordinates:sigma=4/product",
        "bands:num=4/fourier_only",
        "bands:num=4/sum",
        "bands:num=4/product",
    )
    """ViNTKs beside the NTK: where features act, their settings, and how kernels combine."""
    metrics: tuple[str, ...] = tuple(METRICS)
    """Metrics to read off each kernel."""
    max_archs: int | None = None
    """Networks of each set, the first ones; by default all."""

    @property
    def variants(self) -> dict[str, ViNTK | None]:
        """Every kernel that is read, by its name; None for the NTK itself."""
        found = [ViNTK.parse(text) for text in self.vintks]
        return {NTK: None} | {str(each): each for each in found}


def validate_vintk(config: VintkConfig) -> None:
    """Checks everything that can be checked before data are read or anything is written.

    Args:
        config: the configuration.

    Raises:
        InputError: the first field that is wrong.
    """
    choices = {
        "split": ("train", "valid", "test"),
        "dtype": ("float32", "float64"),
    }
    for name, known in choices.items():
        check_choice(name, getattr(config, name), known)
    if check_outputs(config.outputs) == "full":
        raise InputError("outputs", "full", "choose trace, sum or class_balanced")
    at_precision(config.matmul_precision)
    at_least = {"image_size": 16, "num_images": 2, "batch_classes": 2, "num_shape_classes": 1}
    optional = {"tile": 1, "max_archs": 2}
    for name, least in (at_least | optional).items():
        value = getattr(config, name)
        if value is not None and value < least:
            raise InputError(name, value, f"give at least {least}")
    if config.num_images < 2 * config.batch_classes:
        got = f"{config.num_images} of {config.batch_classes} classes"
        raise InputError("num_images", got, "give at least two images a class")
    for name in ("batch_seed", "init_seed", "feature_seed"):
        check_seed(name, getattr(config, name))
    if not config.metrics or len(set(config.metrics)) < len(config.metrics):
        raise InputError("metrics", list(config.metrics), "give at least one, and none twice")
    for each in config.metrics:
        check_choice("metrics", each, METRICS)
    if len(config.variants) < len(config.vintks) + 1:
        raise InputError("vintks", list(config.vintks), "give none twice")
