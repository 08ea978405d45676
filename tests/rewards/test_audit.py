"""The audit: attacks are caught where a reward pays them, and no built-in reward of content does."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medmvl import plugins
from medmvl.cli.rewards import app
from medmvl.errors import SampleError, UserError
from medmvl.phantoms import write_dataset
from medmvl.rewards import REWARDS, CombinedReward, Reward, RewardRecipe, audit_rewards, build_reward
from medmvl.rewards.attacks import ATTACKS, view_data
from medmvl.rewards.audit import CONTROL, HONEST, TOTAL, markdown
from medmvl.rewards.combined import rewards_together
from medmvl.schema import iter_samples
from medmvl.tasks.labelers import find_labeler
from medmvl.tasks.metrics.overlap import token_recall
from medmvl.tasks.metrics.record import Record
from medmvl.tasks.protocols.predictions import read_texts, record_of
from medmvl.training.recipe_files import load_recipe


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "data"
    write_dataset(folder, preset="quickstart", patients=24, seed=3, format="npy", workers=1)
    return folder


def records(path: Path, types: tuple[str, ...] = ()) -> list[Record]:
    found = [record_of(sample, None) for sample in iter_samples(path)]
    return [record for record in found if not types or any(one in record.question_type for one in types)]


def test_no_built_in_reward_of_content_pays_an_attack(phantoms: Path) -> None:
    asked = records(phantoms / "train.jsonl", ("side", "report", "cardiomegaly"))[:80]
    rewards = {
        name: build_reward(name, **({"labeler": "phantoms"} if name == "findings_f1" else {}))
        for name in REWARDS
    }
    fitting = {name: one for name, one in rewards.items() if any(one.missing(r) is None for r in asked)}
    assert {"judge", "closed_accuracy", "findings_f1"} <= fitting.keys()
    audit = audit_rewards(asked, fitting)
    assert audit.paid == {}
    for column in audit.columns:
        if column.role == "content":
            assert column.cells[HONEST].value == pytest.approx(1.0, abs=0.06), column.name
            assert column.cells[CONTROL].value < 0.8 and column.cells["empty"].value == 0, column.name


class AllFindings(Reward):
    """Pays every finding that is named, whatever the truth. Fooled by: naming all."""

    def score(self, record: Record) -> float:
        labels = find_labeler("phantoms").label([record.answer])[0]
        return sum(labels.get(name, 0.0) for name in record.labels) / max(1, len(record.labels))


class Recall(Reward):
    """Share of the reference's words. Fooled by: saying much."""

    def score(self, record: Record) -> float:
        return token_recall(record.answer, record.references)


def test_bad_rewards_are_caught(phantoms: Path) -> None:
    reports = records(phantoms / "train_reports.jsonl")
    honest = build_reward("findings_f1", labeler="phantoms")
    audit = audit_rewards(reports, {"good": honest, "all": AllFindings(), "recall": Recall()})
    assert "good" not in audit.paid and "all_findings" in audit.paid["all"]
    assert {"denied", "contradiction"} <= set(audit.paid["recall"])
    assert ("good", "recall") in audit.agreement and audit.agreement["good", "recall"] < 1
    assert "**" in markdown(audit)


def test_the_total_is_a_column_and_a_model_a_row(phantoms: Path) -> None:
    asked = records(phantoms / "train.jsonl", ("ct_cardiomegaly",))
    combined = CombinedReward(
        [RewardRecipe(name="closed_accuracy"), RewardRecipe(name="same_language", weight=1.0)]
    )
    answers = {"a model": {asked[0].id: asked[0].references[0]}}
    audit = audit_rewards(asked, {entry.name: entry.reward for entry in combined.entries}, combined, answers)
    by_name = {column.name: column for column in audit.columns}
    assert by_name[TOTAL].cells["a model"].value == 1 and by_name[TOTAL].cells["a model"].n == 1
    assert by_name["same_language"].cells["template"].value == 1 and not audit.paid


def test_attacks_know_the_others_and_never_the_same_patient() -> None:
    base = Record("0", None, ("left",), "Which side?", "side", choices=("left", "right"), patient="p")
    same = replace(base, id="1", references=("right",))
    other = replace(base, id="2", references=("right",), patient="q")
    assert view_data([base, same]).another(base) is None
    assert view_data([base, same, other]).another(base) == "right"
    assert ATTACKS["another_patient"].make(base, view_data([base, same])) == []


def test_a_reward_that_fits_nothing_is_an_error() -> None:
    record = Record("0", None, ("left",), "Which side?")
    with pytest.raises(UserError, match="'box_iou' needs a true box"):
        audit_rewards([record], {"box_iou": build_reward("box_iou")})
    with pytest.raises(UserError, match="no record"):
        audit_rewards([], {})


