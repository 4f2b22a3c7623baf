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
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from edgepose.device.files import sha256_file, write_atomic
from edgepose.errors import EdgeposeError

Report = Callable[[str, int, int], None]
ENTRY, PART = "source.json", ".part"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
DEFAULT_LIMIT_GB = 20.0
BLOCK = 1 << 20
TIMEOUT_S = 30.0
ATTEMPTS = 3
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
    source: Source, *, report: Report = _quiet, warn: Callable[[str], None] | None = None
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


def _download(source: Source, folder: Path, final: Path, report: Report) -> Path:
    """Fetch into `final`.part, continuing what is there; rename once the hash is right."""
    if offline():
        raise EdgeposeError(
            f"{source.location} is not in the cache and EDGEPOSE_OFFLINE is set",
            fix=f"run once with a connection, or put the file on this machine and give its path "
            f"(the cache is {downloads_folder()})",
        )
    part = final.with_name(final.name + PART)
    continued = part.exists()
    _read_all(source, part, report)
    found = sha256_file(part)
    if continued and not found.startswith(source.expected or ""):  # was of another version
        part.unlink()
        _read_all(source, part, report)
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


def _read_all(source: Source, part: Path, report: Report) -> None:
    """Append to `part` until the server says that it is whole; a broken connection is tried again."""
    stalled, problem = 0, ""
    while stalled < ATTEMPTS:
        before = part.stat().st_size if part.exists() else 0
        problem = _read_some(source, part, report)
        if not problem:
            return
        size = part.stat().st_size if part.exists() else 0
        stalled = 0 if size > before else stalled + 1
        time.sleep(0.1 * 2**stalled)
    size = part.stat().st_size if part.exists() else 0
    raise EdgeposeError(
        f"fetching {source.location} stopped after {size / 1e6:.1f} MB: {problem}",
        fix="check the connection and run the same command again; it continues there",
    )


def _read_some(source: Source, part: Path, report: Report) -> str:
    """One connection's worth; "" when the file is whole, else why it is not."""
    import http.client
    import urllib.error
    import urllib.request

    class _SameSafety(urllib.request.HTTPRedirectHandler):
        """Follows redirects, but never from https to anything else."""

        def redirect_request(
            self, req: Any, fp: Any, code: Any, msg: Any, hd: Any, url: str
        ) -> Any:
            if urlsplit(url).scheme != urlsplit(req.full_url).scheme:
                raise EdgeposeError(
                    f"{source.location} redirects to {url}", fix="give the URL of the file itself"
                )
            return super().redirect_request(req, fp, code, msg, hd, url)

    start = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "edgepose", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(source.location, headers=headers)
    try:
        answer = urllib.request.build_opener(_SameSafety).open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # whole already, or of another version: the hash decides
            return "" if _size_in_range(error.headers) == start else _from_zero(part)
        if error.code >= 500 or error.code == 429:
            return f"the server answers {error.code} {error.reason}"
        raise EdgeposeError(
            f"{source.location}: the server answers {error.code} {error.reason}",
            fix="check the URL; for a file that needs a login, fetch it yourself and give its path",
        ) from error
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        return str(getattr(error, "reason", "") or error)
    with answer:
        if start and (answer.status != 206 or _range_start(answer.headers) != start):
            start = 0  # the server sends it all again
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else 0
        _check_room(source, part, total - start, total)
        with part.open("ab" if start else "wb") as stream:
            done = start
            while True:
                try:
                    block = answer.read(BLOCK)
                except (http.client.HTTPException, OSError) as error:
                    return str(error) or type(error).__name__
                if not block:
                    break
                stream.write(block)
                done += len(block)
                if done > limit_bytes():
                    _check_room(source, part, 0, done)
                report(f"fetch {source.name[:40]} (MB)", done // 1_000_000, total // 1_000_000)
    return "" if not total or done == total else f"the server sent {done} of {total} bytes"


def _from_zero(part: Path) -> str:
    part.unlink()
    return "the server has no more of it"


def _size_in_range(headers: Any) -> int | None:
    found = re.fullmatch(r"bytes \*/(\d+)", headers.get("Content-Range") or "")
    return None if found is None else int(found[1])


def _range_start(headers: Any) -> int | None:
    found = re.match(r"bytes (\d+)-", headers.get("Content-Range") or "")
    return None if found is None else int(found[1])


def _check_room(source: Source, part: Path, more: int, total: int) -> None:
    if total > limit_bytes():
        raise EdgeposeError(
            f"{source.location} has {total / 1e9:.2f} GB, the cache may hold {limit_bytes() / 1e9:g}",
            fix="raise EDGEPOSE_CACHE_GB",
        )
    free = shutil.disk_usage(part.parent).free
    if more > free:
        raise EdgeposeError(
            f"{source.location} needs {more / 1e6:.0f} MB more, {part.parent} has {free / 1e6:.0f} free",
            fix="free some space (`edgepose cache clear`), or set EDGEPOSE_CACHE to another disk",
        )


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
