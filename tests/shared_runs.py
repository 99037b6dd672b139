"""One finished run, and a cache of compiled programs, shared by the tests of the runner."""

from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from jaxntk.cli import main
from tests.tiny_runs import sampled_cells, write_experiment, write_table


@pytest.fixture(scope="session")
def cache_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables with which processes share their compiled programs."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    }


@pytest.fixture(scope="package", autouse=True)
def compiled_once(cache_env: dict[str, str]) -> Iterator[None]:
    """The same cache for this process: the tests repeat runs, not what XLA does."""
    before = jax.config.jax_compilation_cache_dir
    least = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_compilation_cache_dir", cache_env["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    # JAX looks at the settings once, at its first compilation.
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_compilation_cache_dir", before)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", least)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def unoptimized() -> Iterator[None]:
    """Executables that run a few steps are not worth optimising."""
    before = jax.config.read("jax_disable_most_optimizations")
    # JAX keeps what it compiled by function and shape, whatever the optimisations: a test of the
    # same process that expects the numbers of another process would see other roundings.
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
    jax.clear_caches()


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the tiny experiment."""
    return write_experiment(tmp_path_factory.mktemp("experiments"))


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark table of the cells of that experiment."""
    return write_table(tmp_path_factory.mktemp("table") / "nasbench201.csv.gz", sampled_cells())


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, experiment: Path) -> Path:
    """The folder of a run that nothing interrupted; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    assert main(["run", str(experiment), "--out", str(out)]) == 0
    return out
