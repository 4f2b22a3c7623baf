"""`edgepose bench`: an artifact on its target's device, or on this host; two against each other."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgepose.commands.shared import (
    Command,
    json_option,
    output_option,
    parse_size,
    print_json,
    progress_bars,
    size_option,
    threads_option,
)

if TYPE_CHECKING:
    from edgepose.artifact import Artifact
    from edgepose.bench.comparison import Comparison
    from edgepose.bench.fail_if import FailIf
    from edgepose.bench.record import BenchRecord
    from edgepose.executor import Executor


@click.command(
    short_help="Measure an artifact: accuracy, size, speed on its device.",
    cls=Command,
    example="edgepose bench --target host\nedgepose bench --target jetson-xavier --artifact DIR --quick\n"
    "edgepose bench --target jetson-xavier --device ssh://nvidia@xavier\n"
    "edgepose bench --target jetson-xavier --race --device ssh://nvidia@xavier\n"
    "edgepose bench --target host --runs 5 --baseline release.json --fail-if 'fps_p50 < 0.95x'\n"
    "edgepose bench --compare old/artifacts/host new/artifacts/host",
)
@click.option("--target", "target_name", default=None, help="See `edgepose targets`.")
@click.option(
    "--artifact", "folder", type=click.Path(path_type=Path), default=None,
    help="Artifact folder [default: that target's, in the newest finished run].",
)  # fmt: skip
@click.option(
    "--out", default="reports", show_default=True, type=click.Path(path_type=Path),
    help="Folder that holds the runs, to find the newest; record.json goes into the artifact's run.",
)  # fmt: skip
@click.option("--data", default="synthetic", show_default=True, help="As for `edgepose eval`.")
@click.option("--quick", is_flag=True, help="About a second of calls instead of ten.")
@click.option("--flip", is_flag=True, help="Score with the flip test; latencies stay one pass.")
@click.option(
    "--device", default=None,
    help="Run there: ssh://user@host[:port], adb:SERIAL, iphone (from a Mac), or local for a Python "
    "of its own here "
    "[default: $EDGEPOSE_DEVICE, then the target's own].",
)  # fmt: skip
@click.option(
    "--device-python", default="python3", show_default=True, envvar="EDGEPOSE_DEVICE_PYTHON",
    help="The device's Python: 3.8 or newer, with numpy.",
)  # fmt: skip
@click.option(
    "--runner-binary", type=click.Path(path_type=Path), default=None,
    envvar="EDGEPOSE_RUNNER_BINARY",
    help="The native runner, for a device without Python: see `edgepose runner --native`.",
)  # fmt: skip
@click.option(
    "--device-folder", default="~/.cache/edgepose-device", show_default=True,
    envvar="EDGEPOSE_DEVICE_FOLDER", help="Where files and engines are kept on the device.",
)  # fmt: skip
@click.option(
    "--runs", type=click.IntRange(1, 100), default=1, show_default=True,
    help="Independent runs, each in a process of its own.",
)  # fmt: skip
@click.option(
    "--batch", type=click.IntRange(1), default=1, show_default=True,
    help="Images per call of the model-only latency; of files for a fixed number, the one for these.",
)  # fmt: skip
@size_option
@output_option
@click.option(
    "--compare", "compared", nargs=2, type=click.Path(path_type=Path), default=None,
    metavar="A B", help="Two record.json, or two artifact folders that take turns on this computer.",
)  # fmt: skip
@click.option(
    "--baseline", type=click.Path(path_type=Path), default=None,
    help="A record.json to hold the new one against.",
)  # fmt: skip
@click.option(
    "--fail-if", "fail_if", multiple=True, metavar="CONDITION",
    help="Exit code 1 where it holds: 'fps_p50 < 0.95x' (of the baseline), 'pckh < -0.5' (change), "
    "'size_bytes > 5000000' (the value). Repeatable.",
)  # fmt: skip
@click.option(
    "--race", is_flag=True,
    help="Build, time and score every form of a TensorRT artifact, keep the fastest good one.",
)  # fmt: skip
@click.option(
    "--max-drop", type=click.FloatRange(0), default=0.5, show_default=True,
    help="Points that a race's winner may lie below the counted form.",
)  # fmt: skip
@click.option("--form", default=None, help="Measure that form of a TensorRT artifact.")
@click.option(
    "--dla", type=click.IntRange(0), default=None, metavar="CORE",
    help="Build it for that DLA of the device.",
)  # fmt: skip
@click.option("--anyway", is_flag=True, help="Compare across different devices or conditions.")
@click.option(
    "--require-device", is_flag=True, help="Refuse to go on where no device of the target is named."
)
@click.option("--clean", is_flag=True, help="Remove everything of ours from the device afterwards.")
@threads_option
@json_option
def bench(
    target_name: str | None,
    folder: Path | None,
    out: Path,
    data: str,
    quick: bool,
    flip: bool,
    device: str | None,
    device_python: str,
    runner_binary: Path | None,
    device_folder: str,
    runs: int,
    batch: int,
    size: str | None,
    gives: Any,
    compared: tuple[Path, Path] | None,
    baseline: Path | None,
    fail_if: tuple[str, ...],
    race: bool,
    max_drop: float,
    form: str | None,
    dla: int | None,
    anyway: bool,
    require_device: bool,
    clean: bool,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure an artifact: accuracy and size of the exact file, latency where it can run.

    With a device, everything is measured there, and its joints are compared with this computer's.
    Without one, latency on it is estimated where the target's file has the figures, and labelled so.
    """
    from edgepose import api
    from edgepose.artifact import Artifact
    from edgepose.bench.bench import bench_artifact, open_native
    from edgepose.bench.board import Board
    from edgepose.bench.comparison import compare_records
    from edgepose.bench.fail_if import parse_fail_if
    from edgepose.bench.on_device import bench_there
    from edgepose.bench.race import race as run_race
    from edgepose.bench.record import load_record, save_record
    from edgepose.bench.transport import chosen_device, open_transport
    from edgepose.device.engine_settings import MAIN
    from edgepose.errors import EdgeposeError
    from edgepose.newest import newest_artifact
    from edgepose.report.terminal import bench_text, wants_color
    from edgepose.target import load_target
    from edgepose.variants import chosen

    conditions = [parse_fail_if(text) for text in fail_if]
    if compared is not None:
        if target_name or baseline or device or folder or size or gives:
            raise click.UsageError("--compare needs no target, artifact, size, output, device or "
                                   "baseline")  # fmt: skip
        _compare(
            compared, data, conditions, anyway=anyway, threads=threads, batch=batch, quick=quick,
            processes=runs, as_json=as_json,
        )  # fmt: skip
        return
    if target_name is None:
        raise click.UsageError("give --target (see edgepose targets), or --compare A B")
    if conditions and baseline is None:
        raise click.UsageError("--fail-if needs --baseline or --compare")
    former = None if baseline is None else load_record(baseline)
    target = load_target(target_name)
    if former is not None and former.target != target.name:
        raise EdgeposeError(
            f"{baseline} was measured for {former.target}, not for {target.name}",
            fix="give that target's own baseline",
        )
    place = chosen_device(device, target)
    if require_device and place is None and target.device != "local":
        raise EdgeposeError(
            f"no device is named for target {target.name}, and --require-device was given",
            fix="give --device ssh://user@host or adb:SERIAL, or set EDGEPOSE_DEVICE",
        )
    if folder is None:
        folder = newest_artifact(out, target)
        click.echo(f"newest finished run: {folder.parent.parent}", err=True)
    whole = Artifact.load(folder)
    hw = None if size is None else parse_size(size, "--size")
    variant = chosen(whole, input_hw=hw, batch=batch, gives=gives)
    artifact = click.get_current_context().with_resource(variant)
    if artifact.manifest.runtime != target.runtime:
        raise EdgeposeError(
            f"{folder} was exported for {artifact.manifest.target} ({artifact.manifest.runtime}), "
            f"{target.name} runs {target.runtime}",
            fix=f"give --target {artifact.manifest.target}, or an artifact for {target.name}",
        )
    words = f"edgepose bench --target {target_name}"
    words += (" --quick" if quick else "") + (" --flip" if flip else "")
    words += (f" --runs {runs}" if runs > 1 else "") + (f" --batch {batch}" if batch > 1 else "")
    words += (" --race" if race else "") + (f" --form {form}" if form else "")
    words += (f" --size {size}" if size else "") + (f" --output {gives}" if gives else "")
    words += "" if dla is None else f" --dla {dla}"
    path = folder.parent.parent / _folder_name(target.name, whole, artifact) / "record.json"
    _check_form(artifact, race=race, form=form, dla=dla, conflicts=flip or runs > 1 or batch > 1)
    executor = (
        open_native(artifact)
        or _open_form(artifact, form, threads)
        or api.open_executor(artifact, work=artifact.folder, threads=threads)
    )
    if clean and place is None:
        raise click.UsageError("--clean needs a device")
    if flip and place is not None:
        raise click.UsageError("--flip is for scores on this computer, a device runs one pass")
    if dla is not None and place is None:
        raise click.UsageError("--dla needs a device")
    phone = place if place is not None and place.startswith("iphone") else None
    if phone is not None and target.runtime != "coreml":
        raise EdgeposeError(
            f"an iphone runs Core ML, {target.name} is for {target.runtime}",
            fix="give a coreml target",
        )
    save = False  # what runs on a board, or in a race, is saved as it comes
    with progress_bars() as progress:
        if race:
            board = None if place is None else Board(
                open_transport(place), python=device_python, folder=device_folder
            )  # fmt: skip
            with _alone(f"race of {folder}") if board is None else nullcontext():
                record = run_race(
                    artifact, api.open_data(data), path, target=target, board=board,
                    max_drop=max_drop, threads=threads, quick=quick, clean=clean,
                    command=words + ("" if place is None else f" --device {place}"),
                    report=progress,
                )  # fmt: skip
        elif place is None or phone is not None:
            with _alone(f"bench of {folder}"):
                record = bench_artifact(
                    artifact,
                    executor,
                    api.open_data(data),
                    target=target,
                    threads=threads,
                    quick=quick,
                    batch=batch,
                    runs=runs,
                    flip_test=flip,
                    command=words,
                    phone=phone,
                    report=progress,
                ).model_copy(update={"form": form})
            save = True
        else:
            record = bench_there(
                artifact,
                Board(
                    open_transport(place),
                    python=device_python,
                    runner=runner_binary,
                    folder=device_folder,
                ),
                api.open_data(data),
                path,
                target=target,
                host=executor,
                threads=threads,
                quick=quick,
                batch=batch,
                runs=runs,
                clean=clean,
                form=form or MAIN,
                dla=dla,
                command=f"{words} --device {place}",
                report=progress,
            )
    if as_json:
        print_json(record.model_dump(mode="json"))
    else:
        click.echo(bench_text(record, color=wants_color(sys.stdout)))
    if save:  # shown already, should the disk be full
        save_record(record, path)
    if not as_json:
        click.echo(f"record: {path}")
    if former is not None:
        found = compare_records(former, record, anyway=anyway)
        _judge(found, conditions, former, record, as_json=as_json)


