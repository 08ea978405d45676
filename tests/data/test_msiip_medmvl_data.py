"""The data files of MSIIP/MedM-VL load as they are, where they are next to the real scans."""

from pathlib import Path

import pytest

from medmvl.data.sources import DataSource, load_source

CASES = {"2d_siglip_mlp_qwen2_full": (5, 5), "3d_siglip_attn_qwen2_full": (4, 3)}


@pytest.mark.real_data
@pytest.mark.parametrize("case", CASES)
def test_every_sample_and_file_is_read(case: str, real_data: Path, tmp_path: Path) -> None:
    folder = real_data.parent / "reference" / "medm-vl-checkpoints" / case
    if not (folder / "data.json").is_file():
        pytest.skip("the reference data of MSIIP/MedM-VL is not next to MEDMVL_TEST_DATA")
    source = load_source(
        DataSource.model_validate(
            {
                "path": "data.json",
                "image_root": "images",
                "volume_root": "volumes",
                "volumes": {"units": "HU"},
            }
        ),
        folder,
        tmp_path,
    )
    blocks = [block for one in source.samples for block in one.visuals]
    assert (len(source.samples), len(blocks)) == CASES[case]
    assert {source.load(block).kind for block in blocks} == (
        {"volume"} if case.startswith("3d") else {"image"}
    )
    assert all(one.has_answer for one in source.samples)
