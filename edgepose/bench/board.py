"""A board behind a transport: files by hash, calls of the runner, and patience with bad networks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import edgepose.device.receive
from edgepose.bench.native import NativeProgram
from edgepose.bench.programs import Program, PythonProgram
from edgepose.bench.transport import FOLDER, Done, Dropped, Transport
from edgepose.errors import EdgeposeError
from edgepose.progress import Progress

PYTHON = "python3"
MARK = edgepose.device.receive.MARK.encode()
SPARE_BYTES = 64 << 20
"""Room that stays free on the board beside what is sent."""
_BROKEN = ("reset by", "Broken pipe", "cut off", "closed")
"""What ssh and adb say of a connection that was there."""
_FIRST_S = 60.0
"""How long a board that breaks every connection is tried before it ever answered."""
_BLOCK = 4 << 20
"""Bytes of one push: what a dropped connection costs."""

Result = TypeVar("Result")


class Gone(EdgeposeError):
    """The board stopped answering and did not come back."""


def split_answer(stdout: bytes) -> tuple[dict[str, Any], bytes] | None:
    """(the runner's JSON, what follows it); None where there is no whole answer."""
    at = stdout.find(b"\n" + MARK)
    line, end, rest = stdout[at + 1 + len(MARK) :].partition(b"\n")
    if at < 0 or not end:
        return None
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return (document, rest) if isinstance(document, dict) else None


class Board:
    """transport: the way there; python: its interpreter; folder: ours on it ("~" is home there)
    runner:      the native runner's file, for a board without Python
    lock:        another lock than the board's own; patience_s: how long it may be gone"""

    def __init__(
        self,
        transport: Transport,
        *,
        python: str = PYTHON,
        folder: str = FOLDER,
        runner: Path | None = None,
        lock: str | None = None,
        patience_s: float = 120.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.transport = transport
        self.folder = transport.folder if folder == FOLDER else folder
        if runner is None and transport.name.partition(":")[0] == "adb":
            raise EdgeposeError(
                f"{transport.name} has no Python: it needs the native runner",
                fix="`edgepose runner --native DIR` writes its project; build it for the device and "
                "name it with --runner-binary",
            )
        self.program: Program = PythonProgram(python) if runner is None else NativeProgram(runner)
        self.patience_s, self._sleep = patience_s, sleep
        self._lock = [] if lock is None else ["--lock", lock]
        self.met = False
        self._progress_at = 0.0
        self.root = self.folder
        self.drops = 0

    def _patiently(self, attempt: Callable[[], Result]) -> Result:
        """Try until it works, or until nothing has moved for `patience_s`. A board that was never
        reached is not waited for."""
        self._progress_at, pause = time.monotonic(), 0.1
        while True:
            try:
                result = attempt()
                self.met = True
                return result
            except Dropped as drop:
                waited = time.monotonic() - self._progress_at
                answered = self.met or any(text in str(drop) for text in _BROKEN)
                if not answered or (not self.met and waited > _FIRST_S):
                    raise EdgeposeError(
                        f"{self.transport.name} cannot be reached: {drop}",
                        fix=self.transport.advice,
                    ) from drop
                self.drops += 1
                if waited > self.patience_s:
                    raise Gone(
                        f"{self.transport.name} stopped answering: {drop}",
                        fix="check the board's power and network, then run the benchmark again",
                    ) from drop
            self._sleep(pause)
            pause = min(2 * pause, 3.0)

    def _answer(self, done: Done) -> tuple[dict[str, Any], bytes]:
        found = split_answer(done.stdout)
        if found is None:
            said = (done.stderr.strip() or done.stdout.decode("utf-8", "replace").strip())[-500:]
            if done.code in (126, 127):
                raise self.program.absent(self.transport.name, said)
            if done.code == 0:
                raise Dropped("the answer was cut off", done.stdout)
            if "SyntaxError: " in said:  # a Python 2 reads our first line and no further
                raise EdgeposeError(
                    f"{self.program.receiver()[0]} on {self.transport.name} is too old to read the "
                    f"runner: {said.splitlines()[-1]}",
                    fix="the runner needs Python 3.8 or newer: install one there and name it with "
                    "--device-python",
                )
            raise EdgeposeError(
                f"the runner failed on {self.transport.name} (exit code {done.code}): {said}",
                fix=f"check that {self.program.receiver()[0]} works there",
            )
        if "error" in found[0] and set(found[0]["error"]) == {"problem", "fix"}:
            error = found[0]["error"]
            raise EdgeposeError(f"{self.transport.name}: {error['problem']}", fix=error["fix"])
        return found

    def _receive(self, *words: str, stdin: bytes = b"") -> tuple[dict[str, Any], bytes]:
        command = [*self.program.receiver(), *words]
        return self._answer(self.transport.run(command, stdin=stdin))

    def call(self, *words: str, timeout_s: float = 600) -> dict[str, Any]:
        """One command of the runner that was sent before."""
        command = self.program.command(self.root, words)
        return self._patiently(
            lambda: self._answer(self.transport.run(command, timeout_s=timeout_s))[0]
        )

    def in_root(self, command: str, *words: str, timeout_s: float = 600) -> dict[str, Any]:
        """A command of the runner that works in our folder."""
        return self.call(command, "--root", self.root, *self._lock, *words, timeout_s=timeout_s)

    def send(self, files: Mapping[str, bytes], *, report: Progress | None = None) -> int:
        """Bring files (by what they are, with their content) and the runner there; those that the
        board has stay. Returns the bytes that had to travel."""
        self.program.install(self.transport, self.folder, self._patiently)
        every = (self.program.data, *self.program.translate(files).values())
        blobs = {sha256(data).hexdigest(): data for data in every}
        hello = self._patiently(lambda: self._receive("hello", self.folder, *blobs)[0])
        self.program.check(hello, self.transport.name)
        self.root = str(hello["root"])
        missing = {
            name: size for name, (size, whole) in hello["have"].items() if not whole and name in blobs
        }  # fmt: skip
        needed = sum(len(blobs[name]) - int(size) for name, size in missing.items())
        if needed and needed + SPARE_BYTES > hello["free_bytes"]:
            raise EdgeposeError(
                f"no space on the board: {self.root} on {self.transport.name} has "
                f"{hello['free_bytes'] / 1e6:.0f} MB free, {(needed + SPARE_BYTES) / 1e6:.0f} MB "
                "are needed",
                fix="free some space there, or choose another folder with --device-folder",
            )
        done = 0
        for name in missing:
            self._send_one(name, blobs[name], there=int(missing[name]))
            done += len(blobs[name])
            if report is not None:
                report("send", done, sum(len(blobs[name]) for name in missing))
        return needed

    def _send_one(self, name: str, data: bytes, *, there: int) -> None:
        """there: bytes of it that the board has. After a drop the board is asked again."""
        at: int | None = there

        def attempt() -> bool:
            nonlocal at, there
            if at is None:
                at, whole = self._receive("hello", self.folder, name)[0]["have"][name]
                if whole:
                    return True
                if at > there:
                    there, self._progress_at = at, time.monotonic()
            start, at = at, None
            answer = self._put(name, data, start)
            if not answer["complete"]:
                raise Dropped(f"{answer['size']} of {len(data)} bytes arrived")
            return True

        self._patiently(attempt)

    def _put(self, name: str, data: bytes, start: int) -> dict[str, Any]:
        """Bring the file's bytes from `start` on; the answer to the last of them."""
        words = ("put", self.folder, name, str(len(data)))
        push = getattr(self.transport, "push", None)
        if push is None:
            return self._receive(*words, str(start), stdin=data[start:])[0]
        block = f"{self.root}/files/{name}.block"
        answer: dict[str, Any] = {}
        for at in range(start, len(data), _BLOCK):
            push(data[at : at + _BLOCK], block)
            answer, _ = self._receive(*words, str(at), "--from", block)
            self._progress_at = time.monotonic()
        return answer

    def fetch(self, path: str, *, size: int, digest: str) -> bytes:
        """A file below our folder; continues after a drop, and is what its hash says."""
        have = bytearray()

        def take(part: bytes) -> None:
            have.extend(part)
            if part:
                self._progress_at = time.monotonic()

        def attempt() -> bytes:
            try:
                _, rest = self._receive("get", self.folder, path, str(len(have)))
            except Dropped as drop:
                found = split_answer(drop.partial)
                take(found[1] if found else b"")
                raise
            take(rest)
            if len(have) < size:
                raise Dropped(f"{len(have)} of {size} bytes of {path} arrived")
            if sha256(have).hexdigest() != digest:
                have.clear()
                self._progress_at = min(self._progress_at, time.monotonic() - 0.5 * self.patience_s)
                raise Dropped(f"{path} did not arrive as it was sent")
            return bytes(have)

        return self._patiently(attempt)

    def clean(self) -> None:
        """Remove what we put there."""
        self.in_root("clean")


def names_and_hashes(files: Mapping[str, bytes], names: Sequence[str]) -> dict[str, str]:
    """{name: hash} of some of the files, as a job says them."""
    return {name: sha256(files[name]).hexdigest() for name in names}
