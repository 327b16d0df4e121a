"""The command line of `partum sources`."""

from __future__ import annotations

import click

from stream.app.commands.doctor_command import print_findings
from stream.app.options import json_option


@click.command("sources", help="What partum attach can watch on this machine, and why not.")
@json_option
def sources_command(as_json: bool) -> None:
    """See the command's help text above."""
    from stream.app.doctor import possible_sources

    print_findings(possible_sources(), as_json=as_json)
