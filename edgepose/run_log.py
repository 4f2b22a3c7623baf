"""The log of a run: every stage, score, warning and step, versions, and the traceback of a crash.

It grows in `<out>/<recipe>/run.log` while stages run, over kills and starts, and moves into the run's
folder when that is complete.
"""

from __future__ import annotations

import logging
import platform
import shlex
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from edgepose.bench.conditions import library_versions, read_conditions, source_commit
from edgepose.errors import EdgeposeError

NAME = "run.log"
LOG = logging.getLogger("edgepose")
LINE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class _File(logging.FileHandler):
    """Ends the run where it cannot write, as any other file of a run does."""

    def handleError(self, record: logging.LogRecord) -> None:  # logging's own name
        raise


def told(message: str, *args: object, level: int = logging.WARNING, **values: Any) -> None:
    """Log what the user sees in another way as well: `-v` does not show it twice."""
    LOG.log(level, message, *args, extra={"told": True}, stacklevel=2, **values)


@contextmanager
def verbose(stream: TextIO) -> Iterator[None]:
    """Show on `stream` whatever is logged meanwhile, libraries' warnings included."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    handler.addFilter(lambda record: not getattr(record, "told", False))
    with _handling(handler):
        yield


@contextmanager
def _handling(handler: logging.Handler) -> Iterator[None]:
    root, level = logging.getLogger(), LOG.level
    root.addHandler(handler)
    LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        LOG.setLevel(level)
        handler.close()


@contextmanager
def _warnings_logged() -> Iterator[None]:
    """Warnings of Python also land in the log; they are shown as before."""
    shown = warnings.showwarning

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int,
        file: TextIO | None = None, line: str | None = None,
    ) -> None:  # fmt: skip
        told("%s:%s: %s: %s", filename, lineno, category.__name__, message)
        shown(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        if warnings.showwarning is show:
            warnings.showwarning = shown


@contextmanager
def run_log(folder: Path, *, active: bool = True) -> Iterator[Path]:
    """Log into `folder`/run.log, after what an earlier, killed run left there; yields its path.

    An exception that leaves the body is logged with its traceback, and says where the log is; Ctrl-C does
    not.
    active: whether this process is the one that logs
    """
    path = Path(folder) / NAME
    if not active:
        yield path
        return
    try:
        handler = _File(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise EdgeposeError(
            f"cannot write to {folder}: {error.strerror}",
            fix="free some space, or choose another folder with --out",
        ) from error
    handler.setFormatter(logging.Formatter(LINE))
    with _handling(handler), _warnings_logged():
        try:
            _begin()
            yield path
        except BaseException as error:
            if not isinstance(error, OSError):  # a disk that is full takes no more lines either
                text = "".join(traceback.format_exception(error))
                told("ended by %s\n%s", type(error).__name__, text, level=logging.CRITICAL)
            if not isinstance(error, KeyboardInterrupt):  # who stops a run needs no reasons
                error.add_note(f"log: {path}")
            raise


def _begin() -> None:
    conditions = read_conditions()
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    LOG.info("begins: %s", shlex.join(words))
    LOG.info("%s, %s, Python %s", conditions.name, conditions.os, platform.python_version())
    versions = {**source_commit(), **library_versions()}
    LOG.info("%s", ", ".join(f"{name} {version}" for name, version in versions.items()))
