"""What every training shares: the schedule, the failure policy, and a state that is restored whole or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lvm import fitting
from lvm.files import CorruptedFile


def network() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.LayerNorm(3))
    return model, torch.optim.AdamW(model.parameters(), lr=0.1)


def trained(steps: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model, optimizer = network()
    for step in range(steps):
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        fitting.step(optimizer, (model(x) ** 2).sum(), model.parameters(), clip=1.0)
    return model, optimizer


@given(rise=st.floats(0, 3), fall=st.floats(-1, 3), floor=st.floats(0, 1))
def test_the_rate_rises_then_falls_to_its_floor(rise: float, fall: float, floor: float) -> None:
    rate = fitting.rate(rise, fall, floor)
    if rise < 1:
        assert rate == rise
    else:
        assert floor - 1e-9 <= rate <= 1 + 1e-9
        assert fall > 0 or rate == pytest.approx(1)
        assert fall < 1 or rate == pytest.approx(floor)


def test_a_group_may_learn_faster() -> None:
    model, _ = network()
    groups = [{"params": model[0].parameters(), "scale": 2.0}, {"params": model[1].parameters()}]
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    fitting.set_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.25]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named(loss: float) -> None:
    with pytest.raises(fitting.Diverged, match="lower learning rate"):
        fitting.require_finite(loss, "epoch 3")


def test_a_restored_state_goes_on_to_equal_weights(tmp_path: Path) -> None:
    model, optimizer = trained(3)
    path = tmp_path / "state.safetensors"
    fitting.write(path, fitting.state_of(model, optimizer), {"step": "3"}, "test-1")
    tensors, metadata = fitting.read(path, "test-1")
    assert metadata["step"] == "3"
    again, slots = network()
    fitting.restore(tensors, again, slots, path)
    for continued, state in ((model, optimizer), (again, slots)):
        x = torch.ones(8, 4)
        fitting.step(state, (continued(x) ** 2).sum(), continued.parameters(), clip=1.0)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    with pytest.raises(CorruptedFile, match="checkpoint"):
        fitting.read(path, "test-2")


@pytest.mark.parametrize("harm", ["missing weight", "missing slot", "shape", "more"])
def test_a_state_of_another_network_is_refused(harm: str, tmp_path: Path) -> None:
    tensors = fitting.state_of(*trained(1))
    name = {"missing weight": "model.0.bias", "missing slot": "optimizer.0.exp_avg"}.get(harm)
    if name:
        del tensors[name]
    elif harm == "shape":
        tensors["model.0.bias"] = torch.zeros(7)
    else:
        tensors["model.9.bias"] = torch.zeros(3)
    with pytest.raises(CorruptedFile, match="train again"):
        fitting.restore(tensors, *network(), tmp_path / "state")
