"""A series is one scan: what separates scans separates series, what varies within one does not, and lists tell which."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from medmvl.errors import AmbiguousSourceError, ReadError
from medmvl.imaging.dicom import read_dicom, read_dicom_folder
from medmvl.imaging.selector import Selector
from tests.factories import dicom as make

WHO = {
    "PatientID": ("A", "B"), "PatientName": ("ANN^A", "BEA^B"), "PatientBirthDate": ("19500101", "19600101"),
    "StudyInstanceUID": ("1.2.8.1", "1.2.8.2"), "AccessionNumber": ("7001", "7002"), "StudyDate": ("20200101", "20210202"),
    "FrameOfReferenceUID": ("1.2.9.1", "1.2.9.2"), "SeriesDescription": ("first", "second"), "SeriesTime": ("101010", "111111"),
    "DeviceSerialNumber": ("9001", "9002"), "ReconstructionMethod": ("OSEM", "FBP"),
}  # fmt: skip
HOW = {
    "ConvolutionKernel": ("B30f", "B70f"), "SliceThickness": (1.0, 5.0), "KVP": (80, 140), "PatientPosition": ("HFS", "HFP"),
    "ContrastBolusAgent": ("iodine", None), "SeriesNumber": (2, 3), "PixelSpacing": ([0.5, 0.5], [0.7, 0.7]),
    "ImageType": (["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "SECONDARY", "AXIAL", "MIP"]),
    "NominalPercentageOfCardiacPhase": (40, 75), "TemporalPositionIdentifier": (1, 2),
    "ImageOrientationPatient": (list(make.AXIAL), [1, 0, 0, 0, 0.98, 0.199]),
}  # fmt: skip
MR = {
    "EchoTime": (10.0, 30.0), "DiffusionBValue": (0.0, 1000.0), "InversionTime": (200.0, 900.0), "FlipAngle": (5.0, 15.0),
    "ImageType": (["ORIGINAL", "PRIMARY", "M", "ND"], ["ORIGINAL", "PRIMARY", "P", "ND"]),
}  # fmt: skip
OFFSETS = {"shifted by half a step": 1.0, "at the same places": 0.0, "side by side": 100.0}


def two_scans(folder: Path, first: dict[str, Any], second: dict[str, Any], offset: float) -> Path:
    """Two scans under one Series UID, their files interleaved on disk."""
    for which, tags in enumerate((first, second)):
        for k, plane in enumerate(make.stored_volume(4, seed=which)):
            made = make.ct_slice(plane, (0, 0, 2.0 * k + which * offset), InstanceNumber=k + 1, **tags)
            make.save(made, folder / f"{k}{which}.dcm")
    return folder


@pytest.mark.parametrize("offset", OFFSETS.values(), ids=OFFSETS)
@pytest.mark.parametrize("tag", [*WHO, *HOW])
def test_what_separates_scans_separates_series(tmp_path: Path, tag: str, offset: float) -> None:
    one, other = {**WHO, **HOW}[tag]
    two_scans(tmp_path, {tag: one}, {tag: other}, offset)
    with pytest.raises(AmbiguousSourceError) as caught:
        read_dicom_folder(tmp_path)
    entries = [line.split(": ", 1)[1] for line in str(caught.value).splitlines()[1:]]
    assert len(entries) == 2 and len(set(entries)) == 2
    secrets = {str(value) for values in WHO.values() for value in values} | {
        "ANN",
        "BEA",
        make.SECRET,
        "1.2.3.4.5.666",
    }
    assert not any(secret in entry for entry in entries for secret in secrets - {"A", "B"})
    found = [read_dicom_folder(tmp_path, Selector(series=n)).array for n in (1, 2)]
    expected = [make.stored_volume(4, seed=which).astype(int) - 1024 for which in (0, 1)]
    if {**HOW, **WHO}[tag][1] is None:
        expected.reverse()
    assert any(np.array_equal(found[0], one) for one in expected)
    assert not np.array_equal(found[0], found[1]) and all(array.shape == (4, 6, 7) for array in found)


@pytest.mark.parametrize("offset", OFFSETS.values(), ids=OFFSETS)
@pytest.mark.parametrize("tag", MR)
def test_echoes_directions_and_components_of_mr_are_series(tmp_path: Path, tag: str, offset: float) -> None:
    for which, value in enumerate(MR[tag]):
        for k, plane in enumerate(make.stored_volume(4, seed=which)):
            made = make.dataset(
                plane, "MR", ImagePositionPatient=[0, 0, 2.0 * k + which * offset], PixelSpacing=[1, 1],
                ImageOrientationPatient=list(make.AXIAL), InstanceNumber=k + 1, **{tag: value},
            )  # fmt: skip
            make.save(made, tmp_path / f"{k}{which}")
    for number in (1, 2):
        image = read_dicom_folder(tmp_path, Selector(series=number))
        np.testing.assert_array_equal(image.array, make.stored_volume(4, seed=number - 1))


SETTINGS = {
    "RepetitionTime": (500.0, 2500.0), "AcquisitionDate": ("20200101", "20200102"), "MagneticFieldStrength": (1.5, 3.0),
    "ReceiveCoilName": ("head", "body"), "SequenceName": ("*tse2d1", "*fl2d1"), "ScanOptions": ("FS", "PFP"),
    "PixelBandwidth": (120, 240),
}  # fmt: skip


@pytest.mark.parametrize("offset", [0.0, 1.0], ids=["at the same places", "evenly interleaved"])
@pytest.mark.parametrize("tag", SETTINGS)
def test_settings_of_every_other_slice_are_of_two_scans(tmp_path: Path, tag: str, offset: float) -> None:
    for which, value in enumerate(SETTINGS[tag]):
        for k, plane in enumerate(make.stored_volume(4, seed=which)):
            made = make.dataset(
                plane, "MR", ImagePositionPatient=[0, 0, 2.0 * k + offset * which], PixelSpacing=[1, 1], SliceThickness=1,
                ImageOrientationPatient=list(make.AXIAL), InstanceNumber=2 * k + which, **{tag: value},
            )  # fmt: skip
            make.save(made, tmp_path / f"{k}{which}")
    with pytest.raises(AmbiguousSourceError) as caught:
        read_dicom_folder(tmp_path)
    assert "2020" not in str(caught.value)
    found = [read_dicom_folder(tmp_path, Selector(series=n)).array for n in (1, 2)]
    wanted = [make.stored_volume(4, seed=which) for which in (0, 1)]
    assert any(
        all(np.array_equal(*pair) for pair in zip(found, order, strict=True))
        for order in (wanted, wanted[::-1])
    )


def test_a_scan_past_midnight_is_one(tmp_path: Path) -> None:
    stored = make.stored_volume(6)
    for k, plane in enumerate(stored):
        made = make.ct_slice(plane, (0, 0, 2.0 * k), AcquisitionDate="20200101" if k < 3 else "20200102")
        make.save(made, tmp_path / str(k))
    np.testing.assert_array_equal(read_dicom_folder(tmp_path).array, stored.astype(int) - 1024)


def test_private_b_values_of_siemens_separate(tmp_path: Path) -> None:
    for which, value in enumerate(("0", "1000")):
        for k, plane in enumerate(make.stored_volume(3, seed=which)):
            made = make.dataset(
                plane, "MR", ImagePositionPatient=[0, 0, 2.0 * k + which], PixelSpacing=[1, 1],
                ImageOrientationPatient=list(make.AXIAL),
            )  # fmt: skip
            made.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", value)
            make.save(made, tmp_path / f"{k}{which}")
    with pytest.raises(AmbiguousSourceError, match=r"b 0\n.*b 1000"):
        read_dicom_folder(tmp_path)


VARYING = {
    "ImageType": lambda k: ["ORIGINAL", "PRIMARY", "AXIAL", *(["HELIX"] if k % 2 else [])],
    "SliceThickness": lambda k: 1.25 if k % 2 else 1.3,
    "WindowCenter": lambda k: 40 + k, "XRayTubeCurrent": lambda k: 200 + k, "Exposure": lambda k: 10 * k,
    "AcquisitionTime": lambda k: f"1010{k:02d}", "ContentTime": lambda k: f"1011{k:02d}", "SliceLocation": lambda k: 7 * k,
    "AcquisitionNumber": lambda k: k, "TriggerTime": lambda k: 10.0 * k, "InstanceNumber": lambda k: 10 - k,
    "TemporalPositionIdentifier": lambda k: k + 1, "KVP": lambda k: "120" if k else "120.0", "FlipAngle": lambda k: 10 + k,
    "ConvolutionKernel": lambda k: "B30f" if k else None, "FrameOfReferenceUID": lambda k: "1.2.9" if k != 2 else None,
    "RepetitionTime": lambda k: 800 + 13 * (k * k % 5), "ReceiveCoilName": lambda k: "NE1" if k < 3 else "HE1",
    "ImageOrientationPatient": lambda k: [1, 0, 0, 0, 1, 1e-4 * k], "EchoTime": lambda k: 10 + 1e-4 * k,
}  # fmt: skip


@pytest.mark.parametrize("tag", VARYING)
def test_what_varies_from_slice_to_slice_does_not_separate(tmp_path: Path, tag: str) -> None:
    stored = make.stored_volume(6)
    for k, plane in enumerate(stored):
        make.save(make.ct_slice(plane, (0, 0, 2.0 * k), **{tag: VARYING[tag](k)}), tmp_path / str(k))
    np.testing.assert_array_equal(read_dicom_folder(tmp_path).array, stored.astype(int) - 1024)


def test_two_acquisitions_that_interleave_are_two_and_odd_and_even_slices_are_one(tmp_path: Path) -> None:
    for name, thickness in (("phases", 2.0), ("odd-even", 1.0)):
        for which in (0, 1):
            for k, plane in enumerate(make.stored_volume(4, seed=which)):
                made = make.ct_slice(
                    plane, (0, 0, 2.0 * k + which), AcquisitionNumber=which + 1, SliceThickness=thickness
                )
                make.save(made, tmp_path / name / f"{k}{which}")
    with pytest.raises(AmbiguousSourceError, match=r"acquisition 1\n.*acquisition 2"):
        read_dicom_folder(tmp_path / "phases")
    assert read_dicom_folder(tmp_path / "odd-even").shape == (8, 6, 7)


@pytest.mark.parametrize("offset", [0.0, 0.7, 1.0])
def test_slices_counted_twice_are_two_scans(tmp_path: Path, offset: float) -> None:
    two_scans(tmp_path, {"SliceThickness": 1.0}, {"SliceThickness": 1.0}, offset)
    if offset == 0:
        with pytest.raises(ReadError, match="nothing in the headers"):
            read_dicom_folder(tmp_path)
        return
    for number in (1, 2):
        expected = make.stored_volume(4, seed=number - 1).astype(int) - 1024
        np.testing.assert_array_equal(read_dicom_folder(tmp_path, Selector(series=number)).array, expected)


def test_fields_of_view_side_by_side_are_two(tmp_path: Path) -> None:
    for which, x in enumerate((-60.0, 20.0)):
        for k, plane in enumerate(make.stored_volume(3, seed=which)):
            make.save(make.ct_slice(plane, (x, 0, 2.0 * k)), tmp_path / f"{k}{which}")
    image = read_dicom_folder(tmp_path, Selector(series=2))
    assert image.affine is not None and image.affine[0, 3] == pytest.approx(-20)
    np.testing.assert_array_equal(image.array, make.stored_volume(3, seed=1).astype(int) - 1024)


def test_empty_slices_of_a_dynamic_scan_are_no_duplicates(tmp_path: Path) -> None:
    for time in (1, 2):
        stored = make.stored_volume(3, seed=time)
        stored[0] = 0
        make.ct_series(tmp_path / str(time), stored, TemporalPositionIdentifier=time)
    for time in (1, 2):
        assert read_dicom_folder(tmp_path, Selector(time=time)).shape == (3, 6, 7)


def test_files_in_any_order_give_one_list_and_one_volume(tmp_path: Path) -> None:
    made = {
        f"{kernel}{k}": make.ct_slice(
            make.stored_volume(1, seed=k)[0], (0, 0, 2.0 * k), ConvolutionKernel=kernel, InstanceNumber=k
        )
        for kernel, k in itertools.product(("B70f", "B30f", "B45f"), range(3))
    }
    lists = []
    for number, order in enumerate((list(made), list(made)[::-1], sorted(made, key=lambda name: name[::-1]))):
        folder = tmp_path / str(number)
        for place, name in enumerate(order):
            make.save(made[name], folder / f"{place:02d}")
        with pytest.raises(AmbiguousSourceError) as caught:
            read_dicom_folder(folder)
        lists.append(str(caught.value))
    assert lists[0] == lists[1] == lists[2]
    assert re.search("1 or [0-9a-f]{12}: CT, 3 slices of 6 x 7, axial, kernel B30f", lists[0])


def test_no_two_entries_of_a_list_read_alike(tmp_path: Path) -> None:
    for number in range(4):
        make.ct_series(tmp_path / str(number), make.stored_volume(2), SeriesInstanceUID=f"1.2.3.{number}")
    with pytest.raises(AmbiguousSourceError) as caught:
        read_dicom_folder(tmp_path)
    entries = [line.split(": ", 1)[1] for line in str(caught.value).splitlines()[1:]]
    assert len(set(entries)) == 4


def test_free_text_that_tells_series_apart_is_not_shown(tmp_path: Path) -> None:
    texts = ("JOHN DOE", "JANE ROE")
    for which, text in enumerate(texts):
        tags = {"ConvolutionKernel": text, "ContrastBolusAgent": text, "SeriesDescription": text}
        make.ct_series(tmp_path / str(which), make.stored_volume(2, seed=which), **tags)
    with pytest.raises(AmbiguousSourceError, match=r"kernel no\. 1") as caught:
        read_dicom_folder(tmp_path)
    assert not any(part in str(caught.value) for text in texts for part in text.split())


def test_identity_is_compared_and_not_kept(tmp_path: Path) -> None:
    from medmvl.imaging.dicom_header import read_header

    path = make.save(
        make.ct_slice(make.stored_volume(1)[0], (0, 0, 0), PatientID="P-77", StudyInstanceUID="1.2.77"),
        tmp_path / "a",
    )
    file = read_header(path)
    held = repr((file.header, file.identity, file.raw, file.known))
    assert not any(secret in held for secret in ("P-77", "1.2.77", make.SECRET, "19010203"))
    assert pydicom.dcmread(path).PatientID == "P-77"


@pytest.mark.parametrize("group", ["times", "kernels"])
def test_enhanced_objects_hold_several_scans(tmp_path: Path, group: str) -> None:
    stored = make.stored_volume(6)
    places = [(0, 0, 3.0 * (k % 3)) for k in range(6)]
    made = make.enhanced(stored, positions=places, rescale=[(1, -1024)])
    for k, own in enumerate(made.PerFrameFunctionalGroupsSequence):
        if group == "times":
            own.FrameContentSequence = make.item(DimensionIndexValues=[1 + k // 3, 1 + k % 3])
        else:
            own.CTReconstructionSequence = make.item(ConvolutionKernel="BONE" if k < 3 else "SOFT")
    pointers = [make.item(DimensionIndexPointer=tag)[0] for tag in (0x00209128, 0x00209057)]
    made.DimensionIndexSequence = pydicom.sequence.Sequence(pointers)
    path = make.save(made, tmp_path / "e")
    with pytest.raises(AmbiguousSourceError, match="3 slices of 6 x 7, axial, "):
        read_dicom(path)
    np.testing.assert_array_equal(read_dicom(path, Selector(series=2)).array, stored[3:].astype(int) - 1024)


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SeriesInstanceUID", "Modality"])
def test_a_tag_with_too_many_values_is_refused_with_the_file(tmp_path: Path, keyword: str) -> None:
    make.ct_series(tmp_path, make.stored_volume(2))
    made = make.ct_slice(make.stored_volume(1)[0], (0, 0, 9))
    values = ["CT", "MR"] if keyword == "Modality" else ["1.2.840.10008.5.1.4.1.1.2", "1.2.9"]
    made[keyword].value = values
    make.save(made, tmp_path / "many.dcm")
    with pytest.raises(ReadError, match=rf"many\.dcm: the DICOM tag {keyword} holds (2|several) values"):
        read_dicom_folder(tmp_path)
    with pytest.raises(ReadError, match=keyword):
        read_dicom(tmp_path / "many.dcm")
