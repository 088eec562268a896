"""Generation: several texts per vector, token by token.

Contract: ``generate`` returns one greedy text and sampled texts. A sampled text has the distribution of the network at
the temperature. The texts of a vector form a tree: texts with equal tokens so far share a row of the batch, and each
distinct beginning is computed once.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lvm.arrays import IntArray
from lvm.inversion.network import END, PAD, UNK, Cache, VectorDecoder

_ROWS_ON_CPU = 64  # rows whose tokens are chosen together: with larger arrays the memory costs more time than the sums

_SMALLEST = 2.0**-30  # a uniform number above 0, so that no token of probability 0 is chosen


@torch.inference_mode()
def generate(
    network: VectorDecoder, prefix: Tensor, copies: int, temperature: float, generator: torch.Generator
) -> list[list[int]]:
    """Generate ``copies`` texts per vector. The first is greedy, the others are sampled.

    Args:
        network: the network.
        prefix: (batch, positions, width) from ``VectorDecoder.prefix``.
        copies: texts per vector.
        temperature: temperature of the sampled texts, above 0.
        generator: source of random numbers, on the CPU.

    Returns:
        Token ids of ``batch * copies`` texts, vector by vector, without the end token.
    """
    length, device = network.config.max_length, prefix.device
    written = np.full((len(prefix) * copies, length), END)
    texts = np.arange(len(written))  # the texts that go on, row by row
    rows = texts // copies  # the row of each
    cache = Cache(network.config, len(texts), prefix.shape[1] + length, prefix)
    last = network.hidden(prefix, cache)[:, -1]
    bias = network.bias.to(torch.float32, copy=True)
    bias[[PAD, UNK]] = -torch.inf
    together = _ROWS_ON_CPU if device.type == "cpu" else len(texts)
    for step in range(length):
        products = network.products(last)
        parts = []
        for at in range(0, len(products), together):
            here = slice(*np.searchsorted(rows, [at, at + together]))
            logits = products[at : at + together] + bias
            parts.append(_choose(logits, texts[here], rows[here] - at, copies, temperature, generator))
        tokens = np.concatenate(parts)
        written[texts, step] = tokens
        if step + 1 == length or not (going := tokens != END).any():
            break
        texts, rows, chosen = _arrange(texts[going], rows[going], tokens[going], cache)
        last = network.hidden(network.embed(torch.from_numpy(chosen).to(device)[:, None], step), cache)[:, 0]
    return [tokens[tokens != END].tolist() for tokens in written]


def _choose(
    logits: Tensor, texts: IntArray, rows: IntArray, copies: int, temperature: float, generator: torch.Generator
) -> IntArray:
    """The next token of every text: (n,).

    Args:
        logits: (rows, vocabulary) float32. They are overwritten.
        texts: (n,) texts, row by row. Text 0, ``copies``, ... is the greedy text of a vector: the first of its row.
        rows: (n,) the row of every text, ascending. Every row has a text.
        copies: texts per vector.
        temperature: temperature of the sampled texts.
        generator: source of random numbers.
    """
    first = np.searchsorted(rows, np.arange(len(logits)))
    greedy = texts[first] % copies == 0
    with_greedy = torch.from_numpy(greedy.nonzero()[0]).to(logits.device)
    best = logits[with_greedy].argmax(dim=-1)
    if copies == 1:
        return best.cpu().numpy()
    uniform = stratified(torch.from_numpy(np.bincount(rows) - greedy), generator)
    tokens = inverse_cdf(logits.div_(temperature), uniform.to(logits.device))
    choices = F.pad(tokens, (1, 0)).index_put((with_greedy, torch.zeros_like(with_greedy)), best).cpu().numpy()
    column = np.arange(len(rows)) - first[rows] - greedy[rows]  # -1: the greedy text
    chosen: IntArray = choices[rows, column + 1]
    return chosen


def stratified(counts: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform random numbers, one in every n-th of (0, 1] for a row of n texts.

    One of the n at random is uniform in (0, 1], so a text keeps its distribution. Together they are spread more
    evenly than independent numbers, so the texts of a vector differ more.

    Args:
        counts: (rows,) int64, numbers needed per row.
        generator: source of random numbers.

    Returns:
        (rows, largest count) float32. Numbers after a row's count are 1.
    """
    place = torch.arange(1, int(counts.max()) + 1)
    random = torch.rand(len(counts), len(place), generator=generator)
    return ((place - random) / counts.clamp_min(1)[:, None]).clamp_(_SMALLEST, 1.0)


def inverse_cdf(logits: Tensor, uniform: Tensor) -> Tensor:
    """Tokens at which the cumulative distribution reaches uniform random numbers.

    Args:
        logits: (rows, vocabulary) float32.
        uniform: (rows, n) float32 in (0, 1].

    Returns:
        (rows, n) token ids, distributed as the softmax of the logits.
    """
    cumulative = logits.softmax(dim=-1).cumsum(dim=-1)
    return torch.searchsorted(cumulative, uniform * cumulative[:, -1:]).clamp_(max=logits.shape[1] - 1)  # NaN is no end


def _arrange(texts: IntArray, rows: IntArray, tokens: IntArray, cache: Cache) -> tuple[IntArray, IntArray, IntArray]:
    """Give every continuation a row: the first of a row stays there, the others are copied to free rows.

    A row that is copied is not free, so no row is read after it was written.

    Args:
        texts: (n,) texts that go on, row by row.
        rows: (n,) their rows.
        tokens: (n,) their next tokens.
        cache: keys and values. Its rows are rearranged.

    Returns:
        The texts row by row and their rows, (n,) each, and the next token of every row.
    """
    _, first, same = np.unique(rows * (tokens.max() + 1) + tokens, return_index=True, return_inverse=True)
    firsts = np.sort(first)  # first texts of the continuations, in order
    sources = rows[firsts]
    place = sources.copy()
    stays = (np.diff(sources, prepend=-1) > 0) & (sources < len(sources))
    place[~stays] = np.setdiff1d(np.arange(len(sources)), sources[stays])
    cache.copy(sources[~stays], place[~stays])
    chosen = np.empty_like(place)
    chosen[place] = tokens[firsts]
    placed = place[np.searchsorted(firsts, first)[same]]
    order = placed.argsort(kind="stable")
    return texts[order], placed[order], chosen
