"""Folders and files that only this user can open, for keys, texts and locks.

A user who can open a file can lock it (`flock`), even with rights to read only. So a lock file that other users can
read would let them block every process that takes the lock.
"""

import contextlib
import os
import stat
from pathlib import Path
from typing import IO

from slipway.components.errors import BadInput

FOLDER_MODE, FILE_MODE = 0o700, 0o600
OTHERS = 0o077
"""The rights of group and others."""


def private_folder(folder: Path) -> Path:
    """Make a folder that only this user can enter, or remove the rights of other users from an existing one.

    Missing folders above it become private too; existing ones stay as they are.

    Raises:
        BadInput: the folder belongs to another user, or cannot be made.
    """
    try:
        for missing in reversed([parent for parent in folder.parents if not parent.exists()]):
            missing.mkdir(FOLDER_MODE, exist_ok=True)
        folder.mkdir(FOLDER_MODE, exist_ok=True)
        status = folder.stat()
        if status.st_uid not in (os.geteuid(), 0) and os.geteuid():  # root reads all files, and owns volumes of pods
            raise BadInput(
                f"{folder} belongs to the user {status.st_uid}, who could change what is kept there; move it"
            )
        if status.st_mode & OTHERS and status.st_uid == os.geteuid():
            folder.chmod(FOLDER_MODE)
    except OSError as error:
        raise BadInput(f"{folder} cannot be used as a folder ({error.strerror}); choose another place") from error
    return folder


def lock_file(path: Path) -> IO[str]:
    """Open a lock file that only this user can open; a missing one is created.

    Raises:
        OSError: the file cannot be opened, or is a symbolic link.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    file = os.fdopen(os.open(path, flags, FILE_MODE), "a+", encoding="utf-8")
    tighten(file.fileno())
    return file


def tighten(file: int | Path) -> None:
    """Remove the rights of other users from a file of this user. A missing file and another user's stay as they are."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        mode = stat.S_IMODE(os.stat(file).st_mode)
        if mode & OTHERS:
            os.chmod(file, mode & ~OTHERS)
