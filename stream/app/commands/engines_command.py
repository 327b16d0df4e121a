"""The command line of `partum engines`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from stream.app.command import command, json_option


@command(
    "engines",
    help="What can run a model on this machine, and why the rest cannot; what auto takes of it; built engines.",
    examples=("partum engines", "partum engines --measure", "partum engines --json"),
)
@click.option(
    "--measure", is_flag=True, help="Measure now which engine of this CPU is fastest of those that are right."
)
@json_option
def engines_command(measure: bool, as_json: bool) -> None:
    """See the command's help text above."""
    from engines.inventory import list_backends
    from engines.registry import default_choices
    from engines.tensorrt.cache import EngineCache, damage_of, rejection_reason
    from stream.inference.engine_trial import EngineTrial

    cache = EngineCache()
    choices = default_choices(EngineTrial(), is_anew=measure)
    back_ends, built = list_backends(), cache.entries()
    refusals = [damage_of(path, of_one) or rejection_reason(of_one) for path, of_one in built]
    if as_json:
        facts = {
            "backends": [asdict(entry) for entry in back_ends],
            "cache": str(cache.folder),
            "measured": {use: choice and [asdict(tried) for tried in choice.tried] for use, choice in choices.items()},
            "engines": [
                {"path": str(path), "refusal": refusal, **of_one}
                for (path, of_one), refusal in zip(built, refusals, strict=True)
            ],
        }
        click.echo(json.dumps(facts, indent=2))
        return
    for entry in back_ends:
        state = f"no: {entry.reason}" if entry.reason else f"yes, on {'; '.join(entry.devices)}"
        click.echo(f"{entry.backend:22}{entry.version or '-':24}{state}")
    for use, choice in choices.items():
        click.echo(f"taken on this CPU for {use}:{'' if choice else ' measured at the first start, or with --measure'}")
        for number, tried in enumerate(choice.tried if choice else (), 1):
            click.echo(f"  {'x' if tried.refusal else number} {tried.line}")
        if choice and choice.trouble:
            click.echo(f"  {choice.trouble}")
    click.echo(f"built engines in {cache.folder}: {len(built) or 'none'}")
    for (path, _), refusal in zip(built, refusals, strict=True):
        click.echo(f"  {path.name}: {refusal or 'accepted'}")
