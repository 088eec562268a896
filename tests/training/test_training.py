"""Training: it learns, it is the same however often it dies, and what it leaves on disk is whole."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lvm.devices import NoDevice
from lvm.errors import LvmError, UsageError
from lvm.evaluation.baselines import baselines
from lvm.evaluation.retrieval import EmptySplit, evaluate
from lvm.evaluation.samples import sample_figures
from lvm.files import CannotWrite, CorruptedFile
from lvm.gates import MAX_NORM_ERROR
from lvm.models import MODELS, UnknownModel
from lvm.sequences import SequenceSet
from lvm.training import LOSSES, BadConfig, NoSamples, TrainConfig, checkpoints, load_model, train
from lvm.training.data import runs_of
from lvm.training.losses import energy_loss, info_nce, negatives_allowed, simhash
from lvm.training.reading import Reading, read_tokens
from tests.training.toy import CONFIG, CONTEXT, DIM, ToyInverter, corpus, reading, texts_of

SMALL_SAMPLER = {"sampler_width": 16, "sampler_blocks": 1, "sampler_noise": 4}
HYPER = {
    "mamba2": {"hidden": 16, "head_width": 8, "state": 4, **SMALL_SAMPLER},
    "transformer": {"hidden": 16, "heads": 2, **SMALL_SAMPLER},
}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> SequenceSet:
    return corpus(tmp_path_factory.mktemp("toy") / "s.safetensors")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")


def assert_same(one: Path, other: Path) -> None:
    left, right = weights(one), weights(other)
    assert left.keys() == right.keys()
    for key in left:
        assert torch.equal(left[key], right[key]), key


@pytest.fixture(scope="module")
def undisturbed(toy: SequenceSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train("gru", toy, CONFIG, folder)
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_every_model_learns_what_no_baseline_knows(name: str, toy: SequenceSet, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=12, hyper=HYPER.get(name, {"hidden": 24, **SMALL_SAMPLER}))
    told = []
    result = train(name, toy, config, tmp_path, on_epoch=told.append)
    model = load_model(tmp_path)
    measured = evaluate(toy, model.predict)
    rivals = {rival: evaluate(toy, predictor) for rival, predictor in baselines(toy).items()}
    plain = [rivals[n] for n in ("copy_last", "context_mean", "recency_mean")]
    assert measured.mrr > 1.3 * max(r.mrr for r in plain)
    assert measured.cosine > 0.2 + max(r.cosine for r in plain)
    assert measured.norm_error <= MAX_NORM_ERROR
    assert told == result.history
    assert [r.epoch for r in told] == list(range(1, len(told) + 1))
    assert result.best.mrr == max(r.mrr for r in told)
    assert (model.name, model.loss, model.space, model.context) == (name, "mix", "ab" * 32, CONTEXT)
    assert model.sha256 == result.sha256
    assert result.parameters == sum(p.numel() for p in model.model.parameters())
    assert {p.name for p in tmp_path.iterdir()} == {"model.safetensors", "last.safetensors", "config.json"}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_decides_which_head_speaks(loss: str, toy: SequenceSet, tmp_path: Path) -> None:
    texts = reading(toy, tmp_path / "tokens")
    train("gru", toy, replace(CONFIG, loss=loss, epochs=1), tmp_path, reading=texts)
    vector, query = load_model(tmp_path).predict(toy.contexts(toy.starts["test"]))
    assert np.array_equal(vector, query) == (loss != "mix")


def test_the_kept_model_is_the_best_epoch(toy: SequenceSet, undisturbed: Path) -> None:
    result = train("gru", toy, CONFIG, undisturbed)
    measured = evaluate(toy, load_model(undisturbed).predict, "validation")
    assert measured.mrr == pytest.approx(result.best.mrr)
    assert measured.cosine == pytest.approx(result.best.cosine)


def test_it_stops_when_retrieval_stops_getting_better(toy: SequenceSet, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=40, patience=2, learning_rate=0.05)
    result = train("gru", toy, config, tmp_path)
    assert len(result.history) < 40
    assert len(result.history) - result.best.epoch == 2


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("after", [1, 3])
def test_killed_and_run_again_it_ends_the_same(
    how: signal.Signals, after: int, toy: SequenceSet, undisturbed: Path, tmp_path: Path
) -> None:
    script = Path(__file__).with_name("toy.py")
    command = [sys.executable, str(script), str(toy.path), str(tmp_path), "gru"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        # a shell starts its background jobs with Ctrl-C ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    for _ in range(after):
        assert "EpochReport" in process.stdout.readline()
    process.send_signal(how)
    assert process.wait(timeout=60) != 0
    process.stdout.close()
    result = train("gru", toy, CONFIG, tmp_path)
    assert result.note == f"resumed after epoch {after}"
    assert len(result.history) == CONFIG.epochs
    assert_same(undisturbed, tmp_path)


@pytest.mark.parametrize("name", MODELS)
def test_an_interruption_between_two_files_changes_nothing(
    name: str, toy: SequenceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst moment: the best weights are of the new epoch, the state to go on from is of the one before."""
    config = replace(CONFIG, epochs=3, hyper=HYPER.get(name, CONFIG.hyper))
    train(name, toy, config, tmp_path / "whole")
    original, calls = checkpoints.write, []

    def dying(path: Path, *rest: object) -> str:
        calls.append(path.name)
        if path.name == "last.safetensors" and calls.count(path.name) == 2:
            raise KeyboardInterrupt
        return original(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoints, "write", dying)
    with pytest.raises(KeyboardInterrupt):
        train(name, toy, config, tmp_path / "cut")
    monkeypatch.undo()
    again = train(name, toy, config, tmp_path / "cut")
    assert again.note == "resumed after epoch 1"
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_a_finished_run_is_not_done_again(toy: SequenceSet, undisturbed: Path) -> None:
    before = (undisturbed / "model.safetensors").stat().st_mtime_ns
    told = []
    result = train("gru", toy, CONFIG, undisturbed, on_epoch=told.append)
    assert result.note == f"resumed after epoch {CONFIG.epochs}"
    assert len(told) == CONFIG.epochs
    assert (undisturbed / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("change", ["seed", "hyper", "loss", "sequences", "model"])
def test_another_configuration_starts_anew(change: str, toy: SequenceSet, tmp_path: Path) -> None:
    base = replace(CONFIG, epochs=1)
    train("gru", toy, base, tmp_path)
    other = {
        "seed": replace(base, seed=1),
        "hyper": replace(base, hyper={**base.hyper, "hidden": 8}),
        "loss": replace(base, loss="cosine"),
    }.get(change, base)
    data = corpus(tmp_path / "other.safetensors", seed=1) if change == "sequences" else toy
    result = train("lstm" if change == "model" else "gru", data, other, tmp_path)
    assert result.note.startswith("anew: the earlier run there had another configuration")
    assert load_model(tmp_path).config == result.config


def test_the_device_does_not_make_another_run(toy: SequenceSet, tmp_path: Path) -> None:
    train("gru", toy, replace(CONFIG, epochs=1), tmp_path)
    assert "resumed" in train("gru", toy, replace(CONFIG, epochs=1, device="cpu:0"), tmp_path).note


@pytest.mark.parametrize("file", ["last.safetensors", "model.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied"])
def test_a_damaged_checkpoint_is_named(file: str, damage: str, toy: SequenceSet, tmp_path: Path) -> None:
    train("gru", toy, replace(CONFIG, epochs=1), tmp_path)
    raw = bytearray((tmp_path / file).read_bytes())
    if damage == "flipped":
        raw[-5] ^= 1
    (tmp_path / file).write_bytes({"cut": raw[:-9], "flipped": raw, "emptied": b""}[damage])
    with pytest.raises(CorruptedFile, match=f"{file} cannot be used.*delete it") as caught:
        train("gru", toy, replace(CONFIG, epochs=1), tmp_path)
    assert caught.value.exit_code == 1
    if file == "model.safetensors":
        with pytest.raises(CorruptedFile):
            load_model(tmp_path)


def test_no_model_there(tmp_path: Path) -> None:
    with pytest.raises(CorruptedFile, match="No such file"):
        load_model(tmp_path)


def test_a_full_disk_keeps_what_was_there(
    toy: SequenceSet, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    real = os.fsync

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CannotWrite, match=r"No space left on device.*intact"):
        train("gru", toy, CONFIG, tmp_path)
    monkeypatch.undo()
    assert not list(tmp_path.glob(".*")), "nothing half-written is left"
    checkpoints.read(tmp_path / checkpoints.BEST)
    result = train("gru", toy, CONFIG, tmp_path)
    assert result.note.startswith("resumed")
    assert_same(undisturbed, tmp_path)


@pytest.mark.parametrize("loss", ["cosine", "infonce"])
def test_a_run_resumes_though_a_head_has_no_gradient(loss: str, toy: SequenceSet, tmp_path: Path) -> None:
    config = replace(CONFIG, loss=loss, epochs=2)  # type: ignore[arg-type]

    def stop(report: object) -> None:
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        train("gru", toy, config, tmp_path, on_epoch=stop)
    assert train("gru", toy, config, tmp_path).note == "resumed after epoch 1"


def test_a_diverging_run_is_an_error_and_keeps_its_state(toy: SequenceSet, tmp_path: Path) -> None:
    with pytest.raises(LvmError, match="lower"):
        train("gru", toy, replace(CONFIG, learning_rate=1e38, clip=1e30), tmp_path)


def test_the_callers_random_state_is_left_alone(toy: SequenceSet, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train("gru", toy, replace(CONFIG, epochs=1), tmp_path)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"loss": "mse"},
        {"temperature": 0.0},
        {"learning_rate": -1.0},
        {"negatives": -1},
        {"head": "mean"},
        {"text_share": 0.0},
        {"energy_samples": 1},
        {"text_weight": -0.5},
        {"head_epochs": 0},
    ],
)
def test_options_that_cannot_be_meant(wrong: dict[str, object]) -> None:
    with pytest.raises(BadConfig, match=next(iter(wrong))) as caught:
        TrainConfig(**wrong)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2


