"""Make the folder of a shipped model (``lvm.pipeline.shipped``) from an evaluated model of a workspace.

Contract: every figure on the card is one that the database or ``summary.json`` has, or that is measured here on the
same held-out windows. A model without passing verdicts is refused. Nothing in the folder names a place on this machine.
"""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from lvm import gates
from lvm.errors import first_line
from lvm.evaluation.decoding import TRUTH
from lvm.evaluation.nll import BEST_CONSTANT
from lvm.evaluation.retrieval import MEASURED_WINDOWS, evaluate
from lvm.evaluation.roundtrip import RoundtripFigures
from lvm.files import CannotWrite, CorruptedFile, replacing
from lvm.models import MODELS, UnknownModel, hyperparameters
from lvm.pipeline.errors import GateBlocked, GateMissing
from lvm.pipeline.shipped import CARD, CARD_FOR_PEOPLE, Card, Pipeline, Roundtrip, Size
from lvm.pipeline.workspace import Workspace, named_stage
from lvm.report import Summary
from lvm.sequences import SPLITS, SequenceSet, Split
from lvm.store import Gate
from lvm.training import TrainConfig, TrainedModel
from lvm.training.checkpoints import MODEL, write

KEPT = ("cosine", "r10", "mrr")
"""Figures of ``summary.json`` that the packed weights must give again."""

LIMITS = (
    "It continues text of the kind that it was trained on. On other text it is worth little: `lvm run SOURCE` trains "
    "models on yours.",
    "It accepts vectors of this encoder only, and was trained through this inverter only.",
    "It predicts sentences and knows no facts: names, numbers and dates in its texts are made up.",
)


@named_stage
def pack(work: Workspace, name: str, folder: Path) -> Card:
    """Make the folder of a shipped model from an evaluated model of this workspace.

    Args:
        work: the database and space that recorded the model, its gates and its evaluation.
        name: of the model.
        folder: where the files go; ``lvm`` in the folder of the space's inverter ships them.

    Returns:
        The card that was written.

    Raises:
        UnknownModel: if there is no such architecture.
        GateMissing: if the model is not trained, not evaluated, or not the one that ``summary.json`` is about; or the
            corpus, its verdict or the sequence set is another one now.
        GateBlocked: if a stored verdict about it did not pass.
        CorruptedFile: if checkpoint or ``summary.json`` cannot be read.
        CannotWrite: if the folder cannot be written.
    """
    if name not in MODELS:
        raise UnknownModel(f"there is no model {name!r}; choose one of {', '.join(MODELS)}")
    summary = _summary(work)
    gate = work.passing_gate()
    sequences, record = work.sequences(summary["corpus"]["context"])
    found = work.models(record, [name])
    if name not in found:
        raise GateMissing(f"no finished {name} is trained on the current corpus; run `lvm train --model {name}`")
    model = found[name]
    judged = work.store.pipeline_verdict(gate, model.sha256)
    if judged is None:
        raise GateMissing(f"no pipeline gate stands for {name} as it is now; run `lvm evaluate` first")
    figures = _figures(work, summary, gate, judged, name)
    weights, precision, figures["packed"] = _packed(model, sequences, figures["retrieval"])
    card = Card(
        model=name,
        space_name=work.space.name,
        space=work.space.fingerprint,
        inverter=work.space.inverter.sha256,
        checkpoint="",  # it is not written yet
        precision=precision,
        trained_checkpoint=model.sha256,
        corpus=_corpus(work),
        command=command_of(model.config),
        seed=model.config["seed"],
        context=model.context,
        training=_size(sequences, "train"),
        held_out=_size(sequences, "test"),
        hyperparameters=model.config,
        roundtrip=_roundtrip(gate),
        pipeline=Pipeline(
            cosine=judged.value, threshold=judged.threshold, norm_error=figures["retrieval"]["norm_error"]
        ),
        figures=figures,
        limits=LIMITS,
        versions=summary["versions"],
    )
    for stored, verdict in zip((gate, judged), card.verdicts, strict=True):
        if not (stored.passed and verdict.passed):
            raise GateBlocked(f"{name} is not packed, its stored verdict does not pass: {verdict.message}", (verdict,))
    try:
        folder.mkdir(parents=True, exist_ok=True)  # readable for all, as a package is
    except OSError as error:
        raise CannotWrite(f"{folder} cannot be made ({error.strerror}); name a folder you can write to") from error
    digest = write(folder / MODEL, weights, {"config": json.dumps(model.config, sort_keys=True)})
    card = card.model_copy(update={"checkpoint": digest})
    for file, text in ((CARD_FOR_PEOPLE, for_people(card)), (CARD, card.model_dump_json(indent=1) + "\n")):
        with replacing(folder / file) as writing:
            writing.write(text.encode())
    return card


