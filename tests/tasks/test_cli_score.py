"""`medmvl score`: anyone's predictions in, two tables out, without a model."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medmvl.cli.main import main
from medmvl.errors import SampleError, UserError
from medmvl.schema import Message, Sample, Target, write_samples
from medmvl.tasks.protocols.predictions import join_predictions, read_predictions


def write(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as leaving:
        main(["score", *map(str, arguments)])
    captured = capsys.readouterr()
    return int(leaving.value.code or 0), captured.out + captured.err


def scores(result: dict[str, Any], protocol: str) -> dict[tuple[str, str], dict[str, Any]]:
    block = next(block for block in result["protocols"] if block["protocol"] == protocol)
    return {(row["group"], row["metric"]): row for row in block["scores"]}


def test_strict_stands_beside_the_named_protocol(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        {"id": str(n), "prediction": "normal", "answer": "no", "patient": f"p{n % 25}"} for n in range(50)
    ]
    code, text = run(
        capsys,
        write(tmp_path / "p.jsonl", *lines),
        "--protocol",
        "medevalkit",
        "--json",
        "--out",
        tmp_path / "o",
    )
    result = json.loads(text)
    assert code == 0 and json.loads((tmp_path / "o" / "score.json").read_text()) == result
    assert scores(result, "medevalkit")["closed", "accuracy"]["value"] == 1.0
    row = scores(result, "strict")["closed", "accuracy"]
    assert (row["value"], row["low"], row["n_scored"], row["n_total"], row["interval"]) == (
        0.0,
        0.0,
        50,
        50,
        "wilson",
    )
    assert 0.1 < row["high"] < 0.15  # Wilson at 25 patients, not at 50 answers
    assert (result["cluster"], result["clusters"], result["warnings"]) == ("patient", 25, [])


def test_a_narrow_terminal_cuts_no_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    long = "a question about an unusually long name of a part of the body"
    lines = [
        {"response": "No effusion" if n % 3 else "Effusion", "reference": "No effusion", "question_type": f"{long} {n % 2}",
         "form": "report", "language": "en", "patient": n}
        for n in range(40)
    ]  # fmt: skip
    code, text = run(capsys, write(tmp_path / "p.jsonl", *lines), "--labeler", "phantoms")
    found = re.findall(r"\d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\]", text)
    assert code == 0 and len(found) > 8 and "…" not in text
    assert max(len(line) for line in text.splitlines() if "[0." in line) <= 80


def test_corpus_values_are_taken_again_in_each_resample(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [
        ("No nodule in the lung", "There is no nodule in the lung"),
        ("Effusion", "Large effusion on the left"),
    ]
    lines = [
        {"response": a, "reference": b, "question_type": "report", "patient": n}
        for n, (a, b) in enumerate(texts * 12)
    ]
    _, text = run(capsys, write(tmp_path / "p.jsonl", *lines), "--json")
    row = scores(json.loads(text), "strict")["report", "bleu-1"]
    assert row["interval"] == "bootstrap" and row["low"] < row["value"] < row["high"]
    assert row["value"] == row["corpus"] != row["sample_mean"]
    assert ("report", "finding_f1") not in scores(json.loads(text), "strict")  # no labeler fits by itself


def test_the_table_names_what_was_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        {"pred": "", "gt": "no effusion", "question_type": "report"},
        {"pred": "no effusion", "gt": "no effusion", "question_type": "report"},
    ]
    code, text = run(
        capsys, write(tmp_path / "p.jsonl", *lines, {"pred": None, "gt": "x"}), "--protocol", "unimed"
    )
    assert code == 0
    for part in (
        "1 of 2",
        "pairs with an empty side are dropped",
        "1 of 3 have no prediction",
        "only 3 answers",
        "strict",
    ):
        assert part in text


def test_options_that_do_not_fit_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "p.jsonl", {"pred": "a", "gt": "a"})
    for arguments, said in (
        (("--weights", "bleurt=x"), "expected NAME=FOLDER with one of ratescore"),
        (("--judge", "http://x"), "both --judge URL and --judge-model"),
        (("--protocol", "unimedd"), "did you mean 'unimed'"),
        (("--bertscore", "absent"), "nothing at absent"),
    ):
        code, text = run(capsys, file, *arguments)
        assert code == 2 and said in text


def sample(name: str, answer: str, patient: str) -> Sample:
    return Sample(
        id=name, patient=patient, language="en",
        messages=(Message(role="user", content="Is it?"), Message(role="assistant", content=answer)),  # type: ignore[arg-type]
        target=Target(question_type="closed", answers=(answer,), choices=("yes", "no")),
    )  # fmt: skip


def test_predictions_are_joined_with_data_and_missing_ones_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "test.jsonl"
    write_samples(data, [sample("a", "yes", "p"), sample("b", "no", "p"), sample("c", "no", "q")])
    answers = write(tmp_path / "p.jsonl", {"id": "b", "text": "No."}, {"id": "a", "text": "maybe"})
    code, text = run(capsys, answers, "--reference", data, "--task", "vqa-rad", "--json")
    result = json.loads(text)
    assert code == 0 and [block["protocol"] for block in result["protocols"]] == [
        "medevalkit",
        "strict",
        "reader",
    ]
    assert result["missing"] == 1 and result["cluster"] == "patient"
    assert scores(result, "strict")["closed en", "accuracy"]["value"] == pytest.approx(1 / 3)
    code, text = run(capsys, answers, "--reference", data, "--task", "m3d-open")
    assert code == 2 and "none of its 3 samples belongs to task m3d-open" in text
    write_samples(
        data, [sample("a", "yes", "p"), sample("b", "no", "p").model_copy(update={"language": "zh"})]
    )
    code, text = run(capsys, answers, "--reference", data, "--task", "slake-zh", "--json")
    assert (
        code == 0 and json.loads(text)["records"] == 1
    )  # the prediction of another task's sample is left alone
    code, text = run(capsys, write(tmp_path / "q.jsonl", {"id": "z", "text": "No."}), "--reference", data)
    assert code == 2 and "1 predictions are of no sample, such as 'z'" in text


@pytest.mark.parametrize(
    ("line", "text", "reference", "question_type"),
    [
        ({"prediction": "a", "answer": "b"}, "a", "b", "open"),
        ({"answer": "a", "ground_truth": "b"}, "a", "b", "open"),
        ({"answer_pred": "a", "answer_gt": "yes"}, "a", "yes", "closed"),
        ({"text": "a", "truth": "b", "question_type": "ct_report"}, "a", "b", "ct_report"),
        ({"response": "a", "label": ["b", "c"], "answer_type": "OPEN"}, "a", "b", "open"),
        ({"output": "a", "gt": "无"}, "a", "无", "closed"),
        ({"pred": "B", "answer": "B", "options": {"A": "x", "B": "y"}}, "B", "B", "choice"),
    ],
)
def test_keys_of_others_are_read(
    tmp_path: Path, line: dict[str, Any], text: str, reference: str, question_type: str
) -> None:
    record = read_predictions(write(tmp_path / "p.jsonl", line))[0]
    assert (record.text, record.references[0], record.question_type) == (text, reference, question_type)
    (tmp_path / "list.json").write_text(json.dumps([line]), encoding="utf-8")
    assert read_predictions(tmp_path / "list.json") == [record]
    assert (record.language == "zh") == (reference == "无")


def test_what_cannot_be_scored_is_said(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="entry 1: no prediction"):
        read_predictions(write(tmp_path / "a.jsonl", {"reference": "x"}))
    with pytest.raises(SampleError, match="or name the data with --reference"):
        read_predictions(write(tmp_path / "b.jsonl", {"prediction": "x"}))
    with pytest.raises(UserError, match="neither JSON Lines nor a JSON list"):
        (tmp_path / "c.jsonl").write_text("hello")
        read_predictions(tmp_path / "c.jsonl")
    with pytest.raises(UserError, match="line 2: "):
        (tmp_path / "e.jsonl").write_text('{"prediction": "x", "reference": "y"}\nhello')
        read_predictions(tmp_path / "e.jsonl")
    with pytest.raises(UserError, match="two predictions have the id"):
        join_predictions(write(tmp_path / "d.jsonl", {"id": 1, "text": "x"}, {"id": 1, "text": "y"}), [])


def test_no_answer_counts_twice(tmp_path: Path) -> None:
    line = {"id": 0, "question": "Is there a nodule?", "prediction": "yes", "answer": "yes"}
    others = [{**line, "id": 1}, {**line, "question": "Is there an effusion?"}, {**line, "image": "b.png"}]
    found = read_predictions(write(tmp_path / "a.jsonl", line, *others))
    assert [record.id for record in found] == ["0", "1", "0", "0"]
    with pytest.raises(UserError, match="entries 1 and 3 are one question under the id '0'"):
        read_predictions(write(tmp_path / "b.jsonl", line, others[0], {**line, "prediction": "no"}))


def test_missing_values_are_no_texts(tmp_path: Path) -> None:
    """What pandas and spreadsheets write for nothing is no reference, no answer and no patient."""
    (tmp_path / "p.csv").write_text("id,prediction,reference,patient\n1,a,a,\n2,a,a,\n3,,a,p3\n")
    assert [record.patient for record in read_predictions(tmp_path / "p.csv")] == [None, None, "p3"]
    (tmp_path / "q.csv").write_text("id,prediction,reference\n1,a,a\n2,a,\n")
    with pytest.raises(SampleError, match="entry 2: no reference"):
        read_predictions(tmp_path / "q.csv")
    with pytest.raises(SampleError, match="entry 1: no reference"):
        read_predictions(write(tmp_path / "r.jsonl", {"prediction": "a", "reference": float("nan")}))
    found = read_predictions(
        write(tmp_path / "s.jsonl", {"prediction": float("nan"), "reference": ["a", None]})
    )
    assert found[0].text is None and found[0].references == ("a",)


def test_a_csv_of_predictions_is_read(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(
        'id,prediction,reference\n7,"Yes, left",yes\n8,no,no\n', encoding="utf-8-sig"
    )
    first, second = read_predictions(tmp_path / "p.csv")
    assert (first.id, first.text, first.references[0], second.text) == ("7", "Yes, left", "yes", "no")


def test_scoring_starts_without_torch(tmp_path: Path) -> None:
    data = write(tmp_path / "p.jsonl", {"id": "a", "prediction": "yes", "answer": "yes"})
    code = (
        "import sys\nfrom medmvl.cli.main import main\n"
        "try:\n    main(['score', sys.argv[1]])\nexcept SystemExit as done:\n    assert not done.code\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(data)], check=True, capture_output=True)
