"""A declared modality is a code of DICOM; anything else is refused by name, wherever it is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from medmvl.datasets.csv_files import CsvOptions
from medmvl.datasets.from_csv import from_csv
from medmvl.errors import ReadError, UserError
from medmvl.imaging import read
from medmvl.imaging.modalities import CODES, SPOKEN, known_modality
from medmvl.schema import VolumeBlock


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("banana", "expected a code of DICOM"), ("MRI", "write MR"), ("pet", "write PT"), ("X-ray", "write DX or CR"),
        ("CT scan", "write CT"), ("CBCT", "write CT"), ("", "expected a code"),
    ],
)  # fmt: skip
def test_what_is_no_code_is_refused_with_the_code_that_is_meant(said: str, advice: str) -> None:
    with pytest.raises(ReadError, match=f"modality {said!r} is not known; {advice}"):
        known_modality(said)


def test_codes_are_taken_in_any_case_and_every_advice_is_one() -> None:
    assert [known_modality(code) for code in ("ct", " MR ", "Dx", "rtdose")] == ["CT", "MR", "DX", "RTDOSE"]
    assert {code for meant in SPOKEN.values() for code in meant.split(" or ")} <= CODES
    assert not CODES & set(SPOKEN)


def test_it_is_refused_wherever_it_is_said(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 4, 4), np.int16))
    with pytest.raises(ReadError, match="'MRI' is not known; write MR"):
        read(tmp_path / "a.npy", modality="MRI")
    with pytest.raises(ValidationError, match="'MRI' is not known; write MR"):
        VolumeBlock(volume="a.npy", modality="MRI")
    assert VolumeBlock(volume="a.npy", modality="ct").modality == "CT"
    table = tmp_path / "table.csv"
    table.write_text("path,patient,modality,question,answer\na.npy,p,MRI,Which?,This\n")
    with pytest.raises(UserError, match="'MRI' is not known; write MR"):
        from_csv(table, tmp_path, tmp_path / "out", CsvOptions())
    table.write_text("path,patient,question,answer\na.npy,p,Which?,This\n")
    with pytest.raises(UserError, match="'MRI' is not known; write MR"):
        from_csv(table, tmp_path, tmp_path / "out", CsvOptions(modality="MRI"))
