"""`edgepose data`: look at data sets."""

from __future__ import annotations

from pathlib import Path

import click

from edgepose.commands.shared import (
    CONTEXT,
    Command,
    json_option,
    print_json,
    progress_bars,
    set_option,
)


@click.group(context_settings=CONTEXT)
def data() -> None:
    """Look at data sets."""


@data.command(cls=Command, example="edgepose data preview --count 40 --to people.png")
@click.option("--count", default=40, show_default=True, type=click.IntRange(1, 400))
@click.option("--split", default="val", type=click.Choice(["train", "val", "calibration"]))
@click.option(
    "--to", "path", default="people.png", show_default=True, type=click.Path(path_type=Path)
)
@json_option
def preview(count: int, split: str, path: Path, as_json: bool) -> None:
    """Draw synthetic people with their labels on one sheet."""
    from edgepose import registry
    from edgepose.data.preview import contact_sheet

    module = registry.sources().module("synthetic")
    contact_sheet(module.open_split(module.Config(), split), count, path, columns=8, scale=1.0)
    if as_json:
        print_json({"sheet": str(path)})
    else:
        click.echo(str(path))


@data.command(
    cls=Command,
    example="edgepose data inspect --recipe resnet18_5mb --limit 500\n"
    "edgepose data inspect --data coco:labels.json,images/ --to people.png",
)
@click.option("--recipe", default=None, help="A recipe file or name: its splits, and their leaks.")
@set_option
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
@json_option
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
    with progress_bars() as progress:
        result = look(splits, limit=limit, progress=progress)
    save_sheet(splits, path, count=count)
    if as_json:
        print_json({**result, "sheet": str(path)})
        return
    click.echo(inspection_text(result))
    click.echo(f"sheet: {path}")
