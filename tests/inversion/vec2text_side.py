"""vec2text's own side of a comparison, in a process of its own: ``python vec2text_side.py REQUEST ANSWER``.

REQUEST is a JSON list of cases: ``hypothesizer`` and ``corrector`` (repositories or folders), ``vectors``, ``runs``,
pairs of steps and beam, and ``batch``, the number of vectors that are inverted together. ANSWER gets, for each run of
each case in order, the texts of ``vec2text.invert_embeddings``, the seconds it took, and the texts embedded again. What
does not work on today's transformers is gone around, the algorithm is untouched: metrics that ask the network are
stubs, and weights are loaded by ``load_state_dict`` because ``from_pretrained`` raises.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import evaluate
import torch
from huggingface_hub import snapshot_download
from safetensors.torch import load_file

evaluate.load = lambda *_, **__: SimpleNamespace(compute=lambda **_: {})

import vec2text  # noqa: E402
from vec2text.models import CorrectorEncoderModel, InversionModel  # noqa: E402
from vec2text.models.config import InversionConfig  # noqa: E402


def opened(kind: type[Any], name: str) -> Any:
    folder = Path(snapshot_download(name)) if not Path(name).is_dir() else Path(name)
    model = kind(InversionConfig(**json.loads((folder / "config.json").read_text())))
    tensors: dict[str, torch.Tensor] = {}
    for part in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(part)
    for part in sorted(folder.glob("*.bin")):
        tensors |= torch.load(part, weights_only=True)
    missing, _ = model.load_state_dict(tensors, strict=False)
    assert not [name for name in missing if not name.startswith("embedder.")], missing
    return model


def main(request: str, answer: str) -> None:
    answers = []
    for case in json.loads(Path(request).read_text()):
        hypothesizer = opened(InversionModel, case["hypothesizer"])
        corrector = vec2text.load_corrector(hypothesizer, opened(CorrectorEncoderModel, case["corrector"]))
        # transformers 4's default; 5 leaves it unset, and vec2text computes with it
        corrector.model.encoder_decoder.generation_config.length_penalty = 1.0
        vectors = torch.tensor(case["vectors"], dtype=torch.float32, device=corrector.args.device)
        for steps, beam in case["runs"]:
            began = time.perf_counter()
            texts: list[str] = []
            with torch.inference_mode():
                for batch in vectors.split(case["batch"]):
                    texts += vec2text.invert_embeddings(
                        batch, corrector, num_steps=steps or None, sequence_beam_width=beam if steps else 0
                    )
            seconds = time.perf_counter() - began
            tokens = hypothesizer.embedder_tokenizer(
                texts, return_tensors="pt", max_length=32, truncation=True, padding="max_length"
            )
            with torch.inference_mode():
                tokens = tokens.to(vectors.device)
                again = hypothesizer.call_embedding_model(tokens.input_ids, tokens.attention_mask)
            answers.append({"texts": texts, "seconds": seconds, "embedded": again.tolist()})
    Path(answer).write_text(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
