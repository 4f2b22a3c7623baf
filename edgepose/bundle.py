"""An artifact as an app developer needs it: model, scores, card, licences and samples in one folder or zip.

What artifact.json names are the model's files; card, licences and samples lie beside them, to be changed
freely. The same artifact and report give the same bytes.
"""

from __future__ import annotations

import io
import re
import tempfile
import zipfile
from pathlib import Path

from edgepose.artifact import Artifact, Content
from edgepose.bundle_texts import licences, model_card
from edgepose.device.artifact_words import JOINTS_LAYOUT
from edgepose.device.errors import DeviceError
from edgepose.device.files import disk_error, replace_folder, write_atomic
from edgepose.errors import EdgeposeError
from edgepose.manifest import Header, RecipeContract, Scores, ScoreValue
from edgepose.report.record import ArtifactRecord, Report
from edgepose.report.schema import FILE_NAME, load_report
from edgepose.samples import LANGUAGES, LICENCE, licence, sample_files

CARD, LICENCES, SAMPLES = "MODEL_CARD.md", "LICENSES.md", "samples"
_BORN = (1980, 1, 1, 0, 0, 0)


def bundle(folder: Path, to: Path, *, run: Path | None = None) -> Path:
    """Write the artifact in `folder` as a bundle to `to`: a new folder, or a file that ends in .zip.

    run: the finished run that scored it; by default the one that the artifact lies in
    Raises EdgeposeError where a file was changed, there is no sample for such a model, no report of
    these files, `to` exists or the disk is full; nothing is left then.
    """
    artifact = Artifact.load(folder)
    _check_supported(artifact)
    _check_free(to)
    if to.resolve().is_relative_to(artifact.folder.resolve()):
        raise EdgeposeError(
            f"{to} lies inside the artifact", fix="name a place outside of it with --to"
        )
    report, row = _find_row(artifact, artifact.folder.resolve().parents[1] if run is None else run)
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".tmp-", dir=to.parent) as scratch:
            whole = Path(scratch) / "bundle"
            _write(whole, artifact, report, row)
            _check_free(to)  # another bundle may have got there meanwhile
            if to.suffix.lower() == ".zip":
                name = f"{artifact.manifest.name}-{artifact.manifest.target}"
                write_atomic(to, _zipped(whole, re.sub(r"[^\w.-]", "-", name)))
            else:
                replace_folder(whole, to)
    except (OSError, DeviceError) as error:
        reason = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(reason, OSError):
            raise
        # of the place that was asked for, not of the scratch folder
        raise disk_error(to, reason) from error
    return to


def _check_free(to: Path) -> None:
    if to.exists() or to.is_symlink():
        raise EdgeposeError(
            f"{to} is there already", fix="remove it first, or name another with --to"
        )


def _check_supported(artifact: Artifact) -> None:
    """EdgeposeError where no sample knows how to run such a model."""
    manifest = artifact.manifest
    if manifest.scores is not None:
        raise EdgeposeError(
            f"{artifact.folder} is a bundle already", fix="copy it, or bundle the artifact itself"
        )
    if manifest.runtime not in LANGUAGES:
        raise EdgeposeError(
            f"{manifest.name}: there is no sample for the runtime {manifest.runtime!r}",
            fix=f"bundle an artifact for {', '.join(LANGUAGES)}",
        )
    layout = "NHWC" if manifest.runtime == "coreml" else "NCHW"
    where = "graph" if manifest.runtime == "coreml" else "host"
    whole = manifest.gives == "joints"
    wanted = ("NHWC", JOINTS_LAYOUT, "graph") if whole else (layout, "NCHW", where)
    ports = (manifest.input.layout, manifest.output.layout, manifest.preprocessing.where)
    found = manifest.output.shape[1:]
    fixed = all(isinstance(side, int) for side in (*manifest.input.shape[1:], *found))
    joints = len(manifest.skeleton.joints)
    read = found == (joints, 3) if whole else len(found) == 3 and found[0] == joints
    if ports != wanted or not fixed or not read:
        raise EdgeposeError(
            f"{manifest.name}: the samples run {manifest.runtime} models from one {layout} crop size "
            f"(normalised by the {where}) to heatmaps, or from an image to joints; this one goes from "
            f"{manifest.input.layout} {list(manifest.input.shape)} (by the "
            f"{manifest.preprocessing.where}) to {manifest.output.layout} {list(manifest.output.shape)}",
            fix="export the plain form for this target",
        )


def _find_row(artifact: Artifact, run: Path) -> tuple[Report, ArtifactRecord]:
    """The report that scored exactly these files, and its row."""
    if not (run / FILE_NAME).is_file():
        raise EdgeposeError(
            f"no {FILE_NAME} in {run}: what {artifact.folder} scored is not known",
            fix="give an artifact inside a finished run, or name that run with --run",
        )
    report = load_report(run)
    manifest = artifact.manifest
    wanted = sorted(entry.sha256 for entry in manifest.files if entry.counted)
    for row in report.artifacts:
        found = sorted(file.sha256 for file in row.files if file.counted)
        if found == wanted and row.target == manifest.target:
            return report, row
    raise EdgeposeError(
        f"{run / FILE_NAME} has no scores of the files in {artifact.folder}",
        fix="name the run that exported them with --run",
    )


def _header(artifact: Artifact, report: Report, row: ArtifactRecord) -> Header:
    """The artifact's header with what is known since it was executed."""
    shift = row.joint_shift_px
    scores = Scores(
        metrics={
            name: ScoreValue(value=m.value, ci95=m.ci95, persons=m.persons)
            for name, m in row.metrics.items()
        },
        executor=row.executor,
        host=row.host,
        data=report.data.domain,
        data_fingerprint=report.data.fingerprints.get("val", report.data.fingerprint),
        joint_shift_px=None if shift is None else {"p50": shift.p50, "p99": shift.p99},
    )
    recipe = RecipeContract(
        name=report.recipe.name,
        sha256=report.recipe.sha256,
        seed=report.seed,
        command=report.commands[0] if report.commands else None,
    )
    known = {name: getattr(artifact.manifest, name) for name in Header.model_fields}
    return Header(**{**known, "scores": scores, "recipe": recipe})


def _write(folder: Path, artifact: Artifact, report: Report, row: ArtifactRecord) -> None:
    files = artifact.manifest.files
    contents = [Content(f.path, f.role, artifact.folder / f.path, f.counted) for f in files]
    written = Artifact.write(folder, _header(artifact, report, row), contents)
    runtime = artifact.manifest.runtime
    texts = {
        CARD: model_card(written, report, row).encode(),
        LICENCES: licences(written.manifest, report, LANGUAGES[runtime]).encode(),
        LICENCE: licence(),
        **{f"{SAMPLES}/{path}": data for path, data in sample_files(runtime).items()},
    }
    for name, data in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _zipped(folder: Path, name: str) -> bytes:
    """The folder as a zip, everything below `name/`, stored: the same bytes on every machine."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(f"{name}/{path.relative_to(folder).as_posix()}", _BORN)
            entry.external_attr = 0o644 << 16
            entry.create_system = 3  # else it would say which system wrote it
            archive.writestr(entry, path.read_bytes())
    return stream.getvalue()
