"""What runs on a board: our Python runner, or the native one (`bench/native.py`); same commands and JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import edgepose.device.receive
from edgepose.bench.runner_file import runner_bytes
from edgepose.bench.transport import Transport
from edgepose.errors import EdgeposeError

OLDEST = (3, 8)
Patiently = Callable[[Callable[[], Any]], Any]
_RECEIVE = Path(edgepose.device.receive.__file__).read_text("utf-8")


class Program(Protocol):
    """data: the runner's file"""

    data: bytes

    def install(self, transport: Transport, folder: str, patiently: Patiently) -> None:
        """Make sure that `receiver` can run; patiently: calls a function again after a drop."""
        ...

    def receiver(self) -> list[str]:
        """Words before hello, put and get."""
        ...

    def check(self, hello: Mapping[str, Any], name: str) -> None:
        """Raise where the board is too old for us."""
        ...

    def translate(self, files: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """The files of a benchmark (artifact, "pack", jobs) in the form that this runner reads."""
        ...

    def command(self, root: str, words: Sequence[str]) -> list[str]:
        """A command of the runner, once it is there."""
        ...

    def absent(self, name: str, said: str) -> EdgeposeError:
        """The board has nothing that runs us."""
        ...


class PythonProgram:
    """The device package as one file. python: the board's interpreter"""

    def __init__(self, python: str) -> None:
        self.python, self.data = python, runner_bytes()

    def install(self, transport: Transport, folder: str, patiently: Patiently) -> None:
        """Nothing is needed: the receiver's source travels as an argument."""

    def receiver(self) -> list[str]:
        return [self.python, "-c", _RECEIVE]

    def check(self, hello: Mapping[str, Any], name: str) -> None:
        version = tuple(hello["python"])
        if version < OLDEST:
            raise EdgeposeError(
                f"Python {'.'.join(map(str, version))} on {name} is too old",
                fix="the runner needs 3.8 or newer: install one there and name it with "
                "--device-python",
            )

    def translate(self, files: Mapping[str, bytes]) -> Mapping[str, bytes]:
        return files

    def command(self, root: str, words: Sequence[str]) -> list[str]:
        return [self.python, f"{root}/files/{sha256(self.data).hexdigest()}", *words]

    def absent(self, name: str, said: str) -> EdgeposeError:
        return EdgeposeError(
            f"{name} has no {self.python}: {said}",
            fix="name the board's Python (3.8 or newer, with numpy) with --device-python",
        )
