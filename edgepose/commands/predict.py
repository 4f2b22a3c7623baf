"""`edgepose predict`: joints on pictures."""

from __future__ import annotations

from pathlib import Path

import click

from edgepose.commands.shared import (
    Command,
    bgr_option,
    coding_option,
    input_option,
    json_option,
    load_subject,
    progress_bars,
    sha256_option,
    skeleton_option,
)


@click.command(
    cls=Command,
    example="edgepose predict photo.jpg --artifact reports/smoke/latest/artifacts/host --box 40,20,200,420",
)
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--artifact", "source", required=True,
    help="Artifact folder, the model folder of a run, or a checkpoint file.",
)  # fmt: skip
@skeleton_option
@input_option
@bgr_option
@coding_option
@sha256_option
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
@json_option
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

    subject = load_subject(source, skeleton, input_size, bgr, coding, sha256)
    contract = (
        Contract.of_artifact(subject)
        if isinstance(subject, Artifact)
        else Contract.of_spec(subject.spec)
    )
    photos = open_photos(images, coco_json=boxes, box_xywh=None if box is None else parse_box(box))
    with progress_bars() as progress:
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
