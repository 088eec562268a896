"""A corrector on top of any hypothesizer: embed the guess, look at the error, write it again.

A corrector folder is like an inverter's, with ``corrector.safetensors``. It reads vectors of any dimension, and what it
corrects may come from our inverter or from vec2text's. Each step draws a few corrections of the best text so far and
keeps whichever text comes nearest, so a step never makes a text worse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lvm.spaces.decoder import VectorCorrector
from lvm.spaces.inverter import TEMPERATURE, TrainedDecoder
from lvm.spaces.space import Inverter
from lvm.spaces.vectors import FloatArray, SpaceMismatch

WEIGHTS = "corrector.safetensors"

_VECTORS_AT_ONCE = 512  # enough that many hypotheses have the same length, and so share a batch
_ROWS_AT_ONCE = 128  # corrections generated together
_DONE = 0.9999  # cosine at which there is nothing left to correct


class Corrector(TrainedDecoder[VectorCorrector]):
    """Writes better texts for vectors, given texts and their own vectors."""

    kind, weights = VectorCorrector, WEIGHTS

    def tokens(self, text: str) -> list[int]:
        """Token ids of a hypothesis, as many as there are places for."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids[: self.network.config.max_length])

    @torch.inference_mode()
    def correct(
        self, wanted: Tensor, texts: Sequence[str], embedded: Tensor, candidates: int, seed: int
    ) -> list[list[str]]:
        """``candidates`` corrections of each text, the first of them greedy.

        Args:
            wanted: (n, dim) unit vectors that texts are wanted for.
            texts: n hypotheses; embedded: (n, dim) their unit vectors.
            seed: of the sampling.
        """
        ids = [self.tokens(text) for text in texts]
        by_length: dict[int, list[int]] = {}
        for row, tokens in enumerate(ids):
            by_length.setdefault(len(tokens), []).append(row)
        size = max(1, _ROWS_AT_ONCE // candidates)
        batches = [rows[i : i + size] for _, rows in sorted(by_length.items()) for i in range(0, len(rows), size)]
        corrections: list[list[str]] = [[] for _ in texts]
        heat = [0.0] + [TEMPERATURE] * (candidates - 1)
        for rows in batches:
            prefix = self.network.corrected_prefix(
                wanted[rows].to(self.device),
                embedded[rows].to(self.device),
                torch.tensor([ids[row] for row in rows], dtype=torch.long, device=self.device),
            )
            generator = torch.Generator(self.device).manual_seed(seed + rows[0])
            found = self.texts(self.network.generate(prefix, heat, generator))
            for place, row in enumerate(rows):
                corrections[row] = found[place * candidates : (place + 1) * candidates]
        return corrections


class CorrectedInverter:
    """A hypothesizer and a corrector on top of it, as one inverter.

    Args:
        hypothesizer: what makes the first text.
        corrector: what writes it again.
        steps: how often.
        candidates: corrections tried in each step.

    Raises:
        SpaceMismatch: if the two were trained for different encoders.
    """

    def __init__(self, hypothesizer: Inverter, corrector: Corrector, steps: int, candidates: int) -> None:
        if hypothesizer.encoder != corrector.encoder:
            raise SpaceMismatch(
                f"the corrector was trained for encoder {corrector.encoder}, the inverter below it for "
                f"{hypothesizer.encoder}; train one with `lvm inverter train --corrector`"
            )
        self.hypothesizer, self.corrector, self.steps, self.candidates = hypothesizer, corrector, steps, candidates

    @property
    def dim(self) -> int:
        """Dimension of the vectors it reads."""
        return self.hypothesizer.dim

    @property
    def encoder(self) -> str:
        """Fingerprint of the encoder it was trained for."""
        return self.hypothesizer.encoder

    @property
    def sha256(self) -> str:
        """Digests of both, and how many texts they try."""
        first = getattr(self.hypothesizer, "candidates", 1)
        return f"{self.hypothesizer.sha256}+{self.corrector.sha256}+{first}+{self.steps}x{self.candidates}"

    @property
    def trained_documents(self) -> frozenset[str]:
        """sha256 of the documents that either was trained on."""
        return self.hypothesizer.trained_documents | self.corrector.trained_documents

    def saw(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """(n,) which of these chunk texts either was trained on."""
        return self.hypothesizer.saw(texts) | self.corrector.saw(texts)

    def decode(
        self,
        raw: FloatArray,
        encode: Callable[[Sequence[str]], FloatArray],
        seed: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> list[str]:
        """Text for each vector: the nearest of all that were tried; see ``lvm.spaces.inverter.Inverter.decode``."""
        texts: list[str] = []
        for start in range(0, len(raw), _VECTORS_AT_ONCE):
            part = raw[start : start + _VECTORS_AT_ONCE]
            texts += self._decode(part, encode, seed + start)
            if progress:
                progress(len(part))
        return texts

    def _decode(self, vectors: FloatArray, encode: Callable[[Sequence[str]], FloatArray], seed: int) -> list[str]:
        wanted = _directions(vectors)
        texts = self.hypothesizer.decode(vectors, encode, seed)
        best = _directions(encode(texts))
        cosines = (wanted * best).sum(dim=1)
        for step in range(self.steps):
            rows = (cosines < _DONE).nonzero()[:, 0].tolist()
            if not rows:
                break
            said = [texts[row] for row in rows]
            corrections = self.corrector.correct(wanted[rows], said, best[rows], self.candidates, seed + 7919 * step)
            different = list(dict.fromkeys(text for each in corrections for text in each))
            place = {text: number for number, text in enumerate(different)}
            found = _directions(encode(different))
            for row, each in zip(rows, corrections, strict=True):
                tried = found[[place[text] for text in each]]
                near = tried @ wanted[row]
                which = int(near.argmax())
                if near[which] > cosines[row]:
                    texts[row], best[row], cosines[row] = each[which], tried[which], near[which]
        return texts


def _directions(vectors: FloatArray) -> Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(np.ascontiguousarray(vectors)), dim=-1)
