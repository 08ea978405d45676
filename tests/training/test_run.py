"""A run: what it leaves, what it refuses before the first step, and what a finished one skips."""

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import medmvl
from medmvl.data.entry_cache import FOLDER_VARIABLE
from medmvl.data.trained_on import TrainedOn
from medmvl.errors import RecipeError, SampleError, UserError
from medmvl.models.assemble import load
from medmvl.models.tuning import load_adapter
from medmvl.phantoms import dataset, iter_patient_samples, make_patient, write_dataset
from medmvl.training.checkpoints import checkpoints, is_complete
from medmvl.training.recipe import Recipe
from medmvl.training.recipe_files import load_recipe, parse_recipe
from medmvl.training.run import dry_run, train
from tests.factories.training import phantom_cache, phantoms, recipe, stage, write_text_samples

__all__ = ["phantom_cache"]

pytestmark = pytest.mark.usefixtures("phantom_cache")
ENCODERS = {"image_encoder": "full", "volume_encoder": "full"}


def three_stages() -> Recipe:
    adapt = {"llm": "lora", "image_connector": "full"}
    document = recipe(
        stage("encoders", objective="classification", parts=ENCODERS, learning_rate=1e-2, max_steps=6),
        stage("align", parts={"volume_connector": "full"}, max_steps=3, gradient_checkpointing=True),
        stage("adapt", parts=adapt, max_steps=6, save_steps=2, learning_rate=1e-2, eval_steps=3),
    )
    return parse_recipe(document, "three")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, phantom_cache: Path) -> Path:
    out = tmp_path_factory.mktemp("runs") / "three"
    train(three_stages(), out)
    return out


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def changed(before: Path, after: Path) -> set[str]:
    old, new = weights(before), weights(after)
    assert old.keys() == new.keys()
    return {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])}


def test_each_stage_trains_its_own_parts_and_nothing_else(finished: Path) -> None:
    models = [finished / "stages" / name / "model" for name in ("01-encoders", "02-align", "03-adapt")]
    assert changed(models[0], models[1]) == {"volume_connector"}
    assert changed(models[1], models[2]) == {"llm", "image_connector"}


def test_a_run_folder_tells_how_it_was_made(finished: Path) -> None:
    for name in ("recipe.yaml", "versions.json", "data.json", "history.jsonl", "curves.png"):
        assert (finished / name).stat().st_size > 0
    assert len(json.loads((finished / "data.json").read_text())["sources"][0]["digest"]) == 64
    records = [json.loads(line) for line in (finished / "history.jsonl").read_text().splitlines()]
    assert {record["stage"] for record in records} == {"01-encoders", "02-align", "03-adapt"}
    last = [record for record in records if record["stage"] == "03-adapt" and "eval_loss" in record]
    assert {"eval_token_accuracy", "eval_answer_accuracy", "eval_answer_accuracy/ct_nodule"} <= last[0].keys()
    assert any("eval_label_accuracy/nodule" in record for record in records)
    validated = [(record["stage"], record["step"]) for record in records if "eval_loss" in record]
    assert validated == [
        ("01-encoders", 6),
        ("02-align", 3),
        ("03-adapt", 3),
        ("03-adapt", 6),
    ]  # none of them twice
    assert (finished / "stages" / "01-encoders" / "model" / "heads.safetensors").is_file()
    assert list((finished / "stages" / "03-adapt" / "tensorboard").iterdir())


def test_an_evaluation_on_the_training_patients_says_so(finished: Path, tmp_path: Path) -> None:
    """Whatever the file is called, and whoever wrote it: the patients are the run's own."""
    for name, seed in (("same", 0), ("other", 1)):
        write_dataset(tmp_path / name, patients=2, seed=seed, preset="quickstart", splits={"train": 2})
    found = {}
    for name in ("same", "other"):
        data = tmp_path / name / "train.jsonl"
        found[name] = medmvl.evaluate(
            finished / "model", data, out=tmp_path / f"{name}-out", controls=False, pages=False
        )
    warning = found["same"].warnings[0]
    assert warning.startswith("Trained on: 2 of 2 patients") and found["same"].about["trained_on"] == 2
    assert found["other"].about["trained_on"] == 0
    assert not any("rained on" in warning or "unseen" in warning for warning in found["other"].warnings)


