"""Alembic's entry: run the migrations on the connection that ``lvm.store`` hands over, or on the configured one."""

from alembic import context

connection = context.config.attributes.get("connection")
if connection is None:  # `alembic` on the command line
    from lvm.settings import Settings
    from lvm.store.connect import connect
    from lvm.store.server import database_url

    connection = connect(database_url(Settings())).connect()

# A transaction a migration: one that is killed does not undo earlier ones. Inside a caller's transaction, all are in it.
context.configure(connection=connection, version_table_schema="lvm", transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
