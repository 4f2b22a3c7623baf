"""The command line: the only place that prints results and sets exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from edgepose import __version__
from edgepose.device.errors import DeviceError
from edgepose.processes import is_first

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 88}
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class _Command(click.Command):
    """A command that ends its help with an example."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.example:
            with formatter.section("Example"):
                for line in self.example.splitlines():
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar with the time left on a terminal; nothing at all elsewhere."""
    if not sys.stderr.isatty() or not is_first():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield report


def _warn(message: str) -> None:
    click.secho(f"warning: {message.removeprefix('WARNING: ')}", fg="yellow", err=True)


def _print_json(values: Any) -> None:
    click.echo(json.dumps(values, indent=1))


class _Group(click.Group):
    """Turns an error that the user can mend into one message and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DeviceError as error:
            click.secho(f"error: {error.problem}", fg="red", err=True)
            click.echo(f"  fix: {error.fix}", err=True)
            ctx.exit(EXIT_BAD_INPUT)
        except KeyboardInterrupt:
            click.echo("stopped; the same command continues where it was", err=True)
            ctx.exit(EXIT_INTERRUPTED)
        except OSError as error:
            if error.errno is None or (error.filename is None and error.errno != 28):
                raise
            click.secho(f"error: {error.strerror}: {error.filename or 'disk'}", fg="red", err=True)
            click.echo("  fix: check the path, its permissions and the free space", err=True)
            ctx.exit(EXIT_BAD_INPUT)


@click.group(cls=_Group, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="edgepose")
def main() -> None:
    """Distil, prune, quantize, export and score human-pose networks.

    Start with:  edgepose compress --recipe smoke
    """


_recipe = click.option(
    "--recipe", required=True, help="A recipe file, or a built-in recipe's name."
)
_set = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE",
    help="Override a recipe key, e.g. --set stages.prune.ratio=0.4 (null removes a key). Repeatable.",
)  # fmt: skip
_out = click.option(
    "--out", default="reports", show_default=True, type=click.Path(path_type=Path),
    help="Folder that holds the runs.",
)  # fmt: skip
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
_threads = click.option(
    "--threads", type=click.IntRange(1), default=None, help="CPU threads [default: all cores]."
)


_skeleton = click.option(
    "--skeleton", default=None, help="The joints of a checkpoint file, e.g. mpii16 or coco17."
)
_input = click.option(
    "--input", "input_size", default=None, metavar="HxW",
    help="The crop size of a checkpoint file, height x width.",
)  # fmt: skip
_bgr = click.option(
    "--bgr", is_flag=True, help="A checkpoint file that was trained on BGR pictures."
)
_coding = click.option(
    "--coding", default=None, type=click.Choice(["standard", "dark", "udp"]),
    help="The heatmap coding of a checkpoint file [default: standard].",
)  # fmt: skip
_sha256 = click.option("--sha256", default=None, help="Of a checkpoint file, 64 hex digits.")


def _load(
    subject: str,
    skeleton: str | None,
    input_size: str | None,
    bgr: bool,
    coding: str | None,
    sha256: str | None,
) -> Any:
    """An artifact, a model folder, a checkpoint file or the URL of one."""
    from edgepose import api
    from edgepose.errors import EdgeposeError

    size = None
    if input_size is not None:
        sides = input_size.lower().split("x")
        if len(sides) != 2 or not all(side.isdecimal() for side in sides):
            raise EdgeposeError(
                f"not a size: {input_size!r}", fix="write --input height x width, as in 256x192"
            )
        size = (int(sides[0]), int(sides[1]))
    with _progress() as progress:
        return api.load(
            subject, skeleton=skeleton, input_hw=size, color="BGR" if bgr else "RGB",
            coding=coding, sha256=sha256, progress=progress, warn=_warn,
        )  # fmt: skip


def _compress(recipe: str, overrides: Sequence[str], out: Path, as_json: bool) -> None:
    from edgepose import api
    from edgepose.report.schema import load_report
    from edgepose.report.terminal import report_text, wants_color

    with _progress() as progress:
        run = api.compress(recipe, overrides=overrides, out=out, progress=progress, warn=_warn)
    if not is_first():
        return
    report = load_report(run)
    if as_json:
        _print_json(report.model_dump(mode="json"))
        return
    click.echo(report_text(report, color=wants_color(sys.stdout)))
    click.echo(f"report: {run / 'report.md'}")


