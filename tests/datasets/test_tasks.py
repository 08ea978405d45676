"""The table of tasks: what each takes from converted data, how it words it, the same in training and evaluation."""

import re
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmvl.data.sources import DataSource, load_source
from medmvl.datasets.public import DATASETS, TASKS, find_dataset, find_task
from medmvl.datasets.public.unimed import UNIMED_RATIOS, mixture_weights
from medmvl.errors import SampleError, UserError
from medmvl.phantoms import write_dataset
from medmvl.plugins import Plugin
from medmvl.schema import Sample
from medmvl.tasks.metrics.measures import MetricOptions
from medmvl.tasks.metrics.record import Record
from medmvl.tasks.protocols import PROTOCOLS, find_protocol
from tests.factories import public_datasets as layouts


def sample(
    question_type: str = "open", language: str | None = "en", id: str = "a", study: str | None = None
) -> Sample:
    messages = [{"role": "user", "content": "What is seen?"}, {"role": "assistant", "content": "A mass."}]
    document = {"id": id, "messages": messages, "language": language, "study": study}
    return Sample.model_validate(
        {**document, "target": {"question_type": question_type, "answers": ["A mass."]}}
    )


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_its_name_a_converter_and_a_protocol(name: str) -> None:
    task = TASKS[name]
    assert task.name == name and re.fullmatch(r"[a-z0-9-]+", name)
    assert task.data == "phantoms" or task.data in DATASETS
    assert task.protocol in PROTOCOLS and task.title
    assert set(task.prompts) <= {"en", "zh"}


def test_a_data_sets_own_tasks_name_it() -> None:
    assert {
        (name, task.data) for name, one in DATASETS.items() for task in one.tasks if task.data != name
    } == set()


def test_every_public_data_set_is_asked_about() -> None:
    assert {task.data for task in TASKS.values()} == {*DATASETS, "phantoms"}


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no task 'slake-cn'; did you mean .*slake-en"):
        find_task("slake-cn")


def test_question_types_and_languages_choose() -> None:
    assert find_task("slake-zh").wants(sample("open", "zh")) and not find_task("slake-zh").wants(sample())
    assert not find_task("slake").wants(sample("refer"))
    assert find_task("m3d-choice").wants(sample("choice_plane")) and not find_task("m3d-choice").wants(
        sample()
    )


def test_a_prompt_words_the_last_question_and_leaves_the_rest() -> None:
    asked = find_task("unimed-slake").ask(sample())
    assert asked.messages[0].text == (
        "[vqa] Based on the image, respond to this question with a short answer: What is seen?"
    )
    assert asked.messages[1:] == sample().messages[1:] and asked.target == sample().target
    assert find_task("slake-en").ask(sample()) == sample()
    report = find_task("unimed-mimic").ask(sample("report"))
    assert report.messages[0].text == "[caption] Describe the given chest x-ray image in detail."


def test_one_report_a_study() -> None:
    reports = [sample("report", id=f"{study}{n}", study=study) for study in "ab" for n in range(2)]
    assert [one.id for one in find_task("ct-rate-report-study").select(reports)] == ["a0", "b0"]
    assert len(find_task("ct-rate-report").select(reports)) == 4


def test_data_of_another_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"no sample of the data has a question type like refer.*data convert slake"
    ):
        find_task("slake-refer").task([sample()])
    with pytest.raises(UserError, match=r"there is no .*test\.jsonl; expected .*data convert slake"):
        find_task("slake").load(tmp_path)


@given(
    st.dictionaries(st.sampled_from(sorted(UNIMED_RATIOS)), st.integers(1, 10**6), min_size=1)
)  # fmt: skip
def test_mixture_weights_draw_by_the_ratios_and_keep_the_epoch(sizes: dict[str, int]) -> None:
    weights = mixture_weights(UNIMED_RATIOS, sizes)
    drawn = {name: weights[name] * size for name, size in sizes.items()}
    assert sum(drawn.values()) == pytest.approx(sum(sizes.values()))
    share = {name: count / UNIMED_RATIOS[name] for name, count in drawn.items()}
    assert max(share.values()) == pytest.approx(min(share.values()))


def test_the_mixture_has_the_ratios_of_uni_med() -> None:
    assert set(UNIMED_RATIOS) <= set(TASKS)
    assert sorted(UNIMED_RATIOS.values()) == [2, 2, 4, 4, 4, 4, 4, 5, 5, 8, 8]


CONVERTED: dict[str, Callable[[Path], Path]] = {
    "vqa-rad": layouts.vqa_rad, "slake": layouts.slake, "mimic-cxr": layouts.mimic_cxr,
    "ct-rate": layouts.ct_rate, "m3d": layouts.m3d, "3d-rad": layouts.rad_3d, "medxpertqa": layouts.medxpertqa,
    "rexvqa": layouts.rexvqa, "medthinkvqa": layouts.medthinkvqa, "ct-spatialvqa": layouts.ct_spatialvqa,
    "deeptumorvqa": layouts.deeptumorvqa, "amos-mm": layouts.amos_mm, "mr-rate": layouts.mr_rate,
    "reportqa": layouts.reportqa,
}  # fmt: skip
CASES = [
    (name, task.data) for name, task in TASKS.items() if task.data in CONVERTED and task.data != "3d-rad"
]


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    for name, make in CONVERTED.items():
        layouts.convert(name, make(folder / f"raw-{name}"), folder / name)
    return folder


