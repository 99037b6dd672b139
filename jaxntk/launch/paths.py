"""Folders of runs that lie in a bucket, as the machine sees them where it is mounted."""

from pathlib import PurePosixPath
from typing import NamedTuple

from jaxntk.errors import InputError

SCHEME = "gs://"
MOUNTS = "$HOME/buckets"
"""Below it every bucket is a folder; a shell on the machine fills in ``$HOME``."""


class Folder(NamedTuple):
    """A folder of a run.

    Args:
        bucket: that it lies in; None for the machine's own disk.
        path: on the machine.
    """

    bucket: str | None
    path: str

    @classmethod
    def parse(cls, text: str) -> "Folder":
        """Reads a folder: ``gs://BUCKET/FOLDER``, or a path on the machine.

        Args:
            text: the folder.

        Returns:
            The folder as the machine sees it.

        Raises:
            InputError: no bucket, the bucket itself, or a path that leaves it.

        Example:
            >>> Folder.parse("gs://mine/runs/init")
            Folder(bucket='mine', path='$HOME/buckets/mine/runs/init')
            >>> Folder.parse("runs/init")
            Folder(bucket=None, path='runs/init')
        """
        if not text.startswith(SCHEME):
            if "://" in text or not text:
                raise InputError("out", text, "give gs://BUCKET/FOLDER, or a path")
            return cls(None, text)
        bucket, _, inside = text.removeprefix(SCHEME).partition("/")
        parts = PurePosixPath(inside).parts
        if not bucket or not parts or ".." in parts:
            raise InputError("out", text, "give gs://BUCKET/FOLDER")
        return cls(bucket, f"{MOUNTS}/{bucket}/{'/'.join(parts)}")

    @property
    def mount(self) -> str:
        """Lines of shell that mount the bucket where it is not mounted yet; empty without one."""
        if self.bucket is None:
            return ""
        place = f'"{MOUNTS}/{self.bucket}"'
        return (
            f"mkdir -p {place}; mountpoint -q {place} || "
            f"gcsfuse --implicit-dirs {self.bucket} {place}"
        )
