"""`artifact.json`: what an exported model is, file by file, and what an app must know to run it.

An artifact is a folder. Its manifest names every file with hash and size, the input and output
tensors, skeleton, preprocessing, crop and decoding rules, and where the weights came from. The same
content gives the same bytes: keys are sorted and nothing carries a time or a path of this machine.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from edgepose.device.artifact_words import MANIFEST_NAME
from edgepose.device.files import disk_error, replace_folder, sha256_file
from edgepose.errors import EdgeposeError
from edgepose.manifest import SCHEMA_VERSION, FileEntry, Header, Manifest, _safe_path

if TYPE_CHECKING:
    pass

MODEL_FILES = (".onnx", ".ort", ".xz")
COPY_AGAIN = "export again, or copy the whole artifact folder again"


@dataclass(frozen=True)
class Content:
    """One file to be written: `data` is its bytes, or a file to copy."""

    path: str
    role: str
    data: bytes | Path
    counted: bool = False


def folder_contents(root: Path, prefix: str, *, role: str, counted: bool) -> list[Content]:
    """Every file below `root` as `prefix/...`, sorted by path (e.g. an .mlpackage)."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return [
        Content(str(PurePosixPath(prefix, path.relative_to(root).as_posix())), role, path, counted)
        for path in files
    ]


def _write_contents(folder: Path, contents: Iterable[Content]) -> list[FileEntry]:
    entries = []
    for item in sorted(contents, key=lambda item: item.path):
        destination = folder / _safe_path(item.path)
        destination.parent.mkdir(parents=True, exist_ok=True)
        data = item.data if isinstance(item.data, bytes) else item.data.read_bytes()
        destination.write_bytes(data)
        entries.append(
            FileEntry(
                path=item.path,
                role=item.role,
                sha256=sha256(data).hexdigest(),
                size_bytes=len(data),
                counted=item.counted,
            )
        )
    return entries


def _to_json(manifest: Manifest) -> bytes:
    unknown = {name for name in ("scores", "recipe", "variants") if not getattr(manifest, name)}
    document = manifest.model_dump(mode="json", exclude=unknown)
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=True).encode() + b"\n"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError("a key appears twice")
    return dict(pairs)


def lone_file(path: Path) -> EdgeposeError:
    """A model file was given where an artifact is wanted: what it lacks, and where that may be."""
    here = path.parent / MANIFEST_NAME
    return EdgeposeError(
        f"{path} is a model file alone: skeleton, normalisation and decoding are not in it",
        fix=f"give the folder that it lies in, {path.parent}"
        if here.is_file()
        else f"give an artifact folder, with its {MANIFEST_NAME}; a model from elsewhere can be checked "
        "(edgepose lint FILE --target T), and its checkpoint (.pth) loaded, scored and exported",
    )


def _parse(path: Path) -> Manifest:
    """The manifest at `path`; EdgeposeError naming each problem in one message."""
    try:
        document = json.loads(path.read_text("utf-8"), object_pairs_hook=_unique)
    except NotADirectoryError as error:
        raise lone_file(path.parent) from error
    except OSError as error:
        raise EdgeposeError(
            f"{path.parent} is not an artifact: {MANIFEST_NAME}: {error.strerror}",
            fix="give a folder that edgepose exported",
        ) from error
    except (ValueError, RecursionError) as error:
        raise EdgeposeError(f"{path} is not valid JSON: {error}", fix=COPY_AGAIN) from error
    if not isinstance(document, Mapping):
        raise EdgeposeError(f"{path} is not a JSON object", fix=COPY_AGAIN)
    version = document.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise EdgeposeError(
            f"{path} has schema version {version!r}; this edgepose reads {SCHEMA_VERSION}",
            fix="export again with this version, or use the edgepose that wrote it",
        )
    try:
        return Manifest.model_validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        found = error.errors()
        within = {e["loc"][:n] for e in found for n in range(len(e["loc"]))}
        problems = "; ".join(  # a list without its wrong entries may be too short: told once
            f"{'.'.join(str(part) for part in e['loc']) or 'manifest'}: "
            f"{e['msg'].removeprefix('Value error, ')}"
            for e in found
            if e["loc"] not in within
        )
        raise EdgeposeError(f"{path}: {problems}", fix=COPY_AGAIN) from error


@dataclass(frozen=True)
class Artifact:
    """A folder and its manifest."""

    folder: Path
    manifest: Manifest

    @property
    def counted_size_bytes(self) -> int:
        """The size figure: bytes of the counted files together."""
        return sum(entry.size_bytes for entry in self.manifest.files if entry.counted)

    @property
    def counted_files(self) -> tuple[str, ...]:
        return tuple(entry.path for entry in self.manifest.files if entry.counted)

    @property
    def sha256(self) -> str:
        """Hash of the manifest, which holds the hash of every file."""
        return sha256(_to_json(self.manifest)).hexdigest()

    @property
    def input_hw(self) -> tuple[int, int]:
        """Crop size that the model takes, from the input's layout."""
        contract = self.manifest.input
        sides = dict(zip(contract.layout, contract.shape, strict=True))
        if not (isinstance(sides["H"], int) and isinstance(sides["W"], int)):
            raise EdgeposeError(
                f"{self.folder} takes images of {list(contract.shape)}: no one crop size",
                fix="export it with a fixed crop size",
            )
        return sides["H"], sides["W"]

    def path(self, role: str) -> Path:
        """The one file with `role`; EdgeposeError where there is none or more than one."""
        found = [entry.path for entry in self.manifest.files if entry.role == role]
        if len(found) != 1:
            raise EdgeposeError(
                f"{self.folder} has {len(found)} files with role {role!r}, not one", fix=COPY_AGAIN
            )
        return self.folder / found[0]

    @classmethod
    def load(cls, folder: Path, *, verify: bool = True) -> Artifact:
        """Read and check an artifact folder.

        Paths cannot leave the folder, also not through links. With `verify` every file must have
        the size and the hash that the manifest says. EdgeposeError names the file otherwise.
        """
        folder = Path(folder)
        artifact = cls(folder, _parse(folder / MANIFEST_NAME))
        root = folder.resolve()
        for entry in artifact.manifest.files:
            path = folder / entry.path
            if not path.resolve().is_relative_to(root):
                raise EdgeposeError(f"{path} is a link out of the artifact", fix=COPY_AGAIN)
            if not path.is_file():
                raise EdgeposeError(f"{path} is missing", fix=COPY_AGAIN)
            if verify and (
                path.stat().st_size != entry.size_bytes or sha256_file(path) != entry.sha256
            ):
                raise EdgeposeError(
                    f"{path} was changed: its bytes are not those that {MANIFEST_NAME} names",
                    fix=COPY_AGAIN,
                )
        return artifact

    @classmethod
    def write(cls, folder: Path, header: Header, contents: Iterable[Content]) -> Artifact:
        """Write the files and the manifest; the folder appears whole or not at all.

        Raises DeviceError where the disk refuses; a former artifact of that name is then intact.
        """
        folder = Path(folder)
        temporary: Path | None = None
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=folder.parent))
            entries = _write_contents(temporary, contents)
            manifest = Manifest(
                **{name: getattr(header, name) for name in Header.model_fields},
                schema_version=SCHEMA_VERSION,
                files=tuple(entries),
            )
            (temporary / MANIFEST_NAME).write_bytes(_to_json(manifest))
            temporary.chmod(0o755)
            replace_folder(temporary, folder)
        except OSError as error:
            raise disk_error(folder, error) from error
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
        return cls(folder, manifest)