def test_answers_of_an_evaluation_are_a_row_by_their_key(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    lines = [
        {"id": "1", "text": "left", "no_image": {"text": "right", "score": 0.0}},
        {"id": "1", "text": "right"},
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    assert read_texts(file) == [("1", "left"), ("1", "right")]
    with pytest.raises(SampleError, match="entry 2: no 'no_image'"):
        read_texts(file, "no_image")
    file.write_text(json.dumps(lines[0]))
    assert read_texts(file, "no_image") == [("1", "right")]


def test_the_command_prints_the_table(phantoms: Path) -> None:
    arguments = [
        "audit",
        "--data",
        str(phantoms / "test_reports.jsonl"),
        "--labeler",
        "phantoms",
        "--limit",
        "3",
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "the right words with a denial" in done.stdout and "findings_f1" in done.stdout
    assert "Fooled by" in CliRunner().invoke(app, ["list"]).stdout


RECIPE = {
    "model": {"init": "nowhere"},
    "data": {"train": [{"phantoms": {"preset": "quickstart", "patients": 4000, "split": "train_reports"}}]},
    "stages": [
        {
            "name": "reports", "objective": "grpo", "parts": {"llm": "full"}, "max_steps": 1, "batch_size": 2,
            "learning_rate": 1e-5,
            "rewards": [
                {"name": "findings_f1", "options": {"labeler": "phantoms"}},
                {"name": "same_language", "weight": 0.5, "question_types": ["ct_report"]},
            ],
        }
    ],
}  # fmt: skip


def audited(folder: Path, document: dict, *more: str) -> str:  # type: ignore[type-arg]
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(document))
    found = CliRunner().invoke(app, ["audit", str(file), "--patients", "24", *more], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


@pytest.fixture
def few_phantoms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEDMVL_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("few_phantoms")
def test_rewards_of_a_recipe_are_audited_alone_and_together(tmp_path: Path) -> None:
    """On its own phantoms, of which a few patients are made; each reward on what it is paid for."""
    said = audited(tmp_path, RECIPE)
    assert said.startswith("stage reports") and "| total |" in said and "rank correlation with" in said
    plain = json.loads(audited(tmp_path, RECIPE, "--json"))["stage reports"]
    counts = {one["name"]: one["answers"]["honest"]["n"] for one in plain["rewards"]}
    assert counts["same_language"] < counts["findings_f1"] == counts["total"] and plain["paid"] == {}
    assert len(list((tmp_path / "cache/phantoms").glob("quickstart-24-0-*"))) == 1
    none = {**RECIPE, "stages": [{**RECIPE["stages"][0], "objective": "lm", "rewards": []}]}  # type: ignore[dict-item, index]
    assert audited(tmp_path, none, "--labeler", "phantoms").startswith("no stage has rewards")


@pytest.mark.usefixtures("few_phantoms")
def test_what_a_recipe_lacks_is_told(tmp_path: Path) -> None:
    stage = RECIPE["stages"][0]  # type: ignore[index]
    with pytest.raises(UserError, match=r"is not here: gone\.jsonl"):
        audited(tmp_path, {**RECIPE, "data": {"train": [{"path": "gone.jsonl"}]}})
    for changes, error in (
        ({"rewards": [{"name": "box_iou"}]}, "'box_iou' needs a true box"),
        ({"rewards": [{"name": "length_band"}]}, "no reward of content"),
    ):
        with pytest.raises(UserError, match=error):
            audited(tmp_path, {**RECIPE, "stages": [{**stage, **changes}]})


def test_the_example_of_a_bad_reward_is_caught(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`examples/bad_reward`, as a plug-in that is installed; its recipe names it, and the audit names the attacks it pays."""
    example = Path(__file__).parents[2] / "examples/bad_reward"
    about = tmp_path / "site/medmvl_bad_reward-0.1.0.dist-info"
    about.mkdir(parents=True)
    points = tomllib.loads((example / "pyproject.toml").read_text())["project"]["entry-points"]
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: medmvl-bad-reward\nVersion: 0.1.0\n")
    lines = [f"{name} = {value}\n" for name, value in points["medmvl.rewards"].items()]
    (about / "entry_points.txt").write_text("[medmvl.rewards]\n" + "".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.syspath_prepend(str(example))
    plugins.installed.cache_clear()
    try:
        rewards = load_recipe(str(example / "recipe.yaml")).stages[0].rewards
        combined = rewards_together(rewards)
        found = audit_rewards(records(phantoms / "train_reports.jsonl"), combined.by_name, combined)
    finally:
        plugins.installed.cache_clear()
    assert {"all_findings", "contradiction"} <= set(found.paid["all_findings"]) & set(found.paid[TOTAL])
