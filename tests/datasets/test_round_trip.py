"""Converted data trains: image questions, reports and volumes, checked and then learnt by a tiny model."""

from pathlib import Path

import pytest

from medmvl.data.check import check
from medmvl.data.sources import open_data
from medmvl.training.recipe_files import parse_recipe
from medmvl.training.run import train
from tests.factories import public_datasets as layouts
from tests.factories.data import processor
from tests.factories.training import recipe, stage

LAYOUTS = {
    "slake": layouts.slake, "mimic-cxr": layouts.mimic_cxr, "ct-rate": layouts.ct_rate, "m3d": layouts.m3d,
    "3d-rad": layouts.rad_3d, "medthinkvqa": layouts.medthinkvqa, "deeptumorvqa": layouts.deeptumorvqa,
    "mr-rate": layouts.mr_rate,
}  # fmt: skip


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    for name, make in LAYOUTS.items():
        layouts.convert(name, make(folder / f"raw-{name}"), folder / name)
    return folder


@pytest.mark.parametrize("name", LAYOUTS)
def test_nothing_is_wrong_with_converted_data(name: str, converted: Path) -> None:
    files = {path.stem: [open_data(path)] for path in sorted((converted / name).glob("*.jsonl"))}
    report = check(files, processor(max_length=2048))
    assert report.ok, report.to_json()["problems"]
    assert report.files_read and report.images + report.volumes > 0


def test_a_mixture_of_converted_data_trains(converted: Path, tmp_path: Path) -> None:
    sources = [
        {"path": str(converted / data / "train.jsonl"), "task": task}
        for data, task in (
            ("slake", "slake-zh"), ("mimic-cxr", "mimic-cxr-report"), ("ct-rate", "ct-rate-report"),
            ("3d-rad", "3d-rad-longitudinal"),
        )
    ]  # fmt: skip
    document = recipe(stage(max_steps=2), train=sources)
    document["data"]["validation"] = []
    document["model"]["max_length"] = 512
    run = train(parse_recipe(document, "converted"), tmp_path / "run")
    assert (run / "model" / "config.json").is_file() or (run / "config.json").is_file()
