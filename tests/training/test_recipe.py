"""Recipes: derivation, overrides, and errors that name the key and what was meant."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from medmvl.errors import RecipeError
from medmvl.training.recipe import Recipe
from medmvl.training.recipe_files import (
    apply_override,
    dump_recipe,
    load_recipe,
    merge,
    parse_recipe,
    recipe_names,
)
from tests.factories.training import recipe, stage


def write(folder: Path, name: str, document: dict[str, Any]) -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_are_valid_and_survive_a_round_trip(name: str) -> None:
    loaded = load_recipe(name)
    assert loaded.description
    assert parse_recipe(yaml.safe_load(dump_recipe(loaded)), name) == loaded
    assert parse_recipe(yaml.safe_load(dump_recipe(loaded, short=True)), name) == loaded


def test_the_named_recipes_ship() -> None:
    assert {"quickstart", "fine-tune-lora", "fine-tune-full", "medm-vl-2d", "medm-vl-ct-chest"} <= set(
        recipe_names()
    )


def test_published_numbers_of_medm_vl_2d() -> None:
    align, tune = load_recipe("medm-vl-2d").stages
    assert (align.batch_size, align.learning_rate, align.epochs) == (256, 1e-3, 1)
    assert (tune.batch_size, tune.learning_rate, tune.epochs) == (128, 2e-5, 3)
    assert [tune.schedule, tune.warmup, tune.weight_decay] == ["cosine", 0.03, 0]
    assert list(align.parts) == ["image_connector"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sed=3", "sed: unknown key; did you mean 'seed'?"),
        (
            "stages.instruct.learning_rat=1",
            "stages.instruct.learning_rat: unknown key; did you mean 'learning_rate'?",
        ),
        ("stages.0.parts.lm=full", "stages.instruct.parts.lm.*did you mean 'llm'"),
        (
            "stages.0.parts.llm=LoRA",
            "stages.instruct.parts.llm.mode.*'frozen', 'full', 'lora'.*, not 'LoRA'; did you mean 'lora'",
        ),
        ("stages.0.parts.llm.lora.rnk=4", "unknown key; did you mean 'rank'?"),
        ("stages.0.objective=classificaton", "did you mean 'classification'?"),
        ("stages.0.epochs=2", "either epochs or max_steps"),
        ("stages.0.parts={llm: frozen}", "would train nothing"),
        ("stages.0.name=Bad Name", "stages.Bad Name.name"),
        ("data.train=[]", "has no training data"),
        ("data.train.0.weight=-1", "data.train.0.weight"),
        ("schema_version=2", "schema_version"),
        ("stages.0.batch_size=none", "batch_size.*integer"),
    ],
)
def test_what_is_wrong_is_named(change: str, message: str) -> None:
    document = recipe()
    apply_override(document, change)
    with pytest.raises(RecipeError, match=message):
        parse_recipe(document, "mine")


def test_the_later_of_epochs_and_max_steps_holds() -> None:
    base = {"stages": [{"name": "align", "epochs": 1.0}, {"name": "instruct", "max_steps": 9}]}
    changed = merge(base, {"stages": {"align": {"max_steps": 7}, "instruct": {"epochs": 2}}})["stages"]
    assert changed == [{"name": "align", "max_steps": 7}, {"name": "instruct", "epochs": 2}]
    both = merge(base, {"stages": {"align": {"max_steps": 7, "epochs": 1}}})["stages"][0]
    assert both == {"name": "align", "epochs": 1, "max_steps": 7}  # which the recipe then refuses


def test_an_objective_for_encoders_needs_one() -> None:
    with pytest.raises(RecipeError, match="is about encoders, but none of its parts is one"):
        parse_recipe(recipe(stage(objective="classification", parts={"llm": "full"})), "mine")


def test_overrides_reach_lists_stages_by_name_and_short_parts() -> None:
    document = recipe(stage("align"), stage("instruct"))
    for change in (
        "stages.1.learning_rate=1e-5",
        "stages.align.max_steps=7",
        "stages.align.parts.llm.learning_rate=2e-4",
        "seed=11",
        "data.train.0.question_types=[nodule, effusion]",
        "description=größer 两",
    ):
        apply_override(document, change)
    loaded = parse_recipe(document, "mine")
    assert loaded.stages[1].learning_rate == 1e-5
    assert loaded.stages[0].max_steps == 7
    assert (loaded.stages[0].parts["llm"].mode, loaded.stages[0].parts["llm"].learning_rate) == ("full", 2e-4)
    assert (loaded.seed, loaded.description) == (11, "größer 两")
    assert loaded.data.train[0].question_types == ("nodule", "effusion")


def test_a_key_that_was_renamed_is_told_by_its_new_name() -> None:
    document = recipe()
    document["data"]["train"][0]["kinds"] = ["nodule"]
    with pytest.raises(
        RecipeError, match=r"data\.train\.0\.kinds: unknown key; it is called 'question_types' now"
    ):
        parse_recipe(document, "mine")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stages.3.epochs=1", "there is no '3'; there are instruct"),
        ("stages.instrct.epochs=1", "did you mean 'instruct'"),
        ("model.max_length.value=1", "has nothing inside"),
        ("seed", "expected key.path=value"),
    ],
)
def test_overrides_that_lead_nowhere(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        apply_override(recipe(), change)


def test_extends_merges_mappings_and_changes_stages_by_name(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", recipe(stage("align"), stage("instruct"), seed=3))
    child = {"extends": "base.yaml", "model": {"max_length": 99}, "stages": {"instruct": {"batch_size": 8}}}
    loaded = load_recipe(write(tmp_path, "child.yaml", child), ["stages.align.batch_size=2"])
    assert (loaded.seed, loaded.model.max_length) == (3, 99)
    assert [s.batch_size for s in loaded.stages] == [2, 8]


def test_extends_in_a_circle_and_of_nothing(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", {"extends": "b.yaml"})
    write(tmp_path, "b.yaml", {"extends": "a.yaml"})
    with pytest.raises(RecipeError, match="in a circle"):
        load_recipe(tmp_path / "a.yaml")
    with pytest.raises(RecipeError, match="no recipe 'quickstrat'; did you mean 'quickstart'"):
        load_recipe("quickstrat")
    with pytest.raises(RecipeError, match="no recipe file"):
        load_recipe(tmp_path / "missing.yaml")


def test_data_that_would_train_nothing_is_refused_and_data_of_the_recipe_reach_a_stage() -> None:
    mine = [{"path": "mine/train.jsonl"}]
    own = {"train": [{"path": "own/train.jsonl"}]}
    everywhere = recipe(stage(name="one", data=own), stage(name="two", data=own)) | {"data": {"train": mine}}
    with pytest.raises(
        RecipeError,
        match=r"data.train would train nothing: all stages \('one', 'two'\) .*stages.NAME.data to null",
    ):
        parse_recipe(everywhere, "r")
    read = parse_recipe(everywhere | {"data": {"validation": mine}}, "r")
    assert [source.path for source in read.data_of(read.stages[1]).validation] == ["mine/train.jsonl"]
    parse_recipe(recipe(stage(name="one", data=own), stage(name="two")) | {"data": {"train": mine}}, "r")


def test_data_of_a_recipe_may_stand_in_its_stages_alone_or_with_either() -> None:
    own = {"train": [{"path": "a.jsonl"}]}
    document = recipe(stage("one", data=own))
    del document["data"]
    assert (
        parse_recipe(document, "r").data_of(parse_recipe(document, "r").stages[0]).train[0].path == "a.jsonl"
    )
    watched = parse_recipe(recipe(stage("one", data={"validation": own["train"]})) | {"data": own}, "r")
    merged = watched.data_of(watched.stages[0])
    assert [source.path for source in (*merged.train, *merged.validation)] == ["a.jsonl", "a.jsonl"]
    with pytest.raises(RecipeError, match="stage 'one' has no training data"):
        parse_recipe({name: value for name, value in recipe(stage("one")).items() if name != "data"}, "r")


def test_what_a_stage_says_of_its_data_holds_and_the_rest_is_the_recipes() -> None:
    mine = {
        "train": [{"path": "a.jsonl"}],
        "validation": [{"path": "b.jsonl"}],
        "prepared": True,
        "drop_too_long": True,
    }
    off = {"validation": [], "prepared": False, "drop_too_long": False, "features": False}
    read = parse_recipe(recipe(stage("one"), stage("two", data=off)) | {"data": mine}, "r")
    again = parse_recipe(yaml.safe_load(dump_recipe(read)), "r")
    for one in (read, again, parse_recipe(yaml.safe_load(dump_recipe(read, short=True)), "r")):
        first, second = (one.data_of(stage) for stage in one.stages)
        assert (len(first.validation), first.prepared, first.drop_too_long, first.features) == (
            1,
            True,
            True,
            None,
        )
        assert (second.validation, second.prepared, second.drop_too_long, second.features) == (
            (),
            False,
            False,
            False,
        )
        assert second.train[0].path == "a.jsonl"


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ({"temperature": 0.1}, "temperature is for the objective contrastive and answer_alignment, not 'lm'"),
        ({"samples_per_study": 8}, "samples_per_study is for group study, not 'length'"),
        ({"parts": {"llm": {"mode": "full", "lora": {"rank": 8}}}}, "lora has options, but the mode is full"),
        (
            {"parts": {"llm": "full", "image_encoder": {"mode": "frozen", "learning_rate": 1e-5}}},
            "learning_rate 1e-05 is for a part that trains, but the mode is frozen",
        ),
        (
            {"parts": {"llm": "full", "image_encoder": {"mode": "frozen", "weight_decay": 0}}},
            "weight_decay 0 is for a part that trains",
        ),
        ({"data": {"validation": [{"path": "a.jsonl", "weight": 2}]}}, "weight 2 is for data that train"),
        ({"eval_steps": 5, "data": {"validation": []}}, r"eval_steps needs data\.validation"),
    ],
)
def test_a_key_without_effect_is_refused(said: dict[str, Any], refused: str) -> None:
    with pytest.raises(RecipeError, match=refused):
        parse_recipe(recipe(stage("one", **said)), "r")


def test_ones_own_data_train_the_last_stage_of_every_shipped_recipe() -> None:
    for name in recipe_names():
        read = load_recipe(name, ["data.train=[{path: mine/train.jsonl}]"])
        assert [source.path for source in read.data_of(read.stages[-1]).train] == ["mine/train.jsonl"], name


def test_exponents_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        dump_recipe(parse_recipe(recipe(), "r")).replace("learning_rate: 0.001", "learning_rate: 1e-4")
    )
    assert load_recipe(path).stages[0].learning_rate == 1e-4


def test_batches_are_cut_evenly_or_not_at_all() -> None:
    cut = parse_recipe(recipe(stage(batch_size=12, micro_batch_size=3)), "r").stages[0]
    assert (cut.share(1), cut.share(2)) == ((3, 4), (3, 2))
    with pytest.raises(ValueError, match="not a multiple of 3 processes x micro_batch_size 3"):
        cut.share(3)


def test_a_recipe_is_frozen_and_has_a_schema() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse_recipe(recipe(), "r").seed = 3  # type: ignore[misc]
    assert {"model", "data", "stages", "seed"} <= Recipe.model_json_schema()["properties"].keys()


plain = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
)
documents = st.dictionaries(st.text("abc", max_size=2), plain, max_size=4)


@given(documents, documents)
def test_merging_leaves_its_arguments_alone_and_the_change_wins(
    base: dict[str, Any], change: dict[str, Any]
) -> None:
    before = copy.deepcopy((base, change))
    merged = merge(base, change)
    assert (base, change) == before
    assert merged.keys() == base.keys() | change.keys()
    assert merge(merged, change) == merged
    assert merge(base, {}) == base


def test_a_null_takes_a_key_away_and_another_type_replaces_the_whole() -> None:
    base = {"model": {"encoder": {"type": "slices", "chunk": 16}, "llm": {"path": "x", "tokenizer": "y"}}}
    change = {"model": {"encoder": {"type": "vit3d", "width": 8}, "llm": {"path": None}}}
    assert merge(base, change) == {
        "model": {"encoder": {"type": "vit3d", "width": 8}, "llm": {"tokenizer": "y"}}
    }
