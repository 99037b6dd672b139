"""neural-tangents, imported on a JAX that is newer than it.

neural-tangents 0.6.5 (December 2023) is the field's reference for empirical kernels. It takes names
from ``jax.core``, ``jax.interpreters.ad`` and ``jax.util`` that have moved since or are gone, and
imports TensorFlow for an experimental part. :func:`import_neural_tangents` puts stand-ins in their
places while neural-tangents is imported and takes them away again. A stand-in is a copy of the
module with names added, so another thread that meets one misses nothing. Only public names of JAX
are used. What neural-tangents computes stays its own.
"""

import importlib
import math
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import jax

from jaxntk.errors import InputError

NAME = "neural_tangents"

# What is used here or, when a kernel is computed, by neural-tangents. It is looked for before the
# import: a name that is first missed later is missed without a word about the cause.
NEEDED = {
    "jax": "linearize linear_transpose make_jaxpr disable_jit ShapeDtypeStruct",
    "jax.api_util": "debug_info flatten_fun_nokwargs",
    "jax.core": "ShapedArray eval_context",
    "jax.extend.core": "Jaxpr JaxprEqn Literal Primitive Var",
    "jax.extend.linear_util": "wrap_init",
    "jax.extend.source_info_util": "current_name_stack transform_name_stack user_context",
    "jax.interpreters.ad": "UndefinedPrimal Zero add_tangents is_undefined_primal primitive_jvps",
    "jax.lax": "broadcast_in_dim_p",
}

_lock = threading.Lock()


def import_neural_tangents() -> ModuleType:
    """Imports neural-tangents, whatever names JAX has moved since its last release.

    Safe to call from several threads and at any time; the import happens once. A neural-tangents
    that was imported before is returned as it is. Afterwards JAX and ``sys.modules`` are as before,
    but for neural-tangents itself. Its part ``experimental``, which needs TensorFlow, is left out.

    Returns:
        The module ``neural_tangents``.

    Raises:
        InputError: neural-tangents is not installed, or this JAX lacks a name that it needs.

    Source:
        Novak, Sohl-Dickstein, Schoenholz, "Fast finite width neural tangent kernel", ICML 2022,
        arXiv 2206.08720; https://github.com/google/neural-tangents.
    """
    with _lock:
        if NAME in sys.modules:
            return importlib.import_module(NAME)  # waits for a thread that is importing it
        before = set(sys.modules)
        try:
            for needed, names in NEEDED.items():
                _check(importlib.import_module(needed), names)
            with _in_place(_stand_ins()):
                module = importlib.import_module(NAME)
            _adapt()
        except BaseException as error:
            # Python keeps what a failed import has imported; a second try would meet half of it.
            for name in set(sys.modules) - before:
                if name.split(".")[0] == NAME:
                    del sys.modules[name]
            if isinstance(error, Exception):
                raise _refusal(error) from error
            raise
        delattr(module, "experimental")  # whoever has TensorFlow may still import the real one
        return module


def _refusal(error: Exception) -> InputError:
    if isinstance(error, ModuleNotFoundError) and error.name in (NAME, "frozendict"):
        cure = "pip install --no-deps neural-tangents frozendict"
        return InputError(NAME, f"no module {error.name}", cure)
    cure = "version 0.6.5 is known to work with jax 0.10 to 0.12; use these or another method"
    return InputError(NAME, f"jax {jax.__version__}, where {error}", cure)


def _check(module: ModuleType, names: str) -> None:
    for name in names.split():
        if not hasattr(module, name):
            raise AttributeError(f"{module.__name__} has no {name}")


def _module(name: str, *contents: Mapping[str, Any]) -> ModuleType:
    module = ModuleType(name)
    for content in contents:
        vars(module).update(content)
    return module


def _stand_ins() -> dict[str, ModuleType]:
    from jax import core
    from jax.extend import core as extend
    from jax.extend import source_info_util
    from jax.interpreters import ad

    core_names = {
        **vars(extend),  # Jaxpr, Literal, Var and others moved there
        **vars(core),
        "DShapedArray": type("DShapedArray", (), {}),  # dynamic shapes are gone: nothing is one
    }
    ad_names = {
        **vars(ad),
        "linearize": _linearize,  # what it returns has changed
        "source_info_util": source_info_util,  # moved to jax.extend
        "config": SimpleNamespace(jax_enable_checks=False),  # the checks use names that are gone
        "zeros_like_p": extend.Primitive("zeros_like"),  # gone, but the key of a rule
    }
    return {
        "jax.core": _module("jax.core", core_names),
        "jax.interpreters.ad": _module("jax.interpreters.ad", ad_names),
        "jax.util": _module("jax.util", {"safe_map": _safe_map, "safe_zip": _safe_zip}),  # gone
        f"{NAME}.experimental": _module(f"{NAME}.experimental"),  # would import TensorFlow
    }


