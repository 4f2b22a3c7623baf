#!/usr/bin/env python3
"""An `adb` whose device is a folder on this computer, $FAKE_ADB: get-state, features, shell, push.

<folder>/state     device, offline, unauthorized, absent, several, recovery, locked; absent file: device
<folder>/plan      words, taken by each push or shell in turn: ok, closed, offline, absent, cut (half, and an
                   error), short (half, and no word of it)
<folder>/features  what `adb features` says; <folder>/limit: bytes that one push may bring
<folder>/calls     every push and shell, one per line
Messages are those of platform-tools 29 and 35. /data/local/tmp is <folder>/tmp.
"""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(os.environ["FAKE_ADB"])
TMP = "/data/local/tmp"


def read(name: str, otherwise: str) -> str:
    path = HERE / name
    return path.read_text().strip() if path.exists() else otherwise


def take() -> str:
    """The next word of the plan."""
    with open(HERE / "plan", "a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        words = stream.read().split()
        stream.truncate(0)
        stream.write("\n".join(words[1:]))
    return words[0] if words else "ok"


def refuse(message: str) -> None:
    sys.stderr.write(message + "\n")
    sys.exit(1)


def check(state: str, serial: str) -> None:
    named = f"device '{serial}'" if serial else ""
    messages = {
        "offline": "error: device offline",
        "unauthorized": "error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\n"
        "Try 'adb kill-server' if that seems wrong.\n"
        "Otherwise check for a confirmation dialog on your device.",
        "absent": f"error: {named} not found" if serial else "error: no devices/emulators found",
        "several": "error: more than one device/emulator",
        "locked": "error: insufficient permissions for device: user in plugdev group; are your udev "
        "rules wrong?",
        "closed": "error: closed",
    }
    if state in messages:
        refuse(messages[state])


def push(source: str, target: str, word: str) -> None:
    data = Path(source).read_bytes()
    limit = int(read("limit", str(1 << 40)))
    target = target.replace(TMP, str(HERE / "tmp"))
    if word == "cut":
        Path(target).write_bytes(data[: len(data) // 2])
        refuse("adb: error: failed to read copy response: EOF")
    if len(data) > limit:
        Path(target).write_bytes(data[:limit])
        refuse(
            f"adb: error: failed to copy '{source}' to '{target}': remote couldn't write file: "
            "No space left on device"
        )
    Path(target).write_bytes(data[: len(data) // 2] if word == "short" else data)
    sys.stdout.write(f"{source}: 1 file pushed, 0 skipped.\n")


def shell(words: list, word: str) -> None:
    if words[:1] == ["-T"]:
        words = words[1:]
    command = " ".join(words).replace(TMP, str(HERE / "tmp"))
    done = subprocess.run(
        ["sh", "-c", command], stdin=sys.stdin, capture_output=True, cwd="/", check=False
    )
    if word == "cut":
        sys.stdout.buffer.write(done.stdout[: len(done.stdout) // 2])
        sys.stdout.flush()
        refuse("error: closed")
    sys.stdout.buffer.write(done.stdout)
    sys.stderr.buffer.write(done.stderr)
    sys.exit(done.returncode if done.returncode >= 0 else 128 - done.returncode)


def main(words: list) -> None:
    serial = ""
    if words[0] == "-s":
        serial, words = words[1], words[2:]
    (HERE / "tmp").mkdir(exist_ok=True)
    state = read("state", "device")
    check(state, serial)
    if words == ["get-state"]:
        print(state)
    elif words == ["features"]:
        print(read("features", "shell_v2\ncmd\nstat_v2"))
    else:
        word = take()
        with open(HERE / "calls", "a") as stream:
            stream.write(" ".join(words)[:4000].replace("\n", " ") + "\n")
        check(word, serial)
        if words[0] == "push":
            push(words[1], words[2], word)
        else:
            shell(words[1:], word)


main(sys.argv[1:])
