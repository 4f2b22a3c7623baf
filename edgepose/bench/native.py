"""The native runner (edgepose/native) on a board without Python: how it gets there, what it reads."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

import edgepose
from edgepose.bench.programs import Patiently
from edgepose.bench.transport import Dropped, Transport
from edgepose.device.artifact_words import MANIFEST_NAME
from edgepose.device.coding import RULES
from edgepose.device.files import disk_error, replace_folder
from edgepose.errors import EdgeposeError
from edgepose.manifest import Manifest

SOURCES = Path(edgepose.__file__).parent / "native"
LIBRARY = "libonnxruntime.so"
_PACK = ("version", "crops", "matrices", "true_xy", "annotated", "head_px")
# Nothing of ours is there yet: the board's own shell, with every value as an argument of its own.
_HOME = 'r=$1; case $r in "~/"*) r=$HOME/${r#"~/"};; esac; f=$r/files/$2; '
_LOOK = _HOME + (
    'mkdir -p "$r/files" || exit 1; s=; [ -f "$f" ] && s=$(sha256sum < "$f"); '
    'echo; echo "@at $r/files"; echo "@sum $s"'
)
_FEED = _HOME + 'cat > "$f.new"'
_NAME = _HOME + (
    's=$(sha256sum < "$f.new") || exit 1; case $s in "$2"*) chmod 755 "$f.new" && mv "$f.new" "$f" '
    '&& echo && echo "@named";; *) rm -f "$f.new"; echo; echo "@broken";; esac'
)


def write_sources(folder: Path) -> None:
    """The CMake project, into a folder that is new or empty; whole or not at all."""
    if folder.exists() and any(folder.iterdir()):
        raise EdgeposeError(f"{folder} is not empty", fix="name a new folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=folder.parent) as scratch:
            whole = Path(scratch) / "native"
            for source in sorted(path for path in SOURCES.rglob("*") if path.is_file()):
                copy = whole / source.relative_to(SOURCES)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(source.read_bytes())
            replace_folder(whole, folder)
    except OSError as error:
        raise disk_error(folder, error) from error


def pack_arrays(npz: bytes) -> bytes:
    """An evaluation pack as plain .npy arrays, one after another, for a reader without zip."""
    stream = io.BytesIO()
    with np.load(io.BytesIO(npz), allow_pickle=False) as arrays:
        for key in _PACK:
            np.save(stream, np.asarray(arrays[key], order="C"), allow_pickle=False)
    return stream.getvalue()


class NativeProgram:
    """path: the built runner, with its libonnxruntime.so beside it"""

    def __init__(self, path: Path) -> None:
        build = (
            "`edgepose runner --native DIR` writes its project, DIR/README.md says how to build it"
        )
        try:
            self.data = path.read_bytes()
        except OSError as error:
            raise EdgeposeError(f"cannot read {path}: {error.strerror}", fix=build) from error
        if not self.data.startswith(b"\x7fELF"):
            raise EdgeposeError(f"{path} is no program for Linux or Android", fix=build)
        libraries = sorted(path.parent.glob(LIBRARY + "*"))
        if not libraries:
            raise EdgeposeError(
                f"there is no {LIBRARY} beside {path}",
                fix="put the device's own there: jni/<abi>/ of the onnxruntime-android AAR, or lib/ of "
                "a release for Linux",
            )
        self._library = libraries[0].read_bytes()
        self._name = sha256(self.data).hexdigest()
        self._files = ""
        self._jobs: dict[str, str] = {}

    def install(self, transport: Transport, folder: str, patiently: Patiently) -> None:
        """By push where the transport has it; what is there and whole stays."""
        push = getattr(transport, "push", None)

        def ask(script: str, data: bytes = b"") -> str:
            done = transport.run(["sh", "-c", script, "sh", folder, self._name], stdin=data)
            if done.code != 0:
                said = (done.stderr.strip() or done.stdout.decode("utf-8", "replace").strip())[
                    -300:
                ]
                if "No space left" in said:
                    raise EdgeposeError(
                        f"no space on the board: {said}",
                        fix="free some space there, or choose another folder with --device-folder",
                    )
                raise EdgeposeError(
                    f"{transport.name} cannot keep the runner in {folder}: {said}",
                    fix="choose a folder that you may write in with --device-folder",
                )
            return done.stdout.decode("utf-8", "replace")

        def look() -> dict[str, str]:
            lines = [line for line in ask(_LOOK).splitlines() if line.startswith("@")]
            said = dict(line[1:].partition(" ")[::2] for line in lines)
            if "at" not in said or "sum" not in said:
                raise Dropped("the answer was cut off")
            return said

        def send() -> None:
            if push is None:
                ask(_FEED, self.data)
            else:
                push(self.data, f"{self._files}/{self._name}.new")
            if "\n@named" not in ask(_NAME) and not look()["sum"].startswith(self._name):
                raise Dropped("the runner did not arrive as it was sent")

        found = patiently(look)
        self._files = found["at"]
        if not found["sum"].startswith(self._name):
            patiently(send)

    def receiver(self) -> list[str]:
        return [f"{self._files}/{self._name}"]

    def check(self, hello: Mapping[str, Any], name: str) -> None:
        """It answered: it runs there."""

    def command(self, root: str, words: Sequence[str]) -> list[str]:
        library = f"{self._files}/{sha256(self._library).hexdigest()}"
        return [
            *self.receiver(),
            *(self._jobs.get(word, word) for word in words),
            "--library",
            library,
        ]

    def absent(self, name: str, said: str) -> EdgeposeError:
        return EdgeposeError(
            f"the native runner does not run on {name}: {said}",
            fix="build it for that device (`adb shell getprop ro.product.cpu.abi` names its ABI), and "
            "choose a --device-folder that programs may run from",
        )

    def translate(self, files: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """An artifact's model, the pack without zip, and jobs as lines of `word value`."""
        sent = {"library": self._library}
        if MANIFEST_NAME not in files:
            return {**sent, **files}
        manifest = Manifest.model_validate_json(files[MANIFEST_NAME])
        if manifest.runtime != "onnx_mobile":
            raise EdgeposeError(
                f"the native runner runs ONNX Runtime, {manifest.name} is a {manifest.runtime} artifact",
                fix="give an artifact for onnx-android or host, or use a device with Python",
            )
        roles = {entry.role: files[entry.path] for entry in manifest.files}
        sent["model"] = roles["model"]
        if manifest.precision == "int8" and "onnx" in roles:
            sent["exact"] = roles["onnx"]  # for x86 without VNNI
        if "pack" in files:
            sent["pack"] = pack_arrays(files["pack"])
        ours = {entry.path for entry in manifest.files} | {MANIFEST_NAME, "pack"}
        for name in set(files) - ours:
            asked = json.loads(files[name])
            parts = [part for part in sent if part in ("model", "exact")]
            parts += ["pack"] if asked.get("pack") else []
            sent[name] = job_text(manifest, asked, {part: sent[part] for part in parts})
            self._jobs[sha256(files[name]).hexdigest()] = sha256(sent[name]).hexdigest()
        return sent


