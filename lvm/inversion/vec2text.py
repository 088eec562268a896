"""vec2text's published inverters: a hypothesis, then corrections, with beam search over sequences.

Contract: the networks are vec2text's own classes (``lvm.inversion.vec2text_networks``). The texts are those of
``vec2text.invert_embeddings`` for the same weights in float32. This module replaces vec2text's Trainer, which does not
run with current versions of transformers and needs a network connection. It is faster: it does not load T5's own
weights, it does not correct the same hypothesis of the same vector twice, its weights are packed (``packed_t5``), it
decodes greedily by prompt lookup (``prompt_lookup``), and its beams share one cache (``beam_search``).

One exception: transformers 5 fills up the shorter sequences of a beam search with end tokens, because T5's padding has
id 0, which it takes for no id. vec2text corrects hypotheses with these tokens, so with a beam its texts depend on the
batch. Here nothing follows the end token, as with padding.

Source: Morris et al., "Text Embeddings Reveal (Almost) As Much As Text", EMNLP 2023; package vec2text 0.0.13.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor

from lvm.arrays import FloatArray
from lvm.devices import large_gpu
from lvm.encoding import weights
from lvm.encoding.encoder import TextEncoder
from lvm.encoding.recipe import Recipe, sentence_transformers_recipe
from lvm.encoding.weights import WeightsUnusable
from lvm.errors import first_line
from lvm.files import file_sha256
from lvm.inversion import vec2text_networks as networks
from lvm.inversion.beam_search import beam_search
from lvm.inversion.packed_t5 import PackedT5
from lvm.inversion.prompt_lookup import greedy
from lvm.inversion.protocol import Candidate, Encode, Inverted, distinct, joined
from lvm.progress import Progress

_ROWS_AT_ONCE = 64  # sequences that are generated together
_ROWS_ON_LARGE_GPU = 256  # keys and values of a t5-base take 2 to 6 GB
_GREEDY_ON_CPU = 8  # sequences of greedy generation; in a large batch all wait for the one with the worst drafts
_MAX_LENGTH = 128  # tokens of a correction, as in vec2text

Ids = tuple[int, ...]
"""Token ids of a hypothesis, with the decoder start token, without padding."""


class Vec2TextInverter:
    """vec2text's hypothesizer, and optionally its corrector.

    Args:
        hypothesizer: an ``InversionModel``.
        corrector: a ``CorrectorEncoderModel``; None decodes to hypotheses only.
        tokenizer: the tokenizer of both.
        max_tokens: longest hypothesis, with the decoder start token (vec2text's ``max_seq_length``).
        encoder: fingerprint of the encoder that it was trained for.
        sha256: digest of weights, configuration, tokenizer, ``steps`` and ``beam``.
        steps: number of corrections (vec2text's ``num_steps``).
        beam: hypotheses kept after a correction (vec2text's ``sequence_beam_width``).
        device: torch device.
    """

    def __init__(
        self,
        hypothesizer: Any,
        corrector: Any,
        tokenizer: Any,
        max_tokens: int,
        encoder: str,
        sha256: str,
        steps: int,
        beam: int,
        device: str = "cpu",
    ) -> None:
        self.hypothesizer = hypothesizer.to(device).eval().requires_grad_(False)
        self.corrector: Any = corrector and corrector.to(device).eval()
        self.tokenizer, self.max_tokens = tokenizer, max_tokens
        self.encoder, self.sha256, self.steps, self.beam = encoder, sha256, steps, beam
        self.device = torch.device(device)
        self._rows = _ROWS_ON_LARGE_GPU if large_gpu(self.device) else _ROWS_AT_ONCE
        self._greedy_rows = _GREEDY_ON_CPU if self.device.type == "cpu" else self._rows
        self.trained_documents: frozenset[str] = frozenset()  # published checkpoints do not name their documents

    @classmethod
    def load(
        cls,
        folder: Path,
        corrector: Path | None,
        encoder: TextEncoder,
        *,
        steps: int,
        beam: int,
        find: Callable[[str], Path],
        device: str = "cpu",
    ) -> Vec2TextInverter:
        """Open checkpoints in the layout that vec2text publishes.

        Args:
            folder: folder of the hypothesizer: ``config.json`` and safetensors.
            corrector: folder of the corrector, or None.
            encoder: the space's encoder. Its dimension decides the size of the networks. Its weights are compared with
                those of the embedder in the checkpoint.
            steps: number of corrections.
            beam: hypotheses kept after a correction.
            find: returns the folder with configuration and tokenizer of the T5 that a checkpoint names.
            device: torch device.

        Raises:
            WeightsUnusable: if a file is missing or damaged, or a tensor is missing or unknown.
        """
        config = networks.config(folder)
        base = find(networks.required(config, "model_name_or_path", str, folder))
        max_tokens = networks.required(config, "max_seq_length", int, folder)
        embedder = networks.required(config, "embedder_model_name", str, folder)
        try:
            known = {"local_files_only": True, "trust_remote_code": False}
            t5 = transformers.AutoConfig.from_pretrained(base, **known)
            t5._attn_implementation = None  # it could name a kernel on the hub, which is code
            tokenizer = transformers.AutoTokenizer.from_pretrained(base, **known)
        except Exception as error:  # transformers raises many kinds of errors
            raise WeightsUnusable(
                f"configuration and tokenizer of {config.model_name_or_path} in {base} cannot be opened "
                f"({first_line(error)}); fetch them again"
            ) from error
        tensors = networks.renamed(weights.load(folder))
        embedder_weights = {
            name.removeprefix("embedder."): tensors.pop(name) for name in list(tensors) if name.startswith("embedder.")
        }
        hypothesizer = networks.hypothesizer(config, t5, tokenizer, encoder.dim, folder)
        weights.fill(hypothesizer, tensors, folder)
        files = [folder]
        network = None
        if corrector is not None:
            network = networks.corrector(networks.config(corrector), t5, encoder.dim, corrector)
            weights.fill(network, weights.load(corrector), corrector)
            files.append(corrector)
        digest = hashlib.sha256(f"{steps} corrections, beam {beam}".encode())
        for each in files:
            for part in (*sorted(each.glob("*.safetensors")), each / "config.json"):
                digest.update(file_sha256(part).encode())
        for part in sorted(base.glob("*")):
            if part.suffix in (".json", ".model", ".txt"):  # configuration and tokenizer
                digest.update(file_sha256(part).encode())
        return cls(
            hypothesizer,
            network,
            tokenizer,
            max_tokens,
            _trained_for(embedder, encoder, embedder_weights),
            digest.hexdigest(),
            steps,
            beam,
            device,
        )

    @property
    def dim(self) -> int:
        """Dimension of the vectors that it decodes."""
        return int(self.hypothesizer.embedder_dim)

    @property
    def corrections(self) -> int:
        """Number of corrections; 0 without a corrector."""
        return self.steps if self.corrector is not None else 0

    @property
    def candidates(self) -> int:
        """Largest number of texts of one vector: the hypothesis, and all corrections of all steps."""
        return 1 + self.beam + (self.corrections - 1) * self.beam**2 if self.corrections else 1

    def was_trained_on(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """(n,) False for all n texts: published checkpoints do not name their training texts."""
        return np.zeros(len(texts), dtype=np.bool_)

    @torch.inference_mode()
    def decode(
        self,
        raw: FloatArray,
        encode: Encode,
        seed: int = 0,
        progress: Progress | None = None,
        n_best: int = 1,
        steps: bool = False,
        tries: int | None = None,
    ) -> Inverted:
        """Decode vectors to the texts of ``vec2text.invert_embeddings``.

        The text of a vector is the last correction, as in vec2text. An earlier hypothesis may be nearer to the vector.

        Args:
            raw: (n, dim) float32 at the encoder's median norm.
            encode: the space's encoder, n texts -> (n, dim) float32, not normalised.
            seed: not used, because decoding is deterministic.
            progress: called with the number of decoded vectors.
            n_best: largest number of candidates per vector; 1 for none.
            steps: whether to return the best hypothesis of every step.
            tries: not used: nothing is drawn.
        """
        parts: list[Inverted] = []
        for start in range(0, len(raw), self._rows):
            vectors = torch.from_numpy(np.ascontiguousarray(raw[start : start + self._rows])).to(self.device)
            if self.corrector is None:
                parts.append(Inverted(self.texts(self._hypotheses(vectors, _MAX_LENGTH)), None))
            else:
                parts.append(_Search(self, vectors, encode).run(n_best, steps))
            if progress:
                progress(len(vectors))
        return joined(parts)

    def texts(self, ids: Sequence[Ids]) -> list[str]:
        """Token ids to texts."""
        if not ids:  # the tokenizer would return one empty text
            return []
        return list(self.tokenizer.batch_decode([list(each) for each in ids], skip_special_tokens=True))

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts with the end token; longer texts are cut at ``max_tokens``, as in vec2text's training.

        Args:
            texts: n texts.
        """
        return [list(ids) for ids in self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens).input_ids]

    def nats(self, raw: Tensor, ids: Sequence[Sequence[int]]) -> Tensor:
        """Cross-entropy of texts under the hypothesizer, in nats, summed over tokens: (n,). See ``Inverter.nats``.

        Args:
            raw: (n, dim) float32 at the encoder's median norm.
            ids: n texts from ``token_ids``.
        """
        inputs, mask = self.hypothesizer.embed_and_project(None, None, frozen_embeddings=raw.to(self.device))
        longest = max(map(len, ids))
        labels = torch.tensor([[*each, *[-100] * (longest - len(each))] for each in ids], device=self.device)
        logits = self.hypothesizer.encoder_decoder(inputs_embeds=inputs, attention_mask=mask, labels=labels).logits
        return F.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none").sum(dim=1)

    def _hypotheses(self, vectors: Tensor, max_length: int) -> list[Ids]:
        """Greedy hypotheses of (n, dim) vectors."""
        hypotheses: list[Ids] = []
        for start in range(0, len(vectors), self._greedy_rows):
            part = vectors[start : start + self._greedy_rows]
            inputs, mask = self.hypothesizer.embed_and_project(None, None, frozen_embeddings=part)
            hypotheses += greedy(self._fast_hypothesizer, inputs, mask, max_length, [()] * len(part))
        return hypotheses

    @cached_property
    def _fast_hypothesizer(self) -> PackedT5:
        return PackedT5(self.hypothesizer.encoder_decoder)

    @cached_property
    def _fast_corrector(self) -> PackedT5:
        return PackedT5(self.corrector.encoder_decoder)

    def correct(self, vectors: Tensor, hypotheses: Sequence[Ids], embedded: Tensor) -> list[list[Ids]]:
        """Correct hypotheses.

        Args:
            vectors: (n, dim) vectors to decode.
            hypotheses: token ids of n texts.
            embedded: (n, dim) vectors of these texts.

        Returns:
            ``beam`` corrections of every hypothesis, the most likely first.
        """
        t5 = self._fast_corrector
        longest = max(map(len, hypotheses))
        ids = torch.tensor([[*each, *[t5.pad] * (longest - len(each))] for each in hypotheses], device=self.device)
        inputs, mask = self.corrector.get_encoder_embedding(vectors, embedded, ids, (ids != t5.pad).int())
        if self.beam == 1:
            return [[each] for each in greedy(t5, inputs, mask, _MAX_LENGTH, hypotheses)]
        return beam_search(t5, inputs, mask, _MAX_LENGTH, self.beam)


class _Search:
    """Beam search over sequences for a batch of vectors (``Corrector.generate`` of vec2text).

    Corrections and vectors of texts are cached, because most hypotheses of a beam stay in the next step.

    Attributes:
        seen: all hypotheses of every vector, in the order of their steps.
        best: the best hypothesis of every step, for every vector.
    """

    def __init__(self, inverter: Vec2TextInverter, vectors: Tensor, encode: Encode) -> None:
        self.inverter, self.vectors, self.encode = inverter, vectors, encode
        self.expanded: dict[tuple[int, Ids], list[Ids]] = {}
        self.text: dict[Ids, str] = {}
        self.embedded: dict[str, Tensor] = {}
        self.seen: list[dict[Ids, None]] = [{} for _ in vectors]
        self.best: list[list[Ids]] = [[] for _ in vectors]

    def run(self, n_best: int, steps: bool) -> Inverted:
        """Search, and return the last hypothesis of every vector; see ``Vec2TextInverter.decode``."""
        beams = [[ids] for ids in self.inverter._hypotheses(self.vectors, self.inverter.max_tokens)]
        self._record(beams, beams)
        for step in range(self.inverter.steps):
            self._expand(beams)
            corrected = [[new for old in beam for new in self.expanded[row, old]] for row, beam in enumerate(beams)]
            last = step == self.inverter.steps - 1
            beams = corrected
            if self.inverter.beam > 1:
                self._embed([ids for beam in corrected for ids in beam])
                width = 1 if last else self.inverter.beam
                beams = [self._nearest(row, beam)[:width] for row, beam in enumerate(corrected)]
            self._record(corrected, beams)
        self._embed([path[-1] for path in self.best])
        texts = [self.text[path[-1]] for path in self.best]
        raw = torch.stack([self.embedded[text] for text in texts]).cpu().numpy()
        rows = range(len(self.vectors))
        return Inverted(
            texts,
            raw,
            [distinct(self._candidates(row), n_best) for row in rows] if n_best > 1 else None,
            [self._measured(row, self.best[row]) for row in rows] if steps else None,
        )

    def _record(self, hypotheses: Sequence[Sequence[Ids]], beams: Sequence[Sequence[Ids]]) -> None:
        """Remember the hypotheses of a step, and the first of those that were kept."""
        for row, (new, beam) in enumerate(zip(hypotheses, beams, strict=True)):
            self.seen[row].update(dict.fromkeys(new))
            self.best[row].append(beam[0])

    def _expand(self, beams: list[list[Ids]]) -> None:
        """Correct the hypotheses that are not in the cache."""
        new = [(row, ids) for row, beam in enumerate(beams) for ids in beam if (row, ids) not in self.expanded]
        self._embed([ids for _, ids in new])
        beam = self.inverter.beam
        at_once = self.inverter._greedy_rows if beam == 1 else max(1, self.inverter._rows // beam)
        for start in range(0, len(new), at_once):
            part = new[start : start + at_once]
            rows = torch.tensor([row for row, _ in part], device=self.vectors.device)
            hypotheses = [ids for _, ids in part]
            embedded = torch.stack([self.embedded[self.text[ids]] for ids in hypotheses])
            corrections = self.inverter.correct(self.vectors[rows], hypotheses, embedded)
            self.expanded.update(zip(part, corrections, strict=True))

    def _embed(self, hypotheses: Sequence[Ids]) -> None:
        """Encode the texts of hypotheses that are not in the cache."""
        new = [ids for ids in dict.fromkeys(hypotheses) if ids not in self.text]
        self.text.update(zip(new, self.inverter.texts(new), strict=True))
        texts = [text for text in dict.fromkeys(self.text[ids] for ids in new) if text not in self.embedded]
        if texts:
            vectors = torch.from_numpy(self.encode(texts)).to(self.vectors.device)
            self.embedded.update(zip(texts, vectors, strict=True))

    def _cosines(self, row: int, hypotheses: Sequence[Ids]) -> Tensor:
        """(n,) cosines between vector ``row`` and the vectors of n encoded hypotheses."""
        vectors = torch.stack([self.embedded[self.text[ids]] for ids in hypotheses])
        return torch.cosine_similarity(vectors, self.vectors[row][None], dim=1)

    def _nearest(self, row: int, hypotheses: Sequence[Ids]) -> list[Ids]:
        """The distinct ones of encoded hypotheses, those with the nearest vectors to vector ``row`` first."""
        order = self._cosines(row, hypotheses).argsort(descending=True, stable=True).tolist()
        return list(dict.fromkeys(hypotheses[i] for i in order))

    def _measured(self, row: int, hypotheses: Sequence[Ids]) -> list[Candidate]:
        """Texts of encoded hypotheses, with their cosines to vector ``row``."""
        cosines = self._cosines(row, hypotheses).tolist()
        return [Candidate(self.text[ids], cosine) for ids, cosine in zip(hypotheses, cosines, strict=True)]

    def _candidates(self, row: int) -> list[Candidate]:
        """The text of vector ``row``, then all texts seen, the nearest first."""
        return self._measured(row, [self.best[row][-1], *self._nearest(row, list(self.seen[row]))])


def _trained_for(name: str, encoder: TextEncoder, embedder_weights: dict[str, Tensor]) -> str:
    """Fingerprint of the encoder that a checkpoint was trained for.

    vec2text opens an embedder whose name ends in ``_st`` with sentence-transformers, including the Dense layer and the
    normalisation of its repository. For other embedders it takes the mean of the token states. If the embedder's
    weights in the checkpoint differ from those of ``encoder``, the result is a text that equals no fingerprint.

    Args:
        name: ``embedder_model_name`` of the checkpoint.
        encoder: the space's encoder.
        embedder_weights: weights of the embedder in the checkpoint.
    """
    own = {name.removeprefix("encoder."): tensor for name, tensor in encoder.model.state_dict().items()}
    for weight_name, tensor in embedder_weights.items():
        ours = own.get(weight_name.removeprefix("0.auto_model.").removeprefix("encoder."))
        # bfloat16 on either side rounds to 8 bits
        if ours is not None and not torch.allclose(ours.float().cpu(), tensor.float(), rtol=1e-2, atol=1e-4):
            return f"other weights than {encoder.fingerprint}"
    configured = encoder.recipe
    if name.endswith("_st") or name.startswith("sentence-transformers/"):
        recipe = sentence_transformers_recipe(encoder.folder, configured.weights, configured.max_tokens)
    else:
        recipe = Recipe(configured.weights, "mean", -1, "", False, configured.max_tokens)
    return encoder.fingerprint if configured == recipe else TextEncoder(encoder.folder, recipe).fingerprint
