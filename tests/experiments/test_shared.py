"""What runs of an experiment share: parts made once, first stages that are alike; and the experiments that ship."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

import medmvl.experiments.one_run as one_run
from medmvl.digests import write_sums
from medmvl.errors import RecipeError, UserError
from medmvl.evaluation.compare import Run
from medmvl.experiments.conclusions import contrasts
from medmvl.experiments.experiment import (
    Evaluated,
    experiment_file,
    experiment_names,
    load_experiment,
    preparations,
)
from medmvl.experiments.run import conclude, plan, run_missing, run_prepared
from medmvl.experiments.shared import names_in, place
from medmvl.experiments.taken_over import take_over_run
from medmvl.models.assemble import preprocessor_of
from medmvl.training.model_shapes import without_paths
from medmvl.training.recipe_files import parse_recipe
from tests.factories.data import dataset
from tests.factories.training import phantom_cache, phantoms, recipe, stage

__all__ = ["phantom_cache"]


def test_a_prepared_part_is_the_folder_of_its_place_in_the_recipe() -> None:
    document = {"model": {"llm": {"path": "prepared:words"}, "volume_encoder": {"path": "prepared:seen"}}}
    assert names_in(document) == {"words", "seen"}
    placed = place(document, Path("out"))
    assert placed["model"]["llm"]["path"] == "out/words/llm"
    assert placed["model"]["volume_encoder"]["path"] == "out/seen/volume_encoder"


def write_experiment(folder: Path, **more: Any) -> Path:
    base = recipe(stage("see", max_steps=1), stage("ask", max_steps=2))
    base["data"] = {"train": [phantoms(limit=8)], "test": [phantoms("test", limit=6)]}
    text = {**base, "model": {"llm": base["model"]["llm"], "max_length": base["model"]["max_length"]}}
    text["data"] = {"train": [phantoms(limit=8) | {"no_image": True}]}
    text["stages"] = [stage("text", parts={"llm": "full"}, max_steps=1)]
    base["model"] = {**base["model"], "llm": {"path": "prepared:words"}}
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    (folder / "text.yaml").write_text(yaml.safe_dump(text))
    experiment = {
        "question": "Does a longer last stage matter?",
        "base": "base.yaml",
        "prepare": {"words": {"base": "text.yaml"}},
        "reference": "short",
        "variants": {"short": {}, "long": {"change": {"stages.ask.max_steps": 3}}},
        "contrasts": {"half": {"long": 0.5, "short": -0.5}},
        "seeds": [0, 1],
        "evaluation": {"max_new_tokens": 4},
    }
    file = folder / "steps.yaml"
    file.write_text(yaml.safe_dump(experiment | more, sort_keys=False))
    return file


@pytest.mark.usefixtures("phantom_cache")
def test_the_llm_is_made_once_and_stages_that_are_alike_are_taken_over(tmp_path: Path) -> None:
    file = write_experiment(tmp_path)
    experiment, documents = load_experiment(file)
    out = tmp_path / "out"
    planned = plan(experiment, documents, out)
    run_prepared(preparations(experiment, file, documents), out)
    made = (out / "prepared" / "words" / "llm" / "model.safetensors").stat()
    run_prepared(preparations(experiment, file, documents), out)
    assert (out / "prepared" / "words" / "llm" / "model.safetensors").stat().st_mtime_ns == made.st_mtime_ns
    run_missing(planned, experiment.evaluation)
    costs = {f"{r.variant}-{r.seed}": json.loads((r.folder / "run.json").read_text()) for r in planned}
    assert {name: cost["stages_taken_over"] for name, cost in costs.items()} == {
        "short-0": 0, "long-0": 1, "short-1": 0, "long-1": 1,
    }  # fmt: skip
    weights = [
        out / "runs" / f"{name}-0/train/stages/01-see/model/model.safetensors" for name in ("short", "long")
    ]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    text = conclude(experiment, planned, out)
    assert "`half`" in text
    assert (out / "scores.png").read_bytes().startswith(b"\x89PNG")
    assert "visual tokens" in (out / "table.md").read_text()


@pytest.mark.usefixtures("phantom_cache")
def test_a_part_that_was_made_of_other_data_is_refused(tmp_path: Path) -> None:
    file = write_experiment(tmp_path)
    data = dataset(tmp_path / "data")
    text = yaml.safe_load((tmp_path / "text.yaml").read_text())
    text["data"] = {"train": [{"path": str(data), "no_image": True}]}
    (tmp_path / "text.yaml").write_text(yaml.safe_dump(text))
    experiment, documents = load_experiment(file)
    prepared = preparations(experiment, file, documents)
    run_prepared(prepared, tmp_path / "out")
    run_prepared(prepared, tmp_path / "out")
    data.write_text("".join(data.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(
        UserError, match=r"prepared.words was made before .*jsonl changed; remove it and the runs"
    ):
        run_prepared(prepared, tmp_path / "out")


@pytest.mark.usefixtures("phantom_cache")
def test_a_run_that_another_experiment_has_finished_is_linked_and_weights_go_where_they_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_experiment(tmp_path, seeds=[0])
    first, documents = load_experiment(file)
    run_prepared(preparations(first, file, documents), tmp_path / "first")
    for document in documents.values():  # both experiments name the same LLM
        document["model"]["llm"]["path"] = str(tmp_path / "first/prepared/words/llm")
    planned = plan(first, documents, tmp_path / "first")
    run_missing(planned, first.evaluation)
    trained: list[str] = []
    real = one_run.train
    monkeypatch.setattr(
        one_run, "train", lambda recipe, folder: trained.append(folder.parent.name) or real(recipe, folder)
    )
    third = json.loads(json.dumps(documents["long"]))
    third["stages"][1]["max_steps"] = 4
    more = {"short": documents["short"], "longer": third}
    options = first.evaluation.model_copy(update={"keep_models": False})
    second = first.model_copy(
        update={
            "evaluation": options,
            "contrasts": {},
            "variants": dict.fromkeys(more, first.variants["long"]),
        }
    )
    other = plan(second, more, tmp_path / "second")
    run_missing(other, options)
    assert trained == ["longer-0"]
    costs = {run.variant: json.loads((run.folder / "run.json").read_text()) for run in other}
    assert costs["short"]["taken_from"] == "first/short-0"
    assert costs["longer"]["stages_taken_over"] == 1
    answers = [(run.folder / "evaluation/answers.jsonl").read_bytes() for run in (planned[0], other[0])]
    assert answers[0] == answers[1]
    kept = other[1].folder / "train"
    assert not (kept / "model").exists() and not (kept / "stages/02-ask").exists()
    assert (kept / "stages/01-see/model").is_dir() and (kept / "history.jsonl").is_file()
    assert "longer" in conclude(second, other, tmp_path / "second")
    assert not list((tmp_path / "second").rglob("*.safetensors"))
    assert list((tmp_path / "first").rglob("model.safetensors"))
    asked_more = first.evaluation.model_copy(update={"max_new_tokens": 5})
    run_missing(plan(second, more, tmp_path / "third", only=["short"]), asked_more)
    assert trained == ["longer-0", "short-0"]


def test_a_contrast_is_the_weighted_sum_of_its_variants() -> None:
    def run(scores: list[float]) -> Run:
        return Run("run", {}, {f"q{i}": {"score": s, "cluster": i} for i, s in enumerate(scores)})

    runs = {"a": {0: run([1, 1, 1, 0])}, "b": {0: run([1, 0, 0, 0])}}
    [found] = contrasts(runs, {"a over b": {"a": 1, "b": -1}})
    assert found.difference is not None and found.difference.value == pytest.approx(0.5)
    assert not found.shown  # one seed


def test_a_contrast_must_sum_to_nothing_and_name_variants(tmp_path: Path) -> None:
    for weights in ({"long": 1.0}, {"long": 1.0, "other": -1.0}):
        with pytest.raises(RecipeError, match="contrast 'wrong'"):
            load_experiment(write_experiment(tmp_path, contrasts={"wrong": weights}))


def test_what_nothing_prepares_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="nothing prepares 'words'"):
        load_experiment(write_experiment(tmp_path, prepare={}))


@pytest.mark.parametrize("name", experiment_names())
def test_every_shipped_experiment_can_be_planned_and_its_parts_fit(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pretrained(tmp_path / "parts/astra-chest-ct")
    file = experiment_file(name)
    experiment, documents = load_experiment(file)
    preparations(experiment, file, documents)
    for run in plan(experiment, documents, tmp_path, seeds=[0]):
        if name.startswith("paper"):
            preprocessor_of(without_paths(run.recipe.model)[0])  # weights that are not here
        elif "efficientnet_lite" in run.recipe.model.model_dump_json():
            continue  # a plug-in, which this environment may lack
        elif Path((run.recipe.model.volume_encoder or {}).get("path", ".")).is_dir():
            preprocessor_of(run.recipe.model)  # a part that is trained first is not there yet


def pretrained(folder: Path) -> None:
    """What an imported encoder says of itself, without its weights."""
    folder.mkdir(parents=True)
    (folder / "encoder.json").write_text(json.dumps({"type": "resnet3d"}))
    (folder / "volume_processor.json").write_text(
        json.dumps({"size": [160, 224, 224], "convention": "astra_chest", "mean": 0.0, "std": 1.0})
    )


def test_an_unknown_experiment_is_told_with_those_that_ship() -> None:
    with pytest.raises(RecipeError, match="phantom-1-volume-encoder"):
        experiment_file("phantom-0")


@pytest.mark.usefixtures("phantom_cache")
@pytest.mark.parametrize("keep", [False, True])
def test_weights_that_go_while_a_run_is_linked_end_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    """Another experiment that has just finished removes them at any moment; who keeps none does not need them."""
    source, folder = tmp_path / "first/runs/short-0", tmp_path / "second/runs/short-0"
    same = parse_recipe(recipe(stage("see", max_steps=1), stage("ask", max_steps=2)), "r")
    for part in ("evaluation", "train/model", "train/stages/01-see/model"):
        (source / part).mkdir(parents=True)
        (source / part / "answers.jsonl").write_text("{}")
    write_sums(source / "train/model")
    options = Evaluated(keep_models=keep)
    (source / "run.json").write_text(json.dumps({"evaluation": options.asked}))
    real = shutil.copytree

    def copied(whole: Path, *arguments: Any, **options: Any) -> Any:
        if Path(whole).name == "train":
            shutil.rmtree(source / "train/model")
            if keep:
                raise shutil.Error([("answers.jsonl", "answers.jsonl", "no such file")])
        return real(whole, *arguments, **options)

    monkeypatch.setattr(shutil, "copytree", copied)
    assert take_over_run(same, options, folder, [(same, source / "train")]) is not keep
    assert (folder / "train").exists() is (folder / "evaluation").exists() is not keep
    assert not list(folder.rglob("model"))