def _summary(work: Workspace) -> dict[str, Any]:
    """``summary.json`` of the workspace's own corpus.

    Raises:
        GateMissing: if there is none.
        CorruptedFile: if it has not the figures of this version.
    """
    path = work.settings.artifacts / "summary.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        missing = [field.name for field in fields(Summary) if field.name not in found]
    except FileNotFoundError as error:
        raise GateMissing(f"there is no {path}, so nothing says how good the model is; run `lvm evaluate`") from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CorruptedFile(f"{path} cannot be read ({first_line(error)}); run `lvm evaluate` again") from error
    if missing:
        raise CorruptedFile(f"{path} has no {missing[0]}, so another version wrote it; run `lvm evaluate` again")
    return found


def _figures(work: Workspace, summary: dict[str, Any], gate: Gate, judged: Gate, name: str) -> dict[str, Any]:
    """The model's part of ``summary.json``.

    Raises:
        GateMissing: if it is about another space, inverter, corpus or checkpoint.
    """
    space = summary["space"]
    about = (space["fingerprint"], space["inverter"], summary["corpus"]["revision"], summary.get("on"))
    now = (work.space.fingerprint, work.space.inverter.sha256, gate.corpus_revision, None)
    retrieval = summary["models"].get(name)
    if about != now or retrieval is None or not _same(retrieval["pipeline_cosine"], judged.value):
        raise GateMissing(f"summary.json is not about {name} as it is now; run `lvm evaluate` again")
    nll = summary["text_nll"]
    samples = summary["decoded_samples"].get(name)
    return {
        "retrieval": retrieval,
        "text_nll": {each: nll[each] for each in (name, BEST_CONSTANT, TRUTH)},
        "lead": summary["leads"][name],
        "decoded_samples": samples and {key: value for key, value in samples.items() if key != "texts"},
    }


def _same(measured: float | None, stored: float) -> bool:
    """Whether a figure is the one of the database, which computes it in another precision."""
    return measured is not None and math.isclose(measured, stored, abs_tol=1e-5)


def _roundtrip(gate: Gate) -> Roundtrip:
    """The verdict about the corpus, as the card has it."""
    evidence = RoundtripFigures.from_evidence(gate.evidence)
    return Roundtrip(
        corpus_revision=gate.corpus_revision,
        mean=gate.value,
        interval=evidence.interval,
        threshold=gate.threshold,
        chance=evidence.chance,
        identification=evidence.identify_r1,
        n=evidence.n,
        inverter_encoder=evidence.inverter_encoder,
    )


def _packed(
    model: TrainedModel, sequences: SequenceSet, retrieval: dict[str, Any]
) -> tuple[dict[str, torch.Tensor], str, dict[str, float]]:
    """The weights to write: in half precision if they give the figures of ``summary.json``, else as they are.

    Returns:
        Weights, the name of their number type, and the figures that they give on the held-out windows.

    Raises:
        GateMissing: if they do not give these figures in single precision either.
    """
    trained = {name: value.clone() for name, value in model.model.state_dict().items()}
    for kind in (torch.float16, torch.float32):
        weights = {name: value.to(kind) for name, value in trained.items()}
        model.model.load_state_dict(weights)
        measured = evaluate(sequences, model.predict, limit=MEASURED_WINDOWS).as_dict()
        found = {name: measured[name] for name in KEPT}
        if all(abs(found[name] - retrieval[name]) <= gates.PACKED_MAX_CHANGE for name in KEPT):
            return weights, str(kind).removeprefix("torch."), found
    raise GateMissing(f"summary.json is not about {model.name} as it is now; run `lvm evaluate` again")


def _size(sequences: SequenceSet, split: Split) -> Size:
    documents = int((sequences.document_splits == SPLITS.index(split)).sum())
    return Size(documents=documents, windows=len(sequences.starts[split]))


