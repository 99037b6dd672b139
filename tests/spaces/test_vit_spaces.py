"""AutoFormer and PiT: encodings, strings, and counts that others published."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.spaces import autoformer, genes, pit
from jaxntk.spaces.registry import autoformer_space
from jaxntk.spaces.space import sample

SPACES = {
    "tiny": autoformer.TINY,
    "small": autoformer.SMALL,
    "base": autoformer.BASE,
    "vitbench101": autoformer.VITBENCH101,
}
DEIT_TINY = "192:" + ",".join(["3x4"] * 12)
DEIT_SMALL = "384:" + ",".join(["6x4"] * 12)


def drawn(choices, num):
    return sample(autoformer_space("made up", choices), jax.random.key(0), num)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_autoformer_strings_and_sizes_go_both_ways(space) -> None:
    archs = drawn(space, 50)
    np.testing.assert_array_equal(archs, autoformer.canonical(archs, space))
    for arch in archs:
        text = autoformer.to_string(arch, space)
        np.testing.assert_array_equal(autoformer.from_string(text, space), arch)
        sizes = autoformer.decode(arch, space)
        assert sizes.depth == len(sizes.mlp_ratios) == text.count("x")
        np.testing.assert_array_equal(autoformer.encode(sizes, space), arch)


def test_pit_strings_and_sizes_go_both_ways() -> None:
    archs = pit.enumerate_space()
    assert len(np.unique(archs, axis=0)) == len(archs) == pit.SPACE_SIZE == 4320
    assert len({pit.to_string(arch) for arch in archs}) == 4320
    for arch in archs[::37]:
        np.testing.assert_array_equal(pit.from_string(pit.to_string(arch)), arch)
        sizes = pit.decode(arch)
        np.testing.assert_array_equal(pit.encode(sizes), arch)
        assert sizes.widths == tuple(sorted(sizes.widths))


def test_dormant_genes_do_not_count() -> None:
    space = autoformer.TINY
    shallow = autoformer.from_string(DEIT_TINY)
    other = shallow.copy()
    other[[14, 15, 28, 29]] = 1
    assert autoformer.to_string(other) == DEIT_TINY
    np.testing.assert_array_equal(autoformer.canonical(other[None])[0], shallow)
    for one, same in zip(*map(costs_of, (shallow, other)), strict=True):
        assert one == same
    awake = autoformer.active_genes(jnp.asarray(other), space)
    mutants = jax.vmap(lambda key: genes.mutate(key, jnp.asarray(other), space.sizes, awake))(
        jax.random.split(jax.random.key(0), 300)
    )
    parents, children = (autoformer.canonical(each) for each in (other[None], mutants))
    assert np.all(np.any(children != parents, axis=1))


def costs_of(arch):
    return autoformer.population_costs(arch[None])


@pytest.mark.parametrize(
    ("space", "text", "params", "giga"),
    [
        # DeiT's own networks (Touvron et al., ICML 2021, table 1): 5.7 M and 22 M parameters.
        (autoformer.TINY, DEIT_TINY, 5_717_416, 1.26),
        (autoformer.SMALL, DEIT_SMALL, 22_050_664, 4.6),
    ],
)
def test_autoformer_counts_deit_as_published(space, text, params, giga) -> None:
    costs = autoformer.population_costs(autoformer.from_string(text, space)[None], space)
    assert costs.params[0] == params
    assert costs.flops[0] / 1e9 == pytest.approx(giga, rel=0.01)
    assert costs.depth[0] == 12
    assert costs.width[0] == int(text[:3])


def test_pit_counts_pit_tiny_as_published() -> None:
    """PiT-Ti (Heo et al., ICCV 2021): 4.85 M parameters, 0.7 GFLOPs."""
    costs = pit.population_costs(pit.from_string("32:2x2,6x4,4x8:4")[None])
    assert costs.params[0] / 1e6 == pytest.approx(4.85, abs=0.005)
    assert costs.flops[0] / 1e9 == pytest.approx(0.7, abs=0.05)
    assert costs.depth[0] == 12
    assert costs.width[0] == 256


def test_strings_hold_every_digit_of_a_ratio() -> None:
    space = autoformer.Choices((6,), (1,), (2,), (8 / 3, 2.0))
    for arch in drawn(space, 2):
        text = autoformer.to_string(arch, space)
        np.testing.assert_array_equal(autoformer.from_string(text, space), arch)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: autoformer.Choices((8,), (1,), (3,), (2.0,), head_dim=None), "heads: got 3"),
        (lambda: autoformer.Choices((), (1,), (3,), (2.0,)), "embed_dims"),
        (lambda: autoformer.Choices((8,), (1, 1), (3,), (2.0,)), "depths"),
        (lambda: autoformer.Choices((8,), (1,), (3,), (2.0,), head_dim=0), "head_dim"),
        (lambda: autoformer.from_string("192"), "arch: got '192'; write embedding"),
        (lambda: autoformer.from_string("193:" + DEIT_TINY[4:]), "embed_dim: got 193; choose"),
        (lambda: autoformer.from_string("192:3x4"), "depth: got 1; choose from 12, 13, 14"),
        (lambda: autoformer.encode(autoformer.Sizes(192, (3, 3), (4.0,))), "mlp_ratios: got 1"),
        (lambda: autoformer.population_costs([[0] * 29]), r"archs: got an array of shape \(1, 29"),
        (lambda: costs_with(image_size=225), "image_size: got 225; give a multiple"),
        (lambda: costs_with(num_classes=0), "num_classes: got 0"),
        (lambda: pit.from_string("24:1x2,6x2:4"), "arch: got"),
        (lambda: pit.from_string("24:1x2,6x2,2x3:4"), r"heads: got \(2, 2, 3\)"),
        (lambda: pit.from_string("24:9x2,6x2,2x8:4"), "depths of stage 1: got 9"),
        (lambda: pit.encode(pit.Sizes(24, (1, 6), (2, 2, 8), 4)), "depths: got"),
        (lambda: pit.population_costs([[0] * 6], image_size=15), "image_size: got 15"),
        (lambda: pit.population_costs([[0] * 6], in_channels=0), "in_channels: got 0"),
        (lambda: pit.decode([0] * 5), r"arch: got an array of shape \(5,\); give 6 genes"),
        (lambda: pit.decode([9, 0, 0, 0, 0, 0]), "arch: got 9 for gene 0"),
    ],
)
def test_bad_input_is_named(call, words) -> None:
    with pytest.raises(InputError, match=words):
        call()


def costs_with(**network):
    return autoformer.population_costs(autoformer.from_string(DEIT_TINY)[None], **network)
