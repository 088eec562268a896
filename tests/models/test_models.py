"""What every architecture promises, and what each promises by its name."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lvm.gates import MAX_NORM_ERROR
from lvm.models import MODELS, UnknownModel, build, hyperparameters
from lvm.models.mamba2 import Mixer, ssd

SMALL = {"lstm": {"hidden": 24}, "gru": {"hidden": 24}, "mamba2": {"hidden": 16, "head_width": 8, "state": 4},
         "transformer": {"hidden": 24, "heads": 2}}  # fmt: skip

DEPTHS = [(name, {}) for name in MODELS] + [
    (name, {"layers": 2}) for name in MODELS if "layers" in hyperparameters(name)
]
"""Every architecture, and those that may have more layers with two."""


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return nn.functional.normalize(torch.randn(*shape, generator=generator), dim=-1)


def small(name: str, context: int = 5, **hyper: int) -> nn.Module:
    torch.manual_seed(0)
    return build(name, 12, context, **SMALL[name], **hyper).eval()


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=15, deadline=None)
@given(batch=st.integers(1, 9), context=st.integers(1, 7), scale=st.sampled_from([1e-3, 1.0, 50.0]))
def test_outputs_are_unit_vectors(name: str, batch: int, context: int, scale: float) -> None:
    model = small(name, context)
    with torch.no_grad():
        prediction = model(scale * unit(batch, context, 12))
    for output in prediction:
        assert output.shape == (batch, 12)
        assert (output.norm(dim=-1) - 1).abs().max() <= MAX_NORM_ERROR


@pytest.mark.parametrize(("name", "hyper"), DEPTHS)
@pytest.mark.parametrize("context", [1, 5])
def test_runs_give_what_windows_give(name: str, hyper: dict[str, int], context: int) -> None:
    """Shared work changes the speed, not the result, nor the gradient."""
    model = small(name, context, **hyper)
    run = unit(3, context + 6, 12)
    windows = run.unfold(1, context, 1).transpose(2, 3).reshape(-1, context, 12)
    results = []
    for prediction in (model(windows), model.forward_runs(run)):
        model.zero_grad()
        (prediction.vector[:, 0].sum() + prediction.query[:, 1].sum()).backward()
        results.append((*prediction, *(p.grad.clone() for p in model.parameters() if p.grad is not None)))
    assert len(results[0]) == len(results[1]) > 4
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "hyper"), DEPTHS)
def test_bfloat16_changes_precision_only(name: str, hyper: dict[str, int]) -> None:
    """Training runs in it where the hardware multiplies it; here it is emulated if need be."""
    model = small(name, **hyper)
    run = unit(3, 9, 12)
    for form, x in ((model, run[:, :5]), (model.forward_runs, run)):
        exact = form(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = form(x)
        model.zero_grad()
        (rough.vector[:, 0].sum() + rough.query[:, 1].sum()).backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
        for one, other in zip(exact, rough, strict=True):
            assert (one * other).sum(-1).min() > 0.999
            assert other.dtype == torch.float32
            assert (other.norm(dim=-1) - 1).abs().max() <= MAX_NORM_ERROR


@pytest.mark.parametrize("name", MODELS)
def test_an_untrained_model_is_near_the_recency_mean(name: str) -> None:
    model = build(name, 384, 5).eval()
    x = unit(16, 5, 384)
    weights = torch.tensor([0.6**4, 0.6**3, 0.6**2, 0.6, 1.0])
    expected = nn.functional.normalize(torch.einsum("t,btd->bd", weights, x), dim=-1)
    with torch.no_grad():
        assert (model(x).query * expected).sum(-1).min() > 0.9


@pytest.mark.parametrize("name", MODELS)
def test_order_matters(name: str) -> None:
    torch.manual_seed(0)
    model = small(name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        model.recency.fill_(0.0)  # what is left is the trunk's
        x = unit(4, 5, 12)
        assert not torch.allclose(model(x).vector, model(x.flip(1)).vector, atol=1e-4)


def test_lstm_is_torchs_lstm() -> None:
    model = small("lstm")
    peer = nn.LSTM(12, 24, batch_first=True)
    with torch.no_grad():
        peer.weight_ih_l0.copy_(model.input.weight)
        peer.bias_ih_l0.copy_(model.input.bias)
        peer.weight_hh_l0.copy_(model.recurrent.weight)
        peer.bias_hh_l0.zero_()
        x = unit(7, 5, 12)
        expected = peer(x * model.scale)[0][:, -1]
        torch.testing.assert_close(model.mix(model.embed(x)), expected, atol=1e-5, rtol=1e-4)


def test_gru_is_torchs_gru() -> None:
    model = small("gru")
    peer = nn.GRU(12, 24, batch_first=True)
    with torch.no_grad():
        peer.weight_ih_l0.copy_(model.input.weight)
        peer.bias_ih_l0.copy_(model.input.bias)
        peer.weight_hh_l0.copy_(model.recurrent.weight)
        peer.bias_hh_l0.copy_(model.recurrent.bias.normal_())
        x = unit(7, 5, 12)
        expected = peer(x * model.scale)[0][:, -1]
        torch.testing.assert_close(model.mix(model.embed(x)), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("length", [1, 3, 5, 8, 16, 17, 100])
def test_mamba2_is_transformers_mamba2(length: int, groups: int) -> None:
    """Same weights, same outputs, below, at and beyond the length of a chunk."""
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    torch.manual_seed(length)
    config = Mamba2Config(
        hidden_size=32, num_heads=8, head_dim=8, state_size=16, expand=2, n_groups=groups, conv_kernel=4,
        chunk_size=8, num_hidden_layers=1,
    )  # fmt: skip
    theirs = Mamba2Mixer(config, layer_idx=0).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    ours = Mixer(32, state=16, head_width=8, groups=groups, chunk=8)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, length, 32)
    with torch.no_grad():
        expected = theirs(x)
        torch.testing.assert_close(ours(x), expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(ours.scan(ours.project(x), last_only=True), expected[:, -1:], atol=1e-4, rtol=0)


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 40), chunk=st.integers(1, 16), seed=st.integers(0, 99))
def test_duality(length: int, chunk: int, seed: int) -> None:
    """The chunked form is the recurrence, whatever the chunk."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, dt = noise(2, length, 4, 3), noise(2, length, 4).exp()
    a, b, c = -noise(4).exp(), noise(2, length, 2, 5), noise(2, length, 2, 5)
    state, expected = torch.zeros(2, 4, 3, 5, dtype=torch.float64), []
    for t in range(length):
        b_t, c_t = (v[:, t].repeat_interleave(2, dim=1)[:, :, None] for v in (b, c))
        state = (dt[:, t] * a).exp()[..., None, None] * state + (dt[:, t, :, None] * x[:, t])[..., None] * b_t
        expected.append((state * c_t).sum(-1))
    torch.testing.assert_close(ssd(x, dt, a, b, c, chunk), torch.stack(expected, dim=1))


def test_mamba2_and_transformer_are_about_the_same_size() -> None:
    sizes = [sum(p.numel() for p in build(name, 384, 5).parameters()) for name in ("mamba2", "transformer")]
    assert max(sizes) / min(sizes) < 1.35


def test_unknown_names_are_usage_errors() -> None:
    with pytest.raises(UnknownModel, match="lstm, gru, mamba2, transformer") as caught:
        build("rwkv", 12, 5)
    assert caught.value.exit_code == 2
    with pytest.raises(UnknownModel, match="no layers"):
        build("gru", 12, 5, layers=3)