def test_unknown_model_and_device(toy: SequenceSet, tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="choose one of lstm"):
        train("rnn", toy, CONFIG, tmp_path / "x")
    for device in ("cuda:9", "abacus"):
        with pytest.raises(NoDevice, match="cpu") as caught:
            train("gru", toy, replace(CONFIG, device=device), tmp_path / "x")
        assert isinstance(caught.value, UsageError)
    assert not (tmp_path / "x").exists()


def test_no_validation_window(toy: SequenceSet, tmp_path: Path) -> None:
    empty = replace(toy, starts={**toy.starts, "validation": np.empty(0, np.int64)})
    with pytest.raises(EmptySplit):
        train("gru", empty, CONFIG, tmp_path)


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=12),
    gap=st.integers(2, 6),
    length=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_runs_hold_every_window_once(counts: list[int], gap: int, length: int, seed: int) -> None:
    starts, at = [], 3
    for count in counts:
        starts += list(range(at, at + count))
        at += count + gap - 1
    array = np.array(starts, dtype=np.int64)
    begins, sizes = runs_of(array, length, np.random.default_rng(seed))
    covered = np.concatenate([np.arange(b, b + n) for b, n in zip(begins, sizes, strict=True)])
    np.testing.assert_array_equal(covered, array)  # of one document each: else a row between two would be in
    assert sizes.max() <= length
    assert sizes.min() >= 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), context=st.integers(1, 4))