def job_text(manifest: Manifest, asked: Mapping[str, Any], parts: Mapping[str, bytes]) -> bytes:
    """A job for `edgepose-runner run --job`; parts: files beside it, named by their hash."""
    if asked["runtime"] not in ("auto", "onnxruntime"):
        raise EdgeposeError(
            f"the native runner has no runtime {asked['runtime']!r}", fix="use onnxruntime"
        )
    port, pre, codec = manifest.input, manifest.preprocessing, manifest.codec
    sides = dict(zip(port.layout, port.shape, strict=True))
    lines = {
        "version": 1, "name": manifest.name, "precision": manifest.precision,
        "input": port.name, "output": manifest.output.name, "gives": manifest.gives,
        "height": sides["H"], "width": sides["W"],
        "rule": RULES[codec.to_codec().coding], "stride": codec.stride, "sigma": repr(codec.sigma),
        "mean": " ".join(map(repr, pre.mean)), "std": " ".join(map(repr, pre.std)),
        "color": pre.color, "padding": repr(manifest.crop.padding),
        "threads": asked["threads"] or 0,
        **{key: asked[key] for key in ("batch", "calls", "seconds", "warmup", "max_warmup")},
        **{part: sha256(data).hexdigest() for part, data in parts.items()},
    }  # fmt: skip
    texts = {key: str(value).replace("\n", " ") for key, value in lines.items()}
    return "".join(f"{key} {text}\n" for key, text in texts.items()).encode()