def test_a_model_remembers_whom_earlier_stages_and_its_base_were_trained_on(
    tmp_path: Path, phantom_cache: Path
) -> None:
    """Patients of the first stage count after the second, and those of a base model after its fine-tuning."""
    texts = tmp_path / "texts.jsonl"
    write_text_samples(texts, 8)
    own = {"train": [{"path": str(texts)}], "validation": []}
    first = stage("align", max_steps=1)
    document = recipe(first, stage("adapt", max_steps=1, data=own), train=[phantoms(limit=4)])
    train(parse_recipe(document, "two"), tmp_path / "two")
    seen = [TrainedOn.read(tmp_path / "two/stages" / name / "model") for name in ("01-align", "02-adapt")]
    assert seen[0] is not None and seen[1] is not None
    assert seen[0].hashes < seen[1].hashes and len(seen[1].sources) == 2 and seen[1].complete
    base = {"init": str(tmp_path / "two/model")}
    tuned = {**recipe(stage("tune", max_steps=1, data=own)), "model": base}
    train(parse_recipe(tuned, "tuned"), tmp_path / "tuned")
    after = TrainedOn.read(tmp_path / "tuned/model")
    assert after is not None and after.hashes == seen[1].hashes and after.complete
    for name in ("trained_on.json", "SHA256SUMS"):  # as a model that was made elsewhere
        (tmp_path / "two/model" / name).unlink()
    train(parse_recipe(tuned, "of an unknown base"), tmp_path / "unknown")
    unknown = TrainedOn.read(tmp_path / "unknown/model")
    assert unknown is not None and not unknown.complete


def test_the_log_says_that_the_first_pass_reads_the_scans(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_text_samples(tmp_path / "text.jsonl", 4)
    with caplog.at_level("INFO", logger="medmvl"):
        train(
            parse_recipe(recipe(stage(max_steps=1), train=[{"path": str(tmp_path / "text.jsonl")}]), "x"),
            tmp_path / "a",
        )
        assert "the first pass reads" not in caplog.text  # there are no scans
        shown = recipe(
            stage(max_steps=1),
            train=[phantoms("train", limit=6, question_types=["ct_nodule", "ct_effusion"])],
        )
        train(parse_recipe(shown, "y"), tmp_path / "b")
    assert "the first pass reads 2 images, volumes or sets of them" in caplog.text


def test_the_newest_checkpoints_are_kept(finished: Path) -> None:
    kept = [path.name for path in checkpoints(finished / "stages" / "03-adapt" / "checkpoints")]
    assert kept == ["checkpoint-4", "checkpoint-6"]


def test_a_few_samples_are_learned_by_heart(tmp_path: Path) -> None:
    write_text_samples(tmp_path / "text.jsonl", 4)
    settings = stage(max_steps=40, learning_rate=3e-2, schedule="constant", log_steps=20)
    document = recipe(settings, train=[{"path": str(tmp_path / "text.jsonl")}])
    document["data"]["validation"] = [{"path": str(tmp_path / "text.jsonl")}]
    train(parse_recipe(document, "heart"), tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    last = next(record for record in records if "eval_loss" in record)
    assert last["eval_loss"] < 0.1
    assert last["eval_answer_accuracy"] == 1.0


def test_adapter_alone_on_the_model_before_equals_the_merged_model(finished: Path) -> None:
    merged, processor = load(finished / "model")
    model, _ = load(finished / "stages" / "02-align" / "model")
    load_adapter(model, finished / "model" / "adapter")
    ids = processor.tokenizer("Is there a nodule?", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(input_ids=ids).logits, merged.eval()(input_ids=ids).logits)


def test_the_same_command_again_changes_nothing(finished: Path) -> None:
    def stamps() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in finished.glob("stages/*/model/*")}

    before = stamps()
    train(three_stages(), finished)
    assert stamps() == before
    assert all(is_complete(path) for path in finished.glob("stages/*/model"))


def test_another_recipe_is_not_continued_in_the_same_folder(finished: Path) -> None:
    other = three_stages().model_copy(update={"seed": 5})
    with pytest.raises(RecipeError, match="seed: was 0, now 5"):
        train(other, finished)


def test_a_dry_run_shows_what_would_train() -> None:
    texts = list(dry_run(three_stages()))
    assert len(texts) == 3
    assert "labels: cardiomegaly, effusion" in texts[0]
    assert "tokens per pass" in texts[1]
    assert (
        f"100.0% of an epoch: {three_stages().data.train[0].path or 'phantoms '}" in texts[1]
        and "samples x weight 1" in texts[1]
    )
    assert "lora" in texts[2]


def test_a_dry_run_of_phantoms_draws_none_and_counts_what_all_would_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(dataset, "draw_ct", lambda patient: drawn.append("ct"))
    monkeypatch.setattr(dataset, "draw_xray", lambda patient: drawn.append("xray"))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    phantoms = {"phantoms": {"preset": "tiny", "patients": 400}}  # 320 of them are for training
    sources = [phantoms, phantoms | {"no_image": True, "limit": 1000}]
    speak = stage("speak", parts={"llm": "full"}, epochs=2, max_steps=None, batch_size=32)
    text, note = dry_run(parse_recipe(recipe(speak, train=sources), "some"))
    patients = (make_patient(0, index, "tiny") for index in range(320))
    number = sum(1 for patient in patients for _ in iter_patient_samples(patient, boxes=False))
    assert f"{2 * math.ceil((number + 1000) / 32)} steps of 32, about {number + 1000} samples" in text
    assert f"train), {number} samples x weight 1" in text
    assert "estimated from 80 patients per split" in note
    assert not drawn and not list(tmp_path.iterdir())


def expect_refusal(document: dict[str, Any], folder: Path, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        train(parse_recipe(document, "bad"), folder / "run")
    assert not list((folder / "run").glob("stages/*"))


def test_data_that_is_not_here_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as raised:
        train(load_recipe("medm-vl-ct-chest"), tmp_path / "run")
    message = str(raised.value)
    assert "data/ct-rate/train_rg.json, data/ct-rate/train_all.json" in message
    for way in (str(tmp_path), "medmvl data convert", "flagship-recipes.md", "data.train.0.path="):
        assert way in message
    assert not (tmp_path / "run" / "model").exists()


def test_a_sample_without_an_answer_is_named_before_the_first_step(tmp_path: Path) -> None:
    write_text_samples(tmp_path / "good.jsonl", 3)
    bad = {
        "id": "silent",
        "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": " "}],
    }
    (tmp_path / "bad.jsonl").write_text(json.dumps(bad))
    sources = [{"path": str(tmp_path / "good.jsonl")}, {"path": str(tmp_path / "bad.jsonl")}]
    expect_refusal(recipe(train=sources), tmp_path, SampleError, "'silent' has no supervised token")