@contextmanager
def _in_place(modules: dict[str, ModuleType]) -> Iterator[None]:
    """Puts modules where ``import a.b`` and ``a.b`` find them; afterwards all is as before."""
    absent = object()
    places: list[tuple[dict[str, Any], str, ModuleType]] = []
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        places.append((sys.modules, name, module))
        if parent in sys.modules:
            places.append((vars(sys.modules[parent]), child, module))
    before = [place.get(key, absent) for place, key, _ in places]
    try:
        for place, key, module in places:
            place[key] = module
        yield
    finally:
        for (place, key, _), was in zip(places, before, strict=True):
            if was is absent:
                place.pop(key, None)
            else:
                place[key] = was


def _adapt() -> None:
    """Replaces what neural-tangents can import but not run, in its own modules only."""
    from jax.api_util import debug_info
    from jax.extend.linear_util import wrap_init

    empirical = importlib.import_module(f"{NAME}._src.empirical")
    _check(empirical, "_eqn_vjp_fn _get_flops jnp lu")
    # wrap_init without debug_info, jnp.size of a shape, jnp.dtype of an array are deprecated.
    wrap = {"wrap_init": lambda f: wrap_init(f, debug_info=debug_info(NAME, f, (), {}))}
    sizes = {"size": lambda x: math.prod(x.shape), "dtype": lambda x: x.dtype}
    vars(empirical).update(
        lu=SimpleNamespace(**wrap),
        jnp=_module("jax.numpy", vars(jax.numpy), sizes),
        _eqn_vjp_fn=_transpose_equation,  # reads Primitive.map_primitive, which is gone
        _get_flops=_flops,  # cost_analysis returned a list of dictionaries, now one dictionary
    )
    rules = importlib.import_module(f"{NAME}._src.utils.rules")
    _check(rules, "STRUCTURE_RULES")
    # jnp.broadcast_to dropped axes of length 1 before it repeated them; now it stretches them.
    broadcast = jax.lax.broadcast_in_dim_p
    rules.STRUCTURE_RULES[broadcast] = _stretching(rules.STRUCTURE_RULES[broadcast])


def _safe_zip(*lists: Iterable[Any]) -> list[tuple[Any, ...]]:
    return list(zip(*lists, strict=True))


def _safe_map(function: Callable[..., Any], *lists: Iterable[Any]) -> list[Any]:
    return [function(*row) for row in zip(*lists, strict=True)]


def _linearize(function: Any, *primals: Any, has_aux: bool) -> tuple[Any, ...]:
    """Returns outputs, a mark on each that it has a tangent, the linear program, its constants."""
    outputs, tangents = jax.linearize(function.call_wrapped, *primals)
    program = jax.make_jaxpr(tangents)(*primals)
    marks = [SimpleNamespace(is_known=lambda: False) for _ in outputs]
    return outputs, marks, program.jaxpr, program.consts


def _transpose_equation(equation: Any, cotangent: Any, *values: Any) -> Sequence[Any]:
    """Returns the cotangent of every linear input of one equation, None for the other inputs."""
    from jax.core import ShapedArray
    from jax.interpreters import ad

    if equation is None:  # the identity
        return (cotangent,)
    if isinstance(cotangent, ad.Zero):
        return [None] * len(values)
    linear = [i for i, value in enumerate(values) if ad.is_undefined_primal(value)]
    # Where a value does not matter there is only its shape.
    fixed = [jax.numpy.zeros(v.shape, v.dtype) if isinstance(v, ShapedArray) else v for v in values]

    def apply(*inputs: Any) -> Any:
        arguments = dict(enumerate(fixed)) | dict(zip(linear, inputs, strict=True))
        outputs = equation.primitive.bind(*arguments.values(), **equation.params)
        # A loop or a function with one result still returns a list, and is given one cotangent.
        several = isinstance(outputs, list) and not isinstance(cotangent, list | tuple)
        return outputs[0] if several and len(outputs) == 1 else outputs

    shapes = [jax.ShapeDtypeStruct(values[i].aval.shape, values[i].aval.dtype) for i in linear]
    if equation.primitive.name == "reshape":
        # It may leave out axes of length 1: JAX's own rule for reshape does not look at the shape.
        cotangent = jax.numpy.reshape(cotangent, equation.params["new_sizes"])
    found = dict(zip(linear, jax.linear_transpose(apply, *shapes)(cotangent), strict=True))
    return [found.get(i) for i in range(len(values))]


def _flops(function: Callable[..., Any], compiled: bool, *args: Any, **kwargs: Any) -> float:
    lowered = jax.jit(function).lower(*args, **kwargs)
    costs = lowered.compile().cost_analysis() if compiled else lowered.cost_analysis()
    return float((costs or {}).get("flops", math.inf))


def _stretching(rule: Callable[..., Any]) -> Callable[..., Any]:
    """Lets a rule for arrays that are repeated along new axes pass axes that are stretched."""

    def stretching_rule(equation: Any, index: int, inputs: Sequence[Any], output: Any) -> Any:
        found = rule(equation, index, inputs, output)
        lengths = inputs[index].shape
        pairs = _safe_zip(found.in_trace, found.out_trace)
        kept = [(i, o) for i, o in pairs if lengths[i] == output.shape[o]]
        stretched = tuple(o for i, o in pairs if lengths[i] != output.shape[o])
        return found.replace(
            in_trace=tuple(i for i, _ in kept),
            out_trace=tuple(o for _, o in kept),
            out_broadcast=found.out_broadcast + stretched,
        )

    return stretching_rule
