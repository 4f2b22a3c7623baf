"""The first thing that reaches a board: takes files in and gives files out, and nothing else.

Its source travels as an argument of `python3 -c`, so it needs neither numpy nor a recent Python 3
(that is how an old one can be told from a broken one). What it takes is named by its SHA-256 and
lands in `<root>/files`; it grows as `<hash>.part` and gets its name when length and hash are right,
so a dropped connection continues where it stopped.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys

MARK = "@edgepose "  # login scripts may print too: an answer starts with this
BLOCK = 1 << 18


def answer(document: object) -> None:
    """One line of JSON on standard output."""
    sys.stdout.write("\n" + MARK + json.dumps(document) + "\n")
    sys.stdout.flush()


def refuse(problem: str, fix: str) -> int:
    answer({"error": {"problem": problem, "fix": fix}})
    return 2


def hello(root: str, names: list) -> int:  # type: ignore[type-arg]
    """What Python this is, the free space, and how much of each file is already here."""
    os.makedirs(os.path.join(root, "files"), exist_ok=True)
    have = {}
    for name in names:
        path = os.path.join(root, "files", name)
        part = path + ".part"
        if os.path.exists(path):
            have[name] = [os.path.getsize(path), True]
        else:
            have[name] = [os.path.getsize(part) if os.path.exists(part) else 0, False]
    answer(
        {
            "root": os.path.abspath(root),
            "python": list(sys.version_info[:3]),
            "free_bytes": shutil.disk_usage(root).free,
            "have": have,
        }
    )
    return 0


def put(root: str, name: str, size: int, offset: int) -> int:
    """Append standard input to `<name>.part` at `offset`; give it its name once it is whole."""
    path = os.path.join(root, "files", name)
    part = path + ".part"
    if os.path.exists(path):
        answer({"size": size, "complete": True})
        return 0
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o644)
    with os.fdopen(descriptor, "r+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # what a dropped connection left behind may still write
        stream.seek(0, os.SEEK_END)
        source = sys.stdin.buffer.fileno()
        if stream.tell() == offset:
            while True:
                block = os.read(source, BLOCK)  # what is there, without waiting for more
                if not block:
                    break
                stream.write(block)
                stream.flush()
        reached = stream.tell()
        if reached < size:
            answer({"size": reached, "complete": False})
            return 0
        os.fsync(stream.fileno())
        stream.seek(0)
        digest = hashlib.sha256()
        for block in iter(lambda: stream.read(BLOCK), b""):
            digest.update(block)
        if reached != size or digest.hexdigest() != name:
            stream.truncate(0)  # start over
            answer({"size": 0, "complete": False})
            return 0
        if os.path.exists(part):  # else another connection has given it its name meanwhile
            os.rename(part, path)
    answer({"size": size, "complete": True})
    return 0


def get(root: str, name: str, offset: int) -> int:
    """The bytes of a file from `offset` on, after a line that says its size."""
    with open(os.path.join(root, name), "rb") as stream:
        answer({"size": os.fstat(stream.fileno()).st_size})
        stream.seek(offset)
        shutil.copyfileobj(stream, sys.stdout.buffer, BLOCK)
    sys.stdout.buffer.flush()
    return 0


def main(words: list) -> int:  # type: ignore[type-arg]
    """hello ROOT HASH... | put ROOT HASH SIZE OFFSET | get ROOT PATH OFFSET"""
    command, root = words[0], os.path.expanduser(words[1])
    try:
        if command == "hello":
            return hello(root, words[2:])
        if command == "put":
            return put(root, words[2], int(words[3]), int(words[4]))
        return get(root, words[2], int(words[3]))
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return refuse(
                "no space on the board: cannot write in {}: {}".format(root, reason),
                "free some space there, or choose another folder with --device-folder",
            )
        return refuse(
            "the board cannot use {}: {}".format(error.filename or root, reason),
            "choose a folder that you may write in with --device-folder",
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
