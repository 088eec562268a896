"""The flows under names that are the same in a checkout and in an installed wheel: entrypoints of the deployments.

``lvm.cli.flows.pipeline_flow`` is the flow ``pipeline``. A worker needs no path, only an installed package. Nothing is
imported before a name is looked up.
"""

from __future__ import annotations

from typing import Any

from lvm.cli.common import flows_module


def __getattr__(name: str) -> Any:
    if not name.endswith("_flow"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(flows_module(name.removesuffix("_flow")), name)
