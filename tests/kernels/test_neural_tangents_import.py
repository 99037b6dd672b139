"""neural-tangents imports and computes on this JAX, and the import leaves nothing else behind."""

import importlib.util
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxntk.errors import InputError
from jaxntk.kernels.neural_tangents_import import import_neural_tangents

if not all(map(importlib.util.find_spec, ("neural_tangents", "frozendict"))):
    pytest.skip("neural-tangents is not installed", allow_module_level=True)

REPOSITORY = Path(__file__).resolve().parents[2]
METHODS = ("JACOBIAN_CONTRACTION", "NTK_VECTOR_PRODUCTS", "STRUCTURED_DERIVATIVES")


class ConvNet(nn.Module):
    """A strided, a dilated and grouped convolution, a dense layer."""

    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Conv(4, (3, 3), strides=2, param_dtype=x.dtype)(x))
        x = nn.Conv(4, (3, 3), kernel_dilation=2, feature_group_count=2, param_dtype=x.dtype)(x)
        return nn.Dense(3, param_dtype=x.dtype)(nn.relu(x).mean(axis=(1, 2)))


class Attention(nn.Module):
    """A class token, attention, a dense layer."""

    @nn.compact
    def __call__(self, x):
        token = self.param("token", nn.initializers.normal(), (1, 1, x.shape[-1]), x.dtype)
        x = jnp.concatenate([jnp.broadcast_to(token, (len(x), 1, x.shape[-1])), x], axis=1)
        x = nn.MultiHeadDotProductAttention(2, qkv_features=4, param_dtype=x.dtype)(x)
        return nn.Dense(3, param_dtype=x.dtype)(x[:, 0])


def dense(params, x):
    hidden = jnp.tanh(x @ params["hidden"] + params["bias"][None])
    return hidden @ params["readout"] * params["scale"]


def convolution(params, x):
    out = jax.lax.conv_general_dilated(
        x, params, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return jax.nn.gelu(out).sum(axis=(1, 2))


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape, jnp.float64)


def case(name):
    """Returns a function, its parameters and two sets of inputs."""
    images, tokens = normal(0, 7, 6, 6, 2), normal(0, 7, 5, 4)
    if name == "dense":
        shapes = {"hidden": (5, 6), "bias": (6,), "readout": (6, 3), "scale": (1, 3)}
        params = {key: normal(seed, *shape) for seed, (key, shape) in enumerate(shapes.items())}
        return dense, params, normal(9, 4, 5), normal(8, 3, 5)
    if name == "convolution":
        return convolution, normal(1, 3, 3, 2, 3), images[:4], images[4:]
    model, x = (ConvNet(), images) if name == "linen convolution" else (Attention(), tokens)
    return model.apply, model.init(jax.random.key(1), x), x[:4], x[4:]


def jacobian(function, params, x):
    leaves = jax.tree.leaves(jax.jacobian(function)(params, x))
    return np.concatenate([np.reshape(leaf, (len(x), 3, -1)) for leaf in leaves], axis=-1)


@pytest.mark.parametrize("name", ["dense", "convolution", "linen convolution", "linen attention"])
def test_methods_agree_with_a_jacobian(name):
    function, params, x1, x2 = case(name)
    jac1, jac2 = jacobian(function, params, x1), jacobian(function, params, x2)
    full = np.einsum("icp,jdp->ijcd", jac1, jac2)
    trace = np.trace(full, axis1=2, axis2=3) / 3
    settings = [(0, (-1,), trace), (None, (), full)]
    nt = import_neural_tangents()
    for method in METHODS:
        # The larger networks take long to compile.
        for vmap_axes, trace_axes, wanted in settings[: 1 if "linen" in name else 2]:
            kernel = nt.empirical_ntk_fn(
                function,
                trace_axes=trace_axes,
                vmap_axes=vmap_axes,
                implementation=nt.NtkImplementation[method],
            )
            error = np.abs(jax.jit(kernel)(x1, x2, params) - wanted).max() / np.abs(wanted).max()
            assert error < 1e-10, f"{method}, {vmap_axes=}, {trace_axes=}: {error:.1e}"


def test_methods_need_no_jit():
    function, params, x1, _ = case("dense")
    jac = jacobian(function, params, x1)
    wanted = np.einsum("icp,jcp->ij", jac, jac) / 3
    nt = import_neural_tangents()
    for method in (*METHODS, "AUTO"):
        implementation = nt.NtkImplementation[method]
        kernel = nt.empirical_ntk_fn(function, vmap_axes=0, implementation=implementation)
        np.testing.assert_allclose(kernel(x1, None, params), wanted, rtol=1e-10, err_msg=method)


def run(program):
    """Runs a program in a Python of its own, warnings being errors; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


CHECK = """
def places():
    import importlib, sys, jax
    names = ["jax", "jax.core", "jax.interpreters", "jax.interpreters.ad", "jax.numpy",
             "jax.extend.core", "jax.extend.linear_util", "jax.extend.source_info_util"]
    return {name: dict(vars(importlib.import_module(name))) for name in names}

