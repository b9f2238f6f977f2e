"""Folders and files of this user alone: nobody else can read keys and texts in them, or hold their locks.

Who can open a file, if only to read it, can lock it (`flock`). So a lock file that others can read lets them stop
whatever takes the lock.
"""

import contextlib
import os
import stat
from pathlib import Path
from typing import IO

from slipway.components.errors import BadInput

FOLDER_MODE, FILE_MODE = 0o700, 0o600
OTHERS = 0o077


def private_folder(folder: Path) -> Path:
    """Make a folder that only this user can enter, or take the rights of others away from one that is there.

    Folders above it that are missing become private too; those that are there stay as they are.

    Raises:
        BadInput: it belongs to another user, or cannot be made.
    """
    try:
        for missing in reversed([place for place in folder.parents if not place.exists()]):
            missing.mkdir(FOLDER_MODE, exist_ok=True)
        folder.mkdir(FOLDER_MODE, exist_ok=True)
        found = folder.stat()
        if found.st_uid not in (os.geteuid(), 0) and os.geteuid():  # root can read all, and makes the volumes of pods
            raise BadInput(f"{folder} belongs to the user {found.st_uid}, who could change what is kept there; move it")
        if found.st_mode & OTHERS and found.st_uid == os.geteuid():
            folder.chmod(FOLDER_MODE)
    except OSError as error:
        raise BadInput(f"{folder} cannot be used as a folder ({error.strerror}); choose another place") from error
    return folder


def lock_file(path: Path) -> IO[str]:
    """Open a file to lock, which only this user can open; it is made when it is not there.

    Raises:
        OSError: it cannot be opened, or is a link.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    file = os.fdopen(os.open(path, flags, FILE_MODE), "a+", encoding="utf-8")
    tighten(file.fileno())
    return file


def tighten(file: int | Path) -> None:
    """Take the rights of others away from a file of ours; one that is not there, or is another's, stays as it is."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        mode = stat.S_IMODE(os.stat(file).st_mode)
        if mode & OTHERS:
            os.chmod(file, mode & ~OTHERS)
