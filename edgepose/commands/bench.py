"""`edgepose bench`: an artifact on its target's device, or on this host."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edgepose.commands.shared import (
    Command,
    json_option,
    out_option,
    print_json,
    progress_bars,
    threads_option,
)


@click.command(
    cls=Command,
    example="edgepose bench --target host\nedgepose bench --target jetson-xavier --artifact DIR --quick\n"
    "edgepose bench --target jetson-xavier --device ssh://nvidia@xavier",
)
@click.option("--target", "target_name", required=True, help="See `edgepose targets`.")
@click.option(
    "--artifact", "folder", type=click.Path(path_type=Path), default=None,
    help="Artifact folder [default: that target's, in the newest finished run].",
)  # fmt: skip
@out_option
@click.option("--data", default="synthetic", show_default=True, help="As for `edgepose eval`.")
@click.option("--quick", is_flag=True, help="About a second of calls instead of ten.")
@click.option("--flip", is_flag=True, help="Score with the flip test; latencies stay one pass.")
@click.option(
    "--device", default=None,
    help="Run there: ssh://user@host[:port], adb:SERIAL, or local for a Python of its own here "
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
@click.option("--clean", is_flag=True, help="Remove everything of ours from the device afterwards.")
@threads_option
@json_option
def bench(
    target_name: str,
    folder: Path | None,
    out: Path,
    data: str,
    quick: bool,
    flip: bool,
    device: str | None,
    device_python: str,
    runner_binary: Path | None,
    device_folder: str,
    clean: bool,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure an artifact: accuracy and size of the exact file, latency where it can run.

    With a device, everything is measured there, and its joints are compared with this computer's.
    """
    from edgepose import api
    from edgepose.artifact import Artifact
    from edgepose.bench.bench import bench_artifact
    from edgepose.bench.board import Board
    from edgepose.bench.on_device import bench_there
    from edgepose.bench.record import save_record
    from edgepose.bench.transport import chosen_device, open_transport
    from edgepose.errors import EdgeposeError
    from edgepose.newest import newest_artifact
    from edgepose.report.terminal import bench_text, wants_color
    from edgepose.target import load_target

    target = load_target(target_name)
    if folder is None:
        folder = newest_artifact(out, target)
        click.echo(f"newest finished run: {folder.parent.parent}", err=True)
    artifact = Artifact.load(folder)
    if artifact.manifest.runtime != target.runtime:
        raise EdgeposeError(
            f"{folder} was exported for {artifact.manifest.target} ({artifact.manifest.runtime}), "
            f"{target.name} runs {target.runtime}",
            fix=f"give --target {artifact.manifest.target}, or an artifact for {target.name}",
        )
    words = f"edgepose bench --target {target_name}"
    words += (" --quick" if quick else "") + (" --flip" if flip else "")
    path = folder.parent.parent / f"bench-{target.name}" / "record.json"
    executor = api.open_executor(artifact, work=folder, threads=threads)
    place = chosen_device(device, target)
    if clean and place is None:
        raise click.UsageError("--clean needs a device")
    if flip and place is not None:
        raise click.UsageError("--flip is for scores on this computer, a device runs one pass")
    with progress_bars() as progress:
        if place is None:
            record = bench_artifact(
                artifact,
                executor,
                api.open_data(data),
                target=target,
                threads=threads,
                quick=quick,
                flip_test=flip,
                command=words,
                report=progress,
            )
            save_record(record, path)
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
                clean=clean,
                command=f"{words} --device {place}",
                report=progress,
            )
    if as_json:
        print_json(record.model_dump(mode="json"))
        return
    click.echo(bench_text(record, color=wants_color(sys.stdout)))
    click.echo(f"record: {path}")