def _folder_name(target: str, whole: Artifact, artifact: Artifact) -> str:
    """Of the record: a variant's lies beside the main file's."""
    from edgepose.variants import suffix_of, variants_in

    if artifact is whole:
        return f"bench-{target}"
    suffix = suffix_of(variants_in(artifact)[0], whole.input_hw, any_batch=False)
    return f"bench-{target}{suffix.replace('_', '-')}"


def _check_form(
    artifact: Artifact, *, race: bool, form: str | None, dla: int | None, conflicts: bool
) -> None:
    """Refuse options that exclude each other, and forms of an artifact that has none."""
    from edgepose.errors import EdgeposeError

    if race and (form or dla is not None or conflicts):
        raise click.UsageError("--race times every form once: leave out --form, --dla, --flip, --runs "
                               "and --batch")  # fmt: skip
    if (form or dla is not None) and artifact.manifest.runtime != "tensorrt":
        raise EdgeposeError(
            f"{artifact.manifest.name} is a {artifact.manifest.runtime} artifact and has one form",
            fix="leave out --form and --dla",
        )


def _open_form(artifact: Artifact, form: str | None, threads: int | None) -> Executor | None:
    from edgepose.backends import tensorrt

    if form is None:
        return None
    return tensorrt.open_executor(artifact, threads=threads, form=form)