@main.command(
    cls=_Command,
    example="edgepose compress --recipe resnet18_5mb --set stages.prune.round_to=16",
)
@_recipe
@_set
@_out
@click.option("--dry-run", is_flag=True, help="Check everything and print the plan; train nothing.")
@_json
def compress(
    recipe: str, overrides: tuple[str, ...], out: Path, dry_run: bool, as_json: bool
) -> None:
    """Run a recipe: distil, prune, quantize, export, score.

    Finished stages are kept: a killed run continues when the same command is given again.
    Several GPUs or machines: accelerate launch -m edgepose compress --recipe ...
    """
    if not dry_run:
        _compress(recipe, overrides, out, as_json)
        return
    from edgepose import api
    from edgepose.plan import make_plan, plan_text

    if not is_first():
        return
    plan = make_plan(api.read_recipe(recipe, overrides))
    if as_json:
        _print_json(plan)
    else:
        click.echo(plan_text(plan))


@main.command(
    cls=_Command,
    example="edgepose train --recipe train_resnet18_synthetic --set stages.train.steps=500",
)
@_recipe
@_set
@_out
@_json
def train(recipe: str, overrides: tuple[str, ...], out: Path, as_json: bool) -> None:
    """Train a network and score it; the run folder's model/ is a checkpoint for other recipes.

    Several GPUs or machines: accelerate launch -m edgepose train --recipe ...
    """
    _compress(recipe, overrides, out, as_json)


@main.command(
    cls=_Command,
    example="edgepose publish reports/train_resnet18_synthetic/latest --to resnet18_synthetic",
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--to", required=True, type=click.Path(path_type=Path), help="New folder for the checkpoint."
)
@click.option(
    "--photographs", multiple=True, metavar="coco:LABELS.json,IMAGES",
    help="Score it on these, too, for the card. Repeatable.",
)  # fmt: skip
def publish(run: Path, to: Path, photographs: tuple[str, ...]) -> None:
    """Turn a run's float network into a checkpoint to hand on, with a model card."""
    from edgepose.publish import publish as write

    with _progress() as progress:
        folder = write(run, to, photographs=photographs, progress=progress)
    click.echo(str(folder))


