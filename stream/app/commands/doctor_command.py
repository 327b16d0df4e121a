"""The command line of `partum doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from stream.app.command import command, json_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.app.doctor import Finding


@command(
    "doctor",
    help="Examine this machine, and its configuration files. Exit code 1 if nothing can run.",
    examples=("partum doctor", "partum doctor --json"),
    reads_config=False,
)
@json_option
@click.pass_context
def doctor_command(context: click.Context, as_json: bool) -> None:
    """See the command's help text above."""
    from stream.app.doctor import configuration, examine

    program = context.find_root().command
    findings = [*examine(), *(configuration(program) if isinstance(program, click.Group) else ())]
    print_findings(findings, as_json=as_json)
    if any(finding.mend and finding.is_needed for finding in findings):
        context.exit(1)


def print_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Findings as lines for people, with the mend below each that needs one; or as JSON."""
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
        return
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        click.echo(f"{'!' if finding.mend else ' '} {finding.name:{width}}  {finding.found}")
        if finding.mend:
            click.echo(f"  {'':{width}}  -> {finding.mend}")