def test_which_negatives_count(seed: int, context: int) -> None:
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 6, size=20)
    starts, others = random.integers(0, 20 - context, size=5), random.integers(0, 20, size=7)
    rows = np.concatenate([starts + context, others])
    allowed = negatives_allowed(torch.from_numpy(starts), context, torch.from_numpy(rows), torch.from_numpy(hashes))
    for i, start in enumerate(starts):
        for j, row in enumerate(rows):
            own = start <= row < start + context
            copy = hashes[row] == hashes[start + context]
            assert bool(allowed[i, j]) == (i == j or not (own or copy))


def test_simhash_tells_copies_from_others() -> None:
    unit = torch.nn.functional.normalize(torch.randn(500, 32, generator=torch.Generator().manual_seed(0)), dim=-1)
    noisy = unit + 1e-7 * torch.randn(500, 32)
    hashes = simhash(torch.cat([unit, noisy]))
    assert (hashes[:500] == hashes[500:]).float().mean() > 0.99
    assert len(hashes[:500].unique()) == 500


def test_info_nce_is_cross_entropy_over_what_is_allowed() -> None:
    query, candidates = torch.eye(3)[:2], torch.eye(3)
    allowed = torch.tensor([[True, False, True], [True, True, True]])
    expected = (np.log(np.exp(10) + 1) - 10 + np.log(np.exp(10) + 2) - 10) / 2
    assert float(info_nce(query, candidates, allowed, 0.1)) == pytest.approx(expected, rel=1e-3)


