"""The command line of `partum engines`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from stream.app.command import command, json_option


@command(
    "engines",
    help="What can run a model on this machine, and why the rest cannot; built engines.",
    examples=("partum engines", "partum engines --json"),
)
@json_option
def engines_command(as_json: bool) -> None:
    """See the command's help text above."""
    from engines.inventory import list_backends
    from engines.tensorrt.cache import EngineCache, rejection_reason

    cache = EngineCache()
    back_ends, built = list_backends(), cache.entries()
    if as_json:
        facts = {
            "backends": [asdict(entry) for entry in back_ends],
            "cache": str(cache.folder),
            "engines": [{"path": str(path), "refusal": rejection_reason(of_one), **of_one} for path, of_one in built],
        }
        click.echo(json.dumps(facts, indent=2))
        return
    for entry in back_ends:
        state = f"no: {entry.reason}" if entry.reason else f"yes, on {'; '.join(entry.devices)}"
        click.echo(f"{entry.backend:22}{entry.version or '-':24}{state}")
    click.echo(f"built engines in {cache.folder}: {len(built) or 'none'}")
    for path, of_one in built:
        click.echo(f"  {path.name}: {rejection_reason(of_one) or 'accepted'}")
