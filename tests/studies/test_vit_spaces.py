"""Spaces of transformers by name: what searches draw is what the spaces mean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.search import random_search
from jaxntk.search.space import mutated
from jaxntk.spaces import autoformer, pit
from jaxntk.studies.vit_spaces import DIGITS_VIT, PIT, SPACES, TransformerSpace


def drawn(space, num):
    search = random_search(space.genes, batch=num)
    archs, _ = search.ask(search.init(jax.random.key(0)))
    return np.asarray(archs)


@pytest.mark.parametrize("name", SPACES)
def test_blocks_are_those_of_the_text(name):
    space = TransformerSpace(name)
    for arch in drawn(space, 5):
        text, blocks = space.to_string(arch), space.blocks(arch)
        assert space.to_string(space.canonical(arch[None])[0]) == text
        assert len(blocks.widths) == len(blocks.heads) == len(blocks.hidden)
        if name == PIT:
            assert sum(pit.decode(arch).depths) == len(blocks.widths)
        else:
            pairs = text.split(":")[1].split(",")
            ratios = [hidden / blocks.widths[0] for hidden in blocks.hidden]
            wanted = [tuple(float(n) for n in pair.split("x")) for pair in pairs]
            assert wanted == list(zip(map(float, blocks.heads), ratios, strict=True))


@pytest.mark.parametrize("name", SPACES)
def test_a_mutation_changes_the_network(name):
    space = TransformerSpace(name)
    for at, arch in enumerate(drawn(space, 20)):
        child = np.asarray(mutated(jax.random.key(at), space.genes, jnp.asarray(arch)))
        assert (child != arch).sum() == 1
        assert space.to_string(child) != space.to_string(arch)


def test_costs_are_those_of_the_spaces():
    sizes = {"image_size": 32, "in_channels": 3, "num_classes": 10}
    for name in SPACES:
        space = TransformerSpace(name)
        archs = drawn(space, 4)
        found = space.costs(archs, **sizes, patch_size=4)
        if name == PIT:
            wanted = pit.population_costs(archs, **sizes)
        else:
            wanted = autoformer.population_costs(archs, space.options, **sizes, patch_size=4)
        np.testing.assert_array_equal(found.params, wanted.params)


def test_small_spaces_are_listed():
    assert len(TransformerSpace(DIGITS_VIT).everything) == 6 * 3 * 4**3
    assert len(TransformerSpace(PIT).everything) == pit.SPACE_SIZE
    assert TransformerSpace("autoformer-tiny").everything is None


def test_an_unknown_space_is_refused():
    with pytest.raises(InputError, match="space: got 'swin'"):
        TransformerSpace("swin")
