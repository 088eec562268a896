"""``lvm db``: the database."""

from __future__ import annotations

import os
import subprocess
from typing import Annotated

import typer

from lvm.cli.common import SpaceName, err, opened, out
from lvm.errors import UsageError, visible
from lvm.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(no_args_is_help=True, help="The database.")
    for command in (start, stop, url, migrate, index):
        group.command()(command)
    group.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(psql)
    app.add_typer(group, name="db")


def start() -> None:
    """Start the embedded server and leave it running."""
    from lvm.store import server

    settings = Settings()
    if settings.database_url is not None:
        raise UsageError("LVM_DATABASE_URL is set, so the embedded server is not used; start your own server instead")
    server.start(settings, keep=True)
    out.print(f"running in {server.folder(settings)}")


def stop() -> None:
    """Stop the embedded server."""
    from lvm.store import server

    out.print("stopped" if server.stop(Settings()) else "it was not running")


def url(
    with_password: Annotated[
        bool, typer.Option("--with-password", help="print the password too; whoever sees the screen sees it")
    ] = False,
) -> None:
    """Print the database's URL as psql, psycopg and other clients of libpq take it."""
    from lvm.store import server, urls

    settings = Settings()
    stops = settings.database_url is None and not server.running(settings)
    found = server.database_url(settings)
    typer.echo(visible(urls.for_libpq(found if with_password else server.without_secrets(found))))
    if stops:
        err.print("the embedded server runs while a command uses it; `lvm db start` leaves it running")


def migrate() -> None:
    """Bring the database to the newest schema."""
    from lvm.store import open_store

    with open_store(Settings()) as store:
        out.print(f"database {store.database_name!r} is at the newest schema")


def index(space: SpaceName = None) -> None:
    """Build the search index of a space, if it has at least 50,000 chunks and no index."""
    with opened(space) as work:
        from lvm.pipeline.ingest import build_index

        built = build_index(work)
        out.print("built" if built else "it has an index, or too few chunks for one; nothing was done")


def psql(context: typer.Context) -> None:
    """Open psql on the database; further arguments are psql's."""
    from lvm.store import open_store, server, urls

    settings = Settings()
    with open_store(settings) as store:
        url = server.database_url(settings)
        path = store.search_path().replace("\\", r"\\").replace(" ", r"\ ")
        environment = {**os.environ, "PGOPTIONS": f"-csearch_path={path}"}
        if password := server.password(url):  # every user of the machine can read arguments
            environment["PGPASSWORD"] = password
        target = urls.for_libpq(server.without_secrets(url))
        done = subprocess.run([server.psql(), target, *context.args], env=environment, check=False)
    raise typer.Exit(done.returncode)
