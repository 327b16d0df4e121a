"""The command line of `partum sources`."""

from __future__ import annotations

from stream.app.command import command, json_option
from stream.app.commands.doctor_command import print_findings


@command(
    "sources",
    help="List the live sources that partum attach can read here, and why not others.",
    examples=("partum sources",),
)
@json_option
def sources_command(as_json: bool) -> None:
    """See the command's help text above."""
    from stream.app.doctor import possible_sources

    print_findings(possible_sources(), as_json=as_json)
