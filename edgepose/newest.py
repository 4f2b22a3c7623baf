"""The newest finished run."""

from __future__ import annotations

from pathlib import Path

from edgepose.device.artifact_words import MANIFEST_NAME
from edgepose.errors import EdgeposeError
from edgepose.target import Target


def newest_artifact(out: Path, target: Target) -> Path:
    """The artifact for `target` in the newest finished run below `out`.

    The host runs what ONNX Runtime targets ship, so `host` also takes such a target's artifact.
    Raises EdgeposeError where there is none.
    """
    runs = sorted(
        (
            path.parent
            for path in Path(out).glob("*/*/report.json")
            if not path.parent.is_symlink() and not path.parent.name.startswith(".")  # unfinished
        ),
        key=lambda run: (run / "report.json").stat().st_mtime,
        reverse=True,
    )
    names = [target.name, *(["onnx-android"] if target.name == "host" else [])]
    for run in runs:
        for name in names:
            if (run / "artifacts" / name / MANIFEST_NAME).exists():
                return run / "artifacts" / name
    raise EdgeposeError(
        f"no finished run in {out} has an artifact for {target.name}",
        fix=f"run `edgepose compress` with {target.name} among stages.export.targets, "
        "or give --artifact",
    )
