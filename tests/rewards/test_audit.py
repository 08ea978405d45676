"""The audit: attacks are caught where a reward pays them, and no built-in reward of content does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medmvl.cli.rewards import app
from medmvl.errors import SampleError, UserError
from medmvl.phantoms import write_dataset
from medmvl.rewards import REWARDS, CombinedReward, Reward, RewardRecipe, audit_rewards, build_reward
from medmvl.rewards.attacks import ATTACKS, view_data
from medmvl.rewards.audit import CONTROL, HONEST, TOTAL, markdown
from medmvl.schema import iter_samples
from medmvl.tasks.labelers import find_labeler
from medmvl.tasks.metrics.overlap import token_recall
from medmvl.tasks.metrics.record import Record
from medmvl.tasks.protocols.predictions import read_texts, record_of


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