def test_an_answer_that_would_be_cut_is_named(tmp_path: Path) -> None:
    write_text_samples(tmp_path / "long.jsonl", 1, words=400)
    document = recipe(train=[{"path": str(tmp_path / "long.jsonl")}])
    expect_refusal(document, tmp_path, SampleError, "'text-0' has .* more than max_length 256")


def test_samples_that_are_too_long_are_left_out_when_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_text_samples(tmp_path / "long.jsonl", 1, words=400)
    write_text_samples(tmp_path / "short.jsonl", 3)
    sources = [{"path": str(tmp_path / f"{name}.jsonl")} for name in ("long", "short")]
    with caplog.at_level(logging.WARNING):
        list(dry_run(parse_recipe(recipe(data={"train": sources, "drop_too_long": True}), "some")))
    assert "left out 1 of 4 samples longer than 256 tokens" in caplog.text
    expect_refusal(
        recipe(data={"train": sources[:1], "drop_too_long": True}), tmp_path, SampleError, "no sample is left"
    )


def test_labels_need_labels(tmp_path: Path) -> None:
    write_text_samples(tmp_path / "text.jsonl", 2)
    document = recipe(
        stage(objective="classification", parts=ENCODERS), train=[{"path": str(tmp_path / "text.jsonl")}]
    )
    expect_refusal(document, tmp_path, SampleError, "has both an image or volume and labels")


def test_a_part_the_model_does_not_have(tmp_path: Path) -> None:
    document = recipe()
    for key in ("volume_encoder", "volume_connector", "volume_processor"):
        del document["model"][key]
    write_text_samples(tmp_path / "text.jsonl", 8)
    document["data"] = {"train": [{"path": str(tmp_path / "text.jsonl")}]}
    expect_refusal(document, tmp_path, RecipeError, "part 'volume_encoder' is not in this model")


def test_an_epoch_without_a_sample_is_refused_with_its_weights(tmp_path: Path) -> None:
    few = {**phantoms(limit=3), "weight": 0.1}
    document = recipe(stage(max_steps=None, epochs=1, parts={"llm": "full"}), train=[few])
    with pytest.raises(RecipeError, match=r"an epoch is empty, .* below 1 \(3 x 0\.1\); raise a weight"):
        train(parse_recipe(document, "r"), tmp_path / "run")
