"""The seven paths by which MiniLM's weights make vectors: the gate lets one of them through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lvm.evaluation.roundtrip import measure
from lvm.spaces import Space
from lvm.spaces.diagnosis import diagnose
from tests.spaces.fixtures import Variant

WRONG: list[dict[str, Any]] = [
    {"normalize": False},
    {"pooling": "cls"},
    {"pooling": "max"},
    {"layer": 5},
    {"pooling": "pooler"},
    {"projection": "rotation.safetensors"},
]


def _name(changes: dict[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in changes.items())


def test_the_right_path_passes(variant: Variant, held_out: list[str]) -> None:
    found = measure(variant(), held_out, range(len(held_out)))
    assert found.verdict.passed, found.verdict.message
    assert found.identify_r1 >= 0.98
    assert found.mean > found.chance + 0.4


@pytest.mark.parametrize("changes", WRONG, ids=_name)
def test_a_wrong_path_is_blocked(changes: dict[str, Any], variant: Variant, held_out: list[str]) -> None:
    found = measure(variant(**changes), held_out, range(len(held_out)))
    assert not found.verdict.passed, f"mean {found.mean:.3f}, R@1 {found.identify_r1:.3f}"
    failed = [each.name for each in found.verdict.criteria if not each.passed]
    assert all(name in found.verdict.message for name in failed)


@pytest.mark.parametrize("pooling", ["cls", "max", "pooler"])
def test_a_cosine_alone_would_have_been_fooled(pooling: str, variant: Variant, held_out: list[str]) -> None:
    found = measure(variant(pooling=pooling), held_out[:100], range(100))
    assert found.chance > 0.5, "these spaces are crowded; that is what makes a cosine blind"
    assert found.identify_r1 < 0.5


@pytest.mark.parametrize("changes", WRONG, ids=_name)
def test_no_wrong_path_has_the_fingerprint_of_the_right_one(
    changes: dict[str, Any], minilm: Space, variant: Variant
) -> None:
    assert variant(**changes).fingerprint != minilm.fingerprint


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({"pooling": "cls"}, "pooling"),
        ({"normalize": False}, "normalisation"),
        ({"projection": "rotation.safetensors"}, "projection"),
        ({"layer": 5}, "hidden states"),
        ({"max_tokens": 16}, "token limit"),
    ],
    ids=str,
)
def test_diagnosis_names_the_step(changes: dict[str, Any], step: str, minilm: Space, variant: Variant) -> None:
    found = diagnose(minilm.encoder, variant(**changes).encoder, ("right", "wrong"))
    assert found.parts_at is not None
    assert found.parts_at.name == step
    assert step in found.message


def test_an_encoder_agrees_with_itself(minilm: Space, variant: Variant) -> None:
    found = diagnose(minilm.encoder, variant().encoder, ("one", "same"))
    assert found.parts_at is None and found.compatible


def test_unnormalised_vectors_keep_their_norm(variant: Variant) -> None:
    vectors = variant(normalize=False).encode(["One sentence.", "And a second one, a little longer."])
    assert np.all(vectors.norms > 2)
    np.testing.assert_allclose(np.linalg.norm(vectors.unit, axis=1), 1, atol=1e-6)
