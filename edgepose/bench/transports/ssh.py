"""`ssh://user@host[:port]`: a board that OpenSSH reaches."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from urllib.parse import urlsplit

from edgepose.bench.transport import FOLDER, Done, Dropped, run_words
from edgepose.errors import EdgeposeError

SSH_CONFIG = "EDGEPOSE_SSH_CONFIG"
CONNECT_TIMEOUT_S = 10
_SSH_FAILED = 255  # ssh's own exit code for everything that is not the remote command's
_REFUSED = ("Permission denied", "Too many authentication failures")
_STRANGER = ("Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED")
_UNKNOWN = ("Could not resolve hostname", "Bad configuration", "no such identity")


class Ssh:
    """The system's OpenSSH: ~/.ssh/config, jump hosts and agents work; it never asks for anything.

    config: another file instead of ~/.ssh/config
    """

    advice = (
        "check that the board is on, its address and port, and that `ssh` to it works from here"
    )
    folder = FOLDER

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
            done = run_words(command, stdin=stdin, timeout_s=timeout_s)
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


def open_transport(name: str) -> Ssh:
    """name: ssh://user@host[:port]"""
    return Ssh(name, config=os.environ.get(SSH_CONFIG) or None)
