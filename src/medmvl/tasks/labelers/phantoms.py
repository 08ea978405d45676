"""Labels of a phantom's report, exactly: every sentence a phantom can be described by is read back by its template."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

_SENTENCE = re.compile(r"[^.。]+[.。]?")


@dataclass(frozen=True)
class PhantomReport:
    """What a report of a phantom says."""

    labels: dict[str, float]
    """1 or 0 for every type of finding; `"nodule/right upper lobe"` for each place that is named."""
    unread: tuple[str, ...]
    """Sentences that no phantom is described by."""


class PhantomLabeler:
    """Reads reports of phantoms, English and Chinese; a sentence that is no phantom's says nothing."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every type of finding."""
        from medmvl.phantoms.text import FINDING_NAMES

        return tuple(FINDING_NAMES)

    def label(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """1 or 0 for each of `names`, and 1 for each place that is named."""
        return [self.read(text).labels for text in texts]

    def read(self, text: str) -> PhantomReport:
        """Read one report; a finding that is said to be there and not to be there is there."""
        labels = dict.fromkeys(self.names, 0.0)
        unread = []
        for sentence in (match.group().strip() for match in _SENTENCE.finditer(text)):
            said = self._read(_bare(sentence))
            if sentence and said is None:
                unread.append(sentence)
            elif said is not None and said[1]:
                finding_type, _, place = said
                labels[finding_type] = 1.0
                if place:
                    labels[f"{finding_type}/{place}"] = 1.0
        return PhantomReport(labels, tuple(unread))

    def contradicted(self, text: str) -> set[str]:
        """Findings that are said to be there and not to be there."""
        said = [self._read(_bare(match.group())) for match in _SENTENCE.finditer(text)]
        there, denied = ({one[0] for one in said if one and one[1] is present} for present in (True, False))
        return there & denied

    def _read(self, sentence: str) -> tuple[str, bool, str] | None:
        for pattern, finding_type, present in self._templates:
            match = pattern.fullmatch(sentence)
            if match:
                return finding_type, present, self._places.get(match.groupdict().get("place") or "", "")
        return None

    @cached_property
    def _places(self) -> dict[str, str]:
        """The words for a place in either language, with `lung` where a report adds it, to the place's name."""
        from medmvl.phantoms.text import PLACES

        spoken = {words: name for name, by in PLACES.items() for words in by.values() if words}
        lungs = {
            side: {"en": f"{by['en']} lung", "zh": f"{by['zh']}肺"}
            for side, by in PLACES.items()
            if side in ("right", "left")
        }
        return spoken | {words: side for side, by in lungs.items() for words in by.values()}

    @cached_property
    def _templates(self) -> list[tuple[re.Pattern[str], str, bool]]:
        from medmvl.phantoms.text import ABSENT_SENTENCES, PRESENT_SENTENCES

        places = "|".join(sorted(map(re.escape, self._places), key=len, reverse=True))
        templates = []
        for present, table in ((True, PRESENT_SENTENCES), (False, ABSENT_SENTENCES)):
            for finding_type, phrasings in table.items():
                for sentence in (sentence for sentences in phrasings.values() for sentence in sentences):
                    escaped = re.escape(sentence.rstrip(".。").lower())
                    pattern = escaped.replace(re.escape("{place}"), f"(?P<place>{places})")
                    templates.append((re.compile(pattern), finding_type, present))
        return templates


def _bare(sentence: str) -> str:
    return " ".join(sentence.strip().rstrip(".。").lower().split())