@pytest.mark.parametrize(("name", "data"), CASES)
def test_training_and_evaluation_see_the_same_samples(name: str, data: str, converted: Path) -> None:
    evaluated = find_task(name).load(converted / data)
    source = DataSource(path=f"{data}/test.jsonl", task=name)
    trained = load_source(source, converted, converted)
    assert list(trained.samples) == list(evaluated.samples)
    assert trained.samples[0:2] == [*evaluated.samples[0:2]]
    assert evaluated.protocol == find_task(name).protocol
    plain = load_source(DataSource(path=f"{data}/test.jsonl"), converted, converted)
    assert plain.digest != trained.digest
    for one in evaluated.samples:
        assert evaluated.judge(one, one.messages[-1].text).score == 1, "the reference is right"


def test_a_source_without_samples_of_its_task_says_so(converted: Path) -> None:
    with pytest.raises(SampleError, match="has task m3d-open"):
        load_source(DataSource(path="slake/test.jsonl", task="m3d-open"), converted, converted)
    few = load_source(DataSource(path="slake/train.jsonl", task="slake-zh", limit=3), converted, converted)
    assert [one.language for one in few.samples] == ["zh"] * 3


def test_phantom_tasks_divide_what_phantoms_ask(tmp_path: Path) -> None:
    write_dataset(tmp_path / "p", patients=8, preset="chest", shape=(8, 16, 16), splits={"test": 8})
    every = {one.id for one in find_task("phantoms").load(tmp_path / "p").samples}
    names = ("phantoms-ct", "phantoms-xray", "phantoms-en", "phantoms-zh")
    ct, xray, english, chinese = (
        {one.id for one in find_task(name).load(tmp_path / "p").samples} for name in names
    )
    assert ct | xray == english | chinese == every and not ct & xray and not english & chinese
    for name in ("phantoms-report", "phantoms-choice", "phantoms-measure", "phantoms-change"):
        part = find_task(name).load(tmp_path / "p").samples
        assert part and {one.id for one in part} < every
        if name == "phantoms-change":
            assert all(one.visuals[-1].days_before_current for one in part)


OTHER = replace(find_task("slake-zh"), name="other-zh", title="Another hospital's questions")
NO_TASK = "anything else"


def offer(monkeypatch: pytest.MonkeyPatch, **names: str) -> None:
    """Pretend that a package is installed which offers these names."""
    offered = {
        name: Plugin(
            "medmvl.tasks", name, "other", "0.1", EntryPoint(name, f"{__name__}:{value}", "medmvl.tasks")
        )
        for name, value in names.items()
    }
    monkeypatch.setattr("medmvl.plugins.installed", lambda group: offered)


def test_tasks_and_data_sets_of_other_packages_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, **{"other-zh": "OTHER", "no-task": "NO_TASK"})
    assert find_task("other-zh") is OTHER
    with pytest.raises(UserError, match=r"other 0\.1 offers 'no-task' as a task, but"):
        find_task("no-task")
    with pytest.raises(UserError, match=r"from plug-ins: other-zh \(other 0\.1\)"):
        find_task("nothing")
    with pytest.raises(UserError, match=r"other 0\.1 offers 'other-zh' as a data set, but"):
        find_dataset("other-zh")


def test_a_plug_in_with_a_name_of_ours_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, **{"vqa-rad": "OTHER"})
    for find in (find_task, find_dataset):
        with pytest.raises(UserError, match=r"other 0\.1 offers 'vqa-rad' .*which is built in"):
            find("vqa-rad")
    assert find_task("slake-en").name == "slake-en"


def record(one: Sample) -> Record:
    """The reference as an answer."""
    assert one.target is not None
    box = one.boxes[0].coordinates if one.target.question_type == "refer" else None
    return Record(
        id=one.id, text=one.messages[-1].text, references=one.target.answers, question_type=one.target.question_type,
        question=one.messages[-2].text, choices=one.target.choices, language=one.language,
        box=None if box is None else (box[1], box[0], box[3], box[2]),
        image_size=None if box is None else (24, 20),
    )  # fmt: skip


@pytest.mark.parametrize(("name", "data"), [case for case in CASES if TASKS[case[0]].protocol != "vlm3d"])
def test_the_reference_earns_full_marks_by_the_published_protocol_and_ours(
    name: str, data: str, converted: Path
) -> None:
    task = find_task(name).load(converted / data)
    records = [record(one) for one in task.samples]
    for protocol in (find_protocol(task.protocol), find_protocol("strict")):
        for form in {one.form for one in records}:
            part = [one for one in records if one.form == form]
            headline = protocol.scorers[form](part, MetricOptions())[0]
            assert len(headline.scored) == len(part)
            assert headline.value == pytest.approx(1, abs=0.01), f"{protocol.name}, {form}"
