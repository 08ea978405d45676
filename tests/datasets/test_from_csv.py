"""A hospital's table becomes a data set: patients pseudonymous and undivided, dates relative, bad rows told."""

import json
import re
import stat
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest
from typer.testing import CliRunner

from medmvl.cli.main import app
from medmvl.data.check import OTHER_KEYS, check
from medmvl.data.sources import open_data
from medmvl.datasets.csv_files import CsvOptions
from medmvl.datasets.from_csv import CsvResult, from_csv
from medmvl.datasets.pseudonyms import Pseudonyms, key_of
from medmvl.datasets.table import find_columns, read_table
from medmvl.errors import UserError
from medmvl.schema import ImageBlock, Sample, VolumeBlock, iter_samples
from tests.factories.data import image_file, volume
from tests.factories.dicom import ct_series, stored_volume

TABLE = """Patient ID,study_date,path,question,answer
Müller,2024-01-02,a.png,Is there an effusion?,Yes
Müller,2024-02-02,ct,有积液吗？,没有
Li,20240303,a.png; b.png,Compare them.,"Larger, left"
Wang,2024/1/5 08:00,sub/v.npy,What is it?,CT
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    for number, name in enumerate(("a.png", "b.png")):
        image_file(root / name, number)
    volume(root / "sub" / "v.npy")
    ct_series(root / "ct", stored_volume())
    return root


def convert(tmp_path: Path, files: Path, text: str | bytes = TABLE, **options: Any) -> CsvResult:
    table = tmp_path / "table.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    options.setdefault("fractions", {"train": 1.0})
    return from_csv(table, files, tmp_path / "out", CsvOptions(**options))


def samples(tmp_path: Path) -> list[Sample]:
    return [one for file in sorted((tmp_path / "out").glob("*.jsonl")) for one in iter_samples(file)]


def test_rows_become_samples_that_can_be_read(tmp_path: Path, files: Path) -> None:
    result = convert(tmp_path, files, units="HU")
    assert result.columns == {
        "path": "path", "question": "question", "answer": "answer", "patient": "Patient ID", "date": "study_date",
    }  # fmt: skip
    source = open_data(tmp_path / "out" / "train.jsonl")
    kinds = [[source.load(block).kind for block in one.visuals] for one in source.samples]
    assert kinds == [["image"], ["volume"], ["image", "image"], ["volume"]]
    first, second, third, _ = source.samples
    assert first.target is not None
    assert (first.target.question_type, first.target.choices, first.language) == (
        "closed",
        ("yes", "no"),
        "en",
    )
    assert (second.language, second.messages[1].text) == ("zh", "没有")
    assert third.messages[1].text == "Larger, left"
    assert [one.days_before_current for one in source.samples] == [31, 0, 0, 0]
    assert source.load(source.samples[3].visuals[0]).units == "HU"  # declared where the file is silent


def test_nobody_is_named_and_the_key_is_private(tmp_path: Path, files: Path) -> None:
    convert(tmp_path, files)
    written = b"".join(file.read_bytes() for file in (tmp_path / "out").iterdir()).decode()
    assert "ller" not in written
    assert "2024" not in re.sub(r"\b[0-9a-f]{16,}\b", "", written)  # pseudonyms and digests are hexadecimal
    key = tmp_path / "out.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    mine = Pseudonyms.from_file(key).of("patient", "Müller")
    assert [one.patient == mine for one in samples(tmp_path)] == [True, True, False, False]
    assert Pseudonyms.from_file(tmp_path / "other.key").of("patient", "Müller") != mine


def test_ids_can_be_kept(tmp_path: Path, files: Path) -> None:
    convert(tmp_path, files, keep_ids=True)
    assert samples(tmp_path)[0].patient == "Müller"
    assert not (tmp_path / "out.key").exists()


def test_patients_are_not_divided(tmp_path: Path, files: Path) -> None:
    for number in range(20):
        image_file(files / f"p{number}.png", number)
    rows = "\n".join(f"P{number % 10},p{number}.png,q,a" for number in range(20))
    fractions = {"train": 0.6, "validation": 0.2, "test": 0.2}
    result = convert(tmp_path, files, f"patient,image,question,answer\n{rows}\n", fractions=fractions)
    counts = {name: one["samples"] for name, one in result.summary["splits"].items()}
    assert counts == {"train": 12, "validation": 4, "test": 4}
    seen = [{one.patient for one in iter_samples(tmp_path / "out" / f"{name}.jsonl")} for name in fractions]
    assert not (seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030"])
@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_encodings_and_separators(tmp_path: Path, files: Path, encoding: str, separator: str) -> None:
    text = "患者,图像,报告\n张三,a.png,双肺清晰\n".replace(",", separator).encode(encoding)
    convert(tmp_path, files, text)
    (one,) = samples(tmp_path)
    assert one.messages[0].text == "请写出影像报告。"
    assert one.messages[1].text == "双肺清晰"
    assert one.target is not None
    assert one.target.question_type == "report"


def test_bad_rows_are_listed_and_left_out_only_when_asked(tmp_path: Path, files: Path) -> None:
    text = "patient,path,question,answer,date\n" + "\n".join(
        [
            "A,a.png,q,yes,2024-01-01",
            "A,gone.png,q,yes,",
            "A,a.png,q,,",
            "A,,q,yes,",
            "A,a.png,,yes,",
            "A,a.png,q,yes,soon",
            "A,table.txt,q,yes,",
        ]
    )
    (files / "table.txt").write_text("not an image")
    with pytest.raises(UserError, match=r"6 of 7 rows cannot be used") as error:
        convert(tmp_path, files, text)
    for line, problem in (
        (3, "gone.png"),
        (4, "neither an answer"),
        (5, "no file"),
        (6, "--question"),
        (7, "date"),
    ):
        assert f"line {line}: " in str(error.value)
        assert problem in str(error.value)
    assert not (tmp_path / "out").exists()
    result = convert(tmp_path, files, text, skip_bad=True)
    assert len(result.bad_rows) == result.summary["bad_rows"] == 6
    assert len(samples(tmp_path)) == 1
    assert json.loads((tmp_path / "out" / "dataset.json").read_text()) == result.summary


def test_without_patients_every_file_is_its_own_and_that_is_said(tmp_path: Path, files: Path) -> None:
    text = "image,question,answer\na.png,q,yes\nb.png,q,no\na.png,q2,no\n"
    result = convert(tmp_path, files, text, fractions={"train": 0.5, "test": 0.5})
    assert "3 of 3 rows name no patient" in result.warnings[0]
    parts = [
        {b.path for one in iter_samples(file) for b in one.visuals}
        for file in (tmp_path / "out").glob("*.jsonl")
    ]
    assert not parts[0] & parts[1]


def test_a_report_and_an_answer_in_one_row(tmp_path: Path, files: Path) -> None:
    text = "image,question,answer,report\na.png,Effusion?,yes,Clear lungs.\n"
    convert(tmp_path, files, text)
    assert [one.target.question_type for one in samples(tmp_path) if one.target] == ["closed", "report"]


def test_a_counted_series_is_fixed_by_its_digest(tmp_path: Path, files: Path) -> None:
    """The table counts series as they lie there while it is read; what arrives later changes nothing."""
    mine = stored_volume(3, seed=1)
    ct_series(files / "ct" / "a", stored_volume(4), SeriesInstanceUID="1.2.3.1", SeriesNumber=2)
    ct_series(files / "ct" / "b", mine, SeriesInstanceUID="1.2.3.2", SeriesNumber=3)
    text = "volume,question,answer\nct#series=2,Effusion?,yes\n"
    convert(tmp_path, files, text)
    block = samples(tmp_path)[0].visuals[0]
    assert re.fullmatch(r".*/ct#series=[0-9a-f]{12}", block.path)
    ct_series(files / "ct" / "late", stored_volume(5), SeriesInstanceUID="1.2.3.3", SeriesNumber=1)
    read = open_data(next(tmp_path.glob("*/*.jsonl"))).load(block)
    np.testing.assert_array_equal(read.array, mine.astype(int) - 1024)


def test_a_series_that_is_not_there_is_a_bad_row(tmp_path: Path, files: Path) -> None:
    ct_series(files / "ct", stored_volume(3))
    with pytest.raises(UserError, match="series 2 was asked for, but there is only 1"):
        convert(tmp_path, files, "volume,question,answer\nct#series=2,Effusion?,yes\n", kind="volume")


def test_what_the_user_says_wins_over_the_look(tmp_path: Path, files: Path) -> None:
    text = "image,ct,question,answer\na.png,sub/v.npy,q,yes\n"
    convert(tmp_path, files, text, columns={"image": "image", "volume": "ct"})
    blocks = samples(tmp_path)[0].visuals
    assert [type(block) for block in blocks] == [ImageBlock, VolumeBlock]
    assert np.all([block.units is None for block in blocks])
    with pytest.raises(UserError, match="no column 'xyz' for the image; the table has: image, ct"):
        find_columns(("image", "ct"), {"image": "xyz"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"PK\x03\x04\x00\x00", "not a text table"),
        (b"a,b\n", "no rows"),
        (b"a,a\n1,2\n", "same name"),
        (b"a\n1\n", "at least two columns"),
        (b"a,b\n1,2,3\n", "line 2: 3 fields"),
        (b'a,b\n"1,2\n', "not a readable table"),
        (b"a,b\n\xff\xff\xff,1\n", "neither UTF-8 nor GB 18030"),
    ],
)
def test_what_is_no_table(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text)
    with pytest.raises(UserError, match=message):
        read_table(path)


def test_missing_columns_and_a_full_folder(tmp_path: Path, files: Path) -> None:
    with pytest.raises(UserError, match="no column names the files"):
        convert(tmp_path, files, "who,answer\na,b\n")
    with pytest.raises(UserError, match="no column has answers"):
        convert(tmp_path, files, "path,who\na.png,b\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(UserError, match="not an empty folder"):
        convert(tmp_path, files)


def test_units_of_a_table_are_known_and_stamp_no_mr(tmp_path: Path, files: Path) -> None:
    """Units for all files pass over what is no CT, with a note; those of a row must hold for its file."""
    mr = {"Modality": "MR", "RescaleSlope": None, "RescaleIntercept": None}
    ct_series(files / "mr", stored_volume(), **mr)
    np.save(files / "hu.npy", np.arange(-1000, 200, 10, dtype=np.int16).reshape(4, 5, 6))
    text = "path,question,answer,patient\n{}"
    result = convert(
        tmp_path, files, text.format("mr,Large?,yes,1\nhu.npy,Large?,no,2\na.png,Large?,no,3\n"), units="hu"
    )
    declared = {one.visuals[0].path.rsplit("/")[-1]: one.visuals[0].units for one in samples(tmp_path)}
    assert declared == {"mr": None, "hu.npy": "HU", "a.png": None}
    assert any("modality MR" in warning for warning in result.warnings)
    assert any("8 bits" in warning for warning in result.warnings)
    with pytest.raises(UserError, match=r"mmHg.*expected one of"):
        from_csv(tmp_path / "table.csv", files, tmp_path / "b", CsvOptions(units="mmHg"))
    for units, path, words in (("mmHg", "hu.npy", "mmHg"), ("HU", "mr", "modality MR")):
        (tmp_path / "row.csv").write_text(f"path,question,answer,units\n{path},Large?,yes,{units}\n")
        with pytest.raises(UserError, match=rf"line 2.*{words}"):
            from_csv(tmp_path / "row.csv", files, tmp_path / "c", CsvOptions())


def test_every_column_is_used_or_named(tmp_path: Path, files: Path) -> None:
    volume(files / "old.npy")
    text = (
        "id,patient,path,modality,prior,prior_days,split,question,answer,ward,nurse\n"
        "r1,A,sub/v.npy,ct,old.npy,180,train,Larger?,yes,3,x\n"
        "r2,B,a.png,,,,val,Effusion?,no,3,x\n"
        "r3,A,sub/v.npy,CT,,,train,Effusion?,no,4,y\n"
    )
    result = convert(tmp_path, files, text, keep_ids=True)
    assert result.unused == ("ward", "nurse")
    first, third = iter_samples(tmp_path / "out" / "train.jsonl")
    (second,) = iter_samples(tmp_path / "out" / "validation.jsonl")
    assert [one.id for one in (first, second, third)] == ["r1-closed", "r2-closed", "r3-closed"]
    current, prior = first.visuals
    assert (current.days_before_current, prior.days_before_current) == (None, 180)
    assert prior.path.endswith("old.npy") and (current.modality, prior.modality) == ("CT", "CT")
    assert {one.patient for one in (first, third)} == {"A"}


def test_ids_of_a_table_are_pseudonyms_unless_kept(tmp_path: Path, files: Path) -> None:
    convert(tmp_path, files, "id,path,question,answer\nSmith-1,a.png,Effusion?,no\n")
    (one,) = samples(tmp_path)
    assert "Smith" not in one.id


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,prior,question,answer\na.png,b.png,q,no\n", "line 2: an earlier study without its days"),
        ("path,prior,prior_days,question,answer\na.png,b.png,soon,q,no\n", "found 'soon'"),
        ("path,prior_days,question,answer\na.png,9,q,no\n", "'prior_days'.*without one for prior"),
        ("path,split,question,answer\na.png,other,q,no\n", "split 'other': expected train"),
        ("path,split,question,answer\na.png,,q,no\n", "split '': expected train"),
        ("patient,path,split,question,answer\nA,a.png,train,q,no\nA,b.png,test,q,no\n", "patient: 1"),
        ("path,split,question,answer\na.png,train,q,no\na.png,test,p,no\n", "file: 1"),
        ("id,path,question,answer\nx,a.png,q,no\nx,b.png,q,no\n", "lines 2 and 3 have the same id"),
        ("path,modality,question,answer\nct,MR,q,no\n", "said to be MR, but the file says modality CT"),
    ],
)
def test_what_a_column_cannot_say(tmp_path: Path, files: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        convert(tmp_path, files, text)
    assert not (tmp_path / "out").exists()


def test_repeated_rows_are_counted(tmp_path: Path, files: Path) -> None:
    rows = ("A,a.png,q,no", "A,a.png,q,no", "A,a.png,q,yes", "B,b.png,q,no", "A,a.png,q,no")
    result = convert(tmp_path, files, "patient,path,question,answer\n" + "\n".join(rows) + "\n")
    assert any(warning.startswith("2 of 5 samples repeat") for warning in result.warnings)


def test_an_image_among_volumes_is_questioned(tmp_path: Path, files: Path) -> None:
    text = "volume,question,answer\na.png,q,no\n"
    assert any("column of volumes" in warning for warning in convert(tmp_path, files, text).warnings)
    with pytest.raises(UserError, match="expected one volume, but the file holds one image"):
        from_csv(tmp_path / "table.csv", files, tmp_path / "b", CsvOptions(columns={"volume": "volume"}))
    (tmp_path / "ct.csv").write_text("path,modality,question,answer\na.png,CT,q,no\n")
    result = from_csv(tmp_path / "ct.csv", files, tmp_path / "c", CsvOptions(fractions={"train": 1.0}))
    assert any("Hounsfield units are lost" in warning for warning in result.warnings)


def test_dates_in_another_order(tmp_path: Path, files: Path) -> None:
    text = "patient,date,path,question,answer\nA,01/05/2024,a.png,q,no\nA,03/05/2024,b.png,q,no\n"
    with pytest.raises(UserError, match="--date-format"):
        convert(tmp_path, files, text)
    convert(tmp_path, files, text, date_format="%d/%m/%Y")
    assert [one.days_before_current for one in samples(tmp_path)] == [2, 0]


def test_a_workbook_reads_as_its_csv(tmp_path: Path, files: Path) -> None:
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    for row in (["patient", "date", "path", "question", "answer"], [7, date(2024, 5, 1), "a.png", "有积液吗？", "没有"],
                [7.0, datetime(2024, 5, 3, 8, 30), "b.png", "How many?", 2.0], [None, None, None, None, None]):  # fmt: skip
        sheet.append(row)
    workbook.create_sheet("empty")
    workbook.save(tmp_path / "t.xlsx")
    table = read_table(tmp_path / "t.xlsx")
    assert [line for line, _ in table.rows] == [2, 3]
    assert table.rows[1][1] == {
        "patient": "7", "date": "2024-05-03 08:30:00", "path": "b.png", "question": "How many?", "answer": "2"
    }  # fmt: skip
    from_csv(
        tmp_path / "t.xlsx", files, tmp_path / "out", CsvOptions(fractions={"train": 1.0}, keep_ids=True)
    )
    assert [(one.patient, one.days_before_current) for one in samples(tmp_path)] == [("7", 2), ("7", 0)]
    sheet["E2"] = "#REF!"
    sheet["E2"].data_type = "e"
    workbook.save(tmp_path / "error.xlsx")
    with pytest.raises(UserError, match=r"row 2: a cell holds the error #REF!"):
        read_table(tmp_path / "error.xlsx")
    workbook["empty"].append(["x", "y"])
    workbook.save(tmp_path / "two.xlsx")
    (tmp_path / "no.xlsx").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(UserError, match="not a workbook"):
        read_table(tmp_path / "no.xlsx")
    sheet["E2"] = "no"
    workbook.save(tmp_path / "two.xlsx")
    with pytest.raises(UserError, match="found: Sheet, empty"):
        read_table(tmp_path / "two.xlsx")


def workbook(path: Path, *rows: tuple[object, ...]) -> tuple[openpyxl.Workbook, Any]:
    book = openpyxl.Workbook()
    for row in (("patient", "path", "question", "answer"), *rows):
        book.active.append(row)
    return book, book.active


def test_a_workbook_reads_as_it_is_seen(tmp_path: Path, files: Path) -> None:
    path = tmp_path / "t.xlsx"
    book, sheet = workbook(path, (7, "a.png", "How much?", 0.125), (8, "b.png", "How many?", 0.1 + 0.2))
    sheet["A2"].number_format, sheet["D2"].number_format = "000", "0.0%"
    sheet.row_dimensions[3].hidden = True
    book.save(path)
    table = read_table(path)
    assert [tuple(row.values()) for _, row in table.rows] == [
        ("007", "a.png", "How much?", "12.5%"), ("8", "b.png", "How many?", "0.3"),
    ]  # fmt: skip
    assert any("1 rows are hidden" in one for one in table.warnings)
    result = from_csv(path, files, tmp_path / "out", CsvOptions(fractions={"train": 1.0}))
    assert any("hidden" in one for one in result.warnings)


def test_what_a_workbook_shows_and_does_not_hold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    book, sheet = workbook(path, (1, "a.png", "How many?", "=1+1"))
    book.save(path)
    with pytest.raises(UserError, match="row 2: a formula without its value"):
        read_table(path)
    book, sheet = workbook(path, (1, "a.png", "Is it?", "Yes"), (None, "b.png", "Is it?", "No"))
    sheet.merge_cells("A2:A3")
    book.save(path)
    with pytest.raises(UserError, match="A2:A3 are merged"):
        read_table(path)


@pytest.mark.parametrize(
    ("text", "encoding", "read"),
    [("größer", "latin-1", False), ("naïve façade", "cp1252", False), ("更大的结节", "gb18030", True),
     ("größer", "utf-8", True)],
)  # fmt: skip
def test_western_encodings_are_not_taken_for_chinese(
    tmp_path: Path, text: str, encoding: str, read: bool
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(f"path,question,answer\na.png,{text},Yes\n".encode(encoding))
    if read:
        assert read_table(path).rows[0][1]["question"] == text
    else:
        with pytest.raises(UserError, match="neither UTF-8 nor GB 18030"):
            read_table(path)


@pytest.mark.parametrize(
    ("rows", "warning"),
    [
        ("a.png,Is it?,Yes\na.png,Is it?,No\n", "several answers that differ"),
        ("a.png,Is it?,nan\nb.png,Is it?,NA\n", "line 2, 3: an answer like 'NA'"),
        ("a.png,Is it?,Yes\nb.png,Is it?,No\n", None),
        ("a.png,Is it?,None\nb.png,What?,Natrium\n", None),
    ],
)
def test_answers_that_can_hardly_be_meant(
    tmp_path: Path, files: Path, rows: str, warning: str | None
) -> None:
    result = convert(tmp_path, files, "path,question,answer\n" + rows)
    found = [one for one in result.warnings if "patient" not in one]
    assert found == [] if warning is None else any(warning in one for one in found), found


def test_a_column_of_reasoning_goes_before_its_answer(tmp_path: Path, files: Path) -> None:
    text = "path,question,answer,rationale\na.png,Is it large?,Yes,A wide heart.\nb.png,Is it large?,No,\n"
    result = convert(tmp_path, files, text, kind="image")
    assert result.columns["reasoning"] == "rationale"
    assert [one.messages[1].reasoning for one in samples(tmp_path)] == ["A wide heart.", None]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,question,answer,reasoning\na.png,Large?,Yes,<think>a</think>\n", "holds a mark"),
        (
            "path,question,answer,report,reasoning\na.png,Large?,Yes,Large heart.,So it is\n",
            "which of them it belongs to",
        ),
    ],
)
def test_reasoning_that_cannot_be_placed_is_a_bad_row(
    tmp_path: Path, files: Path, text: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        convert(tmp_path, files, text, kind="image")


def test_the_lock_of_a_key_goes_though_its_process_was_killed(tmp_path: Path) -> None:
    key = tmp_path / "out.key"
    first = Pseudonyms.from_file(key).of("Li Lei")
    (tmp_path / ".out.key.lock").touch()  # killed after the key was written
    assert Pseudonyms.from_file(key).of("Li Lei") == first
    assert [path.name for path in tmp_path.iterdir()] == ["out.key"]


def test_german_in_latin_1_is_not_read_as_chinese(tmp_path: Path) -> None:
    """Its bytes decode as GB 18030, with two characters in a row: `äußere` and `fußläufig`."""
    path = tmp_path / "t.csv"
    path.write_bytes(
        "Patient;path;report\n1;a.png;Der äußere Rand, Gefäßödem, fußläufig.\n".encode("latin-1")
    )
    with pytest.raises(UserError, match="neither UTF-8 nor GB 18030"):
        read_table(path)


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\r\npatient;path;report\r\n1;a.png;Clear, wide\r\n",
        "patient;path;report;Remarks (free, short, internal, all)\n1;a.png;Clear, wide;\n2;b.png;Clear;x\n",
    ],
)
def test_the_separator_is_the_one_that_divides_the_rows(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text, newline="")
    first = read_table(path).rows[0][1]
    assert (first["path"], first["report"]) == ("a.png", "Clear, wide")


def test_a_report_of_several_lines_is_whole_and_its_row_named_by_its_first(
    tmp_path: Path, files: Path
) -> None:
    text = 'patient,path,report\r\n1,a.png,"Clear.\r\n\r\nHeart ""big""."\r\n2,gone.png,Clear.\r\n'
    result = convert(tmp_path, files, text, skip_bad=True)
    assert [one.messages[1].text for one in samples(tmp_path)] == ['Clear.\n\nHeart "big".']
    assert result.bad_rows[0].startswith("line 5: gone.png")


def test_a_line_break_outside_of_quotes_is_told(tmp_path: Path, files: Path) -> None:
    """The report before it has lost its end, and is a report all the same."""
    text = "patient,path,report\n1,a.png,Clear.\nHeart wide.\n"
    result = convert(tmp_path, files, text, skip_bad=True)
    assert any(one.startswith("line 3: fewer fields") for one in result.warnings)


def test_one_patient_in_several_forms_of_unicode_is_one(tmp_path: Path, files: Path) -> None:
    rows = "M\u00fcller,a.png,q,yes\nMu\u0308ller,b.png,q,no\n\uff10\uff17,ct,q,no\n07,sub/v.npy,q,no\n"
    convert(tmp_path, files, "patient,path,question,answer\n" + rows)
    patients = [one.patient for one in samples(tmp_path)]
    assert (patients[0], patients[2]) == (patients[1], patients[3])
    assert len(set(patients)) == 2


@pytest.mark.parametrize(
    ("header", "rows", "warning"),
    [
        ("patient", ("007,a.png,q,yes", "7,b.png,q,no"), "1 patients are written in several ways"),
        ("patient", ("7.0,a.png,q,yes", "7,b.png,q,no"), "1 patients are written in several ways"),
        ("patient", ("P 7,a.png,q,yes", "p7,b.png,q,no"), "1 patients are written in several ways"),
        ("patient", ("70,a.png,q,yes", "7,b.png,q,no"), None),
        ("patient", ("unknown,a.png,q,yes", "unknown,b.png,q,no"), "line 2, 3: the patient is a word"),
        ("patient", ("1,a.png,q,yes", "2,a.png,q2,no"), "1 files are named by rows of several patients"),
        ("patient,study", ("1,A,a.png,q,yes", "2,A,b.png,q,no"), "1 studies are named by rows of several"),
        ("patient,study", ("1,A,a.png,q,yes", "1,B,b.png,q,no"), None),
        ("patient", ("Smith,a.png,Is Smith ill?,yes",), "texts (line 2) hold the patient"),
        ("patient", ("Smithers,a.png,Is Smith ill?,yes",), None),
        ("patient,date", ("1,1900-01-01,a.png,q,yes",), "line 2: dates before 1970"),
        ("patient,date", ("1,2020-01-01,a.png,q,yes", "1,,b.png,q,yes"), "line 3: no date"),
    ],
)
def test_patients_who_may_be_mixed_up_are_told(
    tmp_path: Path, files: Path, header: str, rows: tuple[str, ...], warning: str | None
) -> None:
    result = convert(tmp_path, files, f"{header},path,question,answer\n" + "\n".join(rows) + "\n")
    found = [one for one in result.warnings if "name no patient:" not in one]
    assert found == [] if warning is None else any(warning in one for one in found), found
    assert not any("Smith" in one for one in found)


def test_words_for_nobody_are_not_one_person(tmp_path: Path, files: Path) -> None:
    convert(tmp_path, files, "patient,path,question,answer\nNA,a.png,q,yes\nNA,b.png,q,no\n")
    assert [one.patient for one in samples(tmp_path)] == [None, None]


def test_a_path_that_names_the_patient_is_told(tmp_path: Path, files: Path) -> None:
    image_file(files / "12345_pa.png", 3)
    text = "patient,path,question,answer\n12345,12345_pa.png,q,yes\n2345,a.png,q,yes\n"
    assert any("paths (line 2) hold" in one for one in convert(tmp_path, files, text).warnings)


@pytest.mark.parametrize(
    ("rows", "warning"),
    [
        ("a.png,Is it?,1\nb.png,Is it?,-1\n", "line 2, 3: answers 1, 0 or -1 are learned as these numbers"),
        ("a.png,How many nodules?,1\nb.png,How many nodules?,0\n", None),
        ("a.png,Which?,1\nb.png,Which?,2\n", None),
        ("a.png,Is it?,ja\nb.png,Is it?,Nein.\n", "line 2, 3: yes and no are known in English and Chinese"),
        (
            "a.png,Is it?,yes\nb.png,Is it?,uncertain\n",
            "line 3: other rows answer the same question with yes",
        ),
        ("a.png,Is it?,yes\nb.png,What?,uncertain\n", None),
    ],
)
def test_answers_that_are_not_judged_as_yes_and_no_are_told(
    tmp_path: Path, files: Path, rows: str, warning: str | None
) -> None:
    result = convert(tmp_path, files, "path,question,answer\n" + rows)
    found = [one for one in result.warnings if "name no patient" not in one]
    assert found == [] if warning is None else any(warning in one for one in found), found


def test_a_study_of_several_rows_is_told(tmp_path: Path, files: Path) -> None:
    text = "patient,study,path,report\n1,S,a.png,Wide heart.\n1,S,b.png,Wide heart.\n2,T,ct,Clear.\n"
    assert any(
        "1 reports are repeated in several rows of one study" in w
        for w in convert(tmp_path, files, text).warnings
    )


def test_paths_of_windows_and_other_forms_of_unicode_are_found(tmp_path: Path, files: Path) -> None:
    image_file(files / "R\u00f6ntgen" / "a b.png", 3)
    text = "path,question,answer\nRo\u0308ntgen\\a b.png,q,yes\nC:\\scans\\a.png,q,yes\n"
    result = convert(tmp_path, files, text, skip_bad=True)
    assert [one.visuals[0].path[-15:] for one in samples(tmp_path)] == ["R\u00f6ntgen/a b.png"]
    assert "a path of Windows" in result.bad_rows[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "patient,path,question,answer\n1.23457E+12,a.png,q,no\n",
            "line 2: the patient is a number as 1.23E",
        ),
        (
            "patient;path;question;answer\n1,23457E+12;a.png;q;no\n",
            "line 2: the patient is a number as 1.23E",
        ),
        ("path,image,question,answer\na.png,sub/../a.png,q,no\n", "the same file is named twice"),
        (
            "Patient,patient,path,question,answer\n1,2,a.png,q,no\n",
            "'Patient', 'patient' are both called like",
        ),
        ("date,path,question,answer\n2024113,a.png,q,no\n", "a date that is not understood"),
        ("path,prior,prior_days,question,answer\na.png,b.png,²,q,no\n", "found '²'"),
    ],
)
def test_what_a_cell_cannot_mean(tmp_path: Path, files: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        convert(tmp_path, files, text)


def test_a_day_that_has_lost_its_zero_is_no_date(tmp_path: Path, files: Path) -> None:
    """1012024 may be 1 January, without its zero, or 10 January."""
    with pytest.raises(UserError, match="a date that is not understood"):
        convert(tmp_path, files, "date,path,question,answer\n1012024,a.png,q,no\n", date_format="%d%m%Y")


def test_days_before_as_a_program_writes_them(tmp_path: Path, files: Path) -> None:
    convert(tmp_path, files, "path,prior,prior_days,question,answer\na.png,b.png,180.0,q,no\n")
    assert samples(tmp_path)[0].visuals[1].days_before_current == 180


def test_a_long_number_of_a_workbook_is_refused(tmp_path: Path) -> None:
    """Excel keeps 15 digits of a number: two patients of 18 digits would be one."""
    path = tmp_path / "t.xlsx"
    book, _ = workbook(path, (123456789012345678, "a.png", "Is it?", "Yes"))
    book.save(path)
    with pytest.raises(UserError, match="row 2: a number of more than 15 digits"):
        read_table(path)
    book, _ = workbook(path, (123456789012345, "a.png", "Is it?", "Clear._x000D_\nWide."))
    book.save(path)
    assert tuple(read_table(path).rows[0][1].values()) == (
        "123456789012345",
        "a.png",
        "Is it?",
        "Clear.\nWide.",
    )


def test_two_tables_with_one_key_know_a_patient_again(tmp_path: Path, files: Path) -> None:
    """With keys of their own a patient in both has two pseudonyms, and `data check` says that it cannot know."""
    convert(tmp_path, files, "patient,path,question,answer\nA,a.png,q,yes\n")
    (tmp_path / "later.csv").write_text("patient,path,question,answer\nA,b.png,q,no\n")
    for name, key in (("same", str(tmp_path / "out.key")), ("other", None)):
        from_csv(tmp_path / "later.csv", files, tmp_path / name, CsvOptions(fractions={"test": 1.0}, key=key))
    assert not (tmp_path / "same.key").exists()
    train = tmp_path / "out" / "train.jsonl"
    found = {}
    for name in ("same", "other"):
        test = tmp_path / name / "test.jsonl"
        found[name] = check({"train": [open_data(train)], "test": [open_data(test)]}, fast=True)
    assert found["same"].problems["leaks"].count == 1 and not found["same"].warnings
    assert found["other"].problems["leaks"].count == 0 and found["other"].warnings[OTHER_KEYS].count == 2
    with pytest.raises(UserError, match="--key or --keep-ids"):
        convert(tmp_path, files, keep_ids=True, key="x")


def test_what_is_made_of_a_data_set_keeps_the_name_of_its_key(tmp_path: Path, files: Path) -> None:
    convert(tmp_path, files, "patient,path,question,answer\nA,a.png,q,yes\nB,b.png,q,no\n")
    made, train = tmp_path / "out", str(tmp_path / "out" / "train.jsonl")
    for verb, *options in (("split", "--split", "0.5,0.5"), ("shards",)):
        ran = CliRunner().invoke(app, ["data", verb, train, str(tmp_path / verb), *options])
        assert ran.exit_code == 0, ran.output
        assert key_of(tmp_path / verb) == key_of(made) == Pseudonyms.from_file(tmp_path / "out.key").key_name
