"""A corrector of ours: trained on what a hypothesizer says, on vectors of any dimension, never making a text worse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lvm.settings import Settings
from lvm.spaces import Space, SpaceMismatch, open_space, training
from lvm.spaces.corrector import CorrectedInverter, Corrector
from lvm.spaces.encoder import TextEncoder
from lvm.spaces.inverter import Inverter
from lvm.spaces.training import TrainingText, train, train_corrector
from lvm.spaces.weights import WeightsUnusable
from tests.spaces.conftest import SHIPPED, minilm_folder
from tests.spaces.test_inverter_training import SMALL, StopAfter, Stopped, text  # noqa: F401

DIM = 96


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory, minilm: Space) -> TextEncoder:
    """MiniLM with a linear layer to 96 dimensions behind its pooling, not normalised."""
    folder = tmp_path_factory.mktemp("narrow")
    for file in minilm_folder().iterdir():
        (folder / file.name).symlink_to(file)
    weight = torch.randn(DIM, 384, generator=torch.Generator().manual_seed(0)) / 10
    save_file({"linear.weight": weight}, folder / "narrow.safetensors")
    return TextEncoder(folder, replace(minilm.encoder.recipe, projection="narrow.safetensors", normalize=False))


@pytest.fixture(scope="module")
def folders(narrow: TextEncoder, text: TrainingText, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """A hypothesizer and a corrector for it, both barely trained."""
    home = tmp_path_factory.mktemp("trained")
    train(narrow, text, "test", home / "inverter", home / "a", SMALL, "test", minilm_folder())
    below = Inverter.load(home / "inverter")  # its weights as saved, in half precision
    train_corrector(narrow, below, text, "test", home / "corrector", home / "b", SMALL, "test", minilm_folder())
    return home


def corrected(folders: Path, steps: int = 2) -> CorrectedInverter:
    below = Inverter.load(folders / "inverter")
    below.candidates = 2
    return CorrectedInverter(below, Corrector.load(folders / "corrector"), steps, candidates=3)


def test_a_correction_never_makes_a_text_worse(folders: Path, narrow: TextEncoder, text: TrainingText) -> None:  # noqa: F811
    both = corrected(folders)
    vectors = narrow.encode(text.held_out[:12])
    assert vectors.unit.shape == (12, DIM)
    with_corrector = Space("narrow", narrow, lambda: both).decode(vectors)
    without = Space("narrow", narrow, lambda: both.hypothesizer).decode(vectors)
    assert (with_corrector.cosine >= without.cosine - 1e-5).all()
    assert (with_corrector.cosine > without.cosine + 1e-3).any(), "nothing was corrected"


def test_decoding_again_gives_the_same_texts(folders: Path, narrow: TextEncoder, text: TrainingText) -> None:  # noqa: F811
    vectors = narrow.encode(text.held_out[:6])
    first, again = (Space("narrow", narrow, lambda: corrected(folders)).decode(vectors, seed=3) for _ in range(2))
    assert first.texts == again.texts


def test_it_knows_what_either_was_trained_on(folders: Path, text: TrainingText, narrow: TextEncoder) -> None:  # noqa: F811
    both = corrected(folders)
    assert both.encoder == narrow.fingerprint and both.dim == DIM
    assert both.trained_documents == set(text.trained_documents)
    assert both.saw(text.train).all() and not both.saw(text.held_out).any()
    assert both.corrector.sha256 in both.sha256 and both.hypothesizer.sha256 in both.sha256
    assert both.corrector.card.training["hypothesizer"] == both.hypothesizer.sha256


def test_an_interrupted_corrector_ends_at_the_same_weights(
    folders: Path,
    narrow: TextEncoder,
    text: TrainingText,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "SAVE_EVERY", 2)
    below = Inverter.load(folders / "inverter")

    def run(progress: StopAfter | None) -> Corrector:
        return train_corrector(
            narrow, below, text, "test", tmp_path / "made", tmp_path / "scratch", SMALL, "test", minilm_folder(),
            progress,
        )  # fmt: skip

    with pytest.raises(Stopped):
        run(StopAfter(3))
    assert not (tmp_path / "made").exists()
    assert run(None).sha256 == Corrector.load(folders / "corrector").sha256


def test_of_another_encoder_is_refused(folders: Path) -> None:
    with pytest.raises(SpaceMismatch, match="trained for encoder"):
        CorrectedInverter(Inverter.load(SHIPPED), Corrector.load(folders / "corrector"), 1, 1)


def test_spaces_file_names_it_and_settings_replace_it(folders: Path, narrow: TextEncoder, tmp_path: Path) -> None:
    toml = tmp_path / "spaces.toml"
    toml.write_text(
        f'[narrow]\nencoder = "{narrow.folder}"\nweights = "{narrow.recipe.weights}"\nnormalize = false\n'
        f'projection = "narrow.safetensors"\nmax_tokens = 31\ninverter = "{folders / "inverter"}"\n'
        f'corrector = "{folders / "corrector"}"\nsteps = 2\nhypotheses = 3\ncorrections = 5\n'
    )
    inverter = open_space("narrow", Settings(spaces=toml, home=tmp_path)).inverter
    assert isinstance(inverter, CorrectedInverter)
    assert (inverter.steps, inverter.candidates) == (2, 5)
    assert isinstance(inverter.hypothesizer, Inverter) and inverter.hypothesizer.candidates == 3
    assert Inverter.candidates == 16, "the class' own number stays"
    other = Settings(spaces=toml, home=tmp_path, inverter=folders / "inverter")
    assert isinstance(open_space("narrow", other).inverter, Inverter), "its corrector was trained on another inverter"
    both = other.model_copy(update={"corrector": folders / "corrector"})
    assert isinstance(open_space("narrow", both).inverter, CorrectedInverter)


def test_a_damaged_corrector_is_named(folders: Path, tmp_path: Path) -> None:
    for file in (folders / "corrector").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    data = (tmp_path / "corrector.safetensors").read_bytes()
    (tmp_path / "corrector.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsUnusable, match="the corrector in"):
        Corrector.load(tmp_path)


def test_a_vector_already_met_is_left_alone(folders: Path, narrow: TextEncoder) -> None:
    both = corrected(folders, steps=1)
    said = "the union is strong."
    both.hypothesizer.decode = lambda *_, **__: [said]  # type: ignore[method-assign]
    both.corrector.correct = lambda *_: pytest.fail("nothing is left to correct")  # type: ignore[method-assign]
    assert both.decode(narrow.encode([said]).raw, lambda texts: narrow.encode(texts).raw) == [said]
    assert np.isfinite(narrow.encode([said]).raw).all()
