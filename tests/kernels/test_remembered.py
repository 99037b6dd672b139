"""What is remembered of a function is never taken for another one."""

import dataclasses
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxntk.errors import InputError
from jaxntk.kernels import (
    NonFiniteKernel,
    check_model,
    clear_caches,
    empirical_ntk,
    fisher_spectrum,
    gradient_dots,
    per_example_norms,
)
from jaxntk.kernels.compiled import _compiled, compiled_once
from jaxntk.kernels.guard import MethodFallback
from jaxntk.kernels.traced import operations
from tests.kernels.small_functions import jacobian, normal
from tests.networks.tiny import assert_close

with jax.enable_x64(True):
    PARAMS = {"a": normal(0, 3, 4), "b": normal(1, 4, 2)}
    X = normal(2, 6, 3)


def network(params, x):
    return jnp.tanh(x @ params["a"]) @ params["b"]


def part(path):
    return path[0] == "a"


def right(function, params, x):
    jac = jacobian(function, params, x)
    return np.einsum("icp,jcp->ij", jac, jac)


def of_a(a, x):
    return network({"a": a, "b": PARAMS["b"]}, x)


METHODS = ["gram", "per_example_gradients", "jacobian_contraction"]


@pytest.mark.parametrize("order", [("all", part), (part, "all")])
@pytest.mark.parametrize("method", METHODS)
def test_which_parameters_enter_is_part_of_what_is_remembered(method, order):
    wanted = {"all": right(network, PARAMS, X), part: right(of_a, PARAMS["a"], X)}
    for choice in order:
        options = {"outputs": "trace", "method": method, "parameters": choice}
        assert_close(empirical_ntk(network, PARAMS, X, **options), wanted[choice], 1e-12)


def test_so_it_is_of_coupled_kernels_norms_dots_and_spectra():
    def centred(params, x):
        return network(params, x - x.mean(axis=0, keepdims=True))

    options = {"outputs": "sum", "examples": "coupled"}
    whole, some = (
        empirical_ntk(centred, PARAMS, X, parameters=choice, **options) for choice in ("all", part)
    )
    assert float(jnp.trace(some)) < float(jnp.trace(whole))
    for function in (per_example_norms, gradient_dots):
        whole, some = (function(network, PARAMS, X, parameters=choice) for choice in ("all", part))
        assert_close(some, function(of_a, PARAMS["a"], X), 1e-12)
        assert np.abs(whole - some).max() > 0.1
    spectra = [fisher_spectrum(network, PARAMS, X, parameters=each).trace for each in ("all", part)]
    assert spectra[1] < spectra[0]


def test_parameters_that_become_state_no_longer_enter():
    def apply_fn(params, x, state):
        return network({**params, **state}, x)

    empirical_ntk(network, PARAMS, X, outputs="trace")
    kernel = empirical_ntk(
        apply_fn, {"a": PARAMS["a"]}, X, outputs="trace", state={"b": PARAMS["b"]}
    )
    assert_close(kernel, right(of_a, PARAMS["a"], X), 1e-12)


def surrogate(slope, function):
    spike = jax.custom_jvp(function)
    spike.defjvp(lambda at, moved: (spike(*at), slope * moved[0]))
    return lambda params, x: spike(x @ params["a"]) @ params["b"]


def root(factor):
    def apply_fn(params, x):
        hidden = x @ params["a"]
        solved = lax.custom_root(
            lambda z: z - factor * hidden,
            jnp.zeros_like(hidden),
            lambda _, z: lax.stop_gradient(hidden),
            lambda g, y: y,
        )
        return solved @ params["b"]

    return apply_fn


RULES = [
    lambda slope: surrogate(slope, jnp.sign),
    lambda slope: surrogate(slope, jax.nn.relu),
    root,
]


@pytest.mark.parametrize("make", RULES)
def test_derivatives_of_ones_own_are_part_of_the_program(make):
    for slope in (1.0, 3.0):
        kernel = empirical_ntk(make(slope), PARAMS, X, outputs="trace")
        assert_close(kernel, right(make(slope), PARAMS, X), 1e-12)


def normalised(params, x):
    hidden = x @ params["a"]
    return jnp.tanh(hidden - hidden.mean(axis=0, keepdims=True)) @ params["b"]


def gated(params, x):
    centred = x - x.mean(axis=0, keepdims=True)
    return network(params, x) + params["gate"] * centred[:, :2]


