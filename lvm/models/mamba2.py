"""Mamba-2 (Dao & Gu, 2024, "Transformers are SSMs: Generalized Models and Efficient Algorithms Through
Structured State Space Duality").

Contract: see ``lvm.models.base``. ``Mixer`` is the block of the paper: a projection to gate z, inputs x, B, C and step
sizes dt; a causal depthwise convolution over x, B, C; the selective state space

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t,    y_t = C_t h_t + D x_t

a gated RMSNorm; and an output projection. Its parameters have the names and shapes of ``transformers.Mamba2Mixer``, and
a test compares the outputs.

Three methods compute the state space. ``ssd`` is the general algorithm. An LVM needs only the last position of every
window, so it uses two faster ones: ``Mixer._last`` for single windows and ``Mixer.scan_runs`` for runs of windows.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvm.models.base import LVM, ImpossibleModel

EXPAND = 2
"""Inner width of a block, as a multiple of its width."""


def ssd(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, chunk: int) -> Tensor:
    """The selective state space by state space duality (listing 1 of the paper), without the skip term D.

    Positions of one chunk are computed like attention, chunks one after the other: time is quadratic in ``chunk`` and
    linear in ``length``. It is the reference that the fast paths (``Mixer._last``, ``Mixer.scan_runs``) are tested
    against, and it runs in all layers but the last of a model with several layers.

    Args:
        x: (batch, length, heads, width) inputs.
        dt: (batch, length, heads) positive step sizes.
        a: (heads,) negative decay rates.
        b: (batch, length, groups, state); a group serves ``heads / groups`` heads.
        c: (batch, length, groups, state).
        chunk: number of positions in a chunk.

    Returns:
        (batch, length, heads, width) outputs.
    """
    batch, length, heads, width = x.shape
    groups, size = b.shape[2:]
    chunk = min(chunk, length)
    pad = -length % chunk
    if pad:  # padding changes nothing: a step size of 0 neither decays the state nor adds to it
        x, b, c = (F.pad(t, (0, 0, 0, 0, 0, pad)) for t in (x, b, c))
        dt = F.pad(dt, (0, 0, 0, pad))
    shape = (batch, -1, chunk, groups, heads // groups)  # letters of the einsums: (n, c, l, g, r)
    x = (x * dt[..., None]).reshape(*shape, width)
    b, c = (t.reshape(batch, -1, chunk, groups, size) for t in (b, c))
    decay = (dt * a).reshape(shape).cumsum(dim=2)  # log of the decay from the start of the chunk to position l

    lower = torch.ones(chunk, chunk, dtype=torch.bool, device=x.device).tril()[:, :, None, None]
    # The mask comes before exp: above the diagonal exp would overflow, and infinity times 0 is NaN.
    between = (decay[:, :, :, None] - decay[:, :, None]).masked_fill(~lower, -torch.inf).exp()
    scores = torch.einsum("nclgs,ncmgs->nclmg", c, b)
    y = torch.einsum("nclmgr,ncmgrp->nclgrp", scores[..., None] * between, x)

    if x.shape[1] > 1:
        left = (decay[:, :, -1:] - decay).exp()
        gained = torch.einsum("nclgs,nclgr,nclgrp->ncgrps", b, left, x)
        kept = decay[:, :, -1].exp()
        state = torch.zeros_like(gained[:, 0])
        before = []
        for i in range(x.shape[1]):
            before.append(state)
            state = kept[:, i, ..., None, None] * state + gained[:, i]
        y = y + torch.einsum("nclgs,nclgr,ncgrps->nclgrp", c, decay.exp(), torch.stack(before, dim=1))
    return y.reshape(batch, -1, heads, width)[:, :length]


class GatedRMSNorm(nn.Module):
    """RMSNorm of ``y * silu(gate)``, separately for every group."""

    def __init__(self, width: int, groups: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.groups, self.eps = groups, eps

    def forward(self, y: Tensor, gate: Tensor) -> Tensor:
        y = (y * F.silu(gate)).float()
        y = y.reshape(*y.shape[:-1], self.groups, -1)
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * y.flatten(-2)


class Mixer(nn.Module):
    """A Mamba-2 block, (batch, length, hidden) -> (batch, length, hidden).

    Args:
        hidden: width of inputs and outputs.
        state: size of the state per head (N in the paper).
        head_width: width of a head (P in the paper).
        expand: inner width, as a multiple of ``hidden``.
        groups: number of groups of heads that share B and C.
        kernel: width of the convolution.
        chunk: positions in a chunk of ``ssd``.
        eps: added to the variance in the norm.
    """

    def __init__(
        self,
        hidden: int,
        *,
        state: int = 64,
        head_width: int = 64,
        expand: int = EXPAND,
        groups: int = 1,
        kernel: int = 4,
        chunk: int = 64,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.inner, self.state, self.groups, self.chunk = expand * hidden, state, groups, chunk
        self.heads = self.inner // head_width
        self.mixed = self.inner + 2 * groups * state
        self.in_proj = nn.Linear(hidden, self.inner + self.mixed + self.heads, bias=False)
        self.conv1d = nn.Conv1d(self.mixed, self.mixed, kernel, groups=self.mixed)
        step = torch.exp(torch.rand(self.heads) * (math.log(0.1) - math.log(0.001)) + math.log(0.001))
        self.dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # inverse of softplus
        self.A_log = nn.Parameter(torch.arange(1, self.heads + 1, dtype=torch.float32).log())
        self.D = nn.Parameter(torch.ones(self.heads))
        self.norm = GatedRMSNorm(self.inner, groups, eps)
        self.out_proj = nn.Linear(self.inner, hidden, bias=False)

    def project(self, h: Tensor) -> Tensor:
        """Project single vectors: (..., hidden) -> (..., z | x, B, C | dt)."""
        projected: Tensor = self.in_proj(h)
        return projected

    def scan(self, projected: Tensor, last_only: bool = False) -> Tensor:
        """Everything after the projection.

        Args:
            projected: (batch, length, ...) from ``project``.
            last_only: compute the last position only.

        Returns:
            (batch, length, hidden), or (batch, 1, hidden) for the last position.
        """
        z, xbc, dt = torch.split(projected, [self.inner, self.mixed, self.heads], dim=-1)
        xbc = F.silu(self._convolve(xbc))
        x, b, c = torch.split(xbc, [self.inner, self.groups * self.state, self.groups * self.state], dim=-1)
        x = x.reshape(*x.shape[:2], self.heads, -1)
        b, c = (t.reshape(*t.shape[:2], self.groups, -1) for t in (b, c))
        dt = F.softplus((dt + self.dt_bias).float())
        a = -self.A_log.float().exp()
        if last_only:
            y = self._last(x, dt, a, b, c[:, -1])
            x, z = x[:, -1:], z[:, -1:]
        else:
            y = ssd(x, dt, a, b, c, self.chunk)
        y = (y + self.D[:, None] * x).flatten(-2)
        out: Tensor = self.out_proj(self.norm(y, z).to(projected.dtype))
        return out

    def forward(self, h: Tensor) -> Tensor:
        return self.scan(self.project(h))

    def scan_runs(self, projected: Tensor, context: int) -> Tensor:
        """``scan(window, last_only=True)`` of all windows of all runs, without building the windows.

        The convolution reads zeros before the first vector of a window. So its value at a vector depends on the number
        of predecessors inside the window: 0, 1, ..., ``kernel - 1`` or more. These are ``kernel`` values for every
        vector, computed once and shared by all windows.

        Args:
            projected: (runs, length, ...) from ``project``.
            context: number of vectors in a window.

        Returns:
            (runs, windows, hidden).
        """
        windows = projected.shape[1] - context + 1
        z, xbc, dt = torch.split(projected, [self.inner, self.mixed, self.heads], dim=-1)
        taps, bias = self.conv1d.weight[:, 0].T, self.conv1d.bias
        value = taps[-1] * xbc if bias is None else torch.addcmul(bias, taps[-1], xbc)
        convolved = [F.silu(value)]  # by number of predecessors
        for k in range(1, min(len(taps), context)):
            # row i of ``value`` is vector i + k from here on: the first k vectors of a run have fewer predecessors
            value = torch.addcmul(value[:, 1:], taps[-1 - k], xbc[:, : xbc.shape[1] - k])
            convolved.append(F.silu(value))
        steps = F.softplus((dt + self.dt_bias).float())
        decay = (steps * -self.A_log.float().exp()).cumsum(dim=1)

        def at(p: int) -> Tensor:
            """(runs, windows, mixed): position p of every window, after the convolution."""
            k = min(p, len(convolved) - 1)
            return convolved[k][:, p - k : p - k + windows]

        sizes = [self.inner, self.groups * self.state, self.groups * self.state]
        per_group = (len(projected), windows, self.groups, self.state)
        x, _, c = torch.split(at(context - 1), sizes, dim=-1)
        c = c.reshape(per_group)
        y = self.D[:, None] * x.reshape(len(x), windows, self.heads, -1)
        for p in range(context):
            x, b, _ = torch.split(at(p), sizes, dim=-1)
            here = slice(p, p + windows)
            score = (c * b.reshape(per_group)).sum(-1).repeat_interleave(self.heads // self.groups, dim=-1)
            score = score * steps[:, here] * (decay[:, context - 1 :] - decay[:, here]).exp()
            y = torch.addcmul(y, score[..., None], x.reshape(y.shape))
        out: Tensor = self.out_proj(self.norm(y.flatten(-2), z[:, context - 1 :]).to(projected.dtype))
        return out

    def _convolve(self, xbc: Tensor) -> Tensor:
        """Causal depthwise convolution. Shifted products are much faster than conv1d on short windows."""
        length = xbc.shape[1]
        taps = self.conv1d.weight[:, 0].T  # (kernel, mixed); the last row weights the current position
        if length > 16 * len(taps):
            padded = F.pad(xbc.transpose(1, 2), (len(taps) - 1, 0))
            convolved: Tensor = self.conv1d(padded)
            return convolved.transpose(1, 2)
        padded = F.pad(xbc, (0, 0, len(taps) - 1, 0))
        out = taps[0] * padded[:, :length]
        if self.conv1d.bias is not None:
            out = out + self.conv1d.bias
        for i in range(1, len(taps)):
            out = torch.addcmul(out, padded[:, i : i + length], taps[i])
        return out

    def _last(self, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """The last row of ``ssd``: y = sum over s of (C . B_s) exp(sum of dt A after s) dt_s x_s."""
        steps = dt * a
        left = (steps.sum(dim=1, keepdim=True) - steps.cumsum(dim=1)).exp() * dt
        scores = torch.einsum("ngs,nlgs->nlg", c, b).repeat_interleave(self.heads // self.groups, dim=-1)
        return torch.einsum("nlr,nlrp->nrp", scores * left, x)[:, None]


class RMSNorm(nn.Module):
    """Root mean square norm (Zhang & Sennrich, 2019, "Root Mean Square Layer Normalization")."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, h: Tensor) -> Tensor:
        return self.weight * (h * torch.rsqrt(h.float().pow(2).mean(-1, keepdim=True) + self.eps))


