"""Agreement of two judges: counted by hand, per category, over cases."""

import json
from pathlib import Path
from typing import Any

import pytest

from medmvl.cli.main import main
from medmvl.errors import SampleError, UserError
from medmvl.evaluation.agreement import agree, read_verdicts


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def verdicts(path: Path, said: str, **more: Any) -> Path:
    words = {"r": "right", "w": "wrong", "p": "partly"}
    return write(path, [{"id": n, "verdict": words[letter], **more} for n, letter in enumerate(said)])


def test_agreement_and_kappa_by_hand(tmp_path: Path) -> None:
    first, second = verdicts(tmp_path / "a", "rrrrwwwwwp"), verdicts(tmp_path / "b", "rrrwwwwwww")
    (found,) = agree(read_verdicts(first), read_verdicts(second))
    chance = 0.4 * 0.3 + 0.6 * 0.7
    assert found.agreement.value == pytest.approx(0.9)
    assert found.kappa.value == pytest.approx((0.9 - chance) / (1 - chance))
    assert (found.right_first, found.right_second) == (0.4, 0.3)


def test_a_judge_agrees_with_itself_and_opposite_ones_do_not(tmp_path: Path) -> None:
    one, other = verdicts(tmp_path / "a", "rwrw"), verdicts(tmp_path / "b", "wrwr")
    assert agree(read_verdicts(one), read_verdicts(one))[0].kappa.value == pytest.approx(1.0)
    assert agree(read_verdicts(one), read_verdicts(other))[0].kappa.value == pytest.approx(-1.0)


def test_several_judges_categories_and_cases(tmp_path: Path) -> None:
    votes = [
        {"x": True, "y": True, "z": False},
        {"x": False, "y": None, "z": True},
        {"x": False, "y": False, "z": None},
    ]
    lines = [
        {"id": n, "case": f"c{n}", "category": ["side"] * (n != 0), "verdicts": vote}
        for n, vote in enumerate(votes)
    ]
    jury = read_verdicts(write(tmp_path / "jury", lines))
    assert jury.right == {"0": True, "2": False} and jury.undecided == 1
    assert read_verdicts(tmp_path / "jury", "z").right == {"0": False, "1": True}
    groups = agree(read_verdicts(verdicts(tmp_path / "a", "rrw")), jury)
    assert [(group.group, group.agreement.n, group.agreement.clusters) for group in groups] == [
        ("all", 2, 2),
        ("side", 1, 1),
    ]


def test_errors_name_the_line(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="line 1: no id"):
        read_verdicts(write(tmp_path / "a", [{"verdict": "right"}]))
    with pytest.raises(SampleError, match="'perhaps'"):
        read_verdicts(write(tmp_path / "b", [{"id": 1, "verdict": "perhaps"}]))
    with pytest.raises(UserError, match="no answer in common"):
        agree(
            read_verdicts(verdicts(tmp_path / "c", "r")),
            read_verdicts(write(tmp_path / "d", [{"id": "z", "verdict": "right"}])),
        )


def test_scores_write_verdicts_that_the_command_compares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [
        {
            "id": str(n),
            "question": "On which side?",
            "answer": "left",
            "prediction": said,
            "case": f"c{n}",
            "category": "side",
        }
        for n, said in enumerate(("left", "right", "on the left side"))
    ]
    predictions = write(tmp_path / "p.jsonl", lines)
    for protocol in ("reader", "strict"):
        with pytest.raises(SystemExit):
            main(
                [
                    "score",
                    str(predictions),
                    "--protocol",
                    protocol,
                    "--answers",
                    str(tmp_path / protocol),
                    "--json",
                ]
            )
    rows = [
        row
        for block in json.loads(capsys.readouterr().out.split("\n{")[0])["protocols"]
        for row in block["scores"]
    ]
    assert {row["question_type"] for row in rows} == {"all", "side"}
    read = [json.loads(line) for line in (tmp_path / "reader").read_text().splitlines()]
    assert [line["verdict"] for line in read] == ["right", "wrong", "right"]
    assert set(read[1]) == {"id", "verdict", "score", "why"} and read[1]["why"] == "side: right against left"
    with pytest.raises(SystemExit):
        main(["judge", "agreement", str(tmp_path / "reader"), str(tmp_path / "strict"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["groups"][0]["agreement"]["value"] == pytest.approx(2 / 3)
    with pytest.raises(SystemExit) as leaving:
        main(["score", str(predictions), "--protocol", "m3d", "--answers", str(tmp_path / "m3d")])
    assert leaving.value.code == 2