def test_the_text_loss_makes_the_next_text_likelier(toy: SequenceSet, tmp_path: Path) -> None:
    texts = reading(toy, tmp_path / "tokens")
    starts = toy.starts["test"]

    def nats(folder: Path, **options: object) -> float:
        config = replace(CONFIG, epochs=8, text_share=0.5, **options)  # type: ignore[arg-type]
        train("gru", toy, config, folder, reading=texts)
        vector, _ = load_model(folder).predict(toy.contexts(starts))
        return float(texts.loss(torch.from_numpy(vector), starts + CONTEXT))

    without, mixed, alone = (
        nats(tmp_path / name, **options)
        for name, options in {
            "without": {},
            "mixed": {"text_weight": 4.0},
            "alone": {"loss": "text"},
        }.items()
    )
    assert mixed < without - 0.2
    assert alone < without - 0.1
    with pytest.raises(BadConfig, match="reads texts through an inverter, and none is given"):
        train("gru", toy, replace(CONFIG, loss="text"), tmp_path / "none")


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=60), share=st.floats(0.01, 1.0), seed=st.integers(0, 99)
)
def test_windows_of_the_text_loss_have_similar_lengths(lengths: list[int], share: float, seed: int) -> None:
    ends = np.concatenate([[0], np.cumsum(lengths)])
    texts = Reading(ToyInverter(), 1.0, np.zeros(ends[-1], np.int32), ends)  # type: ignore[arg-type]
    rows = np.arange(len(lengths))
    torch.manual_seed(seed)
    chosen = texts.choose(rows, share).numpy()
    assert 1 <= len(chosen) == len(set(chosen.tolist())) <= max(1, round(share * len(lengths)))
    own = np.sort(texts.lengths(rows[chosen]))
    between = [length for row, length in enumerate(lengths) if row not in chosen and own[0] < length < own[-1]]
    assert not between, "no window of a length in between was passed over"


def test_a_file_of_tokens_is_read_only_as_what_it_is(toy: SequenceSet, tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    written = reading(toy, path)
    assert [
        written.ids[written.ends[row] : written.ends[row + 1]].tolist() for row in range(3)
    ] == ToyInverter().token_ids(texts_of(toy)[:3])
    assert read_tokens(path, ToyInverter(), 1.0, "another") is None  # type: ignore[arg-type]
    path.write_bytes(path.read_bytes()[:-1])
    assert read_tokens(path, ToyInverter(), 1.0, toy.sha256) is None  # type: ignore[arg-type]
    assert read_tokens(tmp_path / "none", ToyInverter(), 1.0, toy.sha256) is None  # type: ignore[arg-type]


def test_the_energy_score_is_smallest_for_the_true_distribution() -> None:
    random = torch.Generator().manual_seed(0)

    def draw(spread: float, *shape: int) -> Tensor:
        centre = torch.zeros(DIM)
        centre[0] = 1.0
        return F.normalize(centre + spread * torch.randn(*shape, DIM, generator=random), dim=-1)

    targets = draw(0.5, 4000)
    scores = {spread: float(energy_loss(draw(spread, 4000, 8), targets)) for spread in (0.05, 0.25, 0.5, 1.0, 3.0)}
    assert min(scores, key=lambda spread: scores[spread]) == 0.5
    mean = F.normalize(targets.mean(0), dim=0).expand(4000, 8, DIM).clone().requires_grad_()
    energy_loss(mean, targets).backward()  # all samples equal, as when training starts
    assert torch.isfinite(mean.grad).all()


@pytest.mark.parametrize("name", MODELS)
def test_a_sampling_head_learns_the_distribution(name: str, toy: SequenceSet, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=12, patience=12, head_epochs=12, hyper={**CONFIG.hyper, **HYPER.get(name, {})})
    train(name, toy, config, tmp_path)
    model = load_model(tmp_path)
    contexts, targets = toy.contexts(toy.starts["test"]), toy.targets(toy.starts["test"])
    drawn = model.sample(contexts, 8, seed=3)
    assert drawn.shape == (len(contexts), 8, DIM) and model.samples
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=-1), 1.0, atol=MAX_NORM_ERROR)
    np.testing.assert_array_equal(drawn, model.sample(contexts, 8, seed=3))
    assert not np.array_equal(drawn, model.sample(contexts, 8, seed=4))
    sampled, point = sample_figures(drawn, targets), sample_figures(model.predict(contexts)[0][:, None], targets)
    assert sampled.energy_score < point.energy_score - 0.1
    assert sampled.within is not None and sampled.within < 0.995
    still = model.sample(contexts, 8, temperature=0.0)
    np.testing.assert_allclose(still, still[:, :1].repeat(8, axis=1), atol=1e-6)


