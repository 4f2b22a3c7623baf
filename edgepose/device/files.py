"""Writing files so that nothing half-written ever looks finished."""

import hashlib
import os
import shutil
import tempfile

from .errors import DeviceError


def disk_error(path: "os.PathLike[str] | str", error: OSError) -> DeviceError:
    """What is said where the disk refuses `path`, by those who leave nothing of it behind."""
    return DeviceError(
        "cannot write {}: {}".format(os.fspath(path), error.strerror or error),
        fix="free some space or choose another folder; nothing was left half-written",
    )


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: "os.PathLike[str] | str", data: bytes) -> None:
    """Write `data` to a temporary name beside `path`, fsync, rename.

    Raises DeviceError when the disk refuses; `path` then still has its former content.
    """
    target = os.fspath(path)
    folder = os.path.dirname(os.path.abspath(target))
    temporary = None
    try:
        os.makedirs(folder, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".tmp-", dir=folder)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
        temporary = None
        _sync_folder(folder)
    except OSError as error:
        raise disk_error(target, error) from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def replace_folder(finished: "os.PathLike[str] | str", final: "os.PathLike[str] | str") -> None:
    """Move the complete folder `finished` to the name `final`, replacing what was there."""
    source, target = os.fspath(finished), os.fspath(final)
    old = target + ".old"
    try:
        for root, _, names in os.walk(source):
            for name in names:
                with open(os.path.join(root, name), "rb") as stream:
                    os.fsync(stream.fileno())
        shutil.rmtree(old, ignore_errors=True)
        if os.path.exists(target):
            os.replace(target, old)
        os.replace(source, target)
        _sync_folder(os.path.dirname(os.path.abspath(target)))
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise disk_error(target, error) from error


def sha256_file(path: "os.PathLike[str] | str") -> str:
    """Hex SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with open(os.fspath(path), "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
