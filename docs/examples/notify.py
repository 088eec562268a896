"""Make the automation that calls a webhook when a gate blocks a run: python docs/examples/notify.py URL"""

from __future__ import annotations

import sys
from typing import cast
from uuid import UUID

from prefect.automations import Automation
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import EventTrigger, Posture

NAME = "gate-blocked"
PAYLOAD = """{
    "run": {{ flow_run.name | tojson }},
    "flow": {{ flow.name | tojson }},
    "gate": {{ event.payload.gate | tojson }},
    "space": {{ event.payload.space | tojson }},
    "criterion": {{ event.payload.criterion | tojson }},
    "value": {{ event.payload.value | tojson }},
    "threshold": {{ event.payload.threshold | tojson }},
    "message": {{ event.payload.message | tojson }}
}"""


def main(url: str) -> None:
    block = Webhook(method="POST", url=url, allow_private_urls=True).save(NAME, overwrite=True)
    with get_client(sync_client=True) as client:
        for known in client.read_automations_by_name(NAME):
            client.delete_automation(known.id)
    made = Automation(
        name=NAME,
        description="A gate stopped a run: what was measured is behind the link in its message.",
        trigger=EventTrigger(
            expect={"lvm.gate.blocked"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[
            CallWebhook(
                block_document_id=cast(UUID, block),
                payload=PAYLOAD,
            )
        ],
    ).create()
    print(f"automation {made.name} ({made.id}) calls {url}")


if __name__ == "__main__":
    main(sys.argv[1])
