"""Requests and answers of the service, and the limits of requests."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_TEXTS, MAX_VECTORS = 512, 64  # per request
MAX_CHARACTERS, MAX_ALL_CHARACTERS = 20_000, 400_000  # per text, and of all texts of a request
MAX_DIM = 65_536  # numbers per vector
MAX_CANDIDATES = 64  # per vector


def _limited(texts: list[str]) -> list[str]:
    if sum(map(len, texts)) > MAX_ALL_CHARACTERS:
        raise ValueError(f"all texts of a request may have {MAX_ALL_CHARACTERS} characters together")
    return texts


Texts = Annotated[
    list[Annotated[str, Field(max_length=MAX_CHARACTERS)]],
    Field(min_length=1, max_length=MAX_TEXTS, fail_fast=True),  # stops at the first error: there may be a million
    AfterValidator(_limited),
]
Row = Annotated[list[Annotated[float, Field(strict=True)]], Field(max_length=MAX_DIM, fail_fast=True)]
Rows = Annotated[list[Row], Field(max_length=MAX_VECTORS, fail_fast=True)]
Format = Literal["float", "base64"]
Fingerprint = Annotated[
    str | None,
    Field(description="expected fingerprint; a service of another space refuses", examples=["a3fd36e97df65f61"]),
]


class EncodeRequest(BaseModel):
    """Texts to encode."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"texts": ["The harbour froze before the last ship came in."]}]}
    )

    texts: Texts
    space: Fingerprint = None
    format: Format = Field("float", description="float: lists; base64: little-endian float32, row after row")


class EncodeAnswer(BaseModel):
    """Unit vectors, their norms before normalisation, and the texts that were cut at the token limit."""

    space: str
    dim: int
    vectors: list[list[float]] | str
    norms: list[float]
    truncated: list[int] = Field(description="indices of texts that are longer than the space's token limit")


class DecodeRequest(BaseModel):
    """Unit vectors to decode, as /encode returns them. Vectors that cannot be of the named space are refused."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"space": "a3fd36e97df65f61", "vectors": [[0.1, -0.2]]}]})

    vectors: Rows | str = Field(description="lists, or base64 of little-endian float32, row after row")
    space: str = Field(description="fingerprint of the space of the vectors")
    n_best: int = Field(
        1,
        strict=True,
        ge=1,
        le=MAX_CANDIDATES,
        description="texts per vector, at most as many as the space's inverter makes",
    )


class DecodedCandidate(BaseModel):
    """A text, and the cosine of its vector to the requested vector."""

    text: str
    cosine: float


class DecodeAnswer(BaseModel):
    """Decoded texts, and the cosines of their vectors to the requested vectors."""

    space: str
    texts: list[str]
    cosine: list[float]
    candidates: list[list[DecodedCandidate]] | None = Field(
        None,
        description="if n_best is above 1: at most n_best distinct texts per vector, the decoded text first, then the "
        "others, the nearest first",
    )


class NextRequest(BaseModel):
    """Texts to continue."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"texts": ["The state of our union is strong."], "model": "gru"}]}
    )

    texts: Texts
    model: str = "gru"
    space: Fingerprint = None


class NextAnswer(BaseModel):
    """A model's prediction: the decoded text, the predicted vector, and the vector for searching stored chunks."""

    space: str
    model: str
    text: str
    cosine: float
    vector: list[float]
    query: list[float]
