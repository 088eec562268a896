"""Automations that call a webhook when a run fails, crashes, or is blocked by a gate: ``lvm notify URL``."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from pydantic import SecretStr

from .runs import BLOCKED_EVENT

BLOCK = "lvm-notifications"
"""Name of the Webhook block that holds the address."""

_RUN = {"prefect.resource.id": "prefect.flow-run.*"}

TRIGGERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "lvm-failed": (
        "A run failed. Its log says why.",
        "prefect.flow-run.Failed",
        {**_RUN, "prefect.state-message": "!Blocked by *"},  # a blocked run ends in the state Failed, too
    ),
    "lvm-crashed": ("The process of a run is gone. It can be retried.", "prefect.flow-run.Crashed", _RUN),
    "lvm-blocked": ("A gate stopped a run. The message has its evidence.", BLOCKED_EVENT, _RUN),
}
"""Automations by name: description, event, and what the resource of the event must be."""

PAYLOAD = """{
    "what": {{ automation.name | tojson }},
    "run": {{ flow_run.name | tojson }},
    "flow": {{ (flow.name or "") | tojson }},
    "message": {{ (event.payload.message or flow_run.state.message) | tojson }},
    "gate": {{ (event.payload if "gate" in event.payload else none) | tojson }}
}"""
"""What the webhook gets. ``gate`` is the payload of the event of a gate, else null."""


def notify(url: str) -> list[str]:
    """Save the address of a webhook in Prefect, and make the automations that are not there.

    An automation that somebody changed or switched off stays as it is.

    Args:
        url: what is called. It is stored in a block and not shown.

    Returns:
        Names of the automations.
    """
    hook = Webhook(method="POST", url=SecretStr(url), allow_private_urls=True)
    block = cast(UUID, hook.save(BLOCK, overwrite=True))
    with get_client(sync_client=True) as client:
        for name, (description, event, resource) in TRIGGERS.items():
            if client.read_automations_by_name(name):
                continue
            trigger = EventTrigger(expect={event}, match=resource, posture=Posture.Reactive, threshold=1)
            action = CallWebhook(block_document_id=block, payload=PAYLOAD)
            client.create_automation(
                AutomationCore(name=name, description=description, trigger=trigger, actions=[action])
            )
    return list(TRIGGERS)