def test_the_second_part_changes_samples_and_no_prediction(toy: SequenceSet, tmp_path: Path) -> None:
    contexts, targets = toy.contexts(toy.starts["test"]), toy.targets(toy.starts["test"])
    found, told = {}, []
    for epochs in (1, 12):
        folder = tmp_path / str(epochs)
        config = replace(CONFIG, head_epochs=epochs)
        result = train("gru", toy, config, folder, on_head_epoch=lambda: told.append(1))
        model = load_model(folder)
        assert model.sha256 == result.sha256
        found[epochs] = (*model.predict(contexts), sample_figures(model.sample(contexts, 8), targets).energy_score)
        assert {p.name for p in folder.iterdir()} == {"model.safetensors", "last.safetensors", "config.json"}
    assert len(told) == 13
    for part in range(2):
        np.testing.assert_array_equal(found[1][part], found[12][part])
    assert found[12][2] < found[1][2] - 0.01
    again = train("gru", toy, replace(CONFIG, head_epochs=12), tmp_path / "12", on_head_epoch=lambda: told.append(1))
    assert again.sha256 == result.sha256 and len(told) == 25, "a finished run tells its epochs, and is not done again"


def test_text_after_the_best_epoch_changes_no_ranking(toy: SequenceSet, tmp_path: Path) -> None:
    contexts, texts = toy.contexts(toy.starts["test"]), reading(toy, tmp_path / "tokens")
    found = {}
    for weight in (0.0, 4.0):
        folder = tmp_path / str(weight)
        train(
            "gru", toy, replace(CONFIG, head="point", text_weight=weight, hyper={"hidden": 16}), folder, reading=texts
        )
        found[weight] = load_model(folder).predict(contexts)
    np.testing.assert_array_equal(found[0.0][1], found[4.0][1])
    assert not np.array_equal(found[0.0][0], found[4.0][0])


@pytest.mark.parametrize("death", ["heads", "before the model", "after the model", "after the state"])
def test_killed_in_the_second_part_and_run_again_it_ends_the_same(
    death: str, toy: SequenceSet, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written, unlink = checkpoints.write, [], Path.unlink

    def dying(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
        written.append(path.name)
        if death == "before the model" and path.name == "model.safetensors":
            raise KeyboardInterrupt
        if death == "after the model" and "model.safetensors" in written and path.name == "last.safetensors":
            raise KeyboardInterrupt
        digest = real(path, tensors, metadata)
        if death == "heads" and written.count("heads.safetensors") == 3:
            raise KeyboardInterrupt
        return digest

    def dead(path: Path, missing_ok: bool = False) -> None:
        if path.name == "best.safetensors":
            raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoints, "write", dying)
        if death == "after the state":
            patch.setattr(Path, "unlink", dead)
        train("gru", toy, CONFIG, tmp_path)
    told = []
    train("gru", toy, CONFIG, tmp_path, on_epoch=told.append)
    assert len(told) == CONFIG.epochs
    assert_same(tmp_path, undisturbed)


def test_best_weights_that_another_program_changed_are_named(toy: SequenceSet, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=1)
    with pytest.raises(RuntimeError, match="stopped"):
        train("gru", toy, config, tmp_path, on_head_epoch=lambda: (_ for _ in ()).throw(RuntimeError("stopped")))
    best = tmp_path / "best.safetensors"
    tensors, metadata = checkpoints.read(best)
    tensors["recency"] += 1
    checkpoints.write(
        best, tensors, {name: value for name, value in metadata.items() if name not in ("format", "sha256")}
    )
    with pytest.raises(CorruptedFile, match="another program changed it"):
        train("gru", toy, config, tmp_path)
    best.unlink()
    with pytest.raises(CorruptedFile):
        train("gru", toy, config, tmp_path)


def test_a_point_model_has_no_samples(toy: SequenceSet, tmp_path: Path) -> None:
    train("gru", toy, replace(CONFIG, epochs=1, head="point", hyper={"hidden": 16}), tmp_path)
    model = load_model(tmp_path)
    assert not model.samples
    with pytest.raises(NoSamples, match="has no sampling head"):
        model.sample(toy.contexts(toy.starts["test"]), 8)
    with pytest.raises(UnknownModel, match="has no sampler_width"):
        train("gru", toy, replace(CONFIG, head="point", hyper={"sampler_width": 8}), tmp_path)
