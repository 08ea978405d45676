"""A model says whom it was trained on, and an evaluation on them says so, whatever the files are called."""

from pathlib import Path

import pytest

from medmvl.data.trained_on import FILE, TrainedOn, hash_of
from medmvl.data.views import NoImageSamples, SampleSubset
from medmvl.datasets.records import SampleFile
from medmvl.errors import UserError
from medmvl.evaluation.warnings import UNCHECKED, trained_on_warnings
from medmvl.phantoms import make_patient
from medmvl.schema import Message, Sample, TextBlock


def sample(name: str, text: str = "Nodule?", **identity: str) -> Sample:
    turns = (
        Message(role="user", content=(TextBlock(text=text),)),
        Message(role="assistant", content=(TextBlock(text="yes"),)),
    )
    return Sample(id=name, messages=turns, **identity)


def test_patients_are_known_again_in_other_files_and_stages(tmp_path: Path) -> None:
    first = TrainedOn.of([("a", [sample("1", patient="p1"), sample("2", patient="p2")])])
    (first | TrainedOn.of([("b", [sample("3", patient="p3")])])).write(tmp_path)
    found = TrainedOn.read(tmp_path)
    assert found is not None and found.complete and found.sources == ("a", "b")
    again = [sample("9", "Effusion?", patient="p3"), sample("8", patient="p1"), sample("7", patient="p4")]
    assert found.shared(again) == (2, 3)
    assert "p1" not in (tmp_path / FILE).read_text()
    assert TrainedOn.read(tmp_path / "elsewhere") is None


def test_without_identity_the_words_decide() -> None:
    trained = TrainedOn.of([("a", [sample("1")])])
    assert trained.shared([sample("1")]) == (1, 1)
    assert trained.shared([sample("1", "Effusion?")]) == (0, 1)
    assert hash_of(sample("1", study="x")) != hash_of(sample("1", patient="x"))


def test_what_was_trained_elsewhere_is_not_complete() -> None:
    assert not (TrainedOn(complete=False) | TrainedOn.of([("a", [])])).complete


def test_a_file_is_read_once_and_what_is_chosen_from_it_adds_nobody(tmp_path: Path) -> None:
    people = [sample("1", patient="p1"), sample("2", patient="p2"), sample("3")]
    (tmp_path / "data.jsonl").write_text("".join(one.model_dump_json() + "\n" for one in people))
    read: list[int] = []

    class Counted(SampleFile):
        def _parse(self, index: int) -> Sample:
            read.append(index)
            return super()._parse(index)

    file, other = Counted(tmp_path / "data.jsonl"), Counted(tmp_path / "data.jsonl")
    blind, some = NoImageSamples(SampleSubset(other, [1])), SampleSubset(file, [0, 2])
    trained = TrainedOn.of([("blind", blind), ("some", some), ("all", file), ("again", other)])
    assert read == [0, 1, 2]
    assert trained.hashes == {hash_of(one) for one in people} and trained.sources == (
        "blind",
        "some",
        "all",
        "again",
    )
    assert TrainedOn.of([("some", some)]).hashes == {hash_of(people[0]), hash_of(people[2])}


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 2}', '{"version": 1, "hashes": 3}'])
def test_a_damaged_file_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(UserError, match=FILE):
        TrainedOn.read(tmp_path)


def test_phantoms_of_other_seeds_and_presets_are_other_patients() -> None:
    made = {
        make_patient(seed, index, preset).pseudonym
        for seed in (0, 1)
        for index in (0, 1)
        for preset in ("quickstart", "chest")
    }
    assert len(made) == 8


def test_pseudonyms_of_another_key_cannot_be_known_again(tmp_path: Path) -> None:
    """Nobody is shared then, which says nothing: the evaluation warns in place of silence."""
    (TrainedOn.of([("a", [sample("1", patient="p1")])], ["k1"]) | TrainedOn(keys=frozenset({"k2"}))).write(
        tmp_path
    )
    found = TrainedOn.read(tmp_path)
    assert found is not None and found.keys == {"k1", "k2"}
    assert [found.cannot_know(key) for key in ("k1", "k2", "k3", None)] == [False, False, True, False]
    assert trained_on_warnings(found, (0, 1), "patient", "k1") == []
    (warning,) = trained_on_warnings(found, (0, 1), "patient", "k3")
    assert warning.startswith(UNCHECKED) and "--key" in warning
    assert not TrainedOn().cannot_know("k1")
