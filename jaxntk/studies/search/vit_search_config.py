"""The configuration of a search for vision transformers that is guided by kernels."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from jaxntk.data.batches import SPLITS
from jaxntk.data.digits_vit import NETWORK, TRUTHS
from jaxntk.data.truths import check_truth
from jaxntk.errors import InputError, check_choice
from jaxntk.kernels.fourier import ViNTK
from jaxntk.kernels.outputs import check_outputs
from jaxntk.metrics import METRICS
from jaxntk.networks.precision import at_precision
from jaxntk.spaces.registry import DIGITS_VIT, NASBENCH201, PIT, SPACES
from jaxntk.studies.config import check_seed
from jaxntk.studies.search.options import COUNTS, TABLE, SearchOptions, check_search
from jaxntk.studies.vintk_config import NTK


class VitGoal(NamedTuple):
    """One score that a search goes by.

    Args:
        name: a metric, a count, or ``table:`` and a truth.
        kernel: that a metric is read off; None for counts and tables.
    """

    name: str
    kernel: str | None = None

    @classmethod
    def parse(cls, text: str) -> "VitGoal":
        """Reads ``metric@kernel``, ``params``, ``flops`` or ``table:TRUTH``.

        Args:
            text: such as ``condition_number@ntk`` or ``lga@patch_content:sigma=1/sum``.

        Returns:
            The goal, its kernel with all its settings.

        Raises:
            InputError: none of these.

        Example:
            >>> VitGoal.parse("lga@bands:num=4/sum")
            VitGoal(name='lga', kernel='bands:num=4/sum')
        """
        if text.startswith(TABLE):
            return cls(text)
        if text in COUNTS:
            return cls(text)
        name, at, kernel = text.partition("@")
        check_choice("goals", name, (*METRICS, *COUNTS))
        if name in COUNTS or not at:
            cure = f"write {name}" if name in COUNTS else "say of which kernel, as in lga@ntk"
            raise InputError("goals", text, cure)
        if kernel != NTK and "/" not in kernel:
            cure = "name a kernel: ntk, or a ViNTK such as patch_content:sigma=1/sum"
            raise InputError("goals", text, cure)
        try:
            return cls(name, kernel if kernel == NTK else str(ViNTK.parse(kernel)))
        except InputError as error:
            got = f"{text} ({error.argument}: {error.got})"
            raise InputError("goals", got, error.cure) from error


@dataclass(frozen=True, kw_only=True)
class VitSearchConfig(SearchOptions):
    """Search vision transformers by the NTK, by ViNTKs, or by other scores."""

    goals: tuple[str, ...] = ("condition_number@patch_content:sigma=1/sum",)
    """Scores that a search goes by: metric@ntk, metric@VINTK (see docs/vintk.md), params, flops,
    table:digits_vit/valid."""
    algorithm: Literal["random", "evolution", "genetic"] = "genetic"
    """Random search, regularised evolution, or a genetic algorithm."""
    space: str = DIGITS_VIT
    """digits-vit, autoformer-tiny, -small, -base, -vitbench101, or pit."""
    truth: str | None = None
    """What choices are judged by; by default digits_vit/test where that table's own networks are
    searched, nothing elsewhere; or a CSV file with columns arch and accuracy."""
    data: str = "digits"
    """Images: npz:FILE, tfds:NAME, digits or digits201."""
    data_dir: str | None = None
    """Folder of data files; by default what the environment variable JAXNTK_DATA names."""
    image_size: int | None = None
    """Pixels that images are resized to, height and width; by default their own."""
    patch_size: int | None = None
    """Of the networks of AutoFormer's kind; by default 2 in the space digits-vit, 16 in others."""
    num_images: int = 16
    """Images the kernel is computed on: the more, the worse the condition number."""
    batch_classes: int | None = None
    """Classes that the images are from, drawn with batch_seed; by default all."""
    batch_seed: int = 0
    """Seed of their draw."""
    split: Literal["train", "valid", "test"] = "train"
    """Where the images come from."""
    outputs: Literal["sum", "trace", "class_balanced"] = "sum"
    """Kernel of the sum of logits, trace over outputs, or the trace without the mean of logits."""
    dtype: Literal["float32", "float64"] = "float64"
    """Precision of kernels: many have no condition number in float32."""
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

    @property
    def parsed(self) -> tuple[VitGoal, ...]:
        """What a search goes by."""
        return tuple(VitGoal.parse(text) for text in self.goals)

    @property
    def variants(self) -> dict[str, ViNTK | None]:
        """The kernels that goals are read off, by name; None for the NTK."""
        names = dict.fromkeys(goal.kernel for goal in self.parsed if goal.kernel is not None)
        return {name: None if name == NTK else ViNTK.parse(name) for name in names}

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that goals ask for."""
        return tuple(dict.fromkeys(g.name for g in self.parsed if g.kernel is not None))

    @property
    def patch(self) -> int:
        """Patches, with the default filled in."""
        return self.patch_size or (NETWORK["patch_size"] if self.space == DIGITS_VIT else 16)

    @property
    def in_table(self) -> bool:
        """Whether the networks are those that the table's accuracies are of."""
        own = self.image_size in (None, NETWORK["image_size"])
        own &= self.patch == NETWORK["patch_size"]
        return own and self.space == DIGITS_VIT and self.data == "digits"

    @property
    def judged_by(self) -> str | None:
        """The truth, with the default filled in."""
        if self.truth is None and self.in_table:
            return "digits_vit/test"
        return self.truth


def validate_vit_search(config: VitSearchConfig) -> None:
    """Checks everything that can be checked before data are read or anything is written.

    Args:
        config: the configuration.

    Raises:
        InputError: the first field that is wrong.
    """
    check_choice("space", config.space, [name for name in SPACES if name != NASBENCH201])
    check_search(config, config.parsed)
    for name, known in {"split": SPLITS, "dtype": ("float32", "float64")}.items():
        check_choice(name, getattr(config, name), known)
    named = [
        ("goals", goal.name.removeprefix(TABLE))
        for goal in config.parsed
        if goal.name.startswith(TABLE)
    ]
    given = {name: getattr(config, name) for name in ("truth", "select")}
    named += [(name, truth) for name, truth in given.items() if truth is not None]
    for name, truth in named:
        if truth in TRUTHS and not config.in_table:
            cure = f"it is of --space {DIGITS_VIT} --data digits, at their own sizes"
            raise InputError(name, f"{truth} for other networks or images", cure)
        check_truth(name, truth, SPACES[config.space])
    if config.space == PIT and config.patch_size is not None:
        raise InputError("patch_size", config.patch_size, "leave it out: pit has its own")
    for name, how in config.variants.items():
        if how is not None and how.combine == "product" and any(w % 1 for w in how.weights):
            raise InputError("goals", name, "give whole powers: kernels may have negative entries")
    if check_outputs(config.outputs) == "full":
        raise InputError("outputs", "full", "choose trace, sum or class_balanced")
    at_precision(config.matmul_precision)
    at_least = {"num_images": 2, "num_shape_classes": 1}
    optional = {"tile": 1, "image_size": 4, "patch_size": 1, "batch_classes": 2}
    for name, least in (at_least | optional).items():
        value = getattr(config, name)
        if value is not None and value < least:
            raise InputError(name, value, f"give at least {least}")
    for name in ("batch_seed", "init_seed", "feature_seed"):
        check_seed(name, getattr(config, name))