@main.command(
    cls=_Command,
    example="edgepose eval reports/smoke/latest/model\n"
    "edgepose eval reports/smoke/latest/artifacts/host --data coco:labels.json,images/\n"
    "edgepose eval hrnet_w32.pth --skeleton mpii16 --input 256x256\n"
    "edgepose eval --predictions preds_valid.mat --ground-truth gt_valid.mat",
)
@click.argument("subject", required=False)
@click.option(
    "--data", default="synthetic", show_default=True,
    help="synthetic, or coco:LABELS.json,IMAGE_FOLDER.",
)  # fmt: skip
@click.option(
    "--metric", default=None,
    type=click.Choice(["pckh", "oks_ap", "pck", "pckh_head_segment", "pck_box"]),
    help="What to score by [default: the first of these that the labels allow].",
)  # fmt: skip
@click.option(
    "--predictions", type=click.Path(path_type=Path), default=None,
    help="Score this file instead of a model: .mat, .npz, .h5 or COCO results .json.",
)  # fmt: skip
@click.option(
    "--ground-truth", type=click.Path(path_type=Path), default=None,
    help="The labels for --predictions: MPII's or LSP's .mat, .npz, .h5, or COCO .json.",
)  # fmt: skip
@click.option(
    "--convention", type=click.Choice(["hrnet", "pytorch-pose", "mmpose"]), default=None,
    help="How --predictions are counted [default: in each of these].",
)  # fmt: skip
@click.option(
    "--coordinate-base", type=click.Choice(["0", "1"]), default=None,
    help="The first pixel of --predictions [default: as the labels: MPII, LSP 1; COCO 0].",
)  # fmt: skip
@click.option("--flip", is_flag=True, help="Average with the mirrored crop (flip test).")
@_skeleton
@_input
@_bgr
@_coding
@_sha256
@_threads
@_json
def eval(
    subject: str | None,
    data: str,
    metric: str | None,
    predictions: Path | None,
    ground_truth: Path | None,
    convention: str | None,
    coordinate_base: str | None,
    flip: bool,
    skeleton: str | None,
    input_size: str | None,
    bgr: bool,
    coding: str | None,
    sha256: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Score a model, an artifact or a checkpoint file on labelled people, or a file of predictions."""
    from edgepose import api
    from edgepose.report.scores import scores_text
    from edgepose.report.tables import tables_text

    if predictions is not None or ground_truth is not None or subject is None:
        if flip:
            raise click.UsageError("--flip runs a model; a file of predictions has none")
        if subject is not None or predictions is None or ground_truth is None:
            raise click.UsageError(
                "give a model, an artifact or a checkpoint, or both --predictions and --ground-truth"
            )
        result = api.score_predictions(
            predictions,
            ground_truth,
            convention=convention,
            coordinate_base=None if coordinate_base is None else int(coordinate_base),
            metric=metric,
        )
        text = tables_text(result)
    else:
        if convention is not None or coordinate_base is not None:
            raise click.UsageError("--convention and --coordinate-base belong to --predictions")
        loaded = _load(subject, skeleton, input_size, bgr, coding, sha256)
        with _progress() as progress:
            result = api.evaluate(
                loaded, data=data, metric=metric, flip_test=flip, threads=threads, progress=progress
            )
        text = scores_text(subject, result)
    if as_json:
        _print_json(result)
    else:
        click.echo(text)


@main.command(
    cls=_Command,
    example="edgepose bench --target host\nedgepose bench --target jetson-xavier --artifact DIR --quick\n"
    "edgepose bench --target jetson-xavier --device ssh://nvidia@xavier",
)
@click.option("--target", "target_name", required=True, help="See `edgepose targets`.")
@click.option(
    "--artifact", "folder", type=click.Path(path_type=Path), default=None,
    help="Artifact folder [default: that target's, in the newest finished run].",
)  # fmt: skip
@_out
@click.option("--data", default="synthetic", show_default=True, help="As for `edgepose eval`.")
@click.option("--quick", is_flag=True, help="About a second of calls instead of ten.")
@click.option("--flip", is_flag=True, help="Score with the flip test; latencies stay one pass.")
@click.option(
    "--device", default=None,
    help="Run there: ssh://user@host[:port], or local for another Python on this computer "
    "[default: $EDGEPOSE_DEVICE, then the target's own].",
)  # fmt: skip
@click.option(
    "--device-python", default="python3", show_default=True, envvar="EDGEPOSE_DEVICE_PYTHON",
    help="The device's Python: 3.8 or newer, with numpy.",
)  # fmt: skip
@click.option(
    "--device-folder", default="~/.cache/edgepose-device", show_default=True,
    envvar="EDGEPOSE_DEVICE_FOLDER", help="Where files and engines are kept on the device.",
)  # fmt: skip
@click.option("--clean", is_flag=True, help="Remove everything of ours from the device afterwards.")
@_threads
@_json
def bench(
    target_name: str,
    folder: Path | None,
    out: Path,
    data: str,
    quick: bool,
    flip: bool,
    device: str | None,
    device_python: str,
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
    with _progress() as progress:
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
                Board(open_transport(place), python=device_python, folder=device_folder),
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
        _print_json(record.model_dump(mode="json"))
        return
    click.echo(bench_text(record, color=wants_color(sys.stdout)))
    click.echo(f"record: {path}")


@main.command(cls=_Command, example="edgepose runner edgepose-device.pyz")
@click.argument("file", type=click.Path(path_type=Path))
def runner(file: Path) -> None:
    """Write what `bench --device` sends, for a board that only you reach.

    It needs Python 3.8 and numpy there: python3 FILE info, or FILE run --artifact DIR.
    """
    from edgepose.bench.runner_file import runner_bytes
    from edgepose.device.files import write_atomic

    write_atomic(file, runner_bytes())
    click.echo(f"wrote {file}")


@main.command(
    cls=_Command,
    example="edgepose predict photo.jpg --artifact reports/smoke/latest/artifacts/host --box 40,20,200,420",
)
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--artifact", "source", required=True,
    help="Artifact folder, the model folder of a run, or a checkpoint file.",
)  # fmt: skip
@_skeleton
@_input
@_bgr
@_coding
@_sha256
@click.option(
    "--boxes", type=click.Path(path_type=Path), default=None, help="COCO json with person boxes."
)
@click.option(
    "--box", default=None, metavar="X,Y,W,H", help="One box in pixels [default: the image]."
)
@click.option("--flip", is_flag=True, help="Average with the mirrored crop.")
@click.option(
    "--to", "output", default="predictions", show_default=True, type=click.Path(path_type=Path),
    help="Folder for pictures and predictions.json.",
)  # fmt: skip
@_json
def predict(
    images: tuple[Path, ...],
    source: str,
    skeleton: str | None,
    input_size: str | None,
    bgr: bool,
    coding: str | None,
    sha256: str | None,
    boxes: Path | None,
    box: str | None,
    flip: bool,
    output: Path,
    as_json: bool,
) -> None:
    """Find joints on photographs; write a picture for each and predictions.json (COCO results)."""
    from edgepose import api
    from edgepose.artifact import Artifact
    from edgepose.predict import Contract, open_photos, parse_box, predict_images, write_predictions

    subject = _load(source, skeleton, input_size, bgr, coding, sha256)
    contract = (
        Contract.of_artifact(subject)
        if isinstance(subject, Artifact)
        else Contract.of_spec(subject.spec)
    )
    photos = open_photos(images, coco_json=boxes, box_xywh=None if box is None else parse_box(box))
    with _progress() as progress:
        executor = api.open_executor(subject, work=output / ".work")
        found = predict_images(executor, contract, photos, flip=flip, report=progress)
    written = write_predictions(output, photos, found, contract.skeleton)
    if as_json:
        click.echo((output / "predictions.json").read_text())
        return
    people = "1 person" if len(found) == 1 else f"{len(found)} people"
    images_read = "1 image" if len(photos) == 1 else f"{len(photos)} images"
    click.echo(f"{people} in {images_read}, run by {executor.description}")
    for path in written:
        click.echo(f"  {path}")


@main.command(
    cls=_Command,
    example="edgepose lint --recipe resnet18_5mb\n"
    "edgepose lint reports/smoke/latest/artifacts/jetson-xavier\n"
    "edgepose lint model.onnx --target jetson-xavier --set limits.dla=true",
)
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--recipe", default=None, help="Lint what this recipe will export; trains nothing.")
@click.option(
    "--target", "target_name", default=None,
    help="What PATH is for [default: what the artifact says].",
)  # fmt: skip
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE",
    help="Override a key of the recipe, or of PATH's target. Repeatable.",
)  # fmt: skip
@click.option("--rules", is_flag=True, help="List the rules and exit.")
@_json
@click.pass_context
def lint(
    context: click.Context,
    path: Path | None,
    recipe: str | None,
    target_name: str | None,
    overrides: tuple[str, ...],
    rules: bool,
    as_json: bool,
) -> None:
    """Check a plan or a file against its target's limits, without running it.

    PATH is an artifact folder, model.onnx, model.onnx.xz, model.ort or model.mlpackage.
    Exit code 0: no error found; 1: at least one error; 2: the input cannot be read.
    """
    from dataclasses import asdict

    from edgepose import api
    from edgepose.backends.lint.findings import RULES, errors, lines

    if rules:
        if as_json:
            _print_json({name: asdict(rule) for name, rule in RULES.items()})
            return
        for name, rule in RULES.items():
            click.echo(f"{rule.level:<8} {name:<24} {rule.what}")
        return
    if (path is None) == (recipe is None):
        raise click.UsageError("give either a PATH or --recipe")
    if recipe is not None:
        if target_name is not None:
            raise click.UsageError("--target belongs to PATH; a recipe names its targets itself")
        findings = api.lint_recipe(api.read_recipe(recipe, overrides), warn=_warn)
    else:
        assert path is not None, "checked"
        findings = api.lint_file(path, target_name=target_name, overrides=overrides)
    failed = errors(findings)
    if as_json:
        _print_json({"errors": len(failed), "findings": [asdict(f) for f in findings]})
    else:
        serious = [f for f in findings if f.level != "note"]
        told = lines(findings) + ([] if serious else ["clean: nothing breaks the target's limits"])
        click.echo("\n".join(told))
    context.exit(1 if failed else 0)


@main.command(cls=_Command, example="edgepose targets")
@_json
def targets(as_json: bool) -> None:
    """List what can be exported for."""
    from edgepose.target import list_targets, load_target

    found = [load_target(name) for name in list_targets()]
    if as_json:
        _print_json([target.model_dump(mode="json") for target in found])
        return
    for target in found:
        precisions = ", ".join(target.precisions)
        click.echo(f"{target.name:<18} {target.runtime:<12} {precisions:<12} {target.description}")


@main.group(context_settings=CONTEXT)
def data() -> None:
    """Look at data sets."""


@data.command(cls=_Command, example="edgepose data preview --count 40 --to people.png")
@click.option("--count", default=40, show_default=True, type=click.IntRange(1, 400))
@click.option("--split", default="val", type=click.Choice(["train", "val", "calibration"]))
@click.option(
    "--to", "path", default="people.png", show_default=True, type=click.Path(path_type=Path)
)
def preview(count: int, split: str, path: Path) -> None:
    """Draw synthetic people with their labels on one sheet."""
    from edgepose import registry
    from edgepose.data.preview import contact_sheet

    module = registry.sources().module("synthetic")
    contact_sheet(module.open_split(module.Config(), split), count, path, columns=8, scale=1.0)
    click.echo(str(path))


@data.command(
    cls=_Command,
    example="edgepose data inspect --recipe resnet18_5mb --limit 500\n"
    "edgepose data inspect --data coco:labels.json,images/ --to people.png",
)
@click.option("--recipe", default=None, help="A recipe file or name: its splits, and their leaks.")
@_set
@click.option("--data", default=None, help="One set of files, e.g. coco:LABELS.json,IMAGE_FOLDER.")
@click.option(
    "--count", default=12, show_default=True, type=click.IntRange(1, 200),
    help="People drawn per split.",
)  # fmt: skip
@click.option(
    "--limit", default=None, type=click.IntRange(1),
    help="Look at so many people per split [default: everybody].",
)  # fmt: skip
@click.option(
    "--to", "path", default="inspect.png", show_default=True, type=click.Path(path_type=Path),
    help="The contact sheet.",
)  # fmt: skip
@_json
def inspect(
    recipe: str | None,
    overrides: tuple[str, ...],
    data: str | None,
    count: int,
    limit: int | None,
    path: Path,
    as_json: bool,
) -> None:
    """Draw labels on a contact sheet, count, and find pictures that two splits share."""
    from edgepose import api
    from edgepose.data.inspect import inspect as look
    from edgepose.data.inspect_sheet import save_sheet
    from edgepose.data.inspect_text import inspection_text
    from edgepose.errors import EdgeposeError
    from edgepose.inputs import open_splits

    if (recipe is None) == (data is None):
        raise EdgeposeError(
            "inspect looks at either a recipe's data or one set of files",
            fix="give --recipe RECIPE, or --data coco:labels.json,images/",
        )
    if data is not None:
        splits = {"all": api.open_data(data)}
    else:
        splits = open_splits(api.read_recipe(recipe or "", overrides))
    with _progress() as progress:
        result = look(splits, limit=limit, progress=progress)
    save_sheet(splits, path, count=count)
    if as_json:
        _print_json({**result, "sheet": str(path)})
        return
    click.echo(inspection_text(result))
    click.echo(f"sheet: {path}")


@main.group(context_settings=CONTEXT)
def cache() -> None:
    """Look at the checkpoints that were downloaded, or remove them."""


@cache.command("list", cls=_Command, example="edgepose cache list --json")
@_json
def cache_list(as_json: bool) -> None:
    """List downloaded checkpoints, the most recently used first."""
    from datetime import datetime

    from edgepose.fetch import downloads_folder, entries, limit_bytes

    found, limit = entries(), limit_bytes()
    if as_json:
        rows = [
            {"name": e.name, "url": e.url, "sha256": e.sha256, "bytes": e.size_bytes,
             "used": datetime.fromtimestamp(e.used).isoformat(timespec="seconds"),
             "folder": str(e.folder)}
            for e in found
        ]  # fmt: skip
        folder = str(downloads_folder())
        _print_json({"folder": folder, "limit_bytes": limit, "entries": rows})
        return
    for e in found:
        used = datetime.fromtimestamp(e.used).strftime("%Y-%m-%d %H:%M")
        state = f"sha256 {e.sha256[:12]}" if e.sha256 else "not whole"
        click.echo(f"{e.size_bytes / 1e6:>9.1f} MB  {used}  {state:<19}  {e.name}")
    total = sum(e.size_bytes for e in found)
    click.echo(f"{total / 1e6:.1f} MB of {limit / 1e6:.0f} MB in {downloads_folder()}")


@cache.command("clear", cls=_Command, example="edgepose cache clear")
def cache_clear() -> None:
    """Remove every downloaded checkpoint."""
    from edgepose.fetch import clear, downloads_folder

    click.echo(f"{clear() / 1e6:.1f} MB removed from {downloads_folder()}")


if __name__ == "__main__":
    main()
