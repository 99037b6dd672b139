"""Strict JAX, checked array shapes, and the folders and options that the tests share."""

import gc
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

# Read when JAX is imported, and by the processes that tests start. What tests run takes a few
# steps: it is not worth optimising, and is worth compiling once for all workers and processes.
_FOLDER = "JAX_COMPILATION_CACHE_DIR"
OWN_CACHE = _FOLDER not in os.environ
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# There are as many workers as cores: a program in parts costs more than it gains.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_parallel_codegen_split_count=1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
if OWN_CACHE:
    os.environ[_FOLDER] = tempfile.mkdtemp(prefix="jaxntk-compiled-")

import hypothesis  # noqa: E402
import jax  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]

# A float64 that turns into float32, or (n,) against (n, 1), must fail here and not in a kernel.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Flax annotates the fields of its layer by protocols that cannot be checked.
UNCHECKED = ("jaxntk.networks.conv",)
# Walks over traced programs, whose every step is a call: checked, a cell's kernel takes four times
# as long to trace. JAXNTK_CHECK=all has them checked too.
WALKS = ("jaxntk.kernels.liveness", "jaxntk.kernels.traced", "jaxntk.kernels.traced_program")
MODULES = [
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    for path in (REPOSITORY / "jaxntk").rglob("*.py")
    if path.stem != "__init__"
]
if os.environ.get("JAXNTK_CHECK") != "all":
    MODULES = [name for name in MODULES if not name.startswith(WALKS)]

# The hook only reaches modules that are imported after it. It is never removed: the package is
# first imported while pytest collects, and stays as it was then.
jaxtyping.install_import_hook(sorted(set(MODULES) - set(UNCHECKED)), "beartype.beartype")

# Compilation makes the first example slow, and a test has to say the same thing twice.
hypothesis.settings.register_profile("reproducible", deadline=None, derandomize=True)
hypothesis.settings.load_profile("reproducible")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_unconfigure(config: pytest.Config) -> None:
    if OWN_CACHE and not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ[_FOLDER], ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: Iterable[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow: runs with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _float32_by_default() -> Iterator[None]:
    """Undoes what a command that ran in this process set for its own."""
    yield
    jax.config.update("jax_enable_x64", False)


MAPPINGS = 25_000
"""Of the 65,530 memory mappings that Linux grants a process; each compiled program takes some, and
where there are no more, compilation crashes."""


@pytest.fixture(autouse=True, scope="module")
def _few_programs() -> Iterator[None]:
    """Drops what a worker compiled before it has compiled too much."""
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > MAPPINGS:
        jax.clear_caches()
        gc.collect()


def _shared_folder(variable: str, name: str) -> Path:
    """Returns the folder that an environment variable names, or the one beside the checkout."""
    given = os.environ.get(variable)
    folder = Path(given) if given else REPOSITORY.parent / "shared" / name
    if not folder.is_dir():
        pytest.skip(f"{variable} does not name a folder with the {name} files")
    return folder


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with benchmark tables and image files."""
    return _shared_folder("JAXNTK_DATA", "data")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """The folder with values that official implementations print."""
    return _shared_folder("JAXNTK_GOLDEN", "golden")
