"""The page of `make real`: means over seeds, paired bar, rows by organ; from answer files as evaluations write them."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.factories.scripts import load_script

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def real() -> ModuleType:
    return load_script("benchmarks/real.py")


def write_run(out: Path, name: str, right: Any, no_image: Any) -> None:
    """An evaluation of 40 closed questions about 20 images and 4 open ones."""
    folder = out / name / "evaluation"
    folder.mkdir(parents=True)
    lines: list[dict[str, Any]] = [
        {"id": f"q{n}", "metric": "accuracy", "cluster": n // 2, "score": float(right(n)), "majority": {"score": float(n % 2)},
         "no_image": {"score": float(no_image(n))}, "swapped_image": {"score": 0.0}}
        for n in range(40)
    ]  # fmt: skip
    lines += [{"id": f"o{n}", "metric": "token_f1", "cluster": n, "score": 0.25, "majority": {"score": 0.0},
               "no_image": {"score": 0.0}} for n in range(4)]  # fmt: skip
    (folder / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    score = {"value": 0.5, "n": 40}
    results = {"rows": [{"question_type": "closed", "metric": "accuracy", "score": score}],
               "protocols": [{"protocol": "medevalkit", "group": "closed", "metric": "acc", "score": score}],
               "calibration": [{"question_type": "closed", "accuracy": score}]}  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    samples = [
        sample(f"q{n}", n // 2, "Is it left or right?", "no", ["HEAD" if n < 10 else "CHEST", "PRES"])
        for n in range(40)
    ]
    samples += [sample(f"o{n}", n, "What is it?", "a cyst", None) for n in range(4)]
    train = [sample(f"t{n}", n, "Is it left, or right", "No." if n < 5 else "yes", None) for n in range(10)]
    train += [sample(f"u{n}", n, "Is it left or right?", "No", None) for n in range(10)]
    for name, rows in (("test", samples), ("train", train)):
        (tmp_path / "data" / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    return tmp_path


def sample(name: str, image: int, question: str, answer: str, categories: list[str] | None) -> dict[str, Any]:
    """A question about an image as the converter writes it."""
    turns = (
        ("user", [{"type": "image", "image": "x.jpg"}, {"type": "text", "text": question}]),
        ("assistant", [{"type": "text", "text": answer}]),
    )
    question_type = "open" if name[0] in "ou" else "closed"
    return {
        "id": name,
        "image_group": f"image-{image}",
        "target": {"question_type": question_type, "categories": categories},
        "messages": [{"role": role, "content": content} for role, content in turns],
    }


def test_scores_are_means_over_seeds_with_every_control(real: ModuleType, out: Path) -> None:
    write_run(out, "vqa-rad-small-seed-0", lambda n: True, lambda n: n % 2)
    write_run(out, "vqa-rad-small-seed-1", lambda n: n >= 10, lambda n: n % 2)
    write_run(out, "vqa-rad-small-random-seed-0", lambda n: n % 2, lambda n: n % 2)
    text = real.page(out)
    rows = {
        line.split(" | ")[0].strip("| "): line.split(" | ")
        for line in text.splitlines()
        if line.startswith("| ")
    }
    assert "2 seeds" in text
    closed = rows["closed, accuracy"]
    assert closed[1] == "40"
    assert [cell[:4] for cell in closed[2:]] == ["0.88", "0.50", "0.50", "0.00", "0.50"]
    assert rows["HEAD"][1] == "10" and rows["HEAD"][2].startswith("0.50")
    assert rows["CHEST"][2].startswith("1.0")
    assert rows["open, token F1"][2].startswith("0.25") and "-" in rows["open, token F1"][5]
    assert "**reached** (+0.375 [" in text
    assert sum("medevalkit" in line for line in text.splitlines()) == 3
    assert "likeliest choice" in text and "Hulu-Med-7B" in text


def test_a_model_that_is_as_good_without_its_image_does_not_reach_the_bar(
    real: ModuleType, out: Path
) -> None:
    write_run(out, "vqa-rad-small-seed-0", lambda n: n >= 10, lambda n: n >= 10)
    text = real.page(out)
    # of 20 images: 1.96 sqrt(2 / 22 / 22)
    assert "**not reached**" in text and "+0.000 [-0.126, +0.126] over no image" in text


def test_what_a_lookup_of_the_same_image_answers_is_said(real: ModuleType, out: Path) -> None:
    """Five of twenty images have the same question with the same answer in the training half, five with the other answer."""
    write_run(out, "vqa-rad-small-seed-0", lambda n: True, lambda n: n % 2)
    text = " ".join(real.page(out).split())
    assert "The image of 20 of these 40 closed questions has" in text
    assert "without any model, is right for 0.25 [" in text


def test_what_words_alone_answer_is_said(real: ModuleType, out: Path) -> None:
    """Three of four training answers are no, and all of the test's: the words say no. The model knows half of them."""
    write_run(out, "vqa-rad-small-seed-0", lambda n: n >= 20, lambda n: n % 2)
    text = " ".join(real.page(out).split())
    assert "logistic regression) is right for 1.00 [" in text
    assert "the model is better by -0.500 [" in text


def test_nothing_finished_is_said(real: ModuleType, tmp_path: Path) -> None:
    assert "No run is finished" in real.page(tmp_path)
