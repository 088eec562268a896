"""The stages as Prefect flows: what happens in which order; how is in ``lvm``."""
