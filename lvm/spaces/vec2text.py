"""vec2text's published inverters on today's transformers: hypothesis, then corrections, with sequence beam search.

Contract: the networks are vec2text's own classes (``InversionModel``, ``CorrectorEncoderModel``); the texts are those
of ``vec2text.invert_embeddings`` for the same weights in float32. What differs is what is not done: no Trainer, no
metric from the network, no weights that the checkpoint holds anyway, no correction twice (with nothing random in it,
the same vector and hypothesis always give the same correction), and where only the likeliest text is wanted, no pass
for each single token (``lvm.spaces.drafting``).
(Except where fewer than ``beam`` sequences of a beam search end before the longest length: transformers then fills up
with unfinished ones, and which depends on what else is in the batch. vec2text's own texts vary with the batch there.)

Source: Morris et al., "Text Embeddings Reveal (Almost) As Much As Text", EMNLP 2023; package vec2text 0.0.13.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch
import transformers
from torch import Tensor, nn

from lvm.errors import first_line
from lvm.spaces import weights
from lvm.spaces.drafting import greedy
from lvm.spaces.encoder import Recipe, TextEncoder, file_sha256, sentence_transformers_recipe
from lvm.spaces.vectors import FloatArray
from lvm.spaces.weights import WeightsNotHere, WeightsUnusable

_ROWS_AT_ONCE = 64  # sequences of beam searches generated together
_DRAFTED_AT_ONCE = 8  # of greedy generation: in a larger batch each waits for the one whose drafts fail
_MAX_LENGTH = 128  # of a correction; vec2text's number
_ST = "_st"  # ends the names of vec2text's embedders that go through sentence-transformers
_PUBLISHED_DIM = 768  # what CorrectorEncoderModel takes every embedding for
_building = threading.Lock()

_Kind = TypeVar("_Kind")

Ids = tuple[int, ...]
"""Token ids of a hypothesis, decoder start included, padding not."""


class Vec2TextInverter:
    """vec2text's hypothesizer, and its corrector where there is one.

    Args:
        hypothesizer: an ``InversionModel`` in evaluation mode.
        corrector: a ``CorrectorEncoderModel``, or None: hypotheses only.
        tokenizer: of both.
        max_tokens: longest hypothesis, decoder start included (vec2text's ``max_seq_length``).
        encoder: fingerprint of the encoder that it was trained for.
        sha256: digest of weights, configuration and tokenizer, and of how it decodes.
        steps: corrections of each hypothesis (``num_steps``).
        beam: hypotheses kept in each step (``sequence_beam_width``).
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
        self.hypothesizer = hypothesizer.to(device).eval()
        self.corrector: Any = corrector and corrector.to(device).eval()
        self.tokenizer, self.max_tokens = tokenizer, max_tokens
        self.encoder, self.sha256, self.steps, self.beam = encoder, sha256, steps, beam
        self.device = torch.device(device)
        self.trained_documents: frozenset[str] = frozenset()  # published checkpoints do not name theirs

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
            folder, corrector: ``config.json`` and safetensors of the hypothesizer and of the corrector.
            encoder: the space's encoder; its sizes build the network, its weights are compared with those that the
                checkpoint was trained beside.
            find: gives the folder with configuration and tokenizer of the T5 that a checkpoint is made of.

        Raises:
            WeightsUnusable: if a file is missing or damaged, or has tensors missing or left over.
        """
        config = _config(folder)
        base = find(_needed(config, "model_name_or_path", str, folder))
        max_tokens = _needed(config, "max_seq_length", int, folder)
        embedder = _needed(config, "embedder_model_name", str, folder)
        try:
            known = {"local_files_only": True, "trust_remote_code": False}
            t5 = transformers.AutoConfig.from_pretrained(base, **known)
            t5._attn_implementation = None  # see ``TextEncoder``
            tokenizer = transformers.AutoTokenizer.from_pretrained(base, **known)
        except Exception as error:  # transformers raises whatever it meets
            raise WeightsUnusable(
                f"configuration and tokenizer of {config.model_name_or_path} in {base} cannot be opened "
                f"({first_line(error)}); fetch them again"
            ) from error
        tensors = _renamed(weights.load(folder))
        trained_beside = {
            name.removeprefix("embedder."): tensors.pop(name) for name in list(tensors) if name.startswith("embedder.")
        }
        with _of_vec2text(folder):
            hypothesizer = _hypothesizer(config, t5, tokenizer, encoder)
        weights.fill(hypothesizer, tensors, folder)
        files = [folder]
        network = None
        if corrector is not None:
            corrector_config = _config(corrector)
            with _of_vec2text(corrector):
                network = _corrector(corrector_config, t5, encoder.dim)
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
            _trained_for(embedder, encoder, trained_beside),
            digest.hexdigest(),
            steps,
            beam,
            device,
        )

    @property
    def dim(self) -> int:
        """Dimension of the vectors it reads."""
        return int(self.hypothesizer.embedder_dim)

    def saw(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """(n,) False: what published checkpoints were trained on is not known text by text."""
        return np.zeros(len(texts), dtype=np.bool_)

    @torch.inference_mode()
    def decode(
        self,
        raw: FloatArray,
        encode: Callable[[Sequence[str]], FloatArray],
        seed: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> list[str]:
        """Text for each vector, as ``vec2text.invert_embeddings`` gives it.

        Args:
            raw: (n, dim) float32 at the encoder's own norms.
            encode: the space's encoder, texts -> (n, dim) vectors as it makes them.
            seed: unused; nothing in it is random.
            progress: called with the number of vectors done.
        """
        texts: list[str] = []
        for start in range(0, len(raw), _ROWS_AT_ONCE):
            asked = torch.from_numpy(np.ascontiguousarray(raw[start : start + _ROWS_AT_ONCE])).to(self.device)
            if self.corrector is None:
                found = self._hypotheses(asked, _MAX_LENGTH)
            else:
                found = _Search(self, asked, encode).run()
            texts += self.texts(found)
            if progress:
                progress(len(asked))
        return texts

    def texts(self, ids: Sequence[Ids]) -> list[str]:
        """Token ids to text."""
        if not ids:  # which the tokenizer would take for one empty text
            return []
        return list(self.tokenizer.batch_decode([list(each) for each in ids], skip_special_tokens=True))

    def _hypotheses(self, vectors: Tensor, max_length: int) -> list[Ids]:
        """What the hypothesizer says of each vector, greedily."""
        found: list[Ids] = []
        for start in range(0, len(vectors), _DRAFTED_AT_ONCE):
            part = vectors[start : start + _DRAFTED_AT_ONCE]
            inputs, mask = self.hypothesizer.embed_and_project(None, None, frozen_embeddings=part)
            found += greedy(self.hypothesizer.encoder_decoder, inputs, mask, max_length, [()] * len(part))
        return found

    def _trimmed(self, ids: Tensor) -> list[Ids]:
        """Rows without the padding at their end; the decoder's start, which is a pad itself, stays."""
        pad = self.hypothesizer.encoder_decoder.config.pad_token_id
        rows = []
        for row in ids.tolist():
            end = len(row)
            while end > 1 and row[end - 1] == pad:
                end -= 1
            rows.append(tuple(row[:end]))
        return rows

    def correct(self, vectors: Tensor, hypotheses: Sequence[Ids], embedded: Tensor) -> list[list[Ids]]:
        """``beam`` corrections of each hypothesis, the likeliest first.

        Args:
            vectors: (n, dim) what is to be decoded.
            hypotheses: n of them; embedded: (n, dim) their own vectors.
        """
        pad = self.corrector.encoder_decoder.config.pad_token_id
        longest = max(map(len, hypotheses))
        ids = torch.tensor([[*each, *[pad] * (longest - len(each))] for each in hypotheses], device=self.device)
        if self.beam == 1:
            inputs, mask = self.corrector.get_encoder_embedding(vectors, embedded, ids, (ids != pad).int())
            return [[each] for each in greedy(self.corrector.encoder_decoder, inputs, mask, _MAX_LENGTH, hypotheses)]
        generated = self.corrector.generate(
            inputs={
                "frozen_embeddings": vectors,
                "hypothesis_input_ids": ids,
                "hypothesis_attention_mask": (ids != pad).int(),
                "hypothesis_embedding": embedded,
            },
            generation_kwargs={
                "early_stopping": False,
                "num_beams": self.beam,
                "num_return_sequences": self.beam,
                "do_sample": False,
                "no_repeat_ngram_size": 0,
                "min_length": 1,
                "max_length": _MAX_LENGTH,
            },
        )
        rows = self._trimmed(generated)
        return [rows[i : i + self.beam] for i in range(0, len(rows), self.beam)]


class _Search:
    """Sequence-level beam search for a batch of vectors (``Corrector.generate`` of vec2text).

    What was expanded or embedded once is remembered: from step to step most hypotheses of a beam stay.
    """

    def __init__(
        self, inverter: Vec2TextInverter, vectors: Tensor, encode: Callable[[Sequence[str]], FloatArray]
    ) -> None:
        self.inverter, self.vectors, self.encode = inverter, vectors, encode
        self.expanded: dict[tuple[int, Ids], list[Ids]] = {}
        self.text: dict[Ids, str] = {}
        self.embedded: dict[str, Tensor] = {}

    def run(self) -> list[Ids]:
        """The token ids found for each vector."""
        beams = [[ids] for ids in self.inverter._hypotheses(self.vectors, self.inverter.max_tokens)]
        for step in range(self.inverter.steps):
            self._expand(beams)
            found = [[new for old in beam for new in self.expanded[row, old]] for row, beam in enumerate(beams)]
            last = step == self.inverter.steps - 1
            if self.inverter.beam > 1:
                self._embed([ids for row in found for ids in row])
                found = [self._best(row, ids, 1 if last else self.inverter.beam) for row, ids in enumerate(found)]
            beams = found
        return [beam[0] for beam in beams]

    def _expand(self, beams: list[list[Ids]]) -> None:
        """Correct every hypothesis that has not been corrected for its vector before."""
        new = [(row, ids) for row, beam in enumerate(beams) for ids in beam if (row, ids) not in self.expanded]
        self._embed([ids for _, ids in new])
        at_once = _DRAFTED_AT_ONCE if self.inverter.beam == 1 else max(1, _ROWS_AT_ONCE // self.inverter.beam)
        for start in range(0, len(new), at_once):
            part = new[start : start + at_once]
            rows = torch.tensor([row for row, _ in part], device=self.vectors.device)
            hypotheses = [ids for _, ids in part]
            embedded = torch.stack([self.embedded[self.text[ids]] for ids in hypotheses])
            corrections = self.inverter.correct(self.vectors[rows], hypotheses, embedded)
            self.expanded.update(zip(part, corrections, strict=True))

    def _embed(self, hypotheses: Sequence[Ids]) -> None:
        """Encode the texts of hypotheses not encoded before."""
        new = [ids for ids in dict.fromkeys(hypotheses) if ids not in self.text]
        self.text.update(zip(new, self.inverter.texts(new), strict=True))
        texts = [text for text in dict.fromkeys(self.text[ids] for ids in new) if text not in self.embedded]
        if texts:
            vectors = torch.from_numpy(self.encode(texts)).to(self.vectors.device)
            self.embedded.update(zip(texts, vectors, strict=True))

    def _best(self, row: int, found: list[Ids], count: int) -> list[Ids]:
        """The ``count`` different hypotheses whose vectors come nearest, nearest first."""
        vectors = torch.stack([self.embedded[self.text[ids]] for ids in found])
        cosines = torch.cosine_similarity(vectors, self.vectors[row][None], dim=1)
        order = cosines.argsort(descending=True, stable=True).tolist()
        return list(dict.fromkeys(found[i] for i in order))[:count]


# -- building the networks ------------------------------------------------------------------------------------


@cache
def _package() -> SimpleNamespace:
    """vec2text's model classes. Importing them changes the process' logging and environment; that is undone.

    Raises:
        WeightsNotHere: if vec2text is not installed.
    """
    root, environment = logging.getLogger(), dict(os.environ)
    level, handlers, verbosity = root.level, list(root.handlers), transformers.logging.get_verbosity()
    try:
        from vec2text.models import corrector_encoder, inversion
        from vec2text.models.config import InversionConfig
    except ImportError as error:
        raise WeightsNotHere(
            f"vec2text's checkpoints need its model classes ({first_line(error)}); run `pip install 'lvm[hub]'`"
        ) from error
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
        transformers.logging.set_verbosity(verbosity)
        torch._logging.set_logs()  # type: ignore[attr-defined]
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
    return SimpleNamespace(
        inversion=inversion, Corrector=corrector_encoder.CorrectorEncoderModel, InversionConfig=InversionConfig
    )


def _config(folder: Path) -> Any:
    facts = weights.read_json(folder / "config.json")
    with _of_vec2text(folder):
        config = _package().InversionConfig(**facts)
        config._attn_implementation = None  # see ``TextEncoder``
        return config


@contextmanager
def _of_vec2text(folder: Path) -> Iterator[None]:
    """Vec2text's classes raise whatever they meet in a configuration that is not theirs."""
    try:
        yield
    except WeightsNotHere:
        raise
    except Exception as error:
        raise WeightsUnusable(
            f"{folder / 'config.json'} describes no network of vec2text's ({first_line(error)}); fetch or restore it"
        ) from error


def _needed(config: Any, key: str, kind: type[_Kind], folder: Path) -> _Kind:
    value = getattr(config, key, None)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise WeightsUnusable(
            f"{folder / 'config.json'} has no {kind.__name__} {key!r}; it is no checkpoint of vec2text's"
        )
    return value


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Checkpoints from before vec2text had dropout in its projection count that module's layers differently."""
    return {
        name.replace("embedding_transform.2.", "embedding_transform.3.")
        if name.startswith("embedding_transform.2.")
        else name: tensor
        for name, tensor in tensors.items()
    }


@contextmanager
def _quietly() -> Iterator[None]:
    """vec2text prints while it builds, and one network is built at a time: its loaders are replaced meanwhile."""
    with _building, redirect_stdout(StringIO()):
        yield


class _Embedder(nn.Module):
    """Stands where vec2text holds an encoder of its own: there is one encoding path, and it is the space's."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.config = SimpleNamespace(hidden_size=dim)


def _hypothesizer(config: Any, t5: Any, tokenizer: Any, encoder: TextEncoder) -> Any:
    inversion = _package().inversion
    with (
        _quietly(),
        patch.object(inversion, "load_encoder_decoder", lambda **_: _sequence_to_sequence(t5)),
        patch.object(inversion, "load_tokenizer", lambda *_, **__: tokenizer),
        patch.object(inversion, "load_embedder_and_tokenizer", lambda **_: (_Embedder(encoder.dim), None)),
    ):
        config.use_frozen_embeddings_as_input = True
        return inversion.InversionModel(config)


def _corrector(config: Any, t5: Any, dim: int) -> Any:
    with (
        _quietly(),
        patch.object(transformers.AutoModelForSeq2SeqLM, "from_pretrained", lambda *_, **__: _sequence_to_sequence(t5)),
    ):
        model = _package().Corrector(config)
    if dim != model.embedder_dim:
        width = model.encoder_hidden_dim * model.num_repeat_tokens
        for name in ("embedding_transform_1", "embedding_transform_2", "embedding_transform_3"):
            setattr(model, name, nn.Sequential(nn.Linear(dim, dim), nn.Dropout(0.0), nn.GELU(), nn.Linear(dim, width)))
        model.embedder_dim = dim
    return model


def _sequence_to_sequence(t5: Any) -> Any:
    return transformers.AutoModelForSeq2SeqLM.from_config(  # type: ignore[no-untyped-call]
        t5, trust_remote_code=False
    )


def _trained_for(name: str, encoder: TextEncoder, trained_beside: dict[str, Tensor]) -> str:
    """Fingerprint of the encoder that a checkpoint was trained for.

    That is how vec2text opens the embedder of that name (through sentence-transformers: with the Dense and the
    normalisation that its repository asks for; else token states and their mean alone), with the weights that the
    checkpoint was saved beside. If those are not the weights of ``encoder``, no fingerprint of ours can name it.
    """
    own = {name.removeprefix("encoder."): tensor for name, tensor in encoder.model.state_dict().items()}
    for name_beside, tensor in trained_beside.items():
        mine = own.get(name_beside.removeprefix("0.auto_model.").removeprefix("encoder."))
        # either may be bfloat16, which rounds to 8 bits
        if mine is not None and not torch.allclose(mine.float().cpu(), tensor.float(), rtol=1e-2, atol=1e-4):
            return f"other weights than {encoder.fingerprint}"
    asked = encoder.recipe
    if name.endswith(_ST) or name.startswith("sentence-transformers/"):
        recipe = sentence_transformers_recipe(encoder.folder, asked.weights, asked.max_tokens)
    else:
        recipe = Recipe(asked.weights, "mean", -1, "", False, asked.max_tokens)
    return encoder.fingerprint if asked == recipe else TextEncoder(encoder.folder, recipe).fingerprint
