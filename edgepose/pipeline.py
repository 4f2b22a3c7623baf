"""Runs a recipe's stages one after the other, scores each, continues after a kill, writes the run.

Under `accelerate launch` every process goes through this, see processes.py.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from datetime import datetime
from pathlib import Path

from edgepose.device.files import replace_folder
from edgepose.errors import EdgeposeError
from edgepose.inputs import (
    check_metric,
    check_splits,
    check_stages,
    check_unlabelled,
    open_data,
    start_model,
)
from edgepose.models.pose_model import PoseModel
from edgepose.preflight import check_plan
from edgepose.processes import ALONE, Processes
from edgepose.progress import Lines, Progress, duration
from edgepose.recipe import Recipe
from edgepose.run import Run, Warn
from edgepose.run_artifacts import artifact_rows, export_stage
from edgepose.run_log import LOG, run_log
from edgepose.run_report import write_report
from edgepose.run_stages import make_teacher, run_stage, score_stage
from edgepose.stages import export
from edgepose.store import Store
from edgepose.target import load_target

TRAINS_THE_STUDENT = ("train", "distill")
"""A recipe that begins with one of these has its student after it; any other begins with a student."""
UNFINISHED = ".tmp-"  # a run folder has a name of this kind until it is complete


def compress(
    recipe: Recipe,
    *,
    out: Path = Path("reports"),
    report: Progress,
    warn: Warn,
    overrides: tuple[str, ...] = (),
    processes: Processes = ALONE,
) -> Path:
    """Run a recipe; the finished run's folder, `<out>/<recipe>/<run>`.

    A stage that is finished is not run again; one that was killed continues at its last checkpoint.
    Raises EdgeposeError for whatever the user can mend; finished stages are kept.
    """
    started = time.monotonic()
    if not processes.is_first:
        report, warn = (lambda *_: None), (lambda _: None)
    root = Path(out) / recipe.name
    store = Store(root / "stages", processes)
    config = recipe.stage("export")
    targets = tuple(load_target(name) for name in config.targets) if config else ()  # type: ignore[attr-defined]
    with store.lock(), run_log(root, active=processes.is_first) as log:
        report = _logged(report) if processes.is_first else report
        if processes.is_first:
            for stale in root.glob(f"{UNFINISHED}*"):  # of a run that was killed while written
                shutil.rmtree(stale, ignore_errors=True)
        with processes.first_alone():
            data = open_data(recipe, report)
        metric = check_metric(recipe, data["val"])
        run = Run(recipe, targets, data, metric, store, report, warn, processes, overrides)
        for passed_over in check_splits(data):
            run.warn(passed_over)
        with processes.first_alone():
            start = model = start_model(recipe, data["train"], report=report, warn=run.warn)
        check_stages(recipe, targets, start, data["calibration"])
        check_plan(recipe, targets, start, warn=run.warn)
        check_unlabelled(recipe, data["train"])
        if recipe.teacher is not None:
            run.teacher = make_teacher(run, recipe.teacher, start)
            score_stage(run, "teacher", run.teacher, {}, role="teacher")
        exported: Path | None = None
        if recipe.flip_test and config is not None:
            run.warn(
                "flip_test: models are scored with the mirrored crop averaged in, artifacts as devices "
                "run them; drops and differences between the two hold the flip test's gain, too"
            )
        if recipe.stages[0].name not in TRAINS_THE_STUDENT:
            score_stage(run, "student", model, {}, role="student")
        for stage in recipe.stages:
            if isinstance(stage.config, export.Config):
                exported = export_stage(run, stage.config, model, {})
                continue
            model, notes = run_stage(run, stage.name, stage.config, model)
            run.calibration = notes.get("calibration", run.calibration)
            trained = stage.name in TRAINS_THE_STUDENT and stage is recipe.stages[0]
            score_stage(run, stage.name, model, notes, role="student" if trained else "stage")
        seconds = time.monotonic() - started
        return Path(
            processes.first(
                lambda: str(_write_run(run, root, start, model, exported, log, seconds=seconds))
            )
        )


def _logged(report: Progress) -> Progress:
    """The same report of progress, which also lands in the log."""
    lines = Lines(LOG.info)

    def both(what: str, done: int, total: int) -> None:
        lines(what, done, total)
        report(what, done, total)

    return both


def _write_run(
    run: Run,
    root: Path,
    start: PoseModel,
    model: PoseModel,
    exported: Path | None,
    log: Path,
    *,
    seconds: float,
) -> Path:
    """The run folder: model, artifacts, report; complete before it gets its name."""
    name = datetime.now().strftime("%Y%m%d-%H%M%S")
    try:
        temporary = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=root))
    except OSError as error:
        raise EdgeposeError(
            f"cannot write to {root}: {error.strerror}", fix="free some space, or use --out"
        ) from error
    try:
        model.save(temporary / "model")
        if exported is not None:
            artifact_rows(run, exported, model, temporary)
        write_report(run, temporary, run_id=name, start=start, seconds=seconds)
        temporary.chmod(0o755)
        final = root / name
        while final.exists():
            final = final.with_name(final.name + "b")
        LOG.info("done in %s: %s", duration(seconds), final)
        shutil.copyfile(log, temporary / log.name)
        replace_folder(temporary, final)
        log.unlink()
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    link = root / ".latest"
    link.unlink(missing_ok=True)
    link.symlink_to(final.name)
    os.replace(link, root / "latest")
    return final
