"""An experiment of two variants, trained for a few steps: what runs, what is left out, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import medmvl.experiments.one_run as one_run
import medmvl.experiments.run as experiment_run
from medmvl.data.sources import load_source
from medmvl.errors import RecipeError, UserError
from medmvl.experiments.experiment import load_experiment
from medmvl.experiments.run import PlannedRun, conclude, describe, plan, run_missing
from medmvl.experiments.taken_over import take_over_run
from medmvl.training.recipe_files import dump_recipe
from tests.factories.engine import question
from tests.factories.training import phantom_cache, phantoms, recipe, stage

__all__ = ["phantom_cache"]
pytestmark = pytest.mark.usefixtures("phantom_cache")


def write_experiment(folder: Path, **more: Any) -> Path:
    document = recipe(stage(max_steps=2))
    document["data"] = {"train": [phantoms(limit=8)], "test": [phantoms("test", limit=6)]}
    (folder / "base.yaml").write_text(yaml.safe_dump(document))
    experiment = {
        "question": "Does width matter?",
        "base": "base.yaml",
        "reference": "narrow",
        "variants": {"narrow": {}, "wide": {"change": {"model.volume_encoder.width": 32}}},
        "seeds": [0, 1],
        "evaluation": {"max_new_tokens": 4},
    }
    file = folder / "width.yaml"
    file.write_text(yaml.safe_dump(experiment | more))
    return file


def test_runs_once_resumes_and_concludes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment, documents = load_experiment(write_experiment(tmp_path))
    out = tmp_path / "out"
    planned = plan(experiment, documents, out)
    assert [(run.variant, run.seed) for run in planned] == [
        ("narrow", 0),
        ("wide", 0),
        ("narrow", 1),
        ("wide", 1),
    ]
    trained: list[str] = []
    real = one_run.train

    def killed_once(recipe: Any, folder: Path) -> Path:
        trained.append(folder.parent.name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return real(recipe, folder)

    monkeypatch.setattr(one_run, "train", killed_once)
    with pytest.raises(KeyboardInterrupt):
        run_missing(planned, experiment.evaluation)
    assert [run.is_done for run in planned] == [True, False, False, False]
    run_missing(planned, experiment.evaluation)
    run_missing(planned, experiment.evaluation)
    assert trained == ["narrow-0", "wide-0", "wide-0", "narrow-1", "wide-1"]
    text = conclude(experiment, planned, out)
    assert text.startswith("# Does width matter?")
    found = json.loads((out / "experiment.json").read_text())
    assert [o["variant"] for o in found["outcomes"]] == ["narrow", "wide"]
    assert found["runs"]["wide-0"]["parameters"] > found["runs"]["narrow-0"]["parameters"]
    assert list(describe(planned))[-1] == "0 runs to go"


def finished(run: PlannedRun, digest: str = "d", **evaluation: Any) -> None:
    """Leave what a finished run of this recipe leaves, without training."""
    (run.folder / "train").mkdir(parents=True)
    (run.folder / "train" / "recipe.yaml").write_text(dump_recipe(run.recipe))
    sources = [{"source": run.recipe.data.train[0].model_dump(mode="json"), "samples": 1, "digest": digest}]
    (run.folder / "train" / "data.json").write_text(json.dumps({"seed": run.seed, "sources": sources}))
    (run.folder / "run.json").write_text(json.dumps({"seconds": 1.0, "evaluation": evaluation}))


def test_a_finished_run_of_another_recipe_or_evaluation_does_not_count(tmp_path: Path) -> None:
    experiment, documents = load_experiment(write_experiment(tmp_path))
    out, options = tmp_path / "out", experiment.evaluation
    planned = plan(experiment, documents, out)
    for run in planned:
        finished(run, **options.asked)
    run_missing(planned, options)
    other = options.model_copy(update={"max_new_tokens": 9})
    with pytest.raises(UserError, match=r"narrow-0 was evaluated with other settings.*was 4, now 9.*--out"):
        run_missing(planned, other)
    again = yaml.safe_load((tmp_path / "width.yaml").read_text())
    again["variants"]["wide"]["change"]["model.volume_encoder.width"] = 64
    (tmp_path / "width.yaml").write_text(yaml.safe_dump(again))
    experiment, documents = load_experiment(tmp_path / "width.yaml")
    message = r"wide-0 was made by another recipe.*width: was 32, now 64"
    with pytest.raises(UserError, match=message):
        run_missing(plan(experiment, documents, out), options)
    with pytest.raises(UserError, match=message):
        conclude(experiment, plan(experiment, documents, out), out)


def test_a_finished_run_of_other_data_does_not_count_and_is_not_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sample = question("a", "Is there a nodule?", "ct.nii", answer="No.")
    Path("train.jsonl").write_text(sample.model_dump_json() + "\n")
    file = write_experiment(tmp_path, shared={"data.train": [{"path": "train.jsonl"}]})
    experiment, documents = load_experiment(file)
    run, *_ = plan(experiment, documents, tmp_path / "first")
    finished(
        run, load_source(run.recipe.data.train[0], tmp_path, tmp_path).digest, **experiment.evaluation.asked
    )
    run_missing([run], experiment.evaluation)
    again, *_ = plan(experiment, documents, tmp_path / "second")
    others = [(run.recipe, run.folder / "train")]
    options = experiment.evaluation.model_copy(update={"keep_models": False})
    Path("train.jsonl").write_text(sample.model_copy(update={"id": "b"}).model_dump_json() + "\n")
    with pytest.raises(UserError, match=r"narrow-0 was made before train.jsonl changed"):
        run_missing([run], experiment.evaluation)
    assert not take_over_run(again.recipe, options, again.folder, others)
    assert not again.folder.exists()


def test_a_run_that_another_process_has_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, documents = load_experiment(write_experiment(tmp_path))
    planned = plan(experiment, documents, tmp_path / "out", seeds=[0])
    done: list[str] = []
    monkeypatch.setattr(
        experiment_run, "execute", lambda recipe, folder, *_: {"seen": done.append(folder.name)}
    )
    with experiment_run._claimed(planned[0].folder) as mine:
        assert mine
        run_missing(planned, experiment.evaluation)
    assert done == ["wide-0"]


def test_dry_run_says_that_time_is_unknown(tmp_path: Path) -> None:
    experiment, documents = load_experiment(write_experiment(tmp_path))
    lines = list(describe(plan(experiment, documents, tmp_path / "out", only=["wide"])))
    assert len(lines) == 3 and "2 steps" in lines[0] and "unknown" in lines[-1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"reference": "none"}, "'none' is no variant"),
        ({"sedes": [1]}, "sedes"),
        ({"variants": {"narrow": {}, "same": {}}}, "'narrow' and 'same' are the same recipe"),
        (
            {"variants": {"narrow": {}, "bad": {"change": {"model.max_lenght": 3}}}},
            "did you mean 'max_length'",
        ),
        (
            {
                "variants": {
                    "narrow": {},
                    "two": {"change": {"model.volume_encoder.width": 32, "model.max_length": 99}},
                }
            },
            "model.max_length and model.volume_encoder.width change at once",
        ),
        ({"variants": {"narrow": {}, "other": {"base": "base.yaml"}}}, "base change at once"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_experiment(write_experiment(tmp_path, **more))


def test_a_variant_may_start_from_another_recipe_and_say_why(tmp_path: Path) -> None:
    file = write_experiment(tmp_path)
    other = yaml.safe_load((tmp_path / "base.yaml").read_text())
    other["model"]["volume_encoder"]["num_layers"] = 2
    (tmp_path / "deep.yaml").write_text(yaml.safe_dump(other))
    document = yaml.safe_load(file.read_text())
    document["variants"]["deep"] = {"base": "deep.yaml", "together": "the published variant"}
    document["shared"] = {"model.max_length": 200}
    file.write_text(yaml.safe_dump(document))
    _, documents = load_experiment(file)
    assert documents["deep"]["model"]["volume_encoder"]["num_layers"] == 2
    assert documents["deep"]["model"]["max_length"] == documents["narrow"]["model"]["max_length"] == 200


@pytest.mark.slow
def test_a_run_may_be_shared_by_processes(tmp_path: Path) -> None:
    experiment, documents = load_experiment(write_experiment(tmp_path))
    (planned,) = plan(experiment, documents, tmp_path / "out", seeds=[0], only=["narrow"])
    with pytest.raises(UserError, match="--processes or --gpus"):
        run_missing([planned], experiment.evaluation, processes=2, gpus=2)
    run_missing([planned], experiment.evaluation, gpus=2)
    assert planned.is_done
    cost = json.loads((planned.folder / "run.json").read_text())
    assert cost["gpus"] == 2 and cost["visual_tokens"] > 0 and cost["answers"] > 0
    answers = (planned.folder / "evaluation" / "answers.jsonl").read_text().splitlines()
    assert len(answers) >= cost["answers"]


def test_an_unknown_variant_is_named(tmp_path: Path) -> None:
    experiment, documents = load_experiment(write_experiment(tmp_path))
    with pytest.raises(UserError, match="no variant 'wild'"):
        plan(experiment, documents, tmp_path / "out", only=["wild"])
