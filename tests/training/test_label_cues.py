"""Label heads on a frozen encoder, and what they say as a line before each question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from medmvl.data.sources import open_data
from medmvl.errors import RecipeError
from medmvl.phantoms import write_dataset
from medmvl.schema import Sample, iter_samples
from medmvl.training.label_cues import Cues, LabelHeads, cue_line
from medmvl.training.recipe_files import parse_recipe
from medmvl.training.run import train
from tests.factories.commands import run
from tests.factories.training import phantom_cache, phantoms, recipe, stage

__all__ = ["phantom_cache"]

FROZEN = {"image_encoder": "frozen", "volume_encoder": "frozen"}


def probe(folder: Path, **more: Any) -> Path:
    """Heads on encoders that stay as they are."""
    settings = {"objective": "classification", "parts": FROZEN, "group": "none", **more}
    document = recipe(stage("labels", **settings), train=[phantoms()])
    train(parse_recipe(document, "probe"), folder)
    return folder / "stages/01-labels/model"


def written(folder: Path, patients: int, seed: int) -> Path:
    """Phantom patients as a data file."""
    write_dataset(folder, patients=patients, seed=seed, preset="quickstart", splits={"train": patients})
    return folder / "train.jsonl"


@pytest.mark.usefixtures("phantom_cache")
def test_a_frozen_encoder_is_probed_by_its_heads_alone(tmp_path: Path) -> None:
    few, more = (probe(tmp_path / str(steps), max_steps=steps) for steps in (1, 3))
    weights = [load_file(folder / "model.safetensors") for folder in (few, more)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    heads = [load_file(folder / "heads.safetensors") for folder in (few, more)]
    assert not torch.equal(heads[0]["volume.judge.weight"], heads[1]["volume.judge.weight"])
    with pytest.raises(RecipeError, match="would train nothing"):
        parse_recipe(recipe(stage(parts=FROZEN)), "r")


@pytest.mark.usefixtures("phantom_cache")
def test_lines_are_written_for_every_scan_and_left_out_by_chance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = probe(tmp_path / "run", max_steps=2)
    data = written(tmp_path / "data", patients=4, seed=3)
    assert run("data", "cues", heads, data, data.with_name("cues.jsonl"), "--threshold", 0) == 0
    before = list(iter_samples(data))
    after = list(iter_samples(data.with_name("cues.jsonl")))
    said = capsys.readouterr()
    scans = len({tuple(block.path for block in sample.visuals) for sample in before if sample.visuals})
    assert f"{len(before)} samples of {scans} scans, {len(before)} of them with a line" in said.out
    assert "Warning" not in said.err
    for old, new in zip(before, after, strict=True):
        asked, with_line = old.messages[0].text, new.messages[0].text
        line, _, rest = with_line.partition("\n")
        assert rest == asked and new.visuals == old.visuals and new.target == old.target
        assert line.startswith("分类器提示：" if old.language == "zh" else "A classifier suggests: ")
        assert "effusion (left)" in line or "effusion（left）" in line
    assert (
        run(
            "data",
            "cues",
            heads,
            data,
            data.with_name("half.jsonl"),
            "--threshold",
            1,
            "--dropout",
            0.5,
        )
        == 0
    )
    half = list(iter_samples(data.with_name("half.jsonl")))
    left_out = sum(old == new for old, new in zip(before, half, strict=True))
    assert 0.25 * len(half) < left_out < 0.75 * len(half)
    assert {new.messages[0].text.split("\n")[0] for new in half if new.language == "en"} >= {
        "A classifier suggests: no finding."
    }


@pytest.mark.usefixtures("phantom_cache")
def test_the_scan_decides_its_line_and_patients_of_the_heads_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads = probe(tmp_path / "run", max_steps=1)
    data = written(tmp_path / "data", patients=40, seed=0)
    classifier, source = LabelHeads(heads), open_data(data)
    found = dict(classifier.probabilities(source, classifier.studies(source)))
    assert len({probabilities["nodule"] for probabilities in found.values()}) == len(found)
    weights = load_file(heads / "heads.safetensors")
    for kind, label in (("volume", "effusion"), ("image", "cardiomegaly")):
        weights[f"{kind}.judge.weight"].zero_()
        weights[f"{kind}.judge.bias"].fill_(-5)[classifier.names.index(label)] = 5
    save_file(weights, heads / "heads.safetensors")
    (heads / "SHA256SUMS").unlink()
    assert run("data", "cues", heads, data, data.with_name("cues.jsonl")) == 0
    assert "Warning: the heads were taught on" in capsys.readouterr().err
    for sample in iter_samples(data.with_name("cues.jsonl")):
        if len(sample.visuals) == 1:
            expected = {"volume": "effusion", "image": "cardiomegaly"}[sample.visuals[0].type]
            assert sample.messages[0].text.split("\n")[0] == cue_line([expected], sample.language)


def test_a_model_without_heads_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "data.jsonl").write_text('{"id": "a", "messages": [{"role": "user", "content": "Hello?"}]}\n')
    assert run("data", "cues", tmp_path / "model", tmp_path / "data.jsonl", tmp_path / "out.jsonl") == 2
    assert (
        "has no label heads; name the model of a stage with objective classification"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.usefixtures("phantom_cache")
def test_what_the_heads_do_not_read_stays_without_a_line_and_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = recipe(
        stage("labels", objective="classification", parts={"volume_encoder": "frozen"}, max_steps=1)
    )
    document["model"] = {
        key: value for key, value in document["model"].items() if not key.startswith("image")
    }
    document["data"] = {"train": [phantoms(question_types=["ct_nodule"])]}
    train(parse_recipe(document, "volumes"), tmp_path / "run")
    data = written(tmp_path / "data", patients=4, seed=3)
    heads = tmp_path / "run/stages/01-labels/model"
    assert run("data", "cues", heads, data, tmp_path / "out.jsonl", "--threshold", 0) == 0
    samples = list(iter_samples(tmp_path / "out.jsonl"))
    volumes = [all(block.type == "volume" for block in sample.visuals) for sample in samples]
    assert (
        f"{volumes.count(False)} samples have no visuals, or some that these heads" in capsys.readouterr().out
    )
    lines = ["\n" in sample.messages[0].text for sample in samples]
    assert lines == volumes and 0 < sum(lines) < len(lines)


def test_words_of_a_line() -> None:
    assert cue_line(["nodule", "nodule/left upper lobe"], "en") == (
        "A classifier suggests: nodule, nodule (left upper lobe)."
    )
    assert cue_line([], None) == "A classifier suggests: no finding."
    assert cue_line(["effusion/left"], "zh") == "分类器提示：effusion（left）。"


def test_a_seed_chooses_who_is_left_out() -> None:
    samples = [
        Sample.model_validate({"id": str(n), "messages": [{"role": "user", "content": "What?"}]})
        for n in range(200)
    ]
    chosen = [
        [Cues(dropout=0.3, seed=seed).of(sample, {}) == sample for sample in samples] for seed in (0, 0, 1)
    ]
    assert chosen[0] == chosen[1] != chosen[2]
    assert all(40 < sum(left_out) < 80 for left_out in chosen)
