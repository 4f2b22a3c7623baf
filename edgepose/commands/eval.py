"""`edgepose eval`: score a model, an artifact or a file of predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgepose.commands.shared import (
    Command,
    bgr_option,
    coding_option,
    input_option,
    json_option,
    load_subject,
    output_option,
    parse_size,
    print_json,
    progress_bars,
    sha256_option,
    size_option,
    skeleton_option,
    threads_option,
)


@click.command(
    short_help="Score a model, an artifact or a checkpoint on people.",
    cls=Command,
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
@size_option
@output_option
@skeleton_option
@input_option
@bgr_option
@coding_option
@sha256_option
@threads_option
@json_option
def eval(
    subject: str | None,
    data: str,
    metric: str | None,
    predictions: Path | None,
    ground_truth: Path | None,
    convention: str | None,
    coordinate_base: str | None,
    flip: bool,
    size: str | None,
    gives: Any,
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
    from edgepose.artifact import Artifact
    from edgepose.report.scores import scores_text
    from edgepose.report.tables import tables_text
    from edgepose.variants import select

    if predictions is not None or ground_truth is not None or subject is None:
        if flip or size or gives:
            raise click.UsageError("--flip, --size and --output are of a model, not of predictions")
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
        loaded = load_subject(subject, skeleton, input_size, bgr, coding, sha256)
        if size is not None or gives is not None:
            if not isinstance(loaded, Artifact):
                raise click.UsageError("--size and --output choose among the files of an artifact")
            hw = None if size is None else parse_size(size, "--size")
            loaded = select(loaded, input_hw=hw, gives=gives)
        with progress_bars() as progress:
            result = api.evaluate(
                loaded, data=data, metric=metric, flip_test=flip, threads=threads, progress=progress
            )
        text = scores_text(subject, result)
    if as_json:
        print_json(result)
    else:
        click.echo(text)
