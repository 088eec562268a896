"""Initialise a new inverter: a vocabulary chosen for its corpus, and MiniLM's weights.

Contract: the vocabulary has the most frequent WordPieces of the corpus, and the single characters of MiniLM's
vocabulary, so that every word can be written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor

from lvm.inversion.network import DecoderConfig, VectorDecoder


def fresh(dim: int, texts: Sequence[str], minilm: Path, size: int) -> tuple[Tokenizer, VectorDecoder]:
    """Build a tokenizer and a network that starts from MiniLM's weights.

    Args:
        dim: dimension of the vectors.
        texts: texts that the vocabulary is chosen for.
        minilm: folder of MiniLM's weights and tokenizer.
        size: number of WordPieces in the vocabulary.
    """
    source = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    source.no_padding()
    source.no_truncation()
    vocabulary = cut_vocabulary(texts, source, size)
    network = VectorDecoder(DecoderConfig(dim=dim, vocabulary=len(vocabulary)))
    pieces = source.get_vocab()
    warm_start(network, load_file(minilm / "model.safetensors"), [pieces[piece] for piece in vocabulary])
    return word_piece(vocabulary), network


def cut_vocabulary(texts: Iterable[str], source: Tokenizer, size: int) -> list[str]:
    """The most frequent WordPieces of texts, with the single characters of the source vocabulary.

    Args:
        texts: the texts.
        source: the tokenizer that the WordPieces come from.
        size: number of WordPieces.
    """
    counts: Counter[str] = Counter()
    batch: list[str] = []
    names = {index: piece for piece, index in source.get_vocab().items()}
    used: Counter[int] = Counter()

    def count() -> None:
        for encoding in source.encode_batch_fast(batch, add_special_tokens=False):
            used.update(encoding.ids)
        batch.clear()

    for text in texts:
        batch.append(text)
        if len(batch) == 8192:
            count()
    count()
    counts.update({names[index]: number for index, number in used.items()})
    special = ["[PAD]", "[UNK]", "[SEP]"]
    # Characters from U+0250 on (such as CJK) are many and rare: only those that the texts use are kept.
    single = [
        piece
        for piece in names.values()
        if len(piece.removeprefix("##")) == 1 and (counts[piece] or ord(piece[-1]) < 0x250)
    ]
    kept = dict.fromkeys(special + sorted(single))
    for piece, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if len(kept) >= size:
            break
        if not piece.startswith("["):
            kept[piece] = None
    return list(kept)


def word_piece(vocabulary: Sequence[str]) -> Tokenizer:
    """Build an uncased WordPiece tokenizer with BERT's rules.

    Args:
        vocabulary: WordPieces; the index is the token id.
    """
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=True)
    return tokenizer


def warm_start(network: VectorDecoder, bert: dict[str, Tensor], rows: Sequence[int]) -> None:
    """Copy the weights of a BERT encoder into a network of the same sizes.

    Args:
        network: gets the weights.
        bert: tensors of the BERT encoder by name.
        rows: token ids of BERT for the token ids of the network.
    """
    config = network.config
    state = network.state_dict()
    embeddings = "embeddings."
    state["words.weight"] = bert[embeddings + "word_embeddings.weight"][list(rows)].clone()
    kind = bert[embeddings + "token_type_embeddings.weight"][0]
    state["positions.weight"] = bert[embeddings + "position_embeddings.weight"][: len(state["positions.weight"])] + kind
    for name in ("weight", "bias"):
        state[f"norm.{name}"] = bert[f"{embeddings}LayerNorm.{name}"].clone()
        for i in range(config.layers):
            old, new = f"encoder.layer.{i}.", f"layers.{i}."
            parts = [bert[f"{old}attention.self.{part}.{name}"] for part in ("query", "key", "value")]
            state[f"{new}qkv.{name}"] = torch.cat(parts)
            for ours, theirs in (
                ("out", "attention.output.dense"),
                ("norm_attention", "attention.output.LayerNorm"),
                ("up", "intermediate.dense"),
                ("down", "output.dense"),
                ("norm_feedforward", "output.LayerNorm"),
            ):
                state[f"{new}{ours}.{name}"] = bert[f"{old}{theirs}.{name}"].clone()
    network.load_state_dict(state)