def _corpus(work: Workspace) -> str:
    """Names of the sources of the corpus. Of a path, the last part: the rest is about this machine."""
    sources = {source for source, _, _ in work.store.known_documents(work.space_id)}
    return ", ".join(sorted(Path(source).name if Path(source).is_absolute() else source for source in sources))


def command_of(config: dict[str, Any]) -> str:
    """The command that trains with a configuration: what differs from the defaults of this version.

    Args:
        config: result of ``lvm.training.describe``.
    """
    defaults = TrainConfig().as_dict()
    left_out = {"head": "point", **({"text_weight": 0.0} if config["loss"] == "mix" else {})}  # see ``describe``
    values = {**left_out, **config}
    usual = {**defaults, **hyperparameters(config["model"], values["head"])}
    values |= values["hyper"]
    environment = [
        f"LVM_{each.upper()}={values[each]} " for each in ("seed", "replicas") if values[each] != usual[each]
    ]
    changed = [
        f" --set {each}={values[each]}"
        for each in usual
        if each in values and each not in ("seed", "replicas", "hyper") and values[each] != usual[each]
    ]
    return f"{''.join(environment)}lvm train --model {config['model']} --context {config['context']}{''.join(changed)}"


def for_people(card: Card) -> str:
    """The card as Markdown.

    Args:
        card: the card.
    """
    retrieval, nll, samples = (card.figures[key] for key in ("retrieval", "text_nll", "decoded_samples"))
    lead, roundtrip, pipeline = card.figures["lead"], card.roundtrip, card.pipeline
    low, high = roundtrip.interval

    def ahead(key: str) -> str:
        interval = lead[key]["interval"]
        known = "" if None in interval else f" (95 % interval {interval[0]:+.3f} to {interval[1]:+.3f})"
        return f"{lead[key]['value']:+.3f}{known} against {lead[key]['over']}, the best baseline"

    lines = [
        f"# The model of space `{card.space_name}`",
        "",
        f"Reads the vectors of {card.context} consecutive chunks and predicts the vector of the next one. `lvm write`",
        "uses it where no model is trained. `card.json` has the same for programs.",
        "",
        "| | |",
        "| --- | --- |",
        f"| architecture | `{card.model}`, context {card.context}, weights in {card.precision} |",
        f"| corpus | `{card.corpus}`, revision `{roundtrip.corpus_revision}` |",
        f"| trained on | {card.training.documents} documents, {card.training.windows:,} windows |",
        f"| held out | {card.held_out.documents} documents, {card.held_out.windows:,} windows |",
        f"| command | `{card.command}` (seed {card.seed}) |",
        f"| encoder | `{card.space}` |",
        f"| inverter | `{card.inverter[:12]}` |",
        "",
        f"The roundtrip gate of this corpus: mean cosine **{roundtrip.mean:.3f}** (95 % interval {low:.3f} to "
        f"{high:.3f}; at least {roundtrip.threshold:g}), chance cosine {_number(roundtrip.chance)}, identification R@1 "
        f"{roundtrip.identification:.3f}, {roundtrip.n} chunks.",
        f"The pipeline gate: cosine **{pipeline.cosine:.3f}** between predictions and their decoded texts (at least "
        f"{pipeline.threshold:g}).",
        "",
        f"Measured on {retrieval['n']:,} held-out windows: cosine to the true next vector {retrieval['cosine']:.3f}, "
        f"{ahead('cosine')}; R@10 {retrieval['r10']:.3f} among {retrieval['pool']:,} chunks, {ahead('r10')}.",
        f"Text NLL {_number(nll[card.model]['nll'], 2)} nats a token, between the best constant vector "
        f"({_number(nll[BEST_CONSTANT]['nll'], 2)}) and the truth ({_number(nll[TRUTH]['nll'], 2)}).",
    ]
    if samples:
        lines.append(
            f"Of {samples['count']} decoded samples, the one that it chooses has cosine "
            f"{_number(samples['chosen']['mean'])} to the truth, the nearest one {_number(samples['best_of']['mean'])}."
        )
    packed = ", ".join(f"{key} {value:.4f}" for key, value in card.figures["packed"].items())
    lines += [f"The packed weights give {packed} on the same windows.", ""]
    return "\n".join([*lines, *(f"- {limit}" for limit in card.limits), ""])


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
