"""Ways to a board. A transport runs one command there and hands its input and output over.

A new one is a file in `transports/` with `open_transport(name)`, named after the word before the colon;
files, retries, locks and jobs are `board.Board`'s, the same for all of them.
"""

from __future__ import annotations

import importlib
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edgepose.errors import EdgeposeError
from edgepose.target import TRANSPORT_PATTERN, Target

VARIABLE = "EDGEPOSE_DEVICE"
FOLDER = "~/.cache/edgepose-device"


@dataclass(frozen=True)
class Done:
    """What a command on the board wrote, and its exit code."""

    code: int
    stdout: bytes
    stderr: str


class Dropped(Exception):
    """The connection broke, or could not be made just now; the command may or may not have run.

    partial: standard output until then
    """

    def __init__(self, reason: str, partial: bytes = b"") -> None:
        super().__init__(reason)
        self.partial = partial


class Transport(Protocol):
    """name: as the user wrote it; advice: what to do where it cannot be reached; folder: ours there.

    One that also has `push(data, path)` brings files by it instead of through standard input.
    """

    name: str
    advice: str
    folder: str

    def run(self, words: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 600) -> Done:
        """Run a command on the board, in the user's home. Raises Dropped, or EdgeposeError where
        trying again cannot help."""
        ...


def run_words(
    words: Sequence[str], *, stdin: bytes, timeout_s: float, cwd: str | None = None
) -> Done:
    """A command of this computer, without a shell; Dropped where it takes too long."""
    process = subprocess.Popen(
        list(words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd
    )
    try:
        stdout, stderr = process.communicate(stdin, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        process.kill()
        stdout, _ = process.communicate()
        raise Dropped(f"no answer within {timeout_s:.0f} s", stdout) from error
    except BaseException:
        process.kill()
        process.wait()
        raise
    return Done(process.returncode, stdout, stderr.decode("utf-8", "replace"))


def open_transport(name: str) -> Transport:
    """The transport that a text names; EdgeposeError for any other."""
    word, port = name.partition(":")[0], name.rpartition(":")[2]
    wrong_port = word == "ssh" and port.isdigit() and not 0 < int(port) < 65536
    if not TRANSPORT_PATTERN.fullmatch(name) or wrong_port:
        raise EdgeposeError(
            f"{name!r} is no device that edgepose can reach",
            fix="write local, ssh://user@host, ssh://user@host:port, adb:SERIAL, or iphone on a Mac",
        )
    module = importlib.import_module(f"edgepose.bench.transports.{word}")
    transport: Transport = module.open_transport(name)
    return transport


def chosen_device(option: str | None, target: Target) -> str | None:
    """The device that a benchmark goes to: the option, else EDGEPOSE_DEVICE, else the target's own.

    None: this process measures, on this computer. A target's "local" means just that; asked for by
    name, local is a Python of its own.
    """
    asked = option or os.environ.get(VARIABLE) or None
    if asked is None and target.device not in (None, "local"):
        asked = target.device
    return asked
