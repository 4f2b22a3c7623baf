"""`adb:SERIAL`: an Android device, by the system's adb (`adb` alone: the only one that is connected)."""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Sequence

from edgepose.bench.transport import Done, Dropped, run_words
from edgepose.errors import EdgeposeError

_SAID = re.compile(r"^(?:adb: |error: )", re.MULTILINE)  # adb's own words, on standard error
_NO_SPACE = ("No space left on device", "Quota exceeded")
_TRUST = "unlock it and accept its question about USB debugging; `adb devices` must then say device"


class Adb:
    """The system's adb. Its shell protocol 2 (Android 7 and newer) keeps exit codes and bytes as they
    are; standard input stays unused, files come by `push`."""

    advice = (
        "check its cable, that USB debugging is on (settings, developer options), and that "
        "`adb devices` lists it"
    )
    folder = "/data/local/tmp/edgepose-device"

    def __init__(self, name: str) -> None:
        self.name = name
        serial = name.partition(":")[2]
        self._adb = ["adb", *(["-s", serial] if serial else [])]
        self._ready = False

    def run(self, words: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 600) -> Done:
        self._look()
        # adb hands one string to the shell over there: every word is quoted for it.
        command = ["shell", "-T", shlex.join(words)]
        done = self._adb_itself(command, stdin=stdin, timeout_s=timeout_s)
        if done.code < 0 or (done.code == 1 and _SAID.match(done.stderr)):
            self._explain(done)
        return done

    def push(self, data: bytes, path: str) -> None:
        """A file over there; whoever pushes checks what arrived."""
        self._look()
        with tempfile.NamedTemporaryFile(prefix="edgepose-") as stream:
            stream.write(data)
            stream.flush()
            done = self._adb_itself(["push", stream.name, path], timeout_s=600)
        if done.code != 0:
            self._explain(done)

    def _look(self) -> None:
        """Once: is it there, does it trust us, is it new enough?"""
        if self._ready:
            return
        state = self._adb_itself(["get-state"], timeout_s=60)
        word = state.stdout.decode("utf-8", "replace").strip()
        if state.code != 0 or word in ("offline", "unauthorized", "no permissions"):
            self._explain(Done(1, b"", state.stderr or f"error: device {word}"))
        if word != "device":
            raise EdgeposeError(
                f"{self.name} has not started Android, it is in {word}",
                fix="let it start (adb reboot) and run the benchmark again",
            )
        features = self._adb_itself(["features"], timeout_s=60)
        if features.code != 0:
            self._explain(features)
        if b"shell_v2" not in features.stdout:
            raise EdgeposeError(
                f"{self.name} is too old: its adb shell keeps no exit codes",
                fix="use a device with Android 7 or newer",
            )
        self._ready = True

    def _adb_itself(self, words: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> Done:
        try:
            return run_words([*self._adb, *words], stdin=stdin, timeout_s=timeout_s)
        except FileNotFoundError as error:
            raise EdgeposeError(
                "there is no adb on this computer",
                fix="install Android's platform-tools and put adb on the PATH",
            ) from error

    def _explain(self, done: Done) -> None:
        """Raise what adb's words mean: an error that the user can act on, else Dropped."""
        said = [line for line in done.stderr.splitlines() if not line.startswith("* ")]
        first = said[0].strip() if said else "adb failed without a word"
        first = re.sub(r"^((adb|error): )+", "", first)
        if any(text in done.stderr for text in _NO_SPACE):
            raise EdgeposeError(
                f"no space on the board: {first}",
                fix="free some space there, or choose another folder with --device-folder",
            )
        if "unauthorized" in done.stderr or "still authorizing" in done.stderr:
            raise EdgeposeError(f"{self.name} does not trust this computer: {first}", fix=_TRUST)
        if "no permissions" in done.stderr or "insufficient permissions" in done.stderr:
            raise EdgeposeError(
                f"this computer may not use {self.name}: {first}",
                fix="add the udev rule for Android devices (Debian: android-sdk-platform-tools-common)"
                " and plug it in again",
            )
        if "more than one" in done.stderr:
            raise EdgeposeError(
                f"{self.name} could be any of several devices: {first}",
                fix="name one of those that `adb devices` lists, as adb:SERIAL",
            )
        refused = ("Permission denied", "Read-only file system", "couldn't create file")
        if any(text in done.stderr for text in refused):
            raise EdgeposeError(
                f"{self.name} takes no files: {first}",
                fix="choose a folder that adb's user may write in with --device-folder",
            )
        raise Dropped(first, done.stdout)


def open_transport(name: str) -> Adb:
    """name: adb:SERIAL, or adb"""
    return Adb(name)
