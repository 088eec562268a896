"""``lvm db``: the database."""

from __future__ import annotations

import os
import subprocess

import typer

from lvm.cli.common import SpaceName, opened, out
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


def url() -> None:
    """Print the database's URL, without its password."""
    from lvm.store import server

    found = server.without_secrets(server.database_url(Settings()))
    typer.echo(visible(found.set(drivername="postgresql").render_as_string()))


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
    from lvm.store import open_store, server

    settings = Settings()
    with open_store(settings):
        url = server.database_url(settings).set(drivername="postgresql")
        environment = {**os.environ, "PGOPTIONS": "-csearch_path=lvm,public"}
        if password := server.password(url):  # every user of the machine can read arguments
            environment["PGPASSWORD"] = password
        target = server.without_secrets(url).render_as_string()
        done = subprocess.run([server.psql(), target, *context.args], env=environment, check=False)
    raise typer.Exit(done.returncode)
