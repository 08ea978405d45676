"""A data set's answers: the same whatever the batch size, the kill or the order, and bad samples harm no others."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmvl.datasets.loader import BlockLoader
from medmvl.engine import Failure, GenerationOptions, answer_samples, read_answers
from medmvl.engine.answer_file import AnswerFile
from medmvl.engine.batch import model_digest, plan
from medmvl.engine.process_group import ProcessGroup
from medmvl.errors import SampleError, UserError
from tests.factories.engine import image_of, question, save_tiny_model, tiny_engine

OPTIONS = GenerationOptions(max_new_tokens=8)
RUN = {"model": "m", "data": "d"}
SAMPLES = [
    question(f"{scan}/{number}", text, scan, answer="Yes.")
    for number, text in enumerate(["Is there a nodule?", "心脏增大吗？"])
    for scan in ("ct-1", "x-1", "ct-2")
] + [question("again", "Is there a nodule?", "ct-1", answer="No.")]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "o.jsonl"
    assert answer(path) == []
    return path.read_bytes()


def answer(path: Path, samples: list = SAMPLES, **options: object) -> list[Failure]:
    return answer_samples(tiny_engine(), samples, image_of, path, RUN, OPTIONS, **options)  # type: ignore[arg-type]


def test_one_line_a_sample_in_its_order(expected: bytes, tmp_path: Path) -> None:
    (tmp_path / "o.jsonl").write_bytes(expected)
    answers = read_answers(tmp_path / "o.jsonl")
    assert [stored.id for stored in answers] == [sample.id for sample in SAMPLES]
    assert answers[-1].tokens == answers[0].tokens  # the same question about the same scan
    assert len({stored.tokens for stored in answers}) > 2


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_the_batch_size_changes_nothing(expected: bytes, tmp_path: Path, batch_size: int) -> None:
    answer(tmp_path / "o.jsonl", batch_size=batch_size)
    assert (tmp_path / "o.jsonl").read_bytes() == expected


@pytest.mark.parametrize("cut", [0.0, 0.3, 0.55, 1.0])
def test_killed_and_continued_equals_never_killed(expected: bytes, tmp_path: Path, cut: float) -> None:
    path = tmp_path / "o.jsonl"
    answer(path, batch_size=2)
    path.write_bytes(expected[: round(cut * len(expected))])
    counts: list[int] = []
    answer(path, batch_size=2, progress=counts.append)
    assert path.read_bytes() == expected
    assert counts[0] == expected[: round(cut * len(expected))].count(b"\n") and sum(counts) == len(SAMPLES)


def test_parts_of_killed_processes_are_taken_over(expected: bytes, tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    record = {**RUN, "options": OPTIONS.model_dump()}
    (tmp_path / "whole.jsonl").write_bytes(expected)
    stored = read_answers(tmp_path / "whole.jsonl")
    AnswerFile(path, record).append(stored[:2])
    AnswerFile(tmp_path / "o.jsonl.part-1", record).append(stored[4:6])
    counts: list[int] = []
    answer(path, progress=counts.append)
    assert path.read_bytes() == expected and counts[0] == 4
    assert sorted(p.name for p in tmp_path.glob("o.jsonl*")) == ["o.jsonl", "o.jsonl.run.json"]


def test_bad_samples_are_named_and_the_others_done(tmp_path: Path, expected: bytes) -> None:
    bad = [question("bad", "?", "broken-1"), question("bad too", "?", "broken-1")]
    failures = answer(tmp_path / "o.jsonl", [bad[0], *SAMPLES, bad[1]])
    assert [failure.name for failure in failures] == ["bad", "bad too"]
    assert "truncated file" in failures[0].error
    assert (tmp_path / "o.jsonl").read_bytes() == expected


def test_ids_must_differ(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="the id 'again'"):
        answer(tmp_path / "o.jsonl", [*SAMPLES, SAMPLES[-1]])


def test_other_options_are_refused(tmp_path: Path) -> None:
    answer(tmp_path / "o.jsonl")
    with pytest.raises(UserError, match="max_new_tokens 8, now 9"):
        answer_samples(
            tiny_engine(), SAMPLES, image_of, tmp_path / "o.jsonl", RUN, GenerationOptions(max_new_tokens=9)
        )


def test_a_scan_written_after_its_answer_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("x-1", "x-2"):
        Image.fromarray(np.full((20, 20), 90, np.uint8)).save(tmp_path / f"{name}.png")
    samples = [question(name, "Is there a nodule?", f"{name}.png") for name in ("x-1", "x-2")]
    load, out = BlockLoader(tmp_path), tmp_path / "o.jsonl"
    for _ in range(2):
        answer_samples(tiny_engine(), samples, load, out, RUN, OPTIONS)
    assert not caplog.records
    later = time.time_ns() + 10**9
    os.utime(tmp_path / "x-2.png", ns=(later, later))
    answer_samples(tiny_engine(), samples, load, out, RUN, OPTIONS)
    (said,) = [record.getMessage() for record in caplog.records]
    assert "(x-2.png)" in said and "another --out" in said


def test_a_plan_covers_every_sample_once_and_keeps_scans_together() -> None:
    batches = plan(SAMPLES, {"ct-2/0"}, 2, merge_equal=True)
    flat = [[sample.id for sample in same] for batch in batches for same in batch]
    assert sorted(name for same in flat for name in same) == sorted({s.id for s in SAMPLES} - {"ct-2/0"})
    assert flat[:2] == [["ct-1/0", "again"], ["ct-1/1"]]
    assert all(len(same) == 1 for batch in plan(SAMPLES, set(), 2, merge_equal=False) for same in batch)
    dealt = [batch for rank in range(3) for batch in batches[rank::3]]
    assert sorted(map(str, dealt)) == sorted(map(str, batches))


def test_alone_gathers_its_own() -> None:
    assert ProcessGroup().gather([1, 2]) == [1, 2] and ProcessGroup().first


def test_the_digest_changes_with_the_weights(tmp_path: Path) -> None:
    digests = {model_digest(save_tiny_model(tmp_path / str(i), seed)) for i, seed in enumerate([0, 0, 1])}
    assert len(digests) == 2


def test_the_digest_changes_with_any_byte_of_large_weights(tmp_path: Path) -> None:
    """As after a stage that trained the connector alone: its tensors are a small part of one large file."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(bytes(40 << 20))
    digests = {model_digest(tmp_path)}
    for place in (3 << 20, 21 << 20, (40 << 20) - 1):
        with (tmp_path / "model.safetensors").open("r+b") as file:
            file.seek(place)
            file.write(b"\1")
        digests.add(model_digest(tmp_path))
    assert len(digests) == 4


def test_a_model_in_memory_that_sees_or_asks_otherwise_is_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = tiny_engine()
    identities = [engine.identity]
    narrow = engine.processor.volume_processor.model_copy(update={"windows": ("lung",)})
    for name, value in (("volume_processor", narrow), ("visual_suffix", ""), ("thinking", True)):
        with monkeypatch.context() as changed:
            changed.setattr(engine.processor, name, value)
            identities.append(engine.identity)
    assert len({identity["model"] for identity in identities}) == 4
    assert engine.identity == identities[0]


def test_a_model_in_memory_is_another_one_after_it_has_learned() -> None:
    engine = tiny_engine()
    before = engine.identity
    assert engine.identity == before and before["dtype"] == "float32"
    weight = next(engine.model.parameters()).data
    kept = weight.clone()
    weight.add_(1)
    try:
        assert engine.identity != before
    finally:
        weight.copy_(kept)
