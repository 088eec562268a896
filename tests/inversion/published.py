"""Checkpoints of vec2text's true architecture in its published layout, made small and trained a little.

``make_hub`` fills a folder like a Hugging Face cache with what the spaces ``gtr-base`` and ``gtr-base-st`` name: the
T5 encoder with its Dense, a T5 "t5-base", and a hypothesizer and a corrector for each space. Only sizes differ from
the real ones (and in ``benchmarks/decoding.py`` not even those). The first pair is saved as vec2text saves it, in
pickled shards; the second as safetensors.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel, T5ForConditionalGeneration

from lvm.encoding.encoder import TextEncoder
from lvm.encoding.recipe import Recipe
from lvm.inversion import vec2text_networks
from lvm.settings import Settings
from lvm.spaces.registry import configured

GTR = "sentence-transformers/gtr-t5-base"
SENTENCES = [
    "The harbour froze before the last ship came in.",
    "Her report names every street of the old town.",
    "Two engines failed above the northern desert.",
    "Nobody counted the votes until the next morning.",
    "A good bridge outlives the people who paid for it.",
    "He planted apples where the school had been.",
    "Rain fell for nine days and the river rose.",
    "The orchestra tuned while the lights went down.",
]


@dataclass(frozen=True)
class Hub:
    """A folder like ``~/.cache/huggingface/hub`` and the small parts in it."""

    cache: Path

    @property
    def with_t5_weights(self) -> Path:
        """A copy for vec2text itself, which loads T5's own weights before it overwrites them."""
        return self.cache.with_name("with-t5-weights")

    def folder(self, repository: str) -> Path:
        base = self.cache / f"models--{repository.replace('/', '--')}"
        return base / "snapshots" / (base / "refs" / "main").read_text()


SMALL = {"d_model": 48, "d_kv": 12, "d_ff": 96, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4}
SMALL_ENCODER = {"d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 4}
CHECKPOINTS = {
    "gtr_base": ("jxm/gtr__nq__32", "jxm/gtr__nq__32__correct"),
    "gtr_base_st": ("ielabgroup/vec2text_gtr-base-st_inversion", "ielabgroup/vec2text_gtr-base-st_corrector"),
}
"""Names by which vec2text opens the two encoders, and the checkpoints for them."""


def make_hub(
    cache: Path,
    dim: int = 768,
    tokenizer: PreTrainedTokenizerFast | None = None,
    sizes: dict[str, int] = SMALL,
    encoder_sizes: dict[str, int] = SMALL_ENCODER,
    checkpoints: dict[str, tuple[str, str]] = CHECKPOINTS,
    steps: int = 200,
    sentences: Sequence[str] = SENTENCES,
) -> Hub:
    """Make all repositories that the two spaces name.

    Args:
        dim: of the vectors.
        tokenizer: one cut for ``sentences`` unless given.
        sizes, encoder_sizes: of the T5 and of the encoder.
        checkpoints: which to make.
        steps: of training; 0 leaves weights random.
        sentences: what the networks are taught.
    """
    torch.manual_seed(0)
    hub = Hub(cache)
    tokenizer = tokenizer or _tokenizer(sentences)
    revision = configured(Settings(spaces=Path("none")))["gtr-base"].encoder_revision
    encoder = _repository(cache, GTR, revision or "")
    _encoder(encoder, tokenizer, dim, encoder_sizes)
    base = _repository(cache, "t5-base", "b" * 40)
    t5 = T5Config(
        vocab_size=len(tokenizer), decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, dropout_rate=0.0,
        architectures=["T5Model"], **sizes,
    )  # fmt: skip
    t5.save_pretrained(base)
    tokenizer.save_pretrained(base)
    recipes = {
        "gtr_base": Recipe(GTR, "mean", -1, "", False, 31),
        "gtr_base_st": Recipe(GTR, "mean", -1, "2_Dense/model.safetensors", True, 31),
    }
    for number, (name, (hypothesizer, corrector)) in enumerate(checkpoints.items()):
        embed = TextEncoder(encoder, recipes[name])
        config = {
            "model_name_or_path": "t5-base", "embedder_model_name": name, "max_seq_length": 32, "num_repeat_tokens": 4,
            "embedder_model_api": None, "embedder_fake_with_zeros": False, "use_frozen_embeddings_as_input": True,
            "encoder_dropout_disabled": False, "decoder_dropout_disabled": False, "embeddings_from_layer_n": None,
            "use_lora": False, "embedder_no_grad": True, "embedder_torch_dtype": "float32",
            "embedder_gaussian_noise_level": 0.0, "corrector_ignore_hypothesis_embedding": False,
        }  # fmt: skip
        first, second = _train(config, t5, tokenizer, embed, steps, sentences)
        prefix = "" if name == "gtr_base" else "0.auto_model."
        own = T5EncoderModel.from_pretrained(encoder).state_dict()  # the file's, not rounded to bfloat16
        if name == "gtr_base":
            own = {key.removeprefix("encoder."): tensor for key, tensor in own.items() if key.startswith("encoder.")}
        beside = {f"embedder.{prefix}{key}": tensor for key, tensor in own.items()}
        write = _pickled_shards if number == 0 else _safetensors
        write(_repository(cache, hypothesizer, "c" * 39 + str(number)), config, {**_state(first), **beside})
        write(_repository(cache, corrector, "d" * 39 + str(number)), config, _state(second))
    shutil.copytree(cache, hub.with_t5_weights)
    T5ForConditionalGeneration(t5).save_pretrained(Hub(hub.with_t5_weights).folder("t5-base"))
    return hub


def _repository(cache: Path, name: str, revision: str) -> Path:
    base = cache / f"models--{name.replace('/', '--')}"
    (base / "refs").mkdir(parents=True)
    (base / "refs" / "main").write_text(revision)
    folder = base / "snapshots" / revision
    folder.mkdir(parents=True)
    return folder


def _tokenizer(sentences: Sequence[str]) -> PreTrainedTokenizerFast:
    """A Unigram tokenizer with T5's special tokens. Its pieces are characters and halves of words of the sentences.

    It is not trained: training gives other pieces every time, and so other networks.
    """
    words = sorted({f"▁{word}" for text in sentences for word in text.split()})
    halves = [half for word in words for half in (word[: len(word) // 2 + 1], word[len(word) // 2 + 1 :]) if half]
    pieces = ["<pad>", "</s>", "<unk>", *dict.fromkeys([*halves, "▁", *sorted(set("".join(sentences)) - {" "})])]
    tokenizer = Tokenizer(models.Unigram([(piece, -float(len(pieces)) / len(piece)) for piece in pieces], 2))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )


def _encoder(folder: Path, tokenizer: PreTrainedTokenizerFast, dim: int, sizes: dict[str, int]) -> None:
    config = T5Config(vocab_size=len(tokenizer), d_model=dim, dropout_rate=0.0, **sizes)
    model = T5EncoderModel(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    kinds = ["Transformer", "Pooling", "Dense", "Normalize"]
    paths = ["", "1_Pooling", "2_Dense", "3_Normalize"]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": dim, "pooling_mode_mean_tokens": True})
    )
    (folder / "2_Dense").mkdir()
    dense = {"in_features": dim, "out_features": dim, "bias": False, "activation_function": "torch.nn.Identity"}
    (folder / "2_Dense" / "config.json").write_text(
        json.dumps({**dense, "activation_function": "torch.nn.modules.linear.Identity"})
    )
    save_file({"linear.weight": nn.init.orthogonal_(torch.empty(dim, dim))}, folder / "2_Dense" / "model.safetensors")
    (folder / "3_Normalize").mkdir()
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 512, "do_lower_case": False}))


