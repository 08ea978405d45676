"""`medmvl inspect` prints what was read and draws it the right way round."""

import json

import numpy as np
import pytest
from PIL import Image

from medmvl.cli.main import main
from medmvl.imaging.describe import describe
from medmvl.imaging.draw import preview, slice_image
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.write import write_nifti
from tests.factories.imaging import volume

KEYS = {
    "kind", "shape", "axcodes", "acquired_axcodes", "spacing_mm", "affine", "units", "modality", "min", "max", "mean",
    "source_format", "warnings",
}  # fmt: skip


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["inspect", *map(str, arguments)])
    output = capsys.readouterr()
    return ended.value.code or 0, output.out, output.err


def test_json(tmp_path, capsys):
    image = volume((3, 4, 5), "RSP", (5.0, 0.75, 0.5))
    write_nifti(image, tmp_path / "a.nii.gz")
    code, out, _ = run(
        capsys, tmp_path / "a.nii.gz", "--json", "--units", "HU", "--preview", tmp_path / "p.png"
    )
    said = json.loads(out)
    assert code == 0
    assert set(said) == KEYS
    assert said["axcodes"] == ["S", "P", "L"]
    assert said["shape"] == list(image.shape)
    assert np.allclose(said["affine"], image.affine)
    assert (said["min"], said["max"], said["mean"]) == (0, 59, 29.5)
    assert Image.open(tmp_path / "p.png").size[0] > 100


def test_unknown_orientation_is_null_and_uneven_slices_are_listed():
    flat = MedicalImage(array=np.zeros((4, 5)), kind="image", units="arbitrary", source_format="numpy")
    assert describe(flat)["axcodes"] is describe(flat)["affine"] is None
    uneven = volume((3, 4, 5), slice_positions_mm=(0.0, 5.0, 12.0))
    assert describe(uneven)["slice_positions_mm"] == [0, 5, 12]


def test_people_get_a_table_and_bad_input_one_message(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.zeros((4, 5, 6), np.int16))
    code, out, _ = run(capsys, tmp_path / "a.npy")
    assert code == 0
    assert "4 x 5 x 6" in out
    assert "orientation is unknown" in out
    (tmp_path / "junk").write_bytes(b"junk")
    code, out, error = run(capsys, tmp_path / "junk")
    assert code == 2
    assert error.startswith("Error: ")
    assert "Traceback" not in error
    assert run(capsys, tmp_path / "a.npy", "--spacing", "1,x")[0] == 2


def test_planes_show_head_up_and_left_on_the_right():
    array = np.full((40, 40, 40), -1000, np.int16)
    array[30:, :, 30:] = 1000  # upper left of the patient
    image = volume((40, 40, 40), spacing_mm=(1.0, 1.0, 1.0)).with_array(array)
    drawn = np.asarray(preview(image, "full").convert("L")).astype(int)
    coronal = drawn[:384, 388:772]
    assert coronal[40, 340] > 200 > coronal[340, 340]
    assert coronal[40, 60] < 50


def test_boxes_are_drawn_only_on_their_slices():
    image = volume((4, 20, 20)).with_array(np.zeros((4, 20, 20), np.int16))
    box = (1, 5, 6, 3, 15, 16)
    coloured = [
        len(np.unique(np.asarray(slice_image(image, index, [box])).reshape(-1, 3), axis=0))
        for index in range(4)
    ]
    assert coloured == [1, 2, 2, 1]


def test_a_folder_of_mixed_files_tells_of_all_kinds(tmp_path, capsys):
    write_nifti(volume((3, 4, 5), "RSP", (5.0, 0.75, 0.5)), tmp_path / "a.nii.gz")
    Image.new("L", (8, 8)).save(tmp_path / "b.png")
    (tmp_path / "c.txt").write_text("no image")
    code, _, errors = run(capsys, tmp_path)
    assert code == 2 and "a.nii.gz: NIfTI" in errors and "b.png: PNG" in errors and "c.txt" not in errors


def test_a_long_path_is_not_broken(tmp_path, capsys):
    folder = tmp_path / ("a" * 60) / ("b" * 60)
    folder.mkdir(parents=True)
    write_nifti(volume((3, 4, 5), "RSP", (5.0, 0.75, 0.5)), folder / "scan.nii.gz")
    _, out, _ = run(capsys, folder / "scan.nii.gz")
    assert str(folder / "scan.nii.gz") in out.splitlines()[0]
