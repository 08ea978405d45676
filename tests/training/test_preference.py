"""Preference training: trl's numbers, the first weights as reference, pairs as data, and what cannot be trained on."""

from __future__ import annotations

import json
import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel
from typer.testing import CliRunner

from medmvl.cli.main import app
from medmvl.data.entry_cache import default_cache_dir
from medmvl.data.feature_cache import FeatureCache
from medmvl.data.sources import open_data
from medmvl.errors import SampleError, UserError
from medmvl.models.assemble import assemble
from medmvl.models.visuals import IGNORED_LABEL
from medmvl.rewards import build_reward
from medmvl.rewards.pairs import PairCounts, make_pairs
from medmvl.schema import Sample, iter_samples
from medmvl.training import preference
from medmvl.training.preference import DirectPreference, preference_losses
from medmvl.training.preference_data import CollatePairs, open_pairs
from medmvl.training.recipe import Preference
from medmvl.training.recipe_files import parse_recipe
from medmvl.training.run import load_sources, train, training_texts
from tests.factories.crashes import assert_same_weights, train_with_a_crash
from tests.factories.data import processor
from tests.factories.scripts import load_script
from tests.factories.training import command, losses, phantom_cache, phantoms, recipe, stage, write_recipe
from tests.factories.trl import model_of_trl
from tests.training.test_features import decoded

__all__ = ["decoded", "phantom_cache"]
ROOT = Path(__file__).parents[2]
NUMBERS = json.loads((ROOT / "tests/training/trl_losses.json").read_text())
LORA = {"llm": "lora", "volume_connector": "full", "image_connector": "full"}


_SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
_LLM = {**_SMALL, "vocab_size": 50, "intermediate_size": 32}
_TOWER = {**_SMALL, "image_size": 32, "patch_size": 8}
WITH_DROPOUT: dict[str, dict[str, Any]] = {
    "biogpt": _LLM, "opt": {**_LLM, "ffn_dim": 32, "word_embed_proj_dim": 16},
    "bloom": {**_LLM, "hidden_dropout": 0.1}, "falcon": {**_LLM, "hidden_dropout": 0.1},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 50},
    "qwen2": {**_LLM, "num_key_value_heads": 1, "attention_dropout": 0.1},
    "clip_vision_model": {**_TOWER, "attention_dropout": 0.1}, "dinov2": {**_TOWER, "drop_path_rate": 0.5},
    "swin": {"embed_dim": 8, "depths": [1, 3], "num_heads": [1, 2], "window_size": 2, "image_size": 32, "drop_path_rate": 0.5},
}  # fmt: skip
"""Models in which dropout is a module, an attribute, a whole path, or read in the configuration."""


@pytest.mark.parametrize("model_type", WITH_DROPOUT)
def test_dropout_is_off_wherever_a_model_has_it(model_type: str) -> None:
    settings = (
        {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 1}
        if "vocab_size" in WITH_DROPOUT[model_type]
        else {}
    )
    config = AutoConfig.for_model(model_type, **WITH_DROPOUT[model_type], **settings)
    before = config.to_dict()
    torch.manual_seed(0)
    model = AutoModel.from_config(config).train()
    for weight in model.parameters():
        weight.data.normal_(0, 0.5)
    given = (
        {"input_ids": torch.arange(24).reshape(2, 12)}
        if settings
        else {"pixel_values": torch.randn(4, 3, 32, 32)}
    )

    def differs() -> bool:
        return not torch.equal(*(model(**given).last_hidden_state for _ in range(2)))

    assert differs()
    preference.switch_dropout_off(model)
    assert not differs()
    assert model.config.to_dict() == before  # what a saved model says


