"""Generation: several texts per vector, token by token.

Contract: ``generate`` returns one greedy text and sampled texts. A sampled text has the distribution of the network at
the temperature. The texts of a vector form a tree: texts with equal tokens so far share a row of the batch, and each
distinct beginning is computed once.
"""

from __future__ import annotations

import torch
from torch import Tensor

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
    texts: list[list[int]] = [[] for _ in range(len(prefix) * copies)]
    rows = [list(range(first, first + copies)) for first in range(0, len(texts), copies)]  # the texts of every row
    cache = Cache(network.config, len(texts), prefix.shape[1] + length, prefix)
    last = network.hidden(prefix, cache)[:, -1]
    bias = network.bias.to(torch.float32, copy=True)
    bias[[PAD, UNK]] = -torch.inf
    together = _ROWS_ON_CPU if device.type == "cpu" else len(texts)
    for step in range(length):
        products = network.products(last)
        tokens: list[list[int]] = []
        for at in range(0, len(rows), together):
            part = slice(at, at + together)
            tokens += _choose(products[part] + bias, rows[part], copies, temperature, generator)
        continued: dict[tuple[int, int], list[int]] = {}
        for row, members in enumerate(rows):
            for text, token in zip(members, tokens[row], strict=False):
                if token != END:
                    texts[text].append(token)
                    continued.setdefault((row, token), []).append(text)
        if not continued or step + 1 == length:
            break
        rows, chosen = _arrange(continued, cache)
        last = network.hidden(network.embed(torch.tensor(chosen, device=device)[:, None], step), cache)[:, 0]
    return texts


def _choose(
    logits: Tensor, rows: list[list[int]], copies: int, temperature: float, generator: torch.Generator
) -> list[list[int]]:
    """The next token of every text of every row, after it tokens that do not count.

    Args:
        logits: (rows, vocabulary) float32. They are overwritten.
        rows: the texts of every row, in order. Text 0, ``copies``, ... is the greedy text of a vector.
        copies: texts per vector.
        temperature: temperature of the sampled texts.
        generator: source of random numbers.
    """
    with_greedy = [row for row, members in enumerate(rows) if members[0] % copies == 0]
    best = logits[with_greedy].argmax(dim=-1).tolist()
    if copies == 1:
        return [[token] for token in best]
    greedy = torch.zeros(len(rows), dtype=torch.int64)
    greedy[with_greedy] = 1
    sampled = torch.tensor([len(members) for members in rows]) - greedy
    uniform = stratified(sampled, generator)
    tokens = inverse_cdf(logits.div_(temperature), uniform.to(logits.device)).tolist()
    for row, token in zip(with_greedy, best, strict=True):
        tokens[row].insert(0, token)
    return tokens


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


def _arrange(continued: dict[tuple[int, int], list[int]], cache: Cache) -> tuple[list[list[int]], list[int]]:
    """Give every continuation a row: the first of a row stays there, the others are copied to free rows.

    A row that is copied is not free, so no row is read after it was written.

    Args:
        continued: the texts of every pair of row and next token.
        cache: keys and values. Its rows are rearranged.

    Returns:
        The texts and the next token of every new row.
    """
    placed: list[tuple[int, list[int]] | None] = [None] * len(continued)
    moved: list[tuple[int, tuple[int, list[int]]]] = []
    for (row, token), members in continued.items():
        if row < len(placed) and placed[row] is None:
            placed[row] = token, members
        else:
            moved.append((row, (token, members)))
    free = [place for place, taken in enumerate(placed) if taken is None]
    cache.copy([row for row, _ in moved], free)
    for place, (_, continuation) in zip(free, moved, strict=True):
        placed[place] = continuation
    full = [each for each in placed if each is not None]
    return [members for _, members in full], [token for token, _ in full]
