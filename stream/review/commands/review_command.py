"""The command line of `partum review`."""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import click

from stream.app.command import command
from stream.app.options.declare import Option
from stream.app.options.values import FilePath, Folder, ModelName, PathOrAddress, Text

DEFAULT_ADDRESS = "127.0.0.1:8401"


@command(
    "review",
    help="Show RUN, the folder of a finished run, in a browser: look at it, mark it, confirm and correct frames.",
    examples=(
        "partum review results",
        "partum review results --serve 0.0.0.0:8401 --tls-cert ward.pem --tls-key ward.key",
    ),
)
@click.argument("run", type=Folder(path_type=Path))
@click.option(
    "--serve", cls=Option, section="Web", type=Text(), default=DEFAULT_ADDRESS, show_default=True, metavar="HOST:PORT",
    help="Address of the page.",
)  # fmt: skip
@click.option(
    "--token", cls=Option, section="Web", type=Text(), is_secret=True, show_default="generated and printed",
    help="Access token for viewers on other machines.",
)  # fmt: skip
@click.option(
    "--allow-host", "allow_hosts", cls=Option, section="Web", type=Text(), metavar="NAME", multiple=True,
    help="Name by which viewers may call the page, beside its address; may be repeated.",
)  # fmt: skip
@click.option(
    "--tls-cert", cls=Option, section="Web", type=FilePath(path_type=Path),
    help="Certificate (PEM): serve the page by HTTPS.",
)  # fmt: skip
@click.option(
    "--tls-key", cls=Option, section="Web", type=FilePath(path_type=Path),
    help="Its key (PEM), where that is another file.",
)  # fmt: skip
@click.option("--source", type=PathOrAddress(), help="Where the pictures of RUN are now, if its source was moved.")
@click.option("--model", type=ModelName(), help="The run's own model, where that is no longer the default one.")
@click.option("--unfinished", is_flag=True, help="Take a run that never ended as far as it came.")
def review_command(
    run: Path,
    serve: str,
    token: str | None,
    allow_hosts: tuple[str, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    source: str | None,
    model: str | None,
    unfinished: bool,
) -> None:
    """See the command's help text above."""
    from stream.outputs.web.settings import WebSettings, parse_address
    from stream.review.session import open_review

    host, port = parse_address(serve)
    settings = WebSettings.checked(host, port, token=token, allow_hosts=allow_hosts, tls_cert=tls_cert, tls_key=tls_key)
    with ExitStack() as stack:
        listening = stack.enter_context(settings.listen())
        server = stack.enter_context(
            open_review(run, settings=settings, listening=listening, source=source, model=model, unfinished=unfinished)
        )
        click.echo(f"web page: {server.address}  (Ctrl-C ends it)", err=True)
        with suppress(KeyboardInterrupt):  # the way to end it
            threading.Event().wait()
