"""Code for apps, camera frame to skeleton, one folder per language; a bundle carries it beside its model.

The files are complete and the same for every model: what differs is read from artifact.json.
"""

from __future__ import annotations

from pathlib import Path

from edgepose.bench.runner_file import runner_bytes

LANGUAGES: dict[str, tuple[str, ...]] = {
    "coreml": ("swift",),
    "onnx_mobile": ("kotlin", "python", "cpp"),
    "tensorrt": ("python", "cpp"),
}
"""The samples that go with a runtime."""
LICENCE = "LICENSE"
_FOLDER = Path(__file__).resolve().parent
_KINDS = {".cpp", ".hpp", ".kt", ".kts", ".md", ".properties", ".py", ".swift", ".txt", ".xml"}


def sample_files(runtime: str) -> dict[str, bytes]:
    """{path: content} of every sample for a runtime, e.g. "python/pose.py"."""
    files = {}
    for language in LANGUAGES[runtime]:
        for path in (_FOLDER / language).rglob("*"):
            if path.suffix in _KINDS and path.is_file():
                files[path.relative_to(_FOLDER).as_posix()] = path.read_bytes()
    if "python" in LANGUAGES[runtime]:
        files["python/edgepose-device.pyz"] = runner_bytes()
    return dict(sorted(files.items()))


def licence() -> bytes:
    """The text of edgepose's own licence."""
    return (_FOLDER / LICENCE).read_bytes()
