"""`medmvl data convert` and `medmvl data mixture`: what they print, and that their output is a recipe's."""

from pathlib import Path

import pytest
import yaml

from medmvl.cli.main import main
from medmvl.data.sources import DataSource, load_source
from medmvl.datasets.public import DATASETS
from medmvl.datasets.public.unimed import UNIMED_RATIOS, unimed_sources
from medmvl.errors import UserError
from tests.factories import public_datasets as layouts


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["data", *map(str, arguments)])
    code = stopped.value.code
    return code if isinstance(code, int) else 0


def test_the_list_names_every_data_set_with_its_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("convert", "--list") == 0
    printed = capsys.readouterr().out
    for dataset in DATASETS.values():
        assert dataset.name in printed and dataset.licence in printed


def test_a_conversion_says_splits_licence_and_what_was_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = layouts.vqa_rad(tmp_path / "raw")
    (raw / "VQA_RAD Image Folder" / "synpic0.jpg").unlink()
    assert run("convert", "vqa-rad", raw, tmp_path / "out", "--split", "published") == 2
    assert "2 of 20 records cannot be used" in capsys.readouterr().err
    assert run("convert", "vqa-rad", raw, tmp_path / "out", "--split", "published", "--skip-bad") == 0
    printed = capsys.readouterr().out
    assert "test.jsonl: 5 samples" in printed and "Licence: CC0 1.0" in printed
    assert "Left out: 1 samples that share an image" in printed and "left_out.txt" in printed
    assert run("convert", "vqa-rad", raw, tmp_path / "b", "--split", "0.5,0.6", "--skip-bad") == 2


def test_the_mixture_is_a_recipe_with_uni_med_shares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layouts.convert("slake", layouts.slake(tmp_path / "raw"), tmp_path / "slake")
    layouts.convert("mimic-cxr", layouts.mimic_cxr(tmp_path / "raw-mimic"), tmp_path / "mimic-cxr")
    assert run("mixture", tmp_path) == 0
    printed = capsys.readouterr()
    assert "No training data for: unimed-medqa" in printed.err
    sources = [DataSource.model_validate(entry) for entry in yaml.safe_load(printed.out)["data"]["train"]]
    drawn = {}
    for source in sources:
        assert source.task is not None
        drawn[source.task] = source.weight * len(load_source(source, tmp_path, tmp_path).samples)
    assert set(drawn) == {"unimed-slake", "slake-refer", "slake-identify", "unimed-mimic"}
    share = sum(UNIMED_RATIOS[name] for name in drawn)
    for name, count in drawn.items():
        assert count / sum(drawn.values()) == pytest.approx(UNIMED_RATIOS[name] / share, rel=1e-4)


def test_a_folder_without_converted_data(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"expected folders named medmnist, medpix, .*slake"):
        unimed_sources(tmp_path)