def _train(
    config: dict[str, object],
    t5: T5Config,
    tokenizer: PreTrainedTokenizerFast,
    encoder: TextEncoder,
    steps: int,
    sentences: Sequence[str],
) -> tuple[nn.Module, nn.Module]:
    """Teach both networks a few sentences, just enough that different vectors give different texts."""
    facts = SimpleNamespace(**config)
    hypothesizer = vec2text_networks.hypothesizer(
        vec2text_networks._package().InversionConfig(**vars(facts)), t5, tokenizer, encoder.dim, Path()
    )
    corrector = vec2text_networks.corrector(
        vec2text_networks._package().InversionConfig(**vars(facts)), t5, encoder.dim, Path()
    )
    vectors = torch.from_numpy(encoder.encode(sentences).raw)
    ids = tokenizer([*sentences], padding=True, truncation=True, max_length=31, return_tensors="pt").input_ids
    labels = ids.masked_fill(ids == 0, -100)
    hypotheses = torch.cat([torch.zeros(len(ids), 1, dtype=torch.long), ids], dim=1)
    n = len(ids)
    target, hypothesis = torch.arange(n).repeat(n), torch.arange(n).repeat_interleave(n)  # every pair of sentences

    def near(rows: Tensor) -> Tensor:
        return vectors[rows] + 0.2 * vectors.std() * torch.randn(len(rows), vectors.shape[1])

    def first() -> Tensor:
        rows = torch.arange(n) if n <= 24 else torch.randint(n, (24,))
        loss: Tensor = hypothesizer(None, None, labels=labels[rows], frozen_embeddings=near(rows)).loss
        return loss

    def second() -> Tensor:
        pairs = torch.randint(n * n, (24,))
        to, of = target[pairs], hypothesis[pairs]
        said = hypotheses[of]
        wrong = (torch.rand(said.shape) < 0.2) & (said > 1)
        said = torch.where(wrong, torch.randint(3, len(tokenizer), said.shape), said)
        loss: Tensor = corrector(near(to), near(of), said, (said != 0).int(), labels=labels[to]).loss
        return loss

    for network, loss in ((hypothesizer, first), (corrector, second)):
        _fit(network, loss, steps, 3e-3 * (SMALL["d_model"] / t5.d_model) ** 0.5)
    return hypothesizer, corrector


def _fit(network: nn.Module, loss: Callable[[], Tensor], steps: int, rate: float) -> None:
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate)
    # without a decay the loss has spikes, and a network saved in one never ends its texts
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=max(1, steps))
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        decay.step()
    network.eval()


def _state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone().contiguous() for name, tensor in network.state_dict().items()}


def _pickled_shards(folder: Path, config: dict[str, object], tensors: dict[str, Tensor]) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    names = sorted(tensors)
    index = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({name: tensors[name] for name in part}, folder / file)
        index |= dict.fromkeys(part, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def _safetensors(folder: Path, config: dict[str, object], tensors: dict[str, Tensor]) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    whole = {tensor.data_ptr(): name for name, tensor in reversed(tensors.items())}  # tied ones are saved once
    tensors = {name: tensors[name] for name in sorted(whole.values())}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


__all__ = ["CHECKPOINTS", "GTR", "SENTENCES", "Hub", "make_hub"]
