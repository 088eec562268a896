"""Spaces and inverters of a database.

Contract: a name stands for one encoder and a digest for one inverter. A different one under the same name is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from lvm.arrays import FloatArray
from lvm.encoding.vectors import SpaceMismatch
from lvm.gates import PROBE_MIN_COSINE
from lvm.store.connect import Connections
from lvm.store.errors import missing_privilege, no_verdicts
from lvm.store.tables import InverterRow, SpaceRow


class Spaces(Connections):
    """Registers spaces and inverters."""

    def register_space(self, name: str, dim: int, fingerprint: str, recipe: dict[str, Any], probes: FloatArray) -> int:
        """Store a new space, or compare the encoder with the one that a known space was registered with.

        Args:
            name: name of the space.
            dim: dimension of its vectors.
            fingerprint: of the encoder.
            recipe: of the encoder, as JSON.
            probes: (k, dim) float32, unit vectors of the probe sentences.

        Returns:
            Id of the space.

        Raises:
            SpaceMismatch: if the space was registered with another encoder.
        """
        probes = np.ascontiguousarray(probes, dtype=np.float32)
        with Session(self.engine) as session, session.begin():
            session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('lvm space', 0))"))
            known = session.scalar(select(SpaceRow).where(SpaceRow.name == name))
            if known is None:
                row = SpaceRow(name=name, dim=dim, fingerprint=fingerprint, recipe=recipe, probes=probes.tobytes())
                session.add(row)
                session.flush()
                return row.id
            stored = np.frombuffer(known.probes, np.float32).reshape(-1, known.dim)
            if stored.shape == probes.shape:
                cosine = float(np.einsum("kd,kd->k", stored, probes).min())
            else:
                cosine = float("nan")
            # Probe sentences are short. Only the fingerprint tells encoders apart that differ in their token limit.
            if known.fingerprint != fingerprint or not cosine >= PROBE_MIN_COSINE:
                raise SpaceMismatch(
                    f"encoder {fingerprint} is not the encoder of space {name!r} ({known.fingerprint}) in database "
                    f"{self.database_name!r}: their vectors of the probe sentences are at cosine {cosine:.3f}; open "
                    "the encoder that the space was made with, compare the two with `lvm diagnose`, or use another "
                    "space name"
                )
            return known.id

    def space_id(self, name: str) -> int | None:
        """Id of a space; None if it is not registered."""
        with Session(self.engine) as session:
            return session.scalar(select(SpaceRow.id).where(SpaceRow.name == name))

    def spaces(self) -> dict[str, int]:
        """Ids of all registered spaces by name."""
        with Session(self.engine) as session:
            return {name: number for name, number in session.execute(select(SpaceRow.name, SpaceRow.id))}

    def register_inverter(self, sha256: str, encoder: str, trained_documents: Iterable[str]) -> int:
        """Store a new inverter, or compare it with what is registered.

        Args:
            sha256: digest of the inverter.
            encoder: fingerprint of the encoder that it was trained for.
            trained_documents: sha256 of the documents that it was trained on; a gate never samples them.

        Returns:
            Id of the inverter.

        Raises:
            NoVerdicts: if this user may not write verdicts, which depend on the inverter.
            SpaceMismatch: if it is registered with another encoder or other documents.
        """
        documents = sorted(trained_documents)
        if (known := self._inverter(sha256, encoder, documents)) is not None:
            return known
        statement = text(
            "INSERT INTO inverter (sha256, encoder, trained_documents) VALUES (:sha256, :encoder, :documents) "
            "ON CONFLICT (sha256) DO NOTHING"
        )
        values = {"sha256": sha256, "encoder": encoder, "documents": documents}
        with missing_privilege(no_verdicts), self.verdict_engine.begin() as connection:
            connection.execute(statement, values)
        known = self._inverter(sha256, encoder, documents)
        assert known is not None  # this process or another one stored it
        return known

    def inverter_id(self, sha256: str) -> int | None:
        """Id of an inverter; None if it is not registered."""
        with Session(self.engine) as session:
            return session.scalar(select(InverterRow.id).where(InverterRow.sha256 == sha256))

    def _inverter(self, sha256: str, encoder: str, documents: list[str]) -> int | None:
        """Id of a registered inverter, which must have this encoder and these training documents."""
        with Session(self.engine) as session:
            row = session.scalar(select(InverterRow).where(InverterRow.sha256 == sha256))
        if row is None:
            return None
        if (row.encoder, row.trained_documents) != (encoder, documents):
            raise SpaceMismatch(
                f"inverter {sha256[:12]} is registered in database {self.database_name!r} with another encoder or "
                "other training documents; its verdicts cannot be trusted: clear the database, and check who may "
                "write verdicts"
            )
        return row.id
