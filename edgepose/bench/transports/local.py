"""`local`: another Python on this computer, as if it were a board."""

from __future__ import annotations

import os
from collections.abc import Sequence

from edgepose.bench.transport import FOLDER, Done, run_words


class Local:
    """Another Python on this computer, as if it were a board."""

    name = "local"
    advice = "check that this computer is not out of memory or of processes"
    folder = FOLDER

    def run(self, words: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 600) -> Done:
        try:
            return run_words(words, stdin=stdin, timeout_s=timeout_s, cwd=os.path.expanduser("~"))
        except FileNotFoundError:
            return Done(127, b"", f"{words[0]}: not found")
        except PermissionError:
            return Done(126, b"", f"{words[0]}: not executable")


def open_transport(name: str) -> Local:
    """name: local"""
    return Local()
