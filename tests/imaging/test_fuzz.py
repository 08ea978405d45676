"""Mutated files of every format: read or refused, nothing foreign, nothing printed. Many more: benchmarks/fuzz_reading.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.fuzz_reading import case, make_sources, outcome

COUNT, PARTS = 500, 5


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sources")
    make_sources(folder)
    return sorted(path for path in folder.iterdir() if path.suffix not in (".img", ".raw"))


@pytest.mark.parametrize("part", range(PARTS))
def test_mutated_files_are_read_or_refused_and_nothing_is_printed(
    tmp_path: Path, sources: list[Path], part: int, capfd: pytest.CaptureFixture[str]
) -> None:
    ends = {}
    for number in range(part * COUNT // PARTS, (part + 1) * COUNT // PARTS):
        ends[number] = outcome(case(number, 2026, sources, tmp_path / "case"))
    findings = {
        number: ended for number, ended in ends.items() if ended not in ("read", "refused", "contained")
    }
    assert not findings
    assert list(ends.values()).count("read") > COUNT / PARTS / 10  # the mutations leave something to read
    assert capfd.readouterr() == ("", "")
