"""Alembic's entry: run the migrations on the connection that ``lvm.store`` hands over, or on the configured one."""

from alembic import context

connection = context.config.attributes.get("connection")
if connection is None:  # `alembic` on the command line
    from sqlalchemy import create_engine

    from lvm.settings import Settings
    from lvm.store.server import database_url

    connection = create_engine(database_url(Settings())).connect()

context.configure(connection=connection, version_table_schema="lvm")
with context.begin_transaction():
    context.run_migrations()