class Mamba2(LVM):
    """A linear input layer and ``layers`` residual Mamba-2 blocks of width ``hidden``.

    Args:
        dim: dimension of the space.
        context: number of vectors in a window.
        hidden: width of the blocks.
        layers: number of blocks.
        state: size of the state per head.
        head_width: width of a head.
        dropout: dropout rate on the last state.
    """

    name = "mamba2"

    def __init__(
        self,
        dim: int,
        context: int,
        hidden: int = 128,
        layers: int = 1,
        state: int = 64,
        head_width: int = 64,
        dropout: float = 0.3,
    ) -> None:
        if EXPAND * hidden % head_width:
            raise ImpossibleModel(
                f"{EXPAND} x hidden {hidden} is no multiple of head_width {head_width}; change one of them"
            )
        super().__init__(dim, context, hidden, dropout)
        self.hidden = hidden
        self.input = nn.Linear(dim, hidden)
        self.norms = nn.ModuleList(RMSNorm(hidden) for _ in range(layers))
        self.mixers = nn.ModuleList(Mixer(hidden, state=state, head_width=head_width) for _ in range(layers))
        self.norm = RMSNorm(hidden)
        self.scale = dim**0.5

    def embed(self, x: Tensor) -> Tensor:
        h = self.input(x * self.scale)  # scales the entries of a unit vector to about 1
        return torch.cat([h, self._mixer(0).project(self.norms[0](h))], dim=-1)

    def mix(self, e: Tensor) -> Tensor:
        h, projected = e[..., : self.hidden], e[..., self.hidden :]
        last = len(self.mixers) - 1
        for i in range(len(self.mixers)):
            mixer = self._mixer(i)
            if i:
                projected = mixer.project(self.norms[i](h))
            mixed = mixer.scan(projected, last_only=i == last)
            h = (h[:, -1:] if i == last else h) + mixed
        out: Tensor = self.norm(h[:, -1])
        return out

    def mix_runs(self, e: Tensor) -> Tensor:
        """With one layer, ``Mixer.scan_runs`` computes all windows of a run together."""
        if len(self.mixers) > 1:
            return super().mix_runs(e)
        h, projected = e[:, self.context - 1 :, : self.hidden], e[..., self.hidden :]
        out: Tensor = self.norm(h + self._mixer(0).scan_runs(projected, self.context))
        return out.flatten(0, 1)

    def _mixer(self, i: int) -> Mixer:
        mixer = self.mixers[i]
        assert isinstance(mixer, Mixer)
        return mixer
