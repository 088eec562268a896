"""How the files in ``0.1.0`` were made: by version 0.1.0 of lvm, once.

    python -m tests.compatibility.make tests/compatibility/0.1.0

It is not run again, and is kept as it was: files that later code makes say nothing about what is on people's disks.
For a later version make a folder of that version beside it.

Everything is of the sizes of a toy: an encoder of 8 dimensions with random weights, sixteen documents of eight
sentences, an inverter of one layer. Only the vectors behind the two verdicts were not decoded by that inverter, which
cannot write: they lie near the stored ones, and the database judged them as it judges all.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from lvm.door import encode
from lvm.ingest import ingest
from lvm.spaces.decoder import DecoderConfig, VectorDecoder
from lvm.spaces.encoder import Recipe, TextEncoder
from lvm.spaces.inverter import Card, Inverter
from lvm.spaces.training import InverterTraining, Silent, TrainingText, train, word_piece
from lvm.spaces.vectors import Vectors
from lvm.workspace import Workspace, register
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

import lvm
from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.sequences import SequenceSet, extract
from lvm.settings import Settings
from lvm.spaces import Space, open_space
from lvm.store import GateRecord, GateRow, Store, open_store, server
from lvm.training import EpochReport, TrainConfig, TrainResult, load_model
from lvm.training import train as train_model
from lvm.training.trainer import describe
from tests.store.toy import at_cosine

WIDTH, DIM, CONTEXT = 16, 8, 3
SENTENCES, DOCUMENTS = 8, 16
SPACES = """[toy]
encoder = "./encoder"
inverter = "./inverter"
projection = "dense.safetensors"
normalize = true
max_tokens = 16
"""
ADJECTIVES = ["old", "young", "red", "green", "small", "large", "quiet", "loud"]
NOUNS = [
    "boat", "house", "river", "bridge", "garden", "letter", "doctor", "farmer", "child", "winter", "summer", "road",
    "horse", "school", "kitchen", "window", "table", "song",
]  # fmt: skip
VERBS = ["saw", "found", "kept", "sold", "built", "crossed", "painted", "left"]
PLACES = ["near", "behind", "under", "before", "after", "with"]
TEXTS = ["The old boat crossed the river.", "A quiet doctor kept the letter near the window.", "Ærø, 1 summer."]

CONFIG = TrainConfig(
    epochs=3, batch_size=32, run=8, negatives=16, patience=5, learning_rate=5e-3, hyper={"hidden": 8, "dropout": 0.1}
)
LONGER = replace(CONFIG, epochs=4)
INTERRUPTED_AFTER = 2

FIRST = InverterTraining(epochs=2, tokens_per_batch=64, warmup=3)
TUNED = InverterTraining(epochs=15, tokens_per_batch=64, warmup=3, learning_rate=2e-4, seed=1)


class Interrupted(Exception):
    """Stands for a kill."""


def make_corpus(path: Path) -> None:
    """Sentences of a few words, the same ones each time."""
    dice = random.Random(0)
    rows = []
    for number in range(DOCUMENTS):
        sentences = []
        for _ in range(SENTENCES):
            one, two, three = dice.sample(NOUNS, 3)
            first, second = dice.sample(ADJECTIVES, 2)
            sentences.append(
                f"The {first} {one} {dice.choice(VERBS)} a {second} {two} {dice.choice(PLACES)} the {three}."
            )
        rows.append(
            {"id": f"story {number}", "title": f"Märchen {number}", "text": " ".join(sentences), "year": 1900 + number}
        )
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def documents(path: Path) -> list[Document]:
    """The corpus, without the path of its file."""
    return [replace(each, source="toy") for each in open_source(str(path)) if isinstance(each, Document)]


def vocabulary(*special: str) -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    return [
        *special,
        *".,;:'?-",
        *letters,
        *(f"##{letter}" for letter in letters),
        "the",
        *ADJECTIVES,
        *NOUNS,
        *VERBS,
        *PLACES,
    ]


def make_encoder(folder: Path, corpus: list[Document]) -> None:
    """A BERT of one layer with random weights, and a projection onto the directions in which texts differ most."""
    torch.manual_seed(0)
    words = vocabulary("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    config = BertConfig(
        vocab_size=len(words), hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32, initializer_range=0.4,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=True)
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    texts = [sentence for each in corpus for sentence in each.text.split(". ")]
    pooled = TextEncoder(folder, Recipe("", normalize=False, max_tokens=16)).encode(texts)
    states = torch.from_numpy(pooled.raw)
    main = torch.linalg.svd(states - states.mean(dim=0), full_matrices=False).Vh[:DIM].contiguous()
    save_file({"linear.weight": main, "linear.bias": -main @ states.mean(dim=0)}, folder / "dense.safetensors")


def make_inverter(space: Space, corpus: list[Document], folder: Path) -> None:
    """An inverter of one layer, trained for a moment on ten documents, of which one is held out."""
    torch.manual_seed(0)
    words = vocabulary("[PAD]", "[UNK]", "[SEP]")
    sizes = DecoderConfig(
        dim=DIM, vocabulary=len(words), width=8, layers=1, heads=2, feedforward=8, prefix=2, bottleneck=8,
        max_length=24,
    )  # fmt: skip
    card = Card(space.fingerprint, "none", "none", 0, [], [], {}, {})
    begin = Inverter(VectorDecoder(sizes), word_piece(words), card, np.empty(0, np.int64))
    text = TrainingText.collect(corpus[:10], space.chunker(), Silent())
    with tempfile.TemporaryDirectory() as scratch:
        train(
            space.encoder, text, "toy", folder, Path(scratch) / "scratch", FIRST, "lvm inverter train", Path(),
            start=begin,
        )  # fmt: skip


def interrupt_inverter(space: Space, corpus: list[Document], scratch: Path) -> None:
    """Fine-tune it on the whole corpus, and stop some steps after its first checkpoint."""

    class StopAfter(Silent):
        done, training = 0, False

        def stage(self, name: str, total: int) -> None:
            self.training = name == "train"

        def advance(self, count: int) -> None:
            self.done += count * self.training
            if self.done > 405:
                raise Interrupted

    text = TrainingText.collect(corpus, space.chunker(), Silent())
    assert isinstance(space.inverter, Inverter)
    try:
        train(
            space.encoder, text, "toy", scratch.with_name("none"), scratch, TUNED, "lvm inverter finetune", Path(),
            start=space.inverter, progress=StopAfter(),
        )  # fmt: skip
    except Interrupted:
        return
    raise AssertionError("the training ended before it was interrupted")


def make_gate(store: Store, space: Space, space_id: int) -> GateRow:
    """A passing verdict of the roundtrip gate."""
    inverter = store.register_inverter(space.inverter.sha256, space.inverter_encoder, space.trained_documents)
    sampled = [each.chunk_id for each in store.gate_sample(space_id, inverter)]
    stored = store.vectors(space_id, sampled)
    near = at_cosine(stored.unit, 0.998)
    returned = Vectors(space.fingerprint, near, np.ones(len(near), np.float32))
    about = {"space_id": space_id, "corpus_revision": store.corpus_revision(space_id), "inverter_id": inverter}
    row = store.record_gate(GateRecord("roundtrip", **about, returned=returned, sampled=sampled, flow_run_id="first"))
    assert row.passed, row.evidence
    return row


def make_sequences(
    store: Store, space: Space, space_id: int, gate: GateRow, artifacts: Path
) -> tuple[SequenceSet, int]:
    path = Path("sequences") / f"ctx{CONTEXT}.safetensors"
    sequences = extract(
        artifacts / path, store.read_vectors(space_id), store.documents(space_id),
        inverter_saw=space.trained_documents, context=CONTEXT, dim=DIM, space_name=space.name, space=space.fingerprint,
        inverter=space.inverter.sha256, corpus_revision=gate.corpus_revision,
    )  # fmt: skip
    counts = sequences.counts()
    return sequences, store.record_sequence_set(gate, gate.inverter_id, CONTEXT, counts, str(path), sequences.sha256)


def interrupt_model(
    store: Store, sequences: SequenceSet, number: int, gate: GateRow, folder: Path
) -> list[EpochReport]:
    """Start a run of four epochs and stop it after two."""
    told: list[EpochReport] = []

    def stop(report: EpochReport) -> None:
        told.append(report)
        if len(told) == INTERRUPTED_AFTER:
            raise Interrupted

    run = store.start_training_run("gru", number, gate, gate.inverter_id, describe("gru", sequences, LONGER))
    try:
        train_model("gru", sequences, LONGER, folder, stop)
    except Interrupted:
        store.fail_training_run(run, interrupted=True)
        return told
    raise AssertionError("the run ended before it was interrupted")


def make_model(store: Store, sequences: SequenceSet, number: int, gate: GateRow, folder: Path) -> TrainResult:
    run = store.start_training_run("gru", number, gate, gate.inverter_id, describe("gru", sequences, CONFIG))
    result = train_model("gru", sequences, CONFIG, folder)
    metrics = {
        "history": [asdict(report) for report in result.history],
        "seconds": result.seconds,
        "parameters": result.parameters,
    }
    store.finish_training_run(run, metrics, "gru/model.safetensors", result.sha256)
    return result


def judge_model(store: Store, space: Space, space_id: int, gate: GateRow, predicted: np.ndarray) -> None:
    """A passing verdict of the pipeline gate about some predictions."""
    asked, returned = (
        Vectors(space.fingerprint, rows, np.ones(len(rows), np.float32))
        for rows in (predicted, at_cosine(predicted, 0.9))
    )
    about = {"space_id": space_id, "corpus_revision": gate.corpus_revision, "inverter_id": gate.inverter_id}
    row = store.record_gate(GateRecord("pipeline", **about, returned=returned, asked=asked, evidence={"model": "gru"}))
    assert row.passed, row.evidence


def numbers(rows: Iterable[np.ndarray]) -> list[object]:
    """Floats that JSON gives back bit for bit."""
    return [np.asarray(row, np.float64).tolist() for row in rows]


def main(folder: Path) -> None:
    folder.mkdir()
    (folder / "spaces.toml").write_text(SPACES)
    make_corpus(folder / "corpus.jsonl")
    corpus = documents(folder / "corpus.jsonl")
    make_encoder(folder / "encoder", corpus)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        settings = Settings(
            home=Path(home), database_url=None, artifacts=folder / "lvm", spaces=folder / "spaces.toml", space="toy"
        )
        space = open_space("toy", settings)
        make_inverter(space, corpus, folder / "inverter")
        interrupt_inverter(space, corpus, folder / "scratch")
        (folder / "texts.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
        for suffix in (".safetensors", ".jsonl"):
            encode(folder / "texts.txt", folder / f"vectors{suffix}", "toy", settings)
        with open_store(settings) as store:
            number = register(store, space)
            ingest(store, number, space, "toy", corpus)
            gate = make_gate(store, space, number)
            sequences, recorded = make_sequences(store, space, number, gate, folder / "lvm")
            told = interrupt_model(store, sequences, recorded, gate, folder / "interrupted" / "gru")
            result = make_model(store, sequences, recorded, gate, folder / "lvm" / "gru")
            starts = sequences.starts["test"][:8]
            vector, query = load_model(folder / "lvm" / "gru").predict(sequences.contexts(starts))
            judge_model(store, space, number, gate, vector)
            assert Workspace(settings, store, space, number).models(
                *Workspace(settings, store, space, number).sequences(3)
            )
            revision = store.corpus_revision(number)
            url = server.database_url(settings).set(drivername="postgresql")
            dump = [server.psql().with_name("pg_dump"), "-n", "lvm", url.render_as_string()]
            sql = subprocess.run(dump, check=True, capture_output=True).stdout
        (folder / "database.sql").write_bytes(sql)
        vectors = space.encode(TEXTS)
        server.stop(settings)
    expected = {
        "version": lvm.__version__,
        "fingerprint": space.fingerprint,
        "inverter": space.inverter.sha256,
        "corpus_revision": revision,
        "documents": len(corpus),
        "chunks": len(sequences.unit),
        "gate": {"value": gate.value, "n": gate.evidence["n"]},
        "sequences": {"sha256": sequences.sha256, "counts": sequences.counts()},
        "model": {
            "sha256": result.sha256,
            "config": CONFIG.as_dict(),
            "vector": numbers(vector),
            "query": numbers(query),
        },
        "interrupted": {"config": LONGER.as_dict(), "history": [asdict(report) for report in told]},
        "training": asdict(TUNED),
        "texts": TEXTS,
        "vectors": {"unit": numbers(vectors.unit), "norms": numbers(vectors.norms)},
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
