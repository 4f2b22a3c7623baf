"""The runner as one file: the device package as a zip that Python executes."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import edgepose
import edgepose.device

PACKAGE = "edgepose_device"
_BORN = (1980, 1, 1, 0, 0, 0)

# Old Pythons read this file before anything else: it has to be valid for all of them.
_MAIN = """\
import json
import sys


def refuse(problem, fix):
    error = {"error": {"problem": problem, "fix": fix}}
    sys.stdout.write("\\n@edgepose " + json.dumps(error) + "\\n")
    sys.exit(2)


if sys.version_info < (3, 8):
    refuse(
        "Python %d.%d on the board is too old" % sys.version_info[:2],
        "the runner needs Python 3.8 or newer; name another one with --device-python",
    )
if not (len(sys.argv) > 1 and sys.argv[1] in ("status", "stop", "clean")):
    try:
        import numpy  # noqa: F401
    except ImportError as error:
        refuse(
            "numpy cannot be imported by %s: %s" % (sys.executable, error),
            "install it there (python3 -m pip install numpy), or name a Python that has it",
        )

from PACKAGE.runner import main

sys.exit(main())
"""


def runner_bytes() -> bytes:
    """edgepose-device.pyz; the same sources give the same bytes, on every machine."""
    folder = Path(edgepose.device.__file__).parent
    files = {f"{PACKAGE}/{path.name}": path.read_bytes() for path in folder.glob("*.py")}
    files["__main__.py"] = _MAIN.replace("PACKAGE", PACKAGE).encode()
    stream = io.BytesIO(b"#!/usr/bin/env python3\n")
    stream.seek(0, io.SEEK_END)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _BORN)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # else it would say which system wrote it
            archive.writestr(entry, files[name])
    return stream.getvalue()
