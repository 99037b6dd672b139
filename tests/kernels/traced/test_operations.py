"""Factor forms of gradients, against JAX's gradient of each example."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxntk.kernels.traced.contraction import arranged, gram_of, outer_products
from jaxntk.kernels.traced.operations import GRADIENT_RULES, OneHot
from tests.networks.tiny import assert_close

N = 3


def _equation(function, name, *shapes):
    (found,) = [eqn for eqn in jax.make_jaxpr(function)(*shapes).eqns if eqn.primitive.name == name]
    return found


def _hold_against_jax(name, function, which, data, weight):
    """Checks the factor form of ``function(data, weight)``; operand ``which`` is the weight."""

    def ordered(data, weight):
        return function(data, weight) if which == 1 else function(weight, data)

    pair = (data[0], weight) if which == 1 else (weight, data[0])
    eqn = _equation(function, name, *pair)
    out = jax.eval_shape(jax.vmap(ordered, (0, None)), data, weight)
    ct = jnp.asarray(np.random.default_rng(1).normal(size=out.shape))

    def compute(data, weight, ct):
        found = GRADIENT_RULES[name](eqn, which, data, ct)
        factors = found.factors()
        rows, columns, groups = found.size
        n = len(data)
        if isinstance(factors.left, OneHot):
            assert factors.left.ids.shape == (len(data), groups, found.tokens)
            assert factors.left.length == rows
        else:
            assert factors.left.shape == (len(data), groups, found.tokens, rows)
        assert factors.right.shape == (len(data), groups, found.tokens, columns)
        flat = found.flat or (lambda: outer_products(factors).reshape(len(data), -1))

        def gradient(data, ct):
            return jax.vjp(partial(ordered, data), weight)[1](ct)[0]

        return (
            gram_of(found, n, (n, n), "factorised", ct.dtype),
            arranged(found),
            factors.arrange(outer_products(factors)),
            flat(),
            jax.vmap(gradient)(data, ct),
        )

    gram, mine, multiplied, flat, wanted = jax.jit(compute)(data, weight, ct)
    assert_close(mine, wanted, 1e-12)
    assert_close(multiplied, wanted, 1e-12)
    rows = np.asarray(wanted).reshape(len(data), -1)
    assert_close(flat @ flat.T, rows @ rows.T, 1e-12)
    assert_close(gram, rows @ rows.T, 1e-12)


def _normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


# Shapes of left and right, contracted axes, batch axes.
PRODUCTS = {
    "vector": ((4,), (4, 3), ((0,), (0,)), ((), ())),
    "tokens": ((5, 4), (4, 3), ((1,), (0,)), ((), ())),
    "transposed": ((4, 5), (3, 4), ((0,), (1,)), ((), ())),
    "images": ((2, 3, 4), (3, 4), ((2,), (1,)), ((), ())),
    "two contracted axes, crossed": ((2, 3, 4), (4, 5, 2), ((0, 2), (2, 0)), ((), ())),
    "a batch axis": ((2, 5, 4), (2, 4, 3), ((2,), (1,)), ((0,), (0,))),
    "two batch axes, crossed": ((2, 5, 3, 4), (3, 4, 2), ((3,), (1,)), ((0, 2), (2, 0))),
    "batch axes alone": ((2, 3), (2, 3), ((), ()), ((0, 1), (0, 1))),
    "nothing contracted": ((2, 3), (4,), ((), ()), ((), ())),
    "everything contracted": ((2, 3), (3, 2), ((0, 1), (1, 0)), ((), ())),
    "no entries in common": ((5, 2, 1), (1, 3, 1), ((2,), (0,)), ((), ())),
}


@pytest.mark.parametrize("which", [0, 1], ids=["weight left", "weight right"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name, which):
    left, right, *dimensions = PRODUCTS[name]

    def product(a, b):
        return lax.dot_general(a, b, tuple(dimensions))

    data, weight = (left, right) if which == 1 else (right, left)
    _hold_against_jax("dot_general", product, which, _normal(0, N, *data), _normal(2, *weight))


def _conv(data, weight, dims=("NHWC", "HWIO", "NHWC"), padding="SAME", **options):
    stride = options.pop("stride", (1,) * (len(data) - 2))
    return data, weight, {"window_strides": stride, "padding": padding, **options}, dims


CONVOLUTIONS = {
    "plain": _conv((1, 5, 6, 2), (3, 3, 2, 4)),
    "stride": _conv((1, 7, 6, 2), (3, 2, 2, 4), stride=(2, 3), padding="VALID"),
    "dilation": _conv((1, 7, 7, 2), (2, 3, 2, 4), rhs_dilation=(3, 2)),
    "groups": _conv((1, 4, 5, 4), (3, 3, 2, 6), feature_group_count=2),
    "depthwise, stride": _conv((1, 5, 6, 3), (3, 3, 1, 6), stride=(2, 2), feature_group_count=3),
    "patches": _conv((1, 4, 6, 2), (2, 3, 2, 4), stride=(2, 3), padding="VALID"),
    "patches, groups": _conv(
        (1, 4, 4, 4), (2, 2, 2, 6), stride=(2, 2), padding="VALID", feature_group_count=2
    ),
    "patches, cropped": _conv(
        (1, 7, 6, 2), (2, 2, 2, 3), stride=(2, 2), padding=[(-1, 0), (1, -1)]
    ),
    "transposed": _conv((1, 3, 4, 2), (3, 3, 2, 4), lhs_dilation=(2, 3), padding=[(1, 2), (2, 0)]),
    "transposed, dilation, groups": _conv(
        (1, 3, 4, 4),
        (2, 3, 2, 6),
        lhs_dilation=(2, 1),
        rhs_dilation=(2, 2),
        feature_group_count=2,
        padding=[(2, 1), (3, 3)],
    ),
    "padding uneven, negative": _conv((1, 6, 6, 2), (3, 2, 2, 3), padding=[(-1, 2), (3, -2)]),
    "PyTorch's layout": _conv((1, 2, 5, 6), (4, 2, 3, 3), ("NCHW", "OIHW", "NCHW")),
    "odd layouts": _conv((5, 2, 1, 6), (3, 4, 3, 2), ("HCNW", "WOHI", "CWNH")),
    "odd layouts, groups, stride": _conv(
        (5, 4, 1, 6),
        (3, 6, 2, 2),
        ("HCNW", "WOHI", "CWNH"),
        stride=(2, 1),
        feature_group_count=2,
    ),
    "sequences": _conv((1, 7, 2), (3, 2, 4), ("NWC", "WIO", "NWC"), padding=[(2, 0)]),
    "volumes": _conv((1, 3, 4, 3, 2), (2, 2, 2, 2, 3), ("NDHWC", "DHWIO", "NDHWC")),
    "images inside an example": _conv((4, 5, 6, 2), (3, 3, 2, 4), stride=(2, 1)),
    "images inside an example, groups": _conv(
        (2, 4, 4, 4), (3, 2, 2, 2), rhs_dilation=(1, 2), feature_group_count=2
    ),
    "one pixel, no axes of space": _conv((1, 2), (2, 4), ("NC", "IO", "NC"), padding=[]),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name):
    data, weight, options, dims = CONVOLUTIONS[name]

    def convolution(x, kernel):
        return lax.conv_general_dilated(x, kernel, dimension_numbers=dims, **options)

    _hold_against_jax(
        "conv_general_dilated", convolution, 1, _normal(0, N, *data), _normal(2, *weight)
    )


def test_convolutions_without_a_factor_form_say_so():
    def of_batches(x, kernel):
        return lax.conv_general_dilated(x, kernel, (1,), "VALID", batch_group_count=2)

    x, kernel = jnp.ones((2, 3, 5)), jnp.ones((4, 3, 2))
    eqn = _equation(of_batches, "conv_general_dilated", x, kernel)
    ct = jnp.ones((N, *eqn.outvars[0].aval.shape))
    rule = GRADIENT_RULES["conv_general_dilated"]
    assert rule(eqn, 1, jnp.ones((N, *x.shape)), ct) is None
    # The weight in the place of the images.
    assert rule(eqn, 0, jnp.ones((N, *kernel.shape)), ct) is None


def _look_up(features, mode):
    offsets = tuple(range(1, 1 + len(features)))
    numbers = lax.GatherDimensionNumbers(offsets, (0,), (0,))

    def look_up(table, ids):
        return lax.gather(table, ids, numbers, (1, *features), mode=mode)

    return look_up


MODES = [lax.GatherScatterMode.CLIP, lax.GatherScatterMode.FILL_OR_DROP]


@pytest.mark.parametrize("mode", MODES, ids=["clip", "fill or drop"])
@pytest.mark.parametrize("features", [(), (3,), (3, 2)], ids=str)
@pytest.mark.parametrize("dtype", [jnp.int32, jnp.uint8])
def test_look_ups(features, mode, dtype):
    # Some beyond the table on either side, some twice.
    ids = np.array([[0, 3, 3, 9], [-1, 1, 0, 4], [5, 5, 5, 2]])
    ids = np.abs(ids) if dtype == jnp.uint8 else ids
    table = _normal(2, 5, *features)
    _hold_against_jax(
        "gather", _look_up(features, mode), 0, jnp.asarray(ids[..., None], dtype), table
    )


@pytest.mark.parametrize(
    "look_up",
    [lambda w, ids: w[:, ids], lambda w, ids: w[ids, ids], lambda w, ids: w[ids, 1]],
    ids=["columns", "entries", "of one column"],
)
def test_look_ups_of_other_than_rows_say_so(look_up):
    table, ids = jnp.ones((5, 5)), jnp.arange(3)
    eqn = _equation(look_up, "gather", table, ids)
    data = jnp.zeros((N, *eqn.invars[1].aval.shape), jnp.int32)
    ct = jnp.ones((N, *eqn.outvars[0].aval.shape))
    assert GRADIENT_RULES["gather"](eqn, 0, data, ct) is None
    assert GRADIENT_RULES["gather"](eqn, 1, table, ct) is None
