"""`edgepose sensitivity`: which layers INT8 or pruning costs most in."""

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
    print_json,
    progress_bars,
    set_option,
    sha256_option,
    skeleton_option,
    warn,
)


@click.command(
    short_help="Rank layers by what INT8 or pruning costs in joints.",
    cls=Command,
    example="edgepose sensitivity --recipe resnet18_5mb\n"
    "edgepose sensitivity reports/smoke/latest/model --kind prune --to sensitivity\n"
    "edgepose sensitivity my.pth --skeleton coco17 --input 256x192 --data coco:labels.json,images/",
)
@click.argument("subject", metavar="[MODEL]", required=False)
@click.option("--recipe", default=None, help="A recipe's student, on its own data.")
@set_option
@click.option(
    "--kind", type=click.Choice(["int8", "prune"]), default="int8", show_default=True,
    help="What to try on each layer: INT8, or removing 10 to 90 % of the channels.",
)  # fmt: skip
@click.option(
    "--data", default=None, help="For a MODEL, as for `edgepose eval` [default: synthetic]."
)
@click.option(
    "--count", default=64, show_default=True, type=click.IntRange(1),
    help="So many people of the training split decide.",
)  # fmt: skip
@click.option(
    "--to", "folder", default="sensitivity", show_default=True, type=click.Path(path_type=Path),
    help="Folder for KIND.json and KIND.png.",
)  # fmt: skip
@skeleton_option
@input_option
@bgr_option
@coding_option
@sha256_option
@json_option
def sensitivity(
    subject: str | None,
    recipe: str | None,
    overrides: tuple[str, ...],
    kind: str,
    data: str | None,
    count: int,
    folder: Path,
    skeleton: str | None,
    input_size: str | None,
    bgr: bool,
    coding: str | None,
    sha256: str | None,
    as_json: bool,
) -> None:
    """Rank layers by what changing one alone costs in joints that are found.

    In points of the metric and in how far the heatmaps' peaks move, on training people: what is
    scored later stays unseen.
    """
    from edgepose import api
    from edgepose.report.sensitivity import save_plot, sensitivity_text
    from edgepose.sensitivity import save, to_json

    if (subject is None) == (recipe is None):
        raise click.UsageError("give either a MODEL or --recipe")
    if recipe is not None and data is not None:
        raise click.UsageError("--data belongs to a MODEL; a recipe has its own")
    loaded = (
        api.read_recipe(recipe, overrides)
        if recipe is not None
        else load_subject(str(subject), skeleton, input_size, bgr, coding, sha256)
    )
    with progress_bars() as progress:
        measured = api.sensitivity(
            loaded, kind=kind, data=data or "synthetic", count=count, progress=progress, warn=warn
        )
    metric, persons = measured.metric, measured.persons
    found = to_json(measured.rows, metric=metric, persons=persons)
    save(measured.rows, folder / f"{kind}.json", metric=metric, persons=persons)
    save_plot(found, folder / f"{kind}.png", metric=metric, persons=persons)
    if as_json:
        print_json(found)
        return
    click.echo(sensitivity_text(found, metric=metric, persons=persons))
    click.echo(f"\nfiles: {folder / f'{kind}.json'}, {folder / f'{kind}.png'}")