SETTINGS = {
    "sigmoid": Preference(), "sigmoid, beta 0.5": Preference(beta=0.5),
    "smoothed": Preference(beta=0.3, label_smoothing=0.2), "ipo": Preference(loss="ipo", beta=0.4),
    "sigmoid and sft": Preference(sft_weight=0.7), "ipo and sft": Preference(loss="ipo", beta=0.2, sft_weight=0.3),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_loss_and_gradients_are_those_of_trl(name: str) -> None:
    script, expected = load_script("benchmarks/trl_losses.py"), NUMBERS["variants"][name]
    model = model_of_trl(NUMBERS)
    ids, attention, answer, reference = script.pairs(bool(expected["variant"].get("one_pair")))
    labels = ids.masked_fill(answer == 0, IGNORED_LABEL)
    objective = DirectPreference(model, SETTINGS[name]).train()
    pairs = reference.reshape(2, -1).T
    loss = objective(torch.ones(len(pairs)), labels, pairs, input_ids=ids, attention_mask=attention)["loss"]
    loss.backward()
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-5)
    norms = {key: float(weight.grad.norm()) for key, weight in model.llm.named_parameters()}
    assert norms == pytest.approx(expected["norms"], rel=1e-4, abs=1e-6)
    head = model.llm.lm_head.weight.grad.flatten()
    assert torch.allclose(head, torch.tensor(expected["head"]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_better_chosen_answer_costs_less(settings: Preference) -> None:
    reference, tokens = torch.tensor([[-9.0, -9.0]]), torch.tensor([3, 3])
    near = preference_losses(torch.tensor([-9.0, -9.0]), reference, tokens, settings)
    better = preference_losses(torch.tensor([-8.5, -9.5]), reference, tokens, settings)
    assert (better < near).all()


def write_pairs(folder: Path, cache: Path, count: int = 8) -> Path:
    """Phantom questions with the right answer chosen, next to a source's scans."""
    loaded = load_sources(parse_recipe(recipe(stage()), "r"), cache)
    source = next(iter(loaded.values()))
    lines = []
    for sample in list(source.samples)[:count]:
        blocks = [
            block.model_copy(update={block.type: source.load.reference(block)})
            if block.type != "text"
            else block
            for block in sample.prompt().messages[-1].content
        ]
        message = sample.prompt().messages[-1].model_copy(update={"content": tuple(blocks)})
        answer = sample.messages[-1].text
        changes = {"messages": (message,), "chosen": answer, "rejected": f"not {answer}", "margin": 1.0}
        lines.append(sample.model_copy(update=changes).model_dump_json(exclude_none=True))
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def document(pairs: Path, **more: Any) -> dict[str, Any]:
    data = {"train": [{"path": str(pairs)}], "validation": [{"path": str(pairs)}]}
    settings = {
        "objective": "dpo",
        "data": data,
        "max_steps": 3,
        "batch_size": 4,
        "save_steps": 1,
        "eval_steps": 1,
    } | more
    return recipe(stage("prefer", **settings))


@pytest.mark.parametrize("parts", [None, LORA], ids=["full", "lora"])
def test_the_reference_is_the_model_before_the_first_step(
    tmp_path: Path, phantom_cache: Path, parts: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = write_pairs(tmp_path, phantom_cache)
    seen: list[torch.Tensor] = []
    original = preference.preference_losses

    def spy(logprobs: torch.Tensor, reference: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append((logprobs.detach().reshape(2, -1).T - reference).abs())
        return original(logprobs, reference, *rest)

    monkeypatch.setattr(preference, "preference_losses", spy)
    more = {} if parts is None else {"parts": parts}
    out = tmp_path / "run"
    train(parse_recipe(document(pairs, learning_rate=1e-2, dpo={"beta": 0.5}, **more), "r"), out)
    assert seen[0].max() < 1e-4, "the first loss is measured against the model itself"
    assert seen[-1].max() > 1e-3
    stored = load_file(out / "stages/01-prefer/reference.safetensors")
    assert stored["train"].shape == (8, 2) and bool(stored["train"].isfinite().all())
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    margins = [record["eval_reward_margin"] for record in history if "eval_reward_margin" in record]
    assert margins[-1] > margins[0] and history[0]["loss"] == pytest.approx(0.6931, abs=1e-3)


class ThreePairs:
    reference = torch.zeros(3, 2)

    def __len__(self) -> int:
        return 3


def test_a_reference_of_other_pairs_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "reference.safetensors"
    save_file({"train": torch.zeros(8, 2)}, file)
    pairs: Any = {"train": ThreePairs()}
    with pytest.raises(UserError, match="does not fit the 3 pairs of train"):
        preference.keep_reference(Any, pairs, list, file, 2, nullcontext)


def sample(**fields: Any) -> Sample:
    messages = [{"role": "user", "content": "Which side?"}]
    return Sample.model_validate({"id": "one", "messages": messages} | fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"chosen": "left", "rejected": " left "}, "the same answer"),
        ({"chosen": "left"}, "one of them is missing"),
        ({"chosen": " ", "rejected": "left"}, "chosen\n.*the answer is empty"),
        ({"chosen": "left", "rejected": ""}, "rejected\n.*the answer is empty"),
        ({"chosen": "left", "rejected": "<think>hm</think>\n"}, "rejected\n.*reasoning alone"),
    ],
)
def test_a_pair_is_two_answers(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample(**fields)


@pytest.mark.parametrize("text", ["", " \n", "<think>right?</think>"])
@pytest.mark.parametrize("field", ["chosen", "rejected"])
def test_an_empty_answer_of_a_pair_is_named_by_file_line_and_field(
    tmp_path: Path, field: str, text: str
) -> None:
    lines = [
        sample(id=str(number), chosen="left", rejected="right").model_dump(mode="json") for number in range(3)
    ]
    lines[1][field] = text
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(SampleError, match=rf"{file}, line 2, sample '1': {field}: the answer"):
        open_pairs([open_data(file)], processor(), drop_too_long=False)[1]
    done = CliRunner().invoke(app, ["data", "check", str(file)])
    assert done.exit_code == 2 and f"{field}: the answer" in done.output + str(done.exception)


def test_mistakes_are_said_before_the_first_step(tmp_path: Path, phantom_cache: Path) -> None:
    pairs = write_pairs(tmp_path, phantom_cache)
    plain = document(pairs, data={"train": [phantoms()]})
    with pytest.raises(SampleError, match="has no chosen and rejected answer"):
        train(parse_recipe(plain, "r"), tmp_path / "a")
    dropping = document(pairs)
    dropping["stages"][0]["data"]["drop_too_long"] = True
    with pytest.raises(SampleError, match="one answer of a pair"):
        train(parse_recipe(dropping, "r"), tmp_path / "b")
    for changes, message in (
        ({"objective": "lm", "dpo": {"beta": 0.1}}, "dpo is for the objective dpo, not 'lm'"),
        ({"dpo": {"loss": "ipo", "label_smoothing": 0.1}}, "label_smoothing is for the loss sigmoid"),
        ({"dpo": {"beta": 0}}, "greater than 0"),
    ):
        with pytest.raises(UserError, match=message):
            parse_recipe(document(pairs, **changes), "r")


def test_only_the_last_answer_is_learned_from(tmp_path: Path) -> None:
    turns = [("user", "Is there an effusion?"), ("assistant", "yes indeed"), ("user", "Which side?")]
    messages = [{"role": role, "content": text} for role, text in turns]
    one = sample(messages=messages, chosen="left", rejected="right")
    file = tmp_path / "pairs.jsonl"
    file.write_text(one.model_dump_json(exclude_none=True) + "\n")
    maker = processor()
    (item,) = open_pairs([open_data(file)], maker, drop_too_long=False)
    for processed, answer in ((item.chosen, "left"), (item.rejected, "right")):
        learned = processed.labels[processed.labels != IGNORED_LABEL]
        assert answer in maker.decode(learned) and "indeed" not in maker.decode(learned)
        assert "indeed" in maker.decode(processed.input_ids)


def test_a_pair_encodes_its_scan_once(tmp_path: Path, phantom_cache: Path) -> None:
    loaded = parse_recipe(document(write_pairs(tmp_path, phantom_cache, 1)), "r")
    sources = load_sources(loaded, phantom_cache)
    model, maker = assemble(loaded.model, texts=training_texts(loaded, sources))
    pairs = open_pairs(list(sources.values()), maker, drop_too_long=False)
    batch = CollatePairs(maker, "dpo")([pairs[0]])
    assert len(batch["visual_table"]) == 2
    assert len(batch.get("pixel_values", ())) + len(batch.get("pixel_values_volumes", ())) == 1
    inputs = {key: batch[key] for key in batch if key not in ("labels", "answer_labels", "reference")}
    logprobs, tokens = preference.answer_logprobs(model.eval(), batch["answer_labels"], **inputs)
    assert logprobs.shape == (2,) and bool((logprobs < 0).all()) and bool((tokens > 0).all())


def judged(**fields: Any) -> Sample:
    target = {"question_type": "side", "answers": ["left"], "choices": ["left", "right"]}
    return sample(target=target, **fields)


def test_pairs_are_the_best_and_the_worst_answer() -> None:
    samples = [judged(id=name) for name in ("a", "b", "c", "d")]
    answers = {"a": ["right", "left", "left"], "b": ["left", "left"], "c": ["right", "both of them"]}
    counts = PairCounts()
    (pair,) = make_pairs(samples, answers, build_reward("closed_accuracy"), 0.1, counts)
    assert (pair.id, pair.chosen, pair.rejected, pair.margin) == ("a", "left", "right", 1.0)
    assert (counts.pairs, counts.single, counts.alike, counts.unjudged) == (1, 1, 1, {"an answer": 1})
    answers = {"a": ["left", "", "<think>the other</think>"], "b": [" "], "c": ["left", "", "right"]}
    counts = PairCounts()
    (pair,) = make_pairs(samples[:3], answers, build_reward("closed_accuracy"), 0.1, counts)
    assert (pair.id, pair.chosen, pair.rejected) == ("c", "left", "right")
    assert (counts.single, counts.unjudged) == (1, {"an answer": 1})
    with pytest.raises(UserError, match="of no sample, such as 'z'"):
        list(make_pairs(samples, {"z": ["left"]}, build_reward("judge"), 0.1, PairCounts()))


def test_the_command_writes_pairs(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text(judged().model_dump_json(exclude_none=True) + "\n")
    for number, text in enumerate(("left", "right")):
        line = {"id": "one", "text": text, "tokens": []}
        (tmp_path / f"{number}.jsonl").write_text(json.dumps(line) + "\n")
    arguments = [
        "data",
        "pairs",
        data,
        tmp_path / "pairs.jsonl",
        "--from",
        tmp_path / "0.jsonl",
        "--from",
        tmp_path / "1.jsonl",
    ]
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0 and "1 pairs" in done.output, done.output
    (pair,) = iter_samples(tmp_path / "pairs.jsonl")
    assert (pair.chosen, pair.rejected, pair.margin) == ("left", "right", 1.0)


def test_a_crash_and_a_restart_end_with_the_same_weights(
    tmp_path: Path, phantom_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = parse_recipe(document(write_pairs(tmp_path, phantom_cache), micro_batch_size=2, parts=LORA), "r")
    # in the third step of two micro batches
    train_with_a_crash(loaded, tmp_path / "crashed", monkeypatch, micro_batch=6)
    train(loaded, tmp_path / "whole")
    assert_same_weights(tmp_path / "crashed", tmp_path / "whole")
    assert losses(tmp_path / "crashed") == losses(tmp_path / "whole")


def test_features_of_frozen_encoders_are_found_again(
    tmp_path: Path, phantom_cache: Path, decoded: list[Any]
) -> None:
    """Without, with, and with those of an earlier run: one loss, and the last run reads no file."""
    FeatureCache(default_cache_dir()).clear()
    made = document(write_pairs(tmp_path, phantom_cache), parts=LORA, max_steps=2)
    (stage_,) = made["stages"]
    without = {**made, "stages": [{**stage_, "data": {**stage_["data"], "features": False}}]}
    train(parse_recipe(without, "off"), tmp_path / "off")
    found = []
    for name in ("made", "found"):
        decoded.clear()
        train(parse_recipe(made, name), tmp_path / name)
        found.append(len(decoded))
    assert found[0] > 0 and found[1] == 0
    assert losses(tmp_path / "off") == losses(tmp_path / "made") == losses(tmp_path / "found")


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(tmp_path: Path, phantom_cache: Path) -> None:
    file = write_recipe(
        tmp_path / "recipe.yaml", document(write_pairs(tmp_path, phantom_cache, 9), dpo={"sft_weight": 0.5})
    )
    for count in (1, 2):
        arguments = command(file, "--out", tmp_path / str(count), processes=count)
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = losses(tmp_path / "1"), losses(tmp_path / "2")
    assert len(one) > 10
    assert two == pytest.approx(one, rel=1e-5, abs=1e-6)
