"""Texts in several scripts, and what a source makes of them."""

from __future__ import annotations

from typing import Any

from lvm.corpus.documents import Document, Skipped
from lvm.corpus.sources import open_source

ENGLISH = "The committee met in the old town hall. It voted on the new budget.\n\nThe children walked to the river."
FRENCH = "Le garçon a mangé une crêpe à la crème. Où est la bibliothèque? Élève naïve, déjà vu à Noël."
JAPANESE = "昨日は雨が降りました。今日は天気がいいです。明日はどうでしょうか。東京の人口は多い。"
THAI = "ตลาดน้ำดำเนินสะดวกเป็นที่นิยมของนักท่องเที่ยว แม่น้ำเจ้าพระยาไหลผ่านกรุงเทพมหานคร"
OTHER_THAI = "ภาษาไทยไม่มีช่องว่างระหว่างคำ เด็กเดินไปที่โรงเรียน"


def read(source: object, **given: Any) -> tuple[list[Document], list[str], list[str]]:
    """Documents of a source, what was noted of them, and what was skipped."""
    items = list(open_source(str(source), **given))
    found = [each for each in items if isinstance(each, Document)]
    others = [each for each in items if isinstance(each, Skipped)]
    noted, skipped = ([f"{e.where}: {e.reason}" for e in others if e.kept is kept] for kept in (True, False))
    return found, noted, skipped
