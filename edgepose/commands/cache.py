"""`edgepose cache`: what was fetched."""

from __future__ import annotations

import click

from edgepose.commands.shared import CONTEXT, Command, json_option, print_json, print_table


@click.group(short_help="List or remove downloaded checkpoints.", context_settings=CONTEXT)
def cache() -> None:
    """Look at the checkpoints that were downloaded, or remove them."""


@cache.command("list", cls=Command, example="edgepose cache list --json")
@json_option
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
        print_json({"folder": folder, "limit_bytes": limit, "entries": rows})
        return
    if found:
        lines = [
            (
                f"{e.size_bytes / 1e6:.1f} MB",
                datetime.fromtimestamp(e.used).strftime("%Y-%m-%d %H:%M"),
                e.sha256[:12] if e.sha256 else "not whole",
                e.name,
            )
            for e in found
        ]
        print_table(("size", "used", "sha256", "name"), lines)
    total = sum(e.size_bytes for e in found)
    click.echo(f"{total / 1e6:.1f} MB of {limit / 1e6:.0f} MB in {downloads_folder()}")


@cache.command("clear", cls=Command, example="edgepose cache clear")
@json_option
def cache_clear(as_json: bool) -> None:
    """Remove every downloaded checkpoint."""
    from edgepose.fetch import clear, downloads_folder

    if as_json:
        print_json({"removed_bytes": clear(), "folder": str(downloads_folder())})
        return
    click.echo(f"{clear() / 1e6:.1f} MB removed from {downloads_folder()}")
