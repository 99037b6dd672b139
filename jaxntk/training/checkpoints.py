"""Training states on disk: written whole or not at all, and refused by another training.

A folder holds the newest state of one training, in Orbax's format, beside a description of what
was trained. Orbax renames a finished folder into place, so that a kill leaves the state before.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxntk.errors import InputError

_ITEMS = ("state", "about")


class Checkpoint(NamedTuple):
    """What was saved last.

    Args:
        epoch: epochs done.
        state: the arrays, in the tree that was saved.
    """

    epoch: int
    state: Any


def save(folder: str | os.PathLike[str], epoch: int, state: Any, about: Mapping[str, Any]) -> None:
    """Saves a training state; the one before it goes when this one is whole.

    Args:
        folder: of one training; made if it is not there.
        epoch: epochs done.
        state: a tree of arrays.
        about: what is trained and how, as JSON values; :func:`restore` compares it.

    Raises:
        InputError: the folder cannot be written to.
    """
    with _manager(folder, create=True) as manager:
        if epoch in manager.all_steps():
            return
        items = {"state": ocp.args.StandardSave(state), "about": ocp.args.JsonSave(dict(about))}
        try:
            manager.save(epoch, args=ocp.args.Composite(**items))
            manager.wait_until_finished()
        except OSError as error:
            cure = "free some space there or give another folder"
            raise InputError("out", f"{folder} ({error.strerror})", cure) from error


def restore(
    folder: str | os.PathLike[str], like: Any, about: Mapping[str, Any]
) -> Checkpoint | None:
    """Reads the newest training state of a folder.

    Args:
        folder: of one training.
        like: a tree of arrays, or of their shapes, as it was saved.
        about: what is trained and how.

    Returns:
        The state on the host, or None where there is none.

    Raises:
        InputError: the folder holds the state of another training.
    """
    if not Path(folder).is_dir():
        return None
    with _manager(folder, create=False) as manager:
        epoch = manager.latest_step()
        if epoch is None:
            return None
        found = manager.restore(epoch, args=ocp.args.Composite(about=ocp.args.JsonRestore()))
        _compare(folder, found["about"], about)
        hosts = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(hosts))
        return Checkpoint(int(epoch), manager.restore(epoch, args=items)["state"])


def latest_epoch(folder: str | os.PathLike[str]) -> int:
    """Returns how many epochs the newest training state of a folder has behind it.

    Args:
        folder: of one training; it need not be there.

    Returns:
        The number; 0 where there is no state.
    """
    if not Path(folder).is_dir():
        return 0
    with _manager(folder, create=False) as manager:
        return int(manager.latest_step() or 0)


@contextmanager
def _manager(folder: str | os.PathLike[str], *, create: bool) -> Iterator[Any]:
    options = ocp.CheckpointManagerOptions(
        max_to_keep=1, create=create, enable_async_checkpointing=False
    )
    manager = ocp.CheckpointManager(Path(folder).resolve(), options=options, item_names=_ITEMS)
    try:
        yield manager
    finally:
        manager.close()


def _compare(
    folder: str | os.PathLike[str], found: Mapping[str, Any], about: Mapping[str, Any]
) -> None:
    """Raises InputError unless two descriptions are the same."""
    wanted = json.loads(json.dumps(about))
    names = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
    if names:
        name = names[0]
        got = f"{folder}, a training with {name}={found.get(name)!r} and not {wanted.get(name)!r}"
        raise InputError("checkpoint", got, "give the same configuration, or another folder")
