"""The command line of `partum doctor` and `partum sources`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.doctor import Finding

json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.command("doctor", help="Examine this machine. Exit code 1 if nothing can run.")
@json_option
@click.pass_context
def doctor_command(context: click.Context, as_json: bool) -> None:
    """See the command's help text above."""
    from stream.doctor import examine

    findings = examine()
    _say(findings, as_json=as_json)
    if any(finding.mend and finding.is_needed for finding in findings):
        context.exit(1)


@click.command("sources", help="What partum attach can watch on this machine, and why not.")
@json_option
def sources_command(as_json: bool) -> None:
    """See the command's help text above."""
    from stream.doctor import possible_sources

    _say(possible_sources(), as_json=as_json)


def _say(findings: Sequence[Finding], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
        return
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        click.echo(f"{'!' if finding.mend else ' '} {finding.name:{width}}  {finding.found}")
        if finding.mend:
            click.echo(f"  {'':{width}}  -> {finding.mend}")
