"""A file of answers survives a kill at any byte and never mixes two runs."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medmvl.engine.answer_file import AnswerFile, StoredAnswer, read_answers
from medmvl.errors import UserError

RUN = {"model": "abc", "options": {"max_new_tokens": 8}}
ANSWERS = [
    StoredAnswer("a", "有结节 é", (1, 2)),
    StoredAnswer("b", 'two\nlines "x"', ()),
    StoredAnswer("c", "", (3,)),
]


def written(path: Path) -> bytes:
    AnswerFile(path, RUN).append(ANSWERS)
    return path.read_bytes()


def test_round_trip(tmp_path: Path) -> None:
    written(tmp_path / "o.jsonl")
    assert read_answers(tmp_path / "o.jsonl") == ANSWERS
    assert list(AnswerFile(tmp_path / "o.jsonl", RUN).answers.values()) == ANSWERS


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(cut=st.floats(0, 1))
def test_a_kill_at_any_byte_loses_at_most_the_line_being_written(tmp_path: Path, cut: float) -> None:
    path = tmp_path / "o.jsonl"
    path.unlink(missing_ok=True)
    content = written(path)
    size = round(cut * len(content))
    path.write_bytes(content[:size])
    file = AnswerFile(path, RUN)
    complete = content[:size].count(b"\n")
    assert list(file.answers.values()) == ANSWERS[:complete]
    file.append(ANSWERS[complete:])
    assert path.read_bytes() == content


def test_another_run_is_refused_by_name(tmp_path: Path) -> None:
    written(tmp_path / "o.jsonl")
    with pytest.raises(UserError, match="other settings: max_new_tokens 8, now 9"):
        AnswerFile(tmp_path / "o.jsonl", {**RUN, "options": {"max_new_tokens": 9}})
    (tmp_path / "mine.jsonl").write_text("my notes\n")
    with pytest.raises(UserError, match="not written by this command"):
        AnswerFile(tmp_path / "mine.jsonl", RUN)
    assert (tmp_path / "mine.jsonl").read_text() == "my notes\n"


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    lines = written(path).splitlines(keepends=True)
    path.write_bytes(lines[0] + b'{"id": 1\n' + lines[2])
    with pytest.raises(UserError, match="line 2"):
        AnswerFile(path, RUN)
