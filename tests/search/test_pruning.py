"""Pruning against a plain loop, and what it does with failures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.search.pruning import pruning

EDGES, OPS = 4, 3
WORTH = np.random.default_rng(0).normal(size=(EDGES, OPS))


def worth(masks):
    """The sum of what is left on each edge, less a little for what is there: no two are equal."""
    return jnp.where(masks, jnp.asarray(WORTH, jnp.float32)[None], 0.0).sum(axis=(1, 2))


def run(score, edges=EDGES, ops=OPS):
    search = pruning(edges, ops)
    mask, masks = search.init(), []
    step = jax.jit(lambda mask: search.tell(mask, score(search.ask(mask)[0])))
    for _ in range(search.rounds):
        mask = step(mask)
        masks.append(np.asarray(mask))
    return np.asarray(search.result(mask)), masks


def test_it_is_a_plain_loop_over_edges():
    left = [set(range(OPS)) for _ in range(EDGES)]
    result, masks = run(worth)
    for mask in masks:
        for edge in range(EDGES):
            # Without an operation of low worth the sum is highest.
            left[edge] -= {min(left[edge], key=lambda op, edge=edge: WORTH[edge, op])}
            assert set(np.flatnonzero(mask[edge])) == left[edge]
    assert result.tolist() == np.argmax(WORTH, axis=1).tolist()


def test_only_what_can_go_is_asked_for():
    search = pruning(2, 3)
    masks, wanted = search.ask(search.init())
    assert wanted.all()
    assert [int((~mask).sum()) for mask in masks] == [1] * 6
    mask = jnp.array([[True, False, False], [True, True, False]])
    assert search.ask(mask)[1].tolist() == [False, False, False, True, True, False]


def test_what_fails_when_it_goes_stays():
    def score(masks):
        return jnp.where(masks[:, 0, 2], worth(masks), jnp.nan)

    assert run(score)[0][0] == 2


def test_all_failures_still_leave_one_operation_an_edge():
    result, masks = run(lambda masks: jnp.full(len(masks), jnp.nan))
    assert masks[-1].sum(axis=1).tolist() == [1] * EDGES
    assert result.shape == (EDGES,)


@pytest.mark.parametrize(("edges", "ops"), [(0, 3), (2, 1)])
def test_nothing_to_choose_is_refused(edges, ops):
    with pytest.raises(InputError, match="ops: got"):
        pruning(edges, ops)
