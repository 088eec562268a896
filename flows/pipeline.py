"""All stages in order: ingest, validate, extract, train, evaluate. A retried run goes on at the stage that failed."""

from __future__ import annotations

from prefect.utilities.annotations import quote

from lvm.corpus.sources import open_source
from lvm.models import Head
from lvm.pipeline.ingest import IngestReport, require_trainable
from lvm.report import Summary
from lvm.settings import CONTEXT
from lvm.training import Loss

from . import evaluate, extract, train
from .common import (
    Context,
    Epochs,
    InverterFolder,
    Limit,
    ModelName,
    SourceName,
    SpaceName,
    TextColumn,
    Where,
    once,
    opened,
    reach_database,
    standing,
    task_runner,
)
from .evaluate import evaluate_stage
from .extract import extract_stage
from .flow import flow
from .ingest import ingest_stage
from .options import Options
from .train import train_stage
from .validate import validate_stage


@flow(name="pipeline", task_runner=task_runner())
def pipeline_flow(
    source: SourceName = "sotu",
    limit: Limit = None,
    context: Context = CONTEXT,
    model: ModelName = "all",
    epochs: Epochs = 20,
    loss: Loss = "mix",
    head: Head = "energy",
    space: SpaceName = None,
    options: Options = None,
    inverter: InverterFolder = None,
    source_only: bool = False,
    text_column: TextColumn = None,
) -> Summary:
    """Text to trained models to a report. What an earlier run finished is not done again.

    Args:
        source: sotu, a folder of texts, a file (.jsonl, .csv, .tsv, .parquet, .txt, .md, .html, .epub, .pdf), or
            hf:[OWNER/]NAME[/CONFIGURATION][:SPLIT].
        limit: documents at most; all unless given.
        context: vectors before the one to predict.
        model: which model to train, or all.
        epochs: at most; training stops early when retrieval gets no better.
        loss: cosine is nearest to the truth, text decodes best, infonce ranks best, mix does all.
        head: energy draws samples, point does not.
        space: space to work in; LVM_SPACE unless given.
        options: other hyperparameters.
        inverter: folder of an inverter on the machine of the run, e.g. a fine-tuned one; LVM_INVERTER unless given.
        source_only: work on this source alone: what else is stored does not count. It has a database, a gate, models
            and a report of its own.
        text_column: column of the text in a table or dataset; text unless given.

    Raises:
        BadConfig: if a hyperparameter does not exist or has an impossible value.
        NothingToMeasure: if the inverter was trained on every stored document.
        NotEnoughDocuments: if fewer than three documents have a window.
        GateBlocked: if text does not come back from its vectors, or predictions cannot be decoded.
    """
    configs = train.configurations(model, epochs, loss, head, options)
    if source_only:
        open_source(source, limit, text_column)  # a source that does not exist needs no database
    reach_database()
    where = Where(space, inverter, source if source_only else None)
    with opened(where) as work:
        before = standing(work, corpus=False)

    def stored(report: IngestReport) -> bool:
        with opened(where) as work:
            return report.corpus_revision == work.store.corpus_revision(work.space_id)

    ingested = once(ingest_stage, stored, source, limit, where, before, False, "", text_column)
    with opened(where) as work:
        require_trainable(work, context)
        now = standing(work)
    gate = validate_stage(where, now, wait_for=[ingested])
    sequences = once(extract_stage, extract.there, context, where, now, after=gate)
    trained = once(train_stage, train.there, configs, context, where, now, after=sequences)
    seconds = {
        "ingest": ingested.seconds,
        "validate": gate.figures.seconds,
        "extract": sequences.seconds,
        "train": sum(result.seconds for result in trained.values()),
    }
    # quoted, so that the graph draws no arrow from every stage to the last one
    return once(evaluate_stage, evaluate.there(where), context, where, quote(seconds), now, after=trained)