def in_units(params, x):
    return normalised(params, x.astype(jnp.float64))


def by_state(params, x, state):
    return network(params, x) + state * (x - x.mean(axis=0, keepdims=True))[:, :2]


def test_a_state_that_hides_an_interaction_at_first_is_moved_too():
    with pytest.raises(InputError, match="where parameters and inputs are moved a little"):
        empirical_ntk(by_state, PARAMS, X, outputs="trace", state=jnp.zeros(()))


FIRST = {
    "inputs all alike": (normalised, lambda: (PARAMS, jnp.ones_like(X))),
    "parameters that are no numbers": (
        normalised,
        lambda: (jax.tree.map(lambda leaf: leaf * jnp.nan, PARAMS), X),
    ),
    "whole numbers all alike": (in_units, lambda: (PARAMS, jnp.zeros((6, 3), jnp.uint8))),
    "a gate that is shut": (gated, lambda: ({**PARAMS, "gate": jnp.zeros(())}, X)),
}


@pytest.mark.filterwarnings("ignore:the kernel has entries that are not finite")
@pytest.mark.parametrize("name", FIRST)
def test_a_first_call_that_shows_nothing_does_not_pass_for_good(name):
    function, first = FIRST[name]

    def both():
        for given in (first(), ({**PARAMS, "gate": jnp.ones(())}, X)):
            empirical_ntk(function, *given, outputs="trace")

    with pytest.raises(InputError, match=r"^apply_fn: got (outputs|gradients) that"):
        both()


def test_a_function_that_is_another_one_for_one_example_is_checked_itself():
    def sometimes(params, x):
        return network(params, x if len(x) == 1 else x - x.mean(axis=0, keepdims=True))

    empirical_ntk(network, PARAMS, X, outputs="trace")
    with pytest.raises(InputError, match="outputs that are other ones in a batch"):
        empirical_ntk(sometimes, PARAMS, X, outputs="trace")


def test_rules_that_are_wrong_are_found_by_norms_and_by_checks(monkeypatch):
    rule = operations.GRADIENT_RULES["dot_general"]

    def wrong(*arguments):
        found = rule(*arguments)

        def factors():
            left, right, arrange = found.factors()
            return operations.Factors(left, 1.5 * right, arrange)

        return found._replace(factors=factors)

    monkeypatch.setitem(operations.GRADIENT_RULES, "dot_general", wrong)

    def other(params, x):
        return jnp.sin(network(params, x))

    with pytest.warns(MethodFallback):
        norms = per_example_norms(other, PARAMS, X)
    rows = jacobian(other, PARAMS, X).sum(axis=1)
    assert_close(norms, np.linalg.norm(rows, axis=1), 1e-12)
    with pytest.warns(MethodFallback):
        check_model(other, PARAMS, X)
    clear_caches()


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int8, jnp.bool_])
def test_whole_numbers_that_meet_weights_as_they_are_do_not_overflow(dtype):
    x = jnp.asarray(np.random.default_rng(0).integers(0, 120, (4, 7)), dtype)

    def linear(w, x):
        return lax.dot_general(x, w, (((1,), (0,)), ((), ())), preferred_element_type=w.dtype)

    wide = np.asarray(x, np.float64)
    for check in (True, False):
        kernel = empirical_ntk(linear, normal(0, 7, 2), x, outputs="trace", check=check)
        assert_close(kernel, 2 * wide @ wide.T, 1e-12)
    norms = per_example_norms(linear, normal(0, 7, 2), x, check=False)
    assert_close(norms, np.sqrt(2) * np.linalg.norm(wide, axis=1), 1e-12)


def test_branches_that_are_not_taken_have_no_say():
    def rooted(params, x):
        def one(row):
            first = (row @ params["a"])[0]
            return lax.cond(
                first > 0,
                lambda: jnp.sqrt(first) * params["b"][0],
                lambda: first * params["b"][1],
            )

        return lax.map(one, x)

    first = np.asarray(X @ PARAMS["a"])[:, 0]
    x = X[np.argsort(-first)]
    assert first.min() < 0 < first.max()
    kernel = empirical_ntk(rooted, PARAMS, x, outputs="trace")
    assert_close(kernel, right(rooted, PARAMS, x), 1e-12)


def test_kernels_with_entries_that_are_not_finite_say_so():
    x = X.at[5].set(0)
    with pytest.warns(NonFiniteKernel):
        empirical_ntk(lambda w, x: jnp.sqrt(jnp.abs(x @ w)), normal(0, 3), x, outputs="sum")


