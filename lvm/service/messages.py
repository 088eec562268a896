"""Requests and answers of the service, and the limits of requests."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from lvm.pipeline.generate import Ended
from lvm.pipeline.predict import MAX_SEED, MAX_TEMPERATURE
from lvm.settings import TEMPERATURE

MAX_TEXTS, MAX_VECTORS = 512, 64  # per request
MAX_CHARACTERS, MAX_ALL_CHARACTERS = 20_000, 400_000  # per text, and of all texts of a request
MAX_DIM = 65_536  # numbers per vector
MAX_CANDIDATES = 64  # per vector
MAX_STEPS, MAX_SAMPLES = 64, 16  # texts of a writing, and candidates for a text: 16 decode in seconds on two cores
MAX_NEAREST = 10  # stored chunks of a candidate


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


class CandidateAnswer(BaseModel):
    """A text that follows: decoded, with its rank score and its cosine to the predicted vector."""

    text: str
    score: float = Field(description="cosine between the text's vector and the vector that the model ranks by")
    cosine: float = Field(description="cosine between the text's vector and the predicted vector")


Samples = Annotated[
    int | None,
    Field(ge=1, le=MAX_SAMPLES, description="candidates to draw, if the model samples; 8 unless given"),
]
Temperature = Annotated[float, Field(ge=0, le=MAX_TEMPERATURE, allow_inf_nan=False, description="of the samples")]
Seed = Annotated[
    int | None, Field(ge=0, le=MAX_SEED, description="of samples and decoding; the service's own unless given")
]


class ContinueRequest(BaseModel):
    """Texts to continue, and how."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"texts": ["The state of our union is strong."], "model": "gru"}]}
    )

    texts: Texts
    model: str | None = Field(
        None, description="as /models names it, or a version such as gru@1a2b3c; the first of /models unless given"
    )
    space: Fingerprint = None
    samples: Samples = None
    temperature: Temperature = TEMPERATURE
    seed: Seed = None


class NextRequest(ContinueRequest):
    """Texts to continue by one text."""

    nearest: int = Field(0, ge=0, le=MAX_NEAREST, description="stored chunks to list with each candidate")


class StoredChunk(BaseModel):
    """A chunk of the service's database, and its cosine to the vector that was searched for."""

    text: str
    title: str = Field(description="of its document")
    position: int = Field(description="of the chunk in its document, from 0")
    cosine: float


class NextCandidate(CandidateAnswer):
    """A text that follows, and the stored chunks like it."""

    nearest: list[StoredChunk] | None = Field(
        None,
        description="if `nearest` is above 0: the stored chunks nearest to the predicted vector; of a model that draws "
        "no samples, nearest to the vector that it ranks by",
    )


class NextAnswer(NextCandidate):
    """A model's prediction: the best text, the predicted vector, and the vector for searching stored chunks."""

    space: str
    model: str
    sha256: str = Field(description="of the model's file")
    vector: list[float]
    query: list[float]
    candidates: list[NextCandidate] = Field(description="the other candidates of a model that samples, the best first")


class WriteRequest(ContinueRequest):
    """Texts to go on from, one text after the other."""

    steps: int = Field(20, ge=1, le=MAX_STEPS, description="texts at most")


class WriteText(CandidateAnswer):
    """A written text: an event ``text`` of the stream."""

    space: str
    step: int = Field(description="number of the text, from 1")
    candidates: list[CandidateAnswer] = Field(description="the candidates that were not taken, the best first")


class WriteEnd(BaseModel):
    """The last event of a stream, ``end``: why no more texts follow."""

    space: str
    model: str
    sha256: str = Field(description="of the model's file")
    texts: int = Field(description="number of written texts")
    reason: Ended
    detail: str


class ModelAnswer(BaseModel):
    """A model."""

    name: str = Field(description="of a trained model, or `shipped` for the one that came with the package")
    samples: bool = Field(description="whether it draws samples, so that there are several candidates")
    context: int = Field(description="number of chunks that it sees")


class ModelsAnswer(BaseModel):
    """The models of the served space, and whether there are stored chunks to search."""

    space: str
    name: str = Field(description="of the space")
    models: list[ModelAnswer] = Field(description="the best first, the shipped one last")
    database: bool = Field(description="whether the service has a database, so that /next can list stored chunks")


class Failure(BaseModel):
    """Why there is no answer; the data of an event ``error``."""

    error: str
    detail: str
