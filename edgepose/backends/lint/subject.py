"""What the user points at: an artifact folder or one model file; each model in it against a target."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgepose.artifact import Artifact
from edgepose.backends.lint.findings import Finding, in_file
from edgepose.device.artifact_words import MANIFEST_NAME
from edgepose.errors import EdgeposeError
from edgepose.manifest import FLOAT_NAMES, Manifest
from edgepose.target import Target
from edgepose.variants import as_variant, variant_at

_PACKAGE = ".mlpackage"
EXPLICIT = "explicit Q/DQ"  # as a TensorRT form's build settings say it
_KINDS = (".onnx.xz", ".onnx", ".ort", _PACKAGE)


def is_artifact(path: Path) -> bool:
    return (path / MANIFEST_NAME).is_file()


def lint_path(path: Path, target: Target) -> list[Finding]:
    """Findings of an artifact folder, of an .onnx, .onnx.xz or .ort file, or of an .mlpackage.

    Raises EdgeposeError where it cannot be read, or is for another runtime than the target's.
    """
    if not path.exists():
        raise EdgeposeError(f"no file or folder at {path}", fix="check the path and its spelling")
    if is_artifact(path):
        return lint_artifact(Artifact.load(path), target)
    return in_file(_lint_model(path, target, None), path.name)


def lint_artifact(artifact: Artifact, target: Target) -> list[Finding]:
    """Findings of every model file of an artifact, held against its manifest as well."""
    manifest = artifact.manifest
    if manifest.runtime != target.runtime:
        raise EdgeposeError(
            f"{artifact.folder} is for {manifest.target} ({manifest.runtime}), {target.name} runs "
            f"{target.runtime}",
            fix=f"leave --target out, or give a target that runs {manifest.runtime}",
        )
    findings: list[Finding] = []
    for name in _models(artifact):
        own = _with_float_layers(artifact, name, _manifest_of(artifact, name))
        findings += in_file(_lint_model(artifact.folder / name, target, own), name)
    return findings


def _manifest_of(artifact: Artifact, name: str) -> Manifest:
    """The contract of one model file: of the variant that it is, where it is not the main one."""
    entries = artifact.manifest.files
    entry = next(e for e in entries if e.path == name or e.path.startswith(f"{name}/"))
    variant = variant_at(artifact, entry.role)
    return artifact.manifest if variant is None else as_variant(artifact, variant).manifest


def _with_float_layers(artifact: Artifact, name: str, manifest: Manifest) -> Manifest:
    """The manifest, with what a file of its own form leaves off the INT8 grid on purpose."""
    layers = list(manifest.provenance.float_layers)
    for entry in manifest.files:
        if manifest.runtime == "tensorrt" and entry.role.startswith("build_"):
            settings = json.loads((artifact.folder / entry.path).read_text("utf-8"))
            if settings.get("onnx_xz") == name and settings.get("quantization") == EXPLICIT:
                layers += settings.get("float_layers", []) + settings.get("fused_sums", [])
    quantization = {**(manifest.provenance.quantization or {}), FLOAT_NAMES: ",".join(layers)}
    provenance = manifest.provenance.model_copy(update={"quantization": quantization})
    return manifest.model_copy(update={"provenance": provenance}) if layers else manifest


def _models(artifact: Artifact) -> Iterator[str]:
    """The model files and packages of an artifact, relative to its folder."""
    names: dict[str, None] = {}
    for entry in artifact.manifest.files:
        first = entry.path.split("/")[0]
        names[first if first.endswith(_PACKAGE) else entry.path] = None
    found = [name for name in names if name.endswith(_KINDS)]
    if not found:
        raise EdgeposeError(f"{artifact.folder} names no model file", fix="export again")
    yield from found


def _lint_model(path: Path, target: Target, manifest: Manifest | None) -> list[Finding]:
    rules: Any = importlib.import_module(f"edgepose.backends.lint.{target.runtime}")
    kinds = [kind for kind in _KINDS if path.name.endswith(kind)]
    if not kinds or kinds[0] not in rules.SUFFIXES or path.is_dir() != (kinds[0] == _PACKAGE):
        raise EdgeposeError(
            f"{path} is not what {target.name} ({target.runtime}) takes",
            fix=f"give an artifact folder, or a model named *{' or *'.join(rules.SUFFIXES)}",
        )
    try:
        data: Path | bytes = path if kinds[0] == _PACKAGE else path.read_bytes()
        if kinds[0] == ".onnx.xz":
            from edgepose.backends.tensorrt import unpack  # imports torch

            assert isinstance(data, bytes)
            data = unpack(data)
        findings: list[Finding] = rules.lint(data, target, manifest)
    except EdgeposeError as error:
        if str(path) in error.problem:
            raise
        raise EdgeposeError(f"{path}: {error.problem}", fix=error.fix) from error
    except RecursionError as error:
        raise EdgeposeError(
            f"{path}: a chain of operators is too long to follow", fix="give a pose network"
        ) from error
    return findings
