"""One URL into one file, over however many connections it takes."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgepose.errors import EdgeposeError
from edgepose.progress import Progress

BLOCK = 1 << 20
TIMEOUT_S = 30.0
ATTEMPTS = 3
"""Connections in a row that may bring nothing."""


def download(url: str, part: Path, *, limit_bytes: int, report: Progress) -> None:
    """Append to `part` until the server says that it is whole; a broken connection is tried again.

    Raises EdgeposeError for an answer other than the file, a server that stops sending, and a file
    that is larger than `limit_bytes` or than the free disk; `part` is kept, for the next time.
    """
    stalled, problem = 0, ""
    while stalled < ATTEMPTS:
        before = part.stat().st_size if part.exists() else 0
        problem = _read_some(url, part, limit_bytes, report)
        if not problem:
            return
        size = part.stat().st_size if part.exists() else 0
        stalled = 0 if size > before else stalled + 1
        time.sleep(0.1 * 2**stalled)
    size = part.stat().st_size if part.exists() else 0
    raise EdgeposeError(
        f"fetching {url} stopped after {size / 1e6:.1f} MB: {problem}",
        fix="check the connection and run the same command again; it continues there",
    )


def _read_some(url: str, part: Path, limit_bytes: int, report: Progress) -> str:
    """One connection's worth; "" when the file is whole, else why it is not."""
    import http.client
    import urllib.error
    import urllib.request

    class _SameSafety(urllib.request.HTTPRedirectHandler):
        """Follows redirects, but never from https to anything else."""

        def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, hd: Any, to: str) -> Any:
            if urlsplit(to).scheme != urlsplit(req.full_url).scheme:
                raise EdgeposeError(
                    f"{url} redirects to {to}", fix="give the URL of the file itself"
                )
            return super().redirect_request(req, fp, code, msg, hd, to)

    start = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "edgepose", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        answer = urllib.request.build_opener(_SameSafety).open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # whole already, or of another version: the hash decides
            return "" if _size_in_range(error.headers) == start else _from_zero(part)
        if error.code >= 500 or error.code == 429:
            return f"the server answers {error.code} {error.reason}"
        raise EdgeposeError(
            f"{url}: the server answers {error.code} {error.reason}",
            fix="check the URL; for a file that needs a login, fetch it yourself and give its path",
        ) from error
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        return str(getattr(error, "reason", "") or error)
    with answer:
        if start and (answer.status != 206 or _range_start(answer.headers) != start):
            start = 0  # the server sends it all again
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else 0
        _check_room(url, part, total - start, total, limit_bytes)
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
                if done > limit_bytes:
                    _check_room(url, part, 0, done, limit_bytes)
                report(f"fetch {part.stem[:40]} (MB)", done // 1_000_000, total // 1_000_000)
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


def _check_room(url: str, part: Path, more: int, total: int, limit_bytes: int) -> None:
    if total > limit_bytes:
        raise EdgeposeError(
            f"{url} has {total / 1e9:.2f} GB, the cache may hold {limit_bytes / 1e9:g}",
            fix="raise EDGEPOSE_CACHE_GB",
        )
    free = shutil.disk_usage(part.parent).free
    if more > free:
        raise EdgeposeError(
            f"{url} needs {more / 1e6:.0f} MB more, {part.parent} has {free / 1e6:.0f} free",
            fix="free some space (`edgepose cache clear`), or set EDGEPOSE_CACHE to another disk",
        )
