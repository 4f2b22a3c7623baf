"""Files from somewhere: a path, `file://`, or `https://` into a cache, each checked by its SHA-256.

    path = fetch(Source("https://host/hrnet_w48-92cab7bd_20200812.pth", sha256="92cab7bd..."))

A download continues where it stopped, and has its final name only once its hash is right. The cache
is `checkpoints/` in `cache_folder()`, one folder per URL; the least recently used entries leave when it
grows over $EDGEPOSE_CACHE_GB (20). $EDGEPOSE_OFFLINE=1 forbids the network.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edgepose.device.files import sha256_file, write_atomic
from edgepose.download import download
from edgepose.errors import EdgeposeError
from edgepose.progress import Progress

ENTRY, PART = "source.json", ".part"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
DEFAULT_LIMIT_GB = 20.0
NAME_HASH = re.compile(r"-([0-9a-f]{8})(?:_\d{8})?\.\w+(?:\.\w+)?$")
DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])")


def _quiet(what: str, done: int, total: int) -> None:
    """A progress report that nobody reads."""


@dataclass(frozen=True)
class Source:
    """location: a path, `file://...` or `https://...`; sha256: its 64 hex digits, or None."""

    location: str
    sha256: str | None = None

    @property
    def is_remote(self) -> bool:
        return urlsplit(self.location).scheme in ("http", "https")

    @property
    def host(self) -> str:
        """Where a URL leads; "" for a path."""
        return urlsplit(self.location).hostname or ""

    @property
    def name(self) -> str:
        """The file's name, without a folder or a query."""
        return Path(unquote(urlsplit(self.location).path)).name or "download"

    @property
    def expected(self) -> str | None:
        """What the hash must begin with: the given one, else the prefix that MMPose and torchvision
        put into file names (`...-92cab7bd_20200812.pth`)."""
        if self.sha256 is not None:
            return self.sha256.lower()
        found = NAME_HASH.search(self.name) if is_url(self.location) else None
        return None if found is None or DATE.fullmatch(found[1]) else found[1]


def is_url(location: str) -> bool:
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", location) is not None


def check_source(source: Source) -> None:
    """Raise EdgeposeError for a source that cannot be trusted or read; touches neither disk nor net."""
    if source.sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", source.sha256):
        raise EdgeposeError(
            f"sha256 is 64 hex digits, not {source.sha256!r}",
            fix="copy the whole hash; the 8 digits in a file name are checked by themselves",
        )
    if not is_url(source.location):
        return
    parts = urlsplit(source.location)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise EdgeposeError(
                f"{source.location} names another machine", fix="write file:///path, three slashes"
            )
        return
    if parts.scheme != "https" and (parts.scheme, parts.hostname) not in {
        ("http", host) for host in LOOPBACK
    }:
        raise EdgeposeError(
            f"cannot fetch {source.location}: {parts.scheme}:// is not supported",
            fix="use https://, file:// or a path",
        )
    if not parts.hostname:
        raise EdgeposeError(f"{source.location} names no host", fix="check the URL")
    if source.expected is None:
        raise EdgeposeError(
            f"{source.location} has no sha256, so what is fetched cannot be checked",
            fix="add sha256: with the 64 hex digits that the publisher gives",
        )


def cache_folder() -> Path:
    """What can be made again at a cost: $EDGEPOSE_CACHE, or ~/.cache/edgepose."""
    return Path(os.environ.get("EDGEPOSE_CACHE", Path.home() / ".cache" / "edgepose"))


def downloads_folder() -> Path:
    """Where downloads are kept."""
    return cache_folder() / "checkpoints"


def offline() -> bool:
    """Whether $EDGEPOSE_OFFLINE forbids the network."""
    return os.environ.get("EDGEPOSE_OFFLINE", "").lower() not in ("", "0", "no", "false")


def limit_bytes() -> int:
    """How large the cache may grow."""
    text = os.environ.get("EDGEPOSE_CACHE_GB", str(DEFAULT_LIMIT_GB))
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not 0 < limit < 1e9:
        raise EdgeposeError(
            f"EDGEPOSE_CACHE_GB is {text!r}", fix="set it to a number of gigabytes, e.g. 20"
        )
    return int(limit * 1e9)


def cached(source: Source) -> Path | None:
    """The file of a remote source if it is here already and has the right hash, else None."""
    path = _folder(source) / source.name
    if not path.is_file() or not (path.parent / ENTRY).is_file():
        return None
    return path if sha256_file(path).startswith(source.expected or "") else None