def _compare(
    paths: tuple[Path, Path],
    data: str,
    conditions: list[FailIf],
    *,
    anyway: bool,
    threads: int | None,
    batch: int,
    quick: bool,
    processes: int,
    as_json: bool,
) -> None:
    """--compare: two records as they are, or two artifacts measured now."""
    from edgepose import api
    from edgepose.bench.comparison import PROCESSES, compare_artifacts, compare_records
    from edgepose.bench.record import load_record
    from edgepose.errors import EdgeposeError

    folders = [path.is_dir() for path in paths]
    if all(folders):
        if conditions:
            raise click.UsageError("--fail-if needs records: bench both, then compare these")
        with progress_bars() as progress, _alone(f"comparison of {paths[0]} and {paths[1]}"):
            found = compare_artifacts(
                paths, api.open_data(data), threads=threads, batch=batch, quick=quick,
                processes=processes if processes > 1 else PROCESSES, report=progress,
            )  # fmt: skip
        _judge(found, [], None, None, as_json=as_json)
        return
    if any(folders):
        raise EdgeposeError(
            f"{paths[0]} and {paths[1]} are a record and a folder",
            fix="give two record.json or two artifact folders; for one of each use --baseline",
        )
    first, second = (load_record(path) for path in paths)
    _judge(
        compare_records(first, second, anyway=anyway), conditions, first, second, as_json=as_json
    )


def _judge(
    found: Comparison,
    conditions: list[FailIf],
    first: BenchRecord | None,
    second: BenchRecord | None,
    *,
    as_json: bool,
) -> None:
    """Print a comparison and its verdicts; exit code 1 where a condition fires."""
    from edgepose.bench.fail_if import check
    from edgepose.report.comparison import comparison_text, verdict_lines

    verdicts = (
        []
        if first is None or second is None
        else [check(condition, first, second) for condition in conditions]
    )
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        click.echo(comparison_text(found))
    for line in verdict_lines(verdicts, found):
        click.echo(line, err=as_json)
    if any(verdict.fired for verdict in verdicts):
        sys.exit(1)


@contextmanager
def _alone(who: str) -> Iterator[None]:
    """The lock that boards' benchmarks take, on this computer."""
    from edgepose.device.lock import LOCK, take_lock

    descriptor = take_lock(LOCK, who=who, where="on this computer")
    try:
        yield
    finally:
        os.close(descriptor)