from jaxntk.kernels.neural_tangents_import import import_neural_tangents
"""
WORKS = """
import jax.numpy as jnp
kernel = nt.empirical_ntk_fn(lambda w, x: x @ w, implementation=3)
assert kernel(jnp.ones((2, 5)), None, jnp.ones((5, 1))).tolist() == [[5, 5], [5, 5]]
"""


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("", "import flax.linen, flax.nnx, optax"),
        ("import flax.linen, flax.nnx, optax", ""),
        ("import jax.numpy, jax.interpreters.ad", ""),
    ],
)
def test_order_of_imports_does_not_matter(first, then):
    run(f"{first}\n{CHECK}\nnt = import_neural_tangents()\n{then}\n{WORKS}")


def test_the_import_leaves_nothing_else_behind():
    printed = run(
        CHECK
        + """
import sys
from jax.experimental import ode            # what neural-tangents imports
from jax.example_libraries import stax      # and JAX by itself does not
before, modules = places(), dict(sys.modules)
import_neural_tangents()
for name, content in places().items():
    was = before[name]
    changed = {key for key in content | was if content.get(key) is not was.get(key)}
    assert not changed, (name, changed)
assert all(sys.modules[name] is module for name, module in modules.items())
print(*sorted({name.split(".")[0] for name in set(sys.modules) - set(modules)} - {"jax"}))
assert "jax.util" not in sys.modules
"""
    )
    assert printed.split() == ["frozendict", "neural_tangents"]


def test_tensorflow_is_not_imported():
    run(
        f"{CHECK}\nnt = import_neural_tangents()\n{WORKS}\nimport sys\n"
        "assert not {'tensorflow', 'tf2jax', 'jax.util', 'neural_tangents.experimental'} "
        "& set(sys.modules)\nassert not hasattr(nt, 'experimental')"
    )


def test_threads_get_one_module():
    run(
        CHECK
        + """
import threading
start, found, failed = threading.Barrier(8), [], []
def work():
    start.wait()
    try:
        found.append(import_neural_tangents())
    except BaseException as error:
        failed.append(error)
threads = [threading.Thread(target=work) for _ in range(8)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
assert not failed and len(found) == 8 and len(set(map(id, found))) == 1, failed
nt = found[0]
"""
        + WORKS
    )


def test_a_plain_import_that_failed_before_does_no_harm():
    run(
        f"{CHECK}\ntry:\n    import neural_tangents\n    raise SystemExit('imports by itself')\n"
        f"except ImportError:\n    pass\nnt = import_neural_tangents()\n{WORKS}"
    )


@pytest.mark.parametrize(
    ("missing", "module", "name"),
    [
        ("before the import", "jax.extend.core", "Jaxpr"),
        ("before the import", "jax.extend.source_info_util", "user_context"),
        ("by neural-tangents", "jax.experimental", "ode"),
    ],
)
def test_an_unknown_jax_is_named(missing, module, name):
    gone = f"sys.modules['{module}.{name}'] = None" if missing.startswith("by") else ""
    printed = run(
        CHECK
        + f"""
import importlib, sys, warnings
module = importlib.import_module("{module}")
saved = vars(module).pop("{name}", None)
{gone}
before = places()
try:
    import_neural_tangents()
except ValueError as error:
    print(type(error).__name__, error)
assert all(before[key].keys() == content.keys() for key, content in places().items())
assert not [name for name in sys.modules if name.startswith(("neural_tangents", "jax.util"))]
if saved is not None:
    setattr(module, "{name}", saved)
sys.modules.pop("{module}.{name}", None)
nt = import_neural_tangents()
"""
        + WORKS
    )
    assert printed.startswith(f"InputError neural_tangents: got jax {jax.__version__}, where ")
    assert name in printed
    assert printed.count("\n") == 1
    assert "known to work with jax 0.10 to 0.12" in printed


@pytest.mark.parametrize("package", ["neural_tangents", "frozendict"])
def test_what_is_not_installed_is_named_with_the_command(monkeypatch, package):
    for name in [name for name in sys.modules if name.split(".")[0] == "neural_tangents"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    if package == "neural_tangents":
        monkeypatch.delitem(sys.modules, package)
        monkeypatch.setattr(sys, "path", [])
        monkeypatch.setattr(sys, "path_importer_cache", {})
    wanted = rf"got no module {package}; pip install --no-deps neural-tangents frozendict$"
    with pytest.raises(InputError, match=wanted):
        import_neural_tangents()


def test_a_module_that_is_imported_already_is_returned(monkeypatch):
    mine = ModuleType("neural_tangents")
    monkeypatch.setitem(sys.modules, "neural_tangents", mine)
    assert import_neural_tangents() is mine
