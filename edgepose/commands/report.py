"""`edgepose report`: a run's report again, or several runs or benchmarks side by side."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edgepose.commands.shared import Command, json_option, print_json, warn


@click.command(
    short_help="Print a run's report, or compare runs and benches.",
    cls=Command,
    example="edgepose report reports/resnet18_5mb/latest\n"
    "edgepose report reports/resnet18_5mb/20261121-223000 reports/resnet18_5mb/latest\n"
    "edgepose report OLD NEW --html changes.html",
)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--anyway", is_flag=True, help="Compare benchmarks of different devices or conditions."
)
@click.option(
    "--html", "page", type=click.Path(dir_okay=False, path_type=Path), default=None, metavar="FILE",
    help="Also write the comparison as a page that opens offline.",
)  # fmt: skip
@json_option
def report(runs: tuple[Path, ...], anyway: bool, page: Path | None, as_json: bool) -> None:
    """Write report.html of a run again and print its report; with several, compare them.

    Several runs, or record.json of several benchmarks, are each compared with the first: what was
    done differently, what came of it, and whether the difference is noise.
    """
    if len(runs) > 1:
        _compare(runs, anyway=anyway, page=page, as_json=as_json)
        return
    if page is not None:
        raise click.UsageError("--html is for comparing; a run's own page is its report.html")
    from edgepose.errors import EdgeposeError
    from edgepose.report.html.page import save_html
    from edgepose.report.people import FILE_NAME, save_people
    from edgepose.report.runs import is_record, open_record, whole_run
    from edgepose.report.terminal import bench_text, report_text, wants_color
    from edgepose.run_people import recover_people

    if is_record(runs[0]):
        record = open_record(runs[0])
        if as_json:
            print_json(record.model_dump(mode="json"))
        else:
            click.echo(bench_text(record, color=wants_color(sys.stdout)))
        return
    folder, found = whole_run(runs[0])
    if not (folder / FILE_NAME).exists():
        try:
            save_people(recover_people(found, folder), folder / FILE_NAME)
        except EdgeposeError as error:
            warn(f"the report has no curves and pictures of people: {error.problem}")
    path = save_html(found, folder)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    click.echo(report_text(found, color=wants_color(sys.stdout)))
    click.echo(f"report: {path}")


def _compare(paths: tuple[Path, ...], *, anyway: bool, page: Path | None, as_json: bool) -> None:
    """Print how each but the first differs from the first, and write it to `page`."""
    from edgepose.bench.comparison import compare_records
    from edgepose.errors import EdgeposeError
    from edgepose.report.compare import compare_runs
    from edgepose.report.compare_text import comparison_text
    from edgepose.report.comparison import comparison_text as bench_comparison_text
    from edgepose.report.people import FILE_NAME, load_people
    from edgepose.report.runs import is_record, open_record, run_folder
    from edgepose.report.schema import load_report
    from edgepose.report.terminal import wants_color

    color = wants_color(sys.stdout)
    records = [is_record(path) for path in paths]
    if any(records) and not all(records):
        raise EdgeposeError(
            "a run cannot be compared with a benchmark",
            fix="give run folders only, or record.json files only",
        )
    if all(records):
        first, *others = [(str(path), open_record(path)) for path in paths]
        benches = [(other, compare_records(first[1], other[1], anyway=anyway)) for other in others]
        if page is not None:
            from edgepose.report.html.compare import benches_html, save_page

            save_page(benches_html(first, benches), page)
        if as_json:
            print_json([item.model_dump(mode="json") for _, item in benches])
        else:
            click.echo("\n".join(bench_comparison_text(item) for _, item in benches))
        _say_page(page, as_json)
        return
    folders = [run_folder(path) for path in paths]
    opened = [
        (str(path), load_report(folder), load_people(folder / FILE_NAME))
        for path, folder in zip(paths, folders, strict=True)
    ]
    found = [compare_runs(opened[0], other) for other in opened[1:]]
    if page is not None:
        from edgepose.report.html.compare import runs_html, save_page

        save_page(runs_html(found), page)
    if as_json:
        print_json([item.model_dump(mode="json") for item in found])
    else:
        click.echo("\n".join(comparison_text(item, color=color) for item in found))
    _say_page(page, as_json)


def _say_page(page: Path | None, as_json: bool) -> None:
    if page is not None and not as_json:
        click.echo(f"comparison: {page}")
