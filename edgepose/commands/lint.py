"""`edgepose lint`: a file or a plan against its target's limits."""

from __future__ import annotations

from pathlib import Path

import click

from edgepose.commands.shared import Command, json_option, print_json, print_table, warn


@click.command(
    short_help="Check a plan or a file against its target's limits.",
    cls=Command,
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
@json_option
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
            print_json({name: asdict(rule) for name, rule in RULES.items()})
            return
        print_table(
            ("level", "rule", "what it finds"),
            [(rule.level, name, rule.what) for name, rule in RULES.items()],
        )
        return
    if (path is None) == (recipe is None):
        raise click.UsageError("give either a PATH or --recipe")
    if recipe is not None:
        if target_name is not None:
            raise click.UsageError("--target belongs to PATH; a recipe names its targets itself")
        findings = api.lint_recipe(api.read_recipe(recipe, overrides), warn=warn)
    else:
        assert path is not None, "checked"
        findings = api.lint_file(path, target_name=target_name, overrides=overrides)
    failed = errors(findings)
    if as_json:
        print_json({"errors": len(failed), "findings": [asdict(f) for f in findings]})
    else:
        serious = [f for f in findings if f.level != "note"]
        told = lines(findings) + ([] if serious else ["clean: nothing breaks the target's limits"])
        click.echo("\n".join(told))
    context.exit(1 if failed else 0)
