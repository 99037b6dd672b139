"""Layers that join or look up weights where the data says, and attention."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.kernels.programs.draft import Draft, Table, offset
from tests.kernels.programs.layers import any_width
from tests.kernels.programs.weights import weight

LAYERS = Table()


@LAYERS.add("learnt entries joined", 1, 2, 3)
def _(d, shape):
    axis = int(d.rng.integers(len(shape)))
    w = weight(d, [1 if at == axis else s for at, s in enumerate(shape)])

    def broadcast(w, h):
        return jnp.broadcast_to(w[None], (len(h), *w.shape))

    how = d.pick([
        broadcast,
        lambda w, h: jnp.tile(w[None], (len(h), *[1] * w.ndim)),
        lambda w, h: jnp.repeat(w[None], len(h), axis=0),
        lambda w, h: jnp.zeros((len(h), *w.shape)) + w[None],
        lambda w, h: jax.vmap(lambda _: w)(jnp.arange(len(h))),
    ])
    if d.chance(0.2):
        return lambda p, h: jax.vmap(lambda one: jnp.concatenate([w(p), one], axis))(h)
    order = d.pick([1, -1])
    return lambda p, h: jnp.concatenate([how(w(p), h), h][::order], axis + 1)


@LAYERS.add("scattered into the data", 1, 2, 3)
def _(d, shape):
    axis = int(d.rng.integers(len(shape)))
    at = int(d.rng.integers(shape[axis]))
    w = weight(d, [s for other, s in enumerate(shape) if other != axis])
    place = (slice(None),) * (axis + 1) + (at,)
    twice = (*place[:-1], np.array([at, at]))
    pair = np.array([0.3, 0.7]).reshape(2, *[1] * (len(shape) - 1 - axis))
    return d.pick([
        lambda p, h: h.at[place].set(w(p)[None]),
        lambda p, h: h.at[place].add(w(p)[None]),
        lambda p, h: h.at[place].multiply(w(p)[None]),
        lambda p, h: h.at[twice].add(jnp.expand_dims(w(p), axis)[None] * pair),
        lambda p, h: lax.dynamic_update_index_in_dim(
            h, jnp.broadcast_to(w(p)[None], (len(h), *w(p).shape)), jnp.int32(at), axis + 1
        ),
    ])


def ids_of(d: Draft, shape: Sequence[int], words: int) -> Callable[[jax.Array], jax.Array]:
    """Returns whole numbers of the data, which have no derivative."""
    by = d.constant(*shape) * 3.0
    return d.pick([
        lambda h: jnp.floor(3.0 * h + by).astype(jnp.int32) % words,
        lambda h: jnp.clip(jnp.round(2.0 * h + by), 0, words - 1).astype(jnp.int32),
        lambda h: jnp.digitize(offset(h, by), np.linspace(-2, 2, words + 1)[1:-1]),
        lambda h: jnp.searchsorted(np.linspace(-2, 2, words - 1), offset(h, by)),
    ])


@LAYERS.add("scattered where the data says", 1, 2)
def _(d, shape):
    w, ids = weight(d, shape[1:]), ids_of(d, shape, shape[0])
    how = d.pick(["set", "add"])
    return lambda p, h: jax.vmap(
        lambda one, at: getattr(one.at[at.reshape(-1)[0]], how)(w(p) * one.sum())
    )(h, ids(h))


@LAYERS.add("counted into buckets", 1, 2)
def _(d, shape):
    w, ids = weight(d, shape), ids_of(d, shape, 3)

    def run(p, h):
        rows = jnp.arange(len(h)).reshape(-1, *[1] * len(shape))
        values = h * w(p)[None]
        if len(shape) == 1:
            return jnp.zeros((len(h), 3)).at[rows, ids(h)].add(values)
        return jax.vmap(lambda v, i: jax.ops.segment_sum(v.reshape(-1), i.reshape(-1), 3))(
            values, ids(h)
        )

    return run


@LAYERS.add("embedding of what the data says", 1, 2)
def _(d, shape):
    width = 1 if len(shape) == 2 else 2
    table, ids = weight(d, (3, width)), ids_of(d, shape, 3)
    by = d.rng.integers(-3, 1)
    how = d.pick([
        lambda w, at: w[at],
        lambda w, at: w[at + by],
        lambda w, at: jnp.take(w, at, axis=0),
        lambda w, at: jnp.take(w, at, axis=0, mode="fill", fill_value=0.5),
        lambda w, at: jnp.take(w.T, at, axis=1).transpose(*range(1, at.ndim + 1), 0),
        lambda w, at: jax.nn.one_hot(at, 3, dtype=w.dtype) @ w,
        lambda w, at: w.at[at].get(mode="clip"),
        lambda w, at: jnp.stack([w[at, column] for column in range(width)], axis=-1),
    ])

    def run(p, h):
        out = how(table(p), ids(h)) * jnp.cos(h)[..., None]
        return out.reshape(*h.shape[:-1], -1)

    return run


@LAYERS.add("weights at the places that the data says", 1, 2)
def _(d, shape):
    w, ids = weight(d, shape), ids_of(d, shape, shape[-1])
    v = weight(d, (shape[-1],), 0)

    def along(p, h):
        all_rows = jnp.broadcast_to(w(p)[None], h.shape)
        return h + jnp.take_along_axis(all_rows, ids(h), axis=-1)

    return d.pick([
        along,
        lambda p, h: h * v(p)[ids(h)],
        lambda p, h: h + jax.vmap(lambda at: v(p)[at])(ids(h)),
        lambda p, h: jnp.take_along_axis(h, ids(h), axis=-1) * w(p)[None],
    ])


@LAYERS.add("slice of the weights where the data says", 1, 2)
def _(d, shape):
    w, ids = weight(d, (4, shape[-1])), ids_of(d, shape, 3)
    over = d.pick(["vmap", "map"])

    def one(p, h, at):
        part = lax.dynamic_slice(w(p), (at.reshape(-1)[0], jnp.int32(0)), (2, shape[-1]))
        return h @ part.T

    if over == "vmap":
        return lambda p, h: jax.vmap(partial(one, p))(h, ids(h))
    return lambda p, h: lax.map(lambda a: one(p, *a), (h, ids(h)))


@LAYERS.add("experts", 1, 2)
def _(d, shape):
    w, gate = weight(d, (2, shape[-1], 2)), weight(d, (shape[-1], 2), 1)
    by = d.constant(2)
    soft = d.chance(0.5)

    def run(p, h):
        scores = jax.nn.softmax(h @ gate(p))
        if soft:
            return jnp.einsum("...e,...i,eio->...o", scores, h, w(p))
        best, where = lax.top_k(scores + 0.01 * by, 1)
        chosen = w(p)[where[..., 0]]
        return jnp.einsum("...i,...io->...o", h, chosen) * best

    return run


@LAYERS.add("attention", 2)
def _(d, shape):
    tokens, width = shape
    heads, causal = int(d.rng.integers(1, 3)), d.chance(0.4)
    qkv, out = weight(d, (width, 3 * heads * 2)), weight(d, (heads * 2, width), 1)
    by_vmap = d.chance(0.4)

    def attend(q, k, v):
        scores = jnp.einsum("...qd,...kd->...qk", q, k) / np.sqrt(2.0)
        if causal:
            scores = jnp.where(np.tril(np.ones((tokens, tokens), bool)), scores, -jnp.inf)
        return jax.nn.softmax(scores, axis=-1) @ v

    def run(p, h):
        parts = jnp.split(h @ qkv(p), 3, axis=-1)
        q, k, v = (part.reshape(*part.shape[:-1], heads, 2) for part in parts)
        if by_vmap:
            mixed = jax.vmap(attend, in_axes=(2, 2, 2), out_axes=2)(q, k, v)
        else:
            mixed = attend(*(jnp.swapaxes(part, 1, 2) for part in (q, k, v))).swapaxes(1, 2)
        return mixed.reshape(*h.shape[:-1], heads * 2) @ out(p)

    return run


@LAYERS.add("learnt queries", 2)
def _(d, shape):
    query, keys = weight(d, (2, shape[-1])), weight(d, (shape[-1], shape[-1]), 1)
    return d.pick([
        lambda p, h: jax.nn.softmax(query(p) @ jnp.swapaxes(h @ keys(p), -1, -2), axis=-1) @ h,
        lambda p, h: jax.vmap(
            lambda one: jax.nn.softmax(jnp.einsum("md,td->mt", query(p), one @ keys(p))) @ one
        )(h),
    ])


@LAYERS.add("tokens mixed", 2, 3)
def _(d, shape):
    w = weight(d, (shape[0], int(d.rng.integers(1, 4))))
    return d.pick([
        lambda p, h: jnp.einsum("nt...,ts->ns...", h, w(p)),
        lambda p, h: jnp.moveaxis(jnp.tensordot(h, w(p), ((1,), (0,))), -1, 1),
    ])


@LAYERS.add("positions", 2, 3)
def _(d, shape):
    w = weight(d, (1, *shape))
    return lambda p, h: h + w(p)


@LAYERS.add("one matrix a token, by vmap", 2)
def _(d, shape):
    tokens, width = shape
    w, out = weight(d, (tokens, width, 2)), d.pick([0, 1])
    if out == 0:
        return lambda p, h: jax.vmap(jnp.matmul, in_axes=(1, 0))(h, w(p)).swapaxes(0, 1)
    return lambda p, h: jax.vmap(jnp.matmul, in_axes=(1, 0), out_axes=1)(h, w(p))


@LAYERS.add("an ensemble by vmap", 1, 2)
def _(d, shape):
    w = weight(d, (2, shape[-1], 2))
    return d.pick([
        lambda p, h: jax.vmap(lambda w: jnp.tanh(h @ w))(w(p)).mean(0),
        lambda p, h: jax.vmap(lambda w: jnp.tanh(h @ w), out_axes=-1)(w(p)).sum(-1),
        lambda p, h: lax.map(lambda w: jnp.tanh(h @ w), w(p))[1] + (h @ w(p)[0]),
    ])


@LAYERS.add("tokens by lax.map", 2)
def _(d, shape):
    w = weight(d, (shape[-1], any_width(d)))
    per_token = weight(d, (shape[0], shape[-1]), 1)
    return d.pick([
        lambda p, h: lax.map(lambda t: jnp.tanh(t @ w(p)), h.swapaxes(0, 1)).swapaxes(0, 1),
        lambda p, h: jnp.moveaxis(
            lax.map(lambda a: (a[0] * a[1]) @ w(p), (h.swapaxes(0, 1), per_token(p))), 0, 1
        ),
    ])