def fetch(
    source: Source, *, report: Progress = _quiet, warn: Callable[[str], None] | None = None
) -> Path:
    """The file of a source on this disk, its hash checked; downloaded where it is not here yet.

    report: called with (what, megabytes, megabytes in all); warn: told when only a hash prefix vouches
    Raises EdgeposeError for a wrong hash, an answer other than the file, a connection that stops, a
    full disk, and a download that $EDGEPOSE_OFFLINE forbids; nothing is left under the final name.
    """
    check_source(source)
    if not source.is_remote:
        path = _local(source)
        if source.expected is not None and path.is_file():
            _check_hash(sha256_file(path), source, where=str(path))
        return path
    folder = _folder(source)
    final = folder / source.name
    try:
        with _locked(folder):
            path = cached(source) or _download(source, folder, final, report)
            os.utime(folder / ENTRY)  # used now
    except OSError as error:
        raise _disk_error(error, folder) from error
    _evict(keep=folder)
    if source.sha256 is None and warn is not None:
        warn(
            f"{source.name} was checked against the 8 digits in its name only; "
            f"pin it with sha256: {sha256_file(path)}"
        )
    return path


def _local(source: Source) -> Path:
    text = source.location
    path = Path(unquote(urlsplit(text).path)) if is_url(text) else Path(text).expanduser()
    if not path.exists():
        raise EdgeposeError(f"there is no {path}", fix="check the path and its spelling")
    return path


def _folder(source: Source) -> Path:
    return downloads_folder() / hashlib.sha256(source.location.encode()).hexdigest()[:16]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold an entry; another process that wants it waits."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _disk_error(error: OSError, folder: Path) -> EdgeposeError:
    free = shutil.disk_usage(folder).free / 1e6 if folder.exists() else 0.0
    return EdgeposeError(
        f"cannot write to {folder}: {error.strerror or error} ({free:.0f} MB free)",
        fix="free some space (`edgepose cache clear`), or set EDGEPOSE_CACHE to another disk",
    )


def _check_hash(found: str, source: Source, *, where: str) -> None:
    if not found.startswith(source.expected or ""):
        raise EdgeposeError(
            f"{where} is not the file that was asked for: its sha256 is {found}, "
            f"expected {source.expected}" + ("..." if source.sha256 is None else ""),
            fix="check the URL and the hash with the publisher; do not use the file",
        )


def _download(source: Source, folder: Path, final: Path, report: Progress) -> Path:
    """Fetch into `final`.part, continuing what is there; rename once the hash is right."""
    if offline():
        raise EdgeposeError(
            f"{source.location} is not in the cache and EDGEPOSE_OFFLINE is set",
            fix=f"run once with a connection, or put the file on this machine and give its path "
            f"(the cache is {downloads_folder()})",
        )
    part = final.with_name(final.name + PART)
    continued = part.exists()
    download(source.location, part, limit_bytes=limit_bytes(), report=report)
    found = sha256_file(part)
    if continued and not found.startswith(source.expected or ""):  # was of another version
        part.unlink()
        download(source.location, part, limit_bytes=limit_bytes(), report=report)
        found = sha256_file(part)
    try:
        _check_hash(found, source, where=source.location)
    except EdgeposeError:
        part.unlink()
        raise
    with part.open("rb") as stream:
        os.fsync(stream.fileno())
    document = {"url": source.location, "sha256": found, "bytes": part.stat().st_size}
    os.replace(part, final)
    write_atomic(folder / ENTRY, json.dumps(document, indent=1).encode() + b"\n")
    return final


# ---- what `edgepose cache` shows ---------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A download. sha256 is None and url "" while it is not whole; used: seconds since 1970."""

    folder: Path
    name: str
    url: str
    sha256: str | None
    size_bytes: int
    used: float


def entries() -> list[Entry]:
    """What the cache holds, the most recently used first."""
    found = []
    for folder in sorted(downloads_folder().glob("*/")):
        files = [f for f in folder.iterdir() if f.is_file() and f.name not in (ENTRY, ".lock")]
        try:
            document = json.loads((folder / ENTRY).read_text())
            url, digest, used = (
                document["url"],
                document["sha256"],
                (folder / ENTRY).stat().st_mtime,
            )
        except (OSError, ValueError, KeyError, TypeError):
            url, digest, used = "", None, folder.stat().st_mtime
        size = sum(f.stat().st_size for f in files)
        name = files[0].name if files else folder.name
        found.append(Entry(folder, name, url, digest, size, used))
    return sorted(found, key=lambda entry: entry.used, reverse=True)


def clear() -> int:
    """Remove every download; the bytes that became free."""
    freed = sum(entry.size_bytes for entry in entries())
    if downloads_folder().exists():
        shutil.rmtree(downloads_folder())
    return freed


def _evict(*, keep: Path) -> None:
    """Remove the least recently used entries until the rest is within the limit."""
    found = entries()
    total, limit = sum(entry.size_bytes for entry in found), limit_bytes()
    for entry in reversed(found):
        if total > limit and entry.folder != keep:
            shutil.rmtree(entry.folder, ignore_errors=True)
            total -= entry.size_bytes
