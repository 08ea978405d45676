"""Reports on folders: everything readable is found, bad ones harm no others, and who the patient is stays in FHIR and SR."""

import base64
import csv
import errno
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from PIL import Image
from pydicom.config import disable_value_validation
from pydicom.uid import BasicTextSRStorage

from medmvl.cli.main import main
from medmvl.engine import Engine, GenerationOptions
from medmvl.errors import ReadError, UserError
from medmvl.reporting.fhir import diagnostic_report
from medmvl.reporting.identity import source_instances
from medmvl.reporting.notice import NOTICES, plain
from medmvl.reporting.run import CHANGED, Outcome, ReportSettings, write_reports
from medmvl.reporting.search import find_studies, is_flat
from medmvl.reporting.structured import check, write_structured_report
from tests.factories.dicom import SECRET, ct_series, dataset, save, stored_volume
from tests.factories.engine import save_tiny_model

CT_STUDY, XRAY_STUDY = "1.2.3.77", "1.2.3.88"
PERSON = {"PatientName": "李^雷", "PatientID": "P-4711", "AccessionNumber": "A99", "StudyDate": "20240229"}
WHO = {**PERSON, "SpecificCharacterSet": "GB18030"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two CT series of one folder, a frontal and a lateral X-ray, NIfTI, arrays, an image, and bad ones."""
    root = tmp_path_factory.mktemp("scans") / "scans"
    for number in (1, 2):
        tags = {
            "SeriesInstanceUID": f"1.2.{number}",
            "SeriesNumber": number,
            "StudyInstanceUID": CT_STUDY,
            **WHO,
        }
        ct_series(root / "ct" / str(number), stored_volume(5, 16, 16, number), **tags)
    (root / "ct" / "1" / "IM0001").rename(root / "ct" / "IM0001")  # slices may lie in several folders
    for view in ("PA", "LL"):
        pixels = np.random.default_rng(len(view)).integers(0, 4000, (20, 20)).astype(np.uint16)
        tags = {
            "StudyInstanceUID": XRAY_STUDY,
            "SeriesInstanceUID": f"1.2.{len(view)}",
            "SeriesNumber": 1,
            "ViewPosition": view,
            "InstanceNumber": 1 + (view == "PA"),  # no order of files decides which comes first
        }
        save(dataset(pixels, "DX", **tags, **WHO), root / "xray" / f"{view}.dcm")
    rng = np.random.default_rng(0)
    (root / "other").mkdir()
    volume = rng.integers(-1000, 400, (16, 16, 6)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([1, 1, 5, 1])), root / "other" / "a.nii.gz")
    np.save(root / "other" / "flat.npy", rng.integers(0, 255, (20, 24), dtype=np.uint8))
    np.save(root / "other" / "b.npy", rng.integers(-1000, 400, (6, 20, 20)).astype(np.int16))
    Image.fromarray(rng.integers(0, 255, (20, 24), dtype=np.uint8)).save(root / "other" / "c.png")
    (root / "other" / "notes.txt").write_text("nothing")
    (root / "bad").mkdir()
    (root / "bad" / "empty.nii.gz").touch()
    (root / "bad" / "cut.nii.gz").write_bytes((root / "other" / "a.nii.gz").read_bytes()[:400])
    return root


def medmvl(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def report(model: Path, out: Path, *arguments: object) -> int:
    return medmvl("report", model, *arguments, "--out", out, "--max-new-tokens", 8)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def reports(model: Path, studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reports") / "out"
    assert report(model, out, studies) == 0
    return out


def test_everything_is_found_and_the_bad_is_listed(reports: Path) -> None:
    sources = {row["path"]: row["id"] for row in rows(reports / "sources.csv")}
    assert set(sources) == {
        "scans/ct#series=1", "scans/ct#series=2", "scans/xray/LL.dcm", "scans/other/a.nii.gz", "scans/other/flat.npy",
        "scans/other/b.npy", "scans/other/c.png",
    }  # fmt: skip
    bad = {row["path"]: row for row in rows(reports / "bad.csv")}
    assert set(bad) == {"scans/bad/empty.nii.gz", "scans/bad/cut.nii.gz"}
    lines = [json.loads(line) for line in (reports / "reports.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == list(sources.values())
    assert len(rows(reports / "reports.csv")) == 7
    by_path = {path: next(line for line in lines if line["id"] == name) for path, name in sources.items()}
    assert by_path["scans/xray/LL.dcm"]["kinds"] == ["image", "image"]
    assert by_path["scans/other/flat.npy"]["kinds"] == ["image"]
    assert (
        by_path["scans/ct#series=1"]["kinds"] == ["volume"]
        and by_path["scans/ct#series=1"]["modality"] == "CT"
    )
    assert all(line["text"] and line["status"] == "unverified machine output" for line in lines)


def test_who_the_patient_is_stays_in_fhir_and_sr(
    model: Path, studies: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert report(model, tmp_path / "out", studies) == 0
    shown = "".join(capfd.readouterr())
    tables = [path for path in (tmp_path / "out").glob("*") if path.is_file()]
    assert len(tables) >= 5 and (tmp_path / "out").stat().st_mode & 0o077 == 0
    for text in [shown, *(path.read_text() for path in tables)]:
        for secret in (*PERSON.values(), SECRET, "19010203", CT_STUDY, XRAY_STUDY, "1.2.3.4.5"):
            assert secret not in text


HOSTILE = {
    "PatientName": "HEAD", "ReferringPhysicianName": "GREGOR", "PatientID": "MRN" + "7" * 70, "StudyDate": "2024-FEB-29",
    "AccessionNumber": "A" * 20 + "99", "PatientBirthDate": "19O10203", "StudyDescription": "KOPF" * 20, "StudyTime": "25h",
}  # fmt: skip
"""Values that libraries warn about, quoting them: a name of one component, too long texts, dates that are none."""


@pytest.mark.parametrize("keywords", [("PatientName", "ReferringPhysicianName"), tuple(HOSTILE)])
def test_no_library_quotes_a_header(
    keywords: tuple[str, ...],
    model: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tmp_path / "scan"
    for file in sorted(ct_series(folder, stored_volume(3, 16, 16), StudyInstanceUID=CT_STUDY).iterdir()):
        written = pydicom.dcmread(file)
        with disable_value_validation():
            for keyword in keywords:
                setattr(written, keyword, HOSTILE[keyword])
            written.save_as(file)
    with warnings.catch_warnings(record=True) as caught:  # pytest keeps them from stderr
        warnings.simplefilter("always")
        assert report(model, tmp_path / "out", folder) == 0
        assert medmvl("inspect", folder) == 0
        assert medmvl("generate", model, "--prompt", "Any nodule?", "--volume", folder) == 0
    assert len(keywords) > 2 or len(list((tmp_path / "out" / "sr").iterdir())) == 1
    shown = "".join(capfd.readouterr()) + caplog.text + "".join(str(one.message) for one in caught)
    assert "scan" in shown
    for value in HOSTILE.values():
        assert value not in shown


def test_fhir_is_valid_preliminary_and_says_whose_it_is(reports: Path) -> None:
    names = {row["path"]: row["id"] for row in rows(reports / "sources.csv")}
    files = sorted((reports / "fhir").glob("*.json"))
    assert {path.stem for path in files} == set(names.values())
    read = {path.stem: DiagnosticReport.model_validate_json(path.read_text()) for path in files}
    assert {one.status for one in read.values()} == {"preliminary"}
    texts = {row["id"]: row["text"] for row in rows(reports / "reports.csv")}
    ct = read[names["scans/ct#series=1"]]
    notice, *warnings, text = ct.conclusion.split("\n\n", 2)
    assert (notice, text) == (NOTICES["en"], texts[names["scans/ct#series=1"]])
    assert warnings == ["Warning about this report: the report was cut off after 8 tokens"]
    assert ct.subject.identifier.value == "P-4711" and ct.subject.display == "李^雷"
    assert ct.imagingStudy[0].identifier.value == f"urn:oid:{CT_STUDY}"
    assert ct.basedOn[0].identifier.value == "A99" and str(ct.effectiveDateTime) == "2024-02-29"
    nifti = read[names["scans/other/a.nii.gz"]]
    assert nifti.subject is None and nifti.imagingStudy is None


def test_sr_refers_to_the_source_images(reports: Path, studies: Path) -> None:
    names = {row["path"]: row["id"] for row in rows(reports / "sources.csv")}
    texts = {row["id"]: row["text"] for row in rows(reports / "reports.csv")}
    assert (
        len(list((reports / "sr").iterdir())) == 3
    )  # two CT series and the X-rays; the others were no DICOM
    document = pydicom.dcmread(reports / "sr" / f"{names['scans/ct#series=1']}.dcm")
    assert document.SOPClassUID == document.file_meta.MediaStorageSOPClassUID == BasicTextSRStorage
    assert (document.VerificationFlag, document.CompletionFlag, document.PreliminaryFlag) == (
        "UNVERIFIED", "PARTIAL", "PRELIMINARY",
    )  # fmt: skip
    assert str(document.PatientName) == "李^雷" and document.StudyInstanceUID == CT_STUDY
    files = [studies / "ct" / "IM0001", *sorted((studies / "ct" / "1").iterdir())]
    uids = {str(pydicom.dcmread(path).SOPInstanceUID) for path in files}
    evidence = document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert evidence.SeriesInstanceUID == "1.2.1"
    assert {item.ReferencedSOPInstanceUID for item in evidence.ReferencedSOPSequence} == uids
    check(
        reports / "sr" / f"{names['scans/ct#series=1']}.dcm",
        texts[names["scans/ct#series=1"]],
        source_instances(files),
    )
    with pytest.raises(UserError, match="text"):
        check(
            reports / "sr" / f"{names['scans/ct#series=1']}.dcm",
            "No finding, truly.",
            source_instances(files),
        )
    with pytest.raises(UserError, match="images"):
        check(
            reports / "sr" / f"{names['scans/ct#series=1']}.dcm",
            texts[names["scans/ct#series=1"]],
            source_instances(files[:-1]),
        )


def test_killed_and_continued_equals_never_killed(
    model: Path, studies: Path, reports: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert report(model, out, studies) == 0
    whole = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert whole["reports.jsonl"] == (reports / "reports.jsonl").read_bytes()
    (out / "answers.jsonl").write_bytes(whole["answers.jsonl"][:-300])
    (out / "reports.jsonl").unlink()
    gone = sorted((out / "sr").iterdir())[0]
    kept = sorted((out / "fhir").iterdir())[0].read_bytes()
    gone.unlink()
    assert report(model, out, studies) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == whole
    assert gone.exists() and sorted((out / "fhir").iterdir())[0].read_bytes() == kept
    assert report(model, out, studies, "--prompt", "Another?") == 2


@pytest.mark.parametrize("writer", ["write_json", "write_structured_report"])
def test_a_full_disk_stops_the_run_and_is_not_blamed_on_a_study(
    model: Path,
    studies: Path,
    reports: Path,
    tmp_path: Path,
    writer: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(f"medmvl.reporting.run.{writer}", full)
        assert report(model, out, studies) == 2
    assert f"{out}: No space left on device. What was finished is whole" in capsys.readouterr().err
    assert report(model, out, studies) == 0
    assert (out / "bad.csv").read_bytes() == (reports / "bad.csv").read_bytes()
    assert {p.name for p in (out / "sr").iterdir()} == {p.name for p in (reports / "sr").iterdir()}


def test_a_damaged_slice_stops_its_series_not_the_images(
    model: Path, studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mixed"
    ct_series(folder, stored_volume(5, 16, 16), SeriesNumber=1, StudyInstanceUID=CT_STUDY)
    damaged = folder / "IM0003"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    save(pydicom.dcmread(studies / "xray" / "PA.dcm"), folder / "pa.dcm")
    assert report(model, tmp_path / "out", folder, "--no-sr", "--language", "zh") == 0
    assert [row["path"] for row in rows(tmp_path / "out" / "sources.csv")] == ["mixed/pa.dcm"]
    assert {row["path"]: row["step"] for row in rows(tmp_path / "out" / "bad.csv")} == {
        "mixed/IM0003": "find", "mixed#series=2": "ask",
    }  # fmt: skip
    assert not (tmp_path / "out" / "sr").exists() and "Notice: 2 could not be done" in capsys.readouterr().err
    (written,) = (tmp_path / "out" / "fhir").iterdir()
    assert json.loads(written.read_text())["conclusion"].startswith(NOTICES["zh"])


def test_what_the_reader_doubts_is_told_with_the_report(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ct_series(tmp_path / "lost", stored_volume(6, 16, 16), StudyInstanceUID=CT_STUDY, **WHO)
    lost = sorted(folder.iterdir())[2]
    lost.write_bytes(lost.read_bytes()[:300])  # it ends before its pixels, and before its UIDs
    assert report(model, tmp_path / "out", folder) == 0
    shown = capsys.readouterr().err
    (row,) = rows(tmp_path / "out" / "reports.csv")
    (line,) = [json.loads(text) for text in (tmp_path / "out" / "reports.jsonl").read_text().splitlines()]
    (missing,) = [warning for warning in line["warnings"] if "missing" in warning]
    assert missing in row["warnings"]
    fhir = json.loads((tmp_path / "out" / row["fhir"]).read_text())
    assert missing in fhir["conclusion"] and missing in fhir["text"]["div"]
    document = pydicom.dcmread(tmp_path / "out" / row["sr"])
    assert any(
        missing in str(element.value) for element in document.iterall() if element.keyword == "TextValue"
    )
    assert f"{folder.name}: {missing}" in shown
    assert (
        report(model, tmp_path / "out", folder) == 0
    )  # continued: nothing is asked again, and it is told again
    assert f"{folder.name}: {missing}" in capsys.readouterr().err
    assert medmvl("generate", model, "--prompt", "Any nodule?", "--volume", folder) == 0
    assert capsys.readouterr().err.count(missing) == 1


def test_the_default_limit_shrinks_to_the_context_and_a_given_one_is_refused(
    model: Path, studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, out = studies / "other" / "b.npy", tmp_path / "out"
    refused = medmvl("report", model, scan, "--out", out, "--max-new-tokens", 512)
    assert refused == 2 and "set --max-new-tokens to at most" in capsys.readouterr().err
    assert medmvl("report", model, scan, "--out", out) == 0  # the folder holds no report yet: it continues
    assert rows(out / "reports.csv")[0]["text"]
    capsys.readouterr()
    assert report(model, out, scan) == 2
    assert "--max-new-tokens 512, now 8" in capsys.readouterr().err


def test_nothing_reported_is_code_2(model: Path, studies: Path, tmp_path: Path) -> None:
    assert report(model, tmp_path / "out", studies / "bad") == 2
    assert len(rows(tmp_path / "out" / "bad.csv")) == 2
    (tmp_path / "nothing").mkdir()
    assert report(model, tmp_path / "out2", tmp_path / "nothing") == 2
    assert report(model, tmp_path / "out3", tmp_path / "gone") == 2


def test_an_id_changes_with_the_file_and_not_with_its_folder_being_named_twice(
    studies: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    np.save(folder / "x.npy", np.zeros((4, 8, 8), np.int16))
    (first,) = find_studies([folder, folder], {}).studies
    np.save(folder / "x.npy", np.zeros((4, 8, 9), np.int16))
    (second,) = find_studies([folder], {}).studies
    assert first.id != second.id and first.name == second.name == "one/x.npy"
    assert find_studies([studies], {}).num_ignored == 1


def test_a_folder_within_one_that_is_named_too_is_reported_once(studies: Path) -> None:
    both = find_studies([studies, studies / "ct", studies / "xray"], {}).studies
    assert [study.name for study in both] == [study.name for study in find_studies([studies], {}).studies]


def test_studies_that_cannot_be_told_apart_are_refused(model: Path, tmp_path: Path, capsys: Any) -> None:
    for hospital, value in (("a", 0), ("b", 1)):
        folder = tmp_path / hospital / "scans"
        folder.mkdir(parents=True)
        np.save(folder / "1.npy", np.full((4, 8, 8), value, np.int16))
        os.utime(folder / "1.npy", ns=(0, 0))  # as an archive without times leaves them
    assert report(model, tmp_path / "out", tmp_path / "a" / "scans", tmp_path / "b" / "scans") == 2
    assert "name a folder that holds both" in capsys.readouterr().err
    assert report(model, tmp_path / "out", tmp_path) == 0
    assert {row["path"].split("/")[-3] for row in rows(tmp_path / "out" / "sources.csv")} == {"a", "b"}


def test_a_series_that_arrives_meanwhile_is_not_reported_under_another_name(
    model: Path, tmp_path: Path
) -> None:
    """Series are counted by their numbers: with one more, `#series=1` is another patient's."""
    inbox, out = tmp_path / "inbox", tmp_path / "out"
    for number in (5, 6):
        ct_series(inbox / str(number), stored_volume(5, 16, 16, number), SeriesNumber=number, **WHO)
    (inbox / "5" / "IM0001").rename(inbox / "IM0001")
    found = find_studies([inbox], {})
    assert [study.name for study in found.studies] == ["inbox#series=1", "inbox#series=2"]

    def write() -> Outcome:
        settings = ReportSettings("Report.", sr=False)
        return write_reports(
            Engine.load(model), found, out, settings, {}, GenerationOptions(max_new_tokens=4)
        )

    ct_series(inbox / "1", stored_volume(5, 16, 16, 1), SeriesNumber=1, PatientID="another")
    done = write()
    assert done.num_reports == 0 and {(bad.step, bad.error) for bad in done.bad} == {("ask", CHANGED)}
    assert not (out / "fhir").exists()
    found = find_studies([inbox], {})
    assert write().num_reports == 3


@pytest.mark.parametrize(
    ("shape", "flat"), [((3, 4), True), ((3, 4, 3), True), ((5, 6, 7), False), ((1, 5, 6, 7), False)]
)
def test_flat_arrays_are_told_by_their_header(tmp_path: Path, shape: tuple[int, ...], flat: bool) -> None:
    np.save(tmp_path / "x.npy", np.zeros(shape, np.uint8))
    assert is_flat((tmp_path / "x.npy").read_bytes()[:1024]) is flat
    assert not is_flat(b"")


def sources(tmp_path: Path, **tags: Any) -> list[pydicom.Dataset]:
    folder = ct_series(tmp_path / "s", stored_volume(3), **{"StudyInstanceUID": CT_STUDY, **WHO, **tags})
    return source_instances(sorted(folder.iterdir()))


@pytest.mark.parametrize("text", ["<b>1 & 2</b>\nzweite Zeile", "左肺上叶结节。", "ends with space. \\ ^ ="])
def test_any_text_survives(tmp_path: Path, text: str) -> None:
    text = plain(text)
    found = sources(tmp_path)
    made = diagnostic_report("study-1", text, "zh", found)
    assert base64.b64decode(made["presentedForm"][0]["data"]).decode().endswith(text)
    write_structured_report(tmp_path / "o.dcm", "study-1", text, "zh", found, "0.1.0")
    check(tmp_path / "o.dcm", text, found)


def test_absent_identity_is_left_out_and_strange_dates_too(tmp_path: Path) -> None:
    none = dict.fromkeys(("PatientID", "PatientName", "AccessionNumber"))
    made = diagnostic_report("study-1", "clear", "en", sources(tmp_path, **{**none, "StudyDate": None}))
    assert not {"subject", "basedOn", "effectiveDateTime"} & made.keys() and made["imagingStudy"]


def test_images_of_two_patients_are_refused(tmp_path: Path) -> None:
    one = ct_series(tmp_path / "a", stored_volume(2), StudyInstanceUID=CT_STUDY)
    two = ct_series(tmp_path / "b", stored_volume(2, seed=1), StudyInstanceUID=CT_STUDY, PatientID="another")
    with pytest.raises(ReadError, match="one patient") as refused:
        source_instances([*one.iterdir(), *two.iterdir()])
    assert SECRET not in str(refused.value)


def test_control_characters_go() -> None:
    assert plain(" a\x00b\x1b\nc\t ") == "ab\nc"


@pytest.mark.slow
def test_two_processes_report_as_one(model: Path, studies: Path, reports: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--standalone",
        "-m",
        "medmvl",
    ]
    arguments = [
        "report",
        model,
        studies,
        "--out",
        tmp_path / "two",
        "--max-new-tokens",
        8,
        "--batch-size",
        2,
    ]
    done = subprocess.run(
        [*command, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("reports.jsonl", "reports.csv", "bad.csv", "sources.csv", "answers.jsonl"):
        assert (tmp_path / "two" / name).read_bytes() == (reports / name).read_bytes()
    assert len(list((tmp_path / "two" / "sr").iterdir())) == 3


def test_an_empty_report_is_none(
    model: Path, studies: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert report(model, out, studies) == 0
    for silent, code in ((1, 0), (7, 2)):  # one says nothing, then all
        lines = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
        said = [{**line, "text": ""} if at < silent else line for at, line in enumerate(lines)]
        (out / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in said))
        capfd.readouterr()
        assert report(model, out, studies) == code
        shown = "".join(capfd.readouterr())
        assert ("6 reports" in shown) == (silent == 1) and "report is empty" in shown
        assert len(rows(out / "reports.csv")) == 7 - silent
        assert sum(row["step"] == "report" for row in rows(out / "bad.csv")) == silent
