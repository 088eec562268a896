"""Weights and tokenizers of folders that are not trusted."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.exceptions import TerminationSignal
from tokenizers import Tokenizer

from lvm.encoding import weights


@pytest.mark.parametrize("sent", [KeyboardInterrupt(), SystemExit(143), TerminationSignal(15)])
def test_a_signal_while_a_tokenizer_is_read_is_no_damaged_file(
    sent: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted:
        @staticmethod
        def from_file(path: str) -> Tokenizer:
            raise sent

    (tmp_path / "tokenizer.json").write_text("{}")
    monkeypatch.setattr(weights, "Tokenizer", Interrupted)
    with pytest.raises(type(sent)) as raised:
        weights.open_tokenizer(tmp_path / "tokenizer.json")
    assert raised.value is sent