def test_references_are_left_to_per_example_gradients():
    def changed(params, x):
        ref = jax.new_ref(x @ params["a"])
        ref[...] = jnp.tanh(ref[...])
        return ref[...] @ params["b"]

    with pytest.warns(MethodFallback):
        kernel = empirical_ntk(changed, PARAMS, X, outputs="trace")
    assert_close(kernel, right(network, PARAMS, X), 1e-12)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Box:
    """As Flax boxes an array with the names of its axes."""

    value: jax.Array


def test_boxes_do_not_change_names():
    params = {"body": {"kernel": Box(PARAMS["a"])}, "head": {"kernel": PARAMS["b"]}}

    def boxed(params, x):
        return network({"a": params["body"]["kernel"].value, "b": params["head"]["kernel"]}, x)

    kernel = empirical_ntk(boxed, params, X, outputs="trace", parameters="lga")
    assert_close(kernel, right(network, PARAMS, X), 1e-12)


def test_flat_dictionaries_of_statistics_are_refused():
    for name in ("bn1.running_mean", ("batch_stats", "norm", "mean"), "batch_stats/norm/mean"):
        params = {name: jnp.zeros(3), ("fc",) if isinstance(name, tuple) else "fc": PARAMS["a"]}
        with pytest.raises(InputError, match=r"^params: got .* statistic of batches"):
            empirical_ntk(lambda p, x: x @ jax.tree.leaves(p)[-1], params, X, outputs="sum")


def test_coupled_examples_may_be_trees():
    def apart(params, x):
        return network(params, x["u"]) - network(params, x["v"]).mean(axis=0, keepdims=True)

    kernel = empirical_ntk(apart, PARAMS, {"u": X, "v": X}, outputs="trace", examples="coupled")
    jac = jax.jacrev(lambda p: apart(p, {"u": X, "v": X}))(PARAMS)
    flat = np.concatenate([leaf.reshape(6, 2, -1) for leaf in jax.tree.leaves(jac)], axis=2)
    assert_close(kernel, np.einsum("icp,jcp->ij", flat, flat), 1e-12)


def test_functions_of_some_sizes_of_batch_are_told_what_to_do():
    def chunks(params, x):
        if len(x) == 1:
            return network(params, x)
        return lax.map(lambda some: network(params, some), x.reshape(4, -1, 3)).reshape(len(x), 2)

    x = normal(5, 8, 3)
    with pytest.raises(InputError, match=r"^apply_fn: got a function that fails on 3 of the exam"):
        empirical_ntk(chunks, PARAMS, x, outputs="trace")
    assert_close(
        empirical_ntk(chunks, PARAMS, x, outputs="trace", check=False),
        right(network, PARAMS, x),
        1e-12,
    )


BAD = {
    "y2 without x2": (
        lambda: gradient_dots(network, PARAMS, X, None, X, X, loss=lambda o, y: o[:, 0]),
        r"^y2: got targets without x2",
    ),
    "y without a loss": (lambda: per_example_norms(network, PARAMS, X, X), r"^y: got targets"),
    "outputs of dots": (
        lambda: gradient_dots(network, PARAMS, X, outputs="sum"),
        r"^outputs: got 'sum'; leave it out",
    ),
    "outputs of a spectrum": (
        lambda: fisher_spectrum(network, PARAMS, X, outputs="sum"),
        r"^outputs: got 'sum'; leave it out",
    ),
    "dictionary of logits": (
        lambda: fisher_spectrum(lambda p, x: {"logits": network(p, x)}, PARAMS, X),
        r"^apply_fn: got outputs of type dict",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_makes_no_sense_is_refused(what):
    call, message = BAD[what]
    with pytest.raises(InputError, match=message):
        call()


def test_what_is_remembered_is_bounded_shared_and_forgotten():
    made = []
    threads = [
        threading.Thread(target=lambda at=at: made.append(compiled_once(("test", at % 5), object)))
        for at in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 40
    for at in range(200):
        compiled_once(("test", at), object)
    assert len(_compiled) == 128
    assert compiled_once(("test", 199), object) is compiled_once(("test", 199), object)
    clear_caches()
    assert not _compiled


def test_no_arrays_of_a_trace_are_kept():
    with jax.checking_leaks():
        empirical_ntk(lambda p, x: jnp.cos(network(p, x)), PARAMS, X, outputs="trace")
