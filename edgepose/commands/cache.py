"""`edgepose cache`: what was fetched."""

from __future__ import annotations

import click

from edgepose.commands.shared import CONTEXT, Command, json_option, print_json


@click.group(context_settings=CONTEXT)
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
    for e in found:
        used = datetime.fromtimestamp(e.used).strftime("%Y-%m-%d %H:%M")
        state = f"sha256 {e.sha256[:12]}" if e.sha256 else "not whole"
        click.echo(f"{e.size_bytes / 1e6:>9.1f} MB  {used}  {state:<19}  {e.name}")
    total = sum(e.size_bytes for e in found)
    click.echo(f"{total / 1e6:.1f} MB of {limit / 1e6:.0f} MB in {downloads_folder()}")


@cache.command("clear", cls=Command, example="edgepose cache clear")
def cache_clear() -> None:
    """Remove every downloaded checkpoint."""
    from edgepose.fetch import clear, downloads_folder

    click.echo(f"{clear() / 1e6:.1f} MB removed from {downloads_folder()}")
