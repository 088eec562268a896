"""The stages as plain functions over a ``Workspace``: what flows, command line and Python users call."""
