"""Ways to a board. A transport runs one command there and hands its input and output over.

A new one is a class with `name` and `run`, and a line in `open_transport`; files, retries, locks and
jobs are `board.Board`'s, the same for all of them.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from edgepose.errors import EdgeposeError
from edgepose.target import TRANSPORT_PATTERN, Target

VARIABLE = "EDGEPOSE_DEVICE"
SSH_CONFIG = "EDGEPOSE_SSH_CONFIG"
CONNECT_TIMEOUT_S = 10
_SSH_FAILED = 255  # ssh's own exit code for everything that is not the remote command's
_REFUSED = ("Permission denied", "Too many authentication failures")
_STRANGER = ("Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED")
_UNKNOWN = ("Could not resolve hostname", "Bad configuration", "no such identity")


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
    """name: as the user wrote it."""

    name: str

    def run(self, words: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 600) -> Done:
        """Run a command on the board, in the user's home. Raises Dropped, or EdgeposeError where
        trying again cannot help."""
        ...


def _run(words: Sequence[str], *, stdin: bytes, timeout_s: float, cwd: str | None = None) -> Done:
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


class Local:
    """Another Python on this computer, as if it were a board."""

    name = "local"

    def run(self, words: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 600) -> Done:
        try:
            return _run(words, stdin=stdin, timeout_s=timeout_s, cwd=os.path.expanduser("~"))
        except FileNotFoundError:
            return Done(127, b"", f"{words[0]}: not found")
        except PermissionError:
            return Done(126, b"", f"{words[0]}: not executable")


class Ssh:
    """The system's OpenSSH: ~/.ssh/config, jump hosts and agents work; it never asks for anything.

    config: another file instead of ~/.ssh/config
    """

    def __init__(self, name: str, *, config: str | None = None) -> None:
        parts = urlsplit(name)
        self.name, self.host = name, str(parts.hostname)
        # urlsplit lowers the host's case, which an alias in ~/.ssh/config may need
        place = parts.netloc.rpartition("@")
        self.host = place[2].partition(":")[0]
        self._words = [
            "ssh", "-T",
            *(["-F", config] if config else []),
            "-o", "BatchMode=yes",
            "-o", f"ConnectTimeout={CONNECT_TIMEOUT_S}",
            "-o", "ServerAliveInterval=5",
            "-o", "ServerAliveCountMax=3",
            *(["-p", str(parts.port)] if parts.port else []),
            *(["-l", place[0]] if place[0] else []),
            "--", self.host,
        ]  # fmt: skip

    def run(self, words: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 600) -> Done:
        # ssh hands one string to the shell over there: every word is quoted for it.
        command = [*self._words, shlex.join(words)]
        try:
            done = _run(command, stdin=stdin, timeout_s=timeout_s)
        except FileNotFoundError as error:
            raise EdgeposeError(
                "there is no ssh on this computer", fix="install OpenSSH's client"
            ) from error
        if done.code != _SSH_FAILED and done.code >= 0:  # below 0: ssh itself was killed
            return done
        said = done.stderr.strip()
        last = said.splitlines()[-1] if said else "ssh failed without a word"
        if any(text in said for text in _STRANGER):
            raise EdgeposeError(
                f"{self.name}: the board's host key is unknown or has changed: {last}",
                fix=f"log in once by hand (ssh {self.host}) and check the key",
            )
        if any(text in said for text in _REFUSED):
            raise EdgeposeError(
                f"{self.name} refused the key: {last}",
                fix="let ssh in without a password: ssh-copy-id, ssh-add, or IdentityFile in "
                "~/.ssh/config",
            )
        if any(text in said for text in _UNKNOWN):
            raise EdgeposeError(
                f"{self.name} cannot be reached: {last}",
                fix="check the name, or give its address in ~/.ssh/config",
            )
        raise Dropped(last, done.stdout)


def open_transport(name: str) -> Transport:
    """The transport that a text names; EdgeposeError for any other."""
    port = name.rpartition(":")[2]
    if TRANSPORT_PATTERN.fullmatch(name) and not (port.isdigit() and not 0 < int(port) < 65536):
        if name == "local":
            return Local()
        if name.startswith("ssh://"):
            return Ssh(name, config=os.environ.get(SSH_CONFIG) or None)
    raise EdgeposeError(
        f"{name!r} is no device that edgepose can reach",
        fix="write local, ssh://user@host or ssh://user@host:port",
    )


def chosen_device(option: str | None, target: Target) -> str | None:
    """The device that a benchmark goes to: the option, else EDGEPOSE_DEVICE, else the target's own.

    None: this process measures, on this computer. A target's "local" means just that; asked for by
    name, local is a Python of its own.
    """
    asked = option or os.environ.get(VARIABLE) or None
    if asked is None and target.device not in (None, "local"):
        asked = target.device
    return asked
