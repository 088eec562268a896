"""A few of the crashes of ``crashes.py``, and two pipelines at once; all of them: ``python -m tests.flows.crashes``."""

from __future__ import annotations

import pytest

from tests.flows.conftest import Peace
from tests.flows.crashes import Process, crash, differences, outcome, world


@pytest.mark.parametrize(
    ("harm", "stage", "share"),
    [("kill", "validate", 0.9), ("restart", "train", 0.5), ("disk", "evaluate", 0.1)],
)
def test_harmed_and_retried_it_ends_as_if_nothing_had_happened(
    peace: Peace, harm: str, stage: str, share: float
) -> None:
    with world(peace.home, f"crash_{harm}", peace.corpus) as made:
        crash(made, stage, harm, share * peace.seconds[stage])
        assert differences(peace.expected, outcome(made)) == []


def test_two_at_once_do_not_harm_each_other(peace: Peace) -> None:
    with world(peace.home, "two", peace.corpus) as made:
        both = [Process(made), Process(made)]
        codes = [each.end() for each in both]
        for each in both:
            if not each.finished:
                assert any(name in " ".join(each.errors) for name in ("Busy", "GateMissing", "CannotWrite")), (
                    each.errors
                )
        assert 0 in codes
        for each in both:
            again = each if each.finished else Process(made, each.flow_run)
            assert again.end() == 0, again.errors
        found = outcome(made)
        found["gates"] = sorted(set(map(str, found["gates"])))  # each run judges its own predictions, alike
        assert differences({**peace.expected, "gates": sorted(map(str, peace.expected["gates"]))}, found) == []
