"""One benchmark at a time: who measures holds the lock, which the system takes back on death."""

from __future__ import annotations

import fcntl
import os
import tempfile

from .errors import DeviceError

VARIABLE = "EDGEPOSE_LOCK"
LOCK = os.environ.get(VARIABLE) or os.path.join(tempfile.gettempdir(), "edgepose-device.lock")
"""The same for every user and every edgepose of a machine, whether it is asked from afar or not."""


def take_lock(path: str, *, who: str, where: str = "on the board") -> int:
    """The lock's descriptor, held until every process that has it is gone; DeviceError if taken."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except PermissionError:  # another user's file: reading is enough to lock it
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise DeviceError(
            "cannot use the lock {}: {}".format(path, error.strerror), fix="remove that file"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(descriptor, 200).decode("utf-8", "replace").strip()
        os.close(descriptor)
        raise DeviceError(
            "another benchmark runs {}".format(where) + (": " + owner if owner else ""),
            fix="wait until it has ended; two at once would slow each other",
        ) from None
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, who.encode(), 0)
    except OSError:
        return descriptor  # not ours to write: the lock holds all the same
    return descriptor
