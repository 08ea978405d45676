"""Learning from rewards: rollouts by the engine, advantages, restarts, and what cannot be learned from."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medmvl.data.sources import LoadedSource
from medmvl.datasets.loader import BlockLoader
from medmvl.engine.options import GenerationOptions
from medmvl.engine.sequence_decoder import SequenceDecoder
from medmvl.errors import UserError
from medmvl.models.assemble import assemble
from medmvl.models.collation import collate
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.processing import MedMVLProcessor
from medmvl.models.visuals import ProcessedSample
from medmvl.rewards import Reward, registry
from medmvl.schema import Message, Sample
from medmvl.tasks.metrics.record import Record
from medmvl.training import policy_trainer
from medmvl.training.policy import (
    FirstWeights,
    GroupRelativePolicy,
    group_advantages,
    loss_items,
    token_weights,
)
from medmvl.training.policy_data import AnsweredPrompt, PromptDataset, PromptOrder, answer_batch, open_prompts
from medmvl.training.policy_recipe import GroupPolicy
from medmvl.training.policy_trainer import PolicyTrainer
from medmvl.training.recipe import Stage
from medmvl.training.recipe_files import parse_recipe
from medmvl.training.rollouts import Group, SampledAnswer
from medmvl.training.run import load_sources, train, training_texts
from medmvl.training.stage_data import open_dataset
from tests.factories.crashes import assert_same_weights, train_with_a_crash
from tests.factories.ranks import train_in_ranks
from tests.factories.scripts import load_script
from tests.factories.training import (
    ALL_FULL,
    phantom_cache,
    phantoms,
    recipe,
    stage,
    write_recipe,
)
from tests.factories.trl import model_of_trl

__all__ = ["phantom_cache"]
ROOT = Path(__file__).parents[2]
LORA = {"llm": "lora", "volume_connector": "full", "image_connector": "full"}
SIDES = ["ct_effusion_side", "xray_effusion_side"]


class LettersReward(Reward):
    """Share of the answer's characters that are the letter e. Fooled by: e."""

    def score(self, record: Record) -> float:
        return record.answer.count("e") / max(1, len(record.answer))


class BrokenReward(Reward):
    """Out of bounds where the answer is long. Fooled by: length."""

    value: float = 1.5

    def score(self, record: Record) -> float:
        return self.value if record.answer else 0.0


@pytest.fixture(autouse=True)
def toy_rewards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(registry.REWARDS, "letters", LettersReward)
    monkeypatch.setitem(registry.REWARDS, "broken", BrokenReward)
    yield


def document(grpo: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    settings = {
        "objective": "grpo", "max_steps": 3, "batch_size": 4, "save_steps": 1,
        "grpo": {"group_size": 3, "max_new_tokens": 6, "truncated": "score"} | (grpo or {}),
        "rewards": [{"name": "letters"}],
        "data": {"train": [phantoms(question_types=SIDES)], "validation": []},
    } | more  # fmt: skip
    return recipe(stage("learn", **settings), data={"train": [phantoms(question_types=SIDES)]})


def history(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]


def curve(out: Path, name: str) -> list[float]:
    return [record[name] for record in history(out) if name in record]


def opened(cache: Path, **more: Any) -> tuple[Any, Any, PromptDataset]:
    """A tiny model, its processor, and prompts."""
    loaded = parse_recipe(document(**more), "r")
    sources = load_sources(loaded, cache)
    model, processor = assemble(loaded.model, texts=training_texts(loaded, sources))
    dataset = open_dataset(list(sources.values()), loaded.stages[0], processor, 256)
    assert isinstance(dataset, PromptDataset)
    return model, processor, dataset


def test_the_reward_rises(tmp_path: Path, phantom_cache: Path) -> None:
    grpo = {"group_size": 8, "max_new_tokens": 8}
    settings = {"max_steps": 25, "learning_rate": 2e-2, "schedule": "constant", "save_steps": 100}
    train(parse_recipe(document(grpo, **settings), "r"), tmp_path / "run")
    rewards = curve(tmp_path / "run", "reward")
    first, last = sum(rewards[:5]) / 5, sum(rewards[-5:]) / 5
    assert last > first + 0.15, rewards
    assert max(curve(tmp_path / "run", "logprob_gap")) < 1e-4
    shown = history(tmp_path / "run")[0]
    for name in (
        "reward/letters",
        "answer_length",
        "kl",
        "entropy",
        "groups_without_spread",
        "clip_low",
        "clip_high",
    ):
        assert name in shown
    assert {"attack/empty", "attack/reference", "attack/best"} <= shown.keys()
    assert shown["attack/empty"] == 0 <= shown["attack/no_image"]


def test_a_prompt_is_read_once_for_all_its_answers(
    phantom_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor, dataset = opened(phantom_cache)
    prompts = [dataset[index].prompt for index in range(3)]
    options = [
        GenerationOptions(max_new_tokens=5, temperature=1.0, seed=seed, logprobs=0) for seed in range(12)
    ]
    decoder = SequenceDecoder(model, processor, 1 << 24)
    rows: list[int] = []
    encoded: list[int] = []
    handle = model.llm.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(kwargs["inputs_embeds"].shape[0]), with_kwargs=True
    )
    for encoder in (model.image_encoder, model.volume_encoder):
        encoder.register_forward_hook(lambda module, args, output: encoded.append(len(output.streams[0])))
    together = [decoder.new_sequence(option) for option in options]
    decoder.decode_sequences(prompts, together)
    handle.remove()
    assert rows[0] == 3 and rows[1] == 12
    assert sum(encoded) == len({visual.digest for prompt in prompts for visual in prompt.visuals})
    for number, prompt in enumerate(prompts):
        for place in range(4):
            alone = decoder.new_sequence(options[4 * number + place])
            decoder.decode_sequences([prompt], [alone])
            assert alone.tokens == together[4 * number + place].tokens
            assert [one.logprob for one in alone.logprobs] == pytest.approx(
                [one.logprob for one in together[4 * number + place].logprobs], abs=1e-4
            )


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_engine_and_training_pass_agree(phantom_cache: Path, temperature: float) -> None:
    model, processor, dataset = opened(phantom_cache)
    prompts = [dataset[index].prompt for index in range(2)]
    settings = GroupPolicy(max_new_tokens=4, temperature=temperature)
    never = (processor.image_token_id, processor.volume_token_id)
    decoder = SequenceDecoder(model, processor, 1 << 24)
    sequences = [
        decoder.new_sequence(
            GenerationOptions(max_new_tokens=4, temperature=temperature, seed=seed, logprobs=0)
        )
        for seed in range(6)
    ]
    decoder.decode_sequences(prompts, sequences)
    groups = [
        AnsweredPrompt(prompt, [one.tokens for one in sequences[3 * number : 3 * number + 3]])
        for number, prompt in enumerate(prompts)
    ]
    said = torch.tensor([entry.logprob for one in sequences for entry in one.logprobs])
    objective = GroupRelativePolicy(model, settings, never).train()
    batch = answer_batch(groups, processor, model.llm)
    assert [len(lengths) for _, lengths in batch["packed"]] == [3, 3], "answers share their prompt"
    found = objective.tokens(**batch)
    assert torch.allclose(found.plain, said, atol=1e-5)
    if temperature != 1:
        assert not torch.allclose(found.plain, found.logprobs.detach(), atol=1e-2)


def test_one_row_is_as_good_as_one_each(phantom_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor, dataset = opened(phantom_cache)
    generator = torch.Generator().manual_seed(0)
    groups = [
        AnsweredPrompt(
            dataset[index].prompt,
            [torch.randint(3, 200, (length,), generator=generator).tolist() for length in lengths],
        )
        for index, lengths in ((0, (3, 1, 5)), (4, (2, 2, 7)))
    ]
    objective = GroupRelativePolicy(model, GroupPolicy(), ()).train()
    found = []
    for shared in (True, False):
        monkeypatch.setattr("medmvl.training.policy_data._shares_prompts", lambda *given, on=shared: on)
        batch = answer_batch(groups, processor, model.llm)
        assert len(batch["input_ids"]) == (1 if shared else 6)
        model.zero_grad()
        tokens = objective.tokens(**batch)
        (tokens.logprobs * torch.arange(20)).sum().backward()
        found.append((tokens, {name: weight.grad for name, weight in model.named_parameters()}))
    (one, own), (other, others) = found
    assert torch.allclose(one.logprobs, other.logprobs, atol=1e-5)
    assert torch.allclose(one.entropy, other.entropy, atol=1e-5)
    for name, gradient in own.items():
        assert (gradient is None) == (others[name] is None), name
        assert gradient is None or torch.allclose(gradient, others[name], atol=1e-3, rtol=1e-4), name


def test_frozen_encoders_run_once_per_image(
    tmp_path: Path, phantom_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDMVL_CACHE", str(tmp_path / "cache"))
    seen: list[Any] = []
    from medmvl.models import visual_encoding

    original = visual_encoding._encoded
    monkeypatch.setattr(
        visual_encoding, "_encoded", lambda *given: (seen.append(given[1].fingerprint), original(*given))[1]
    )
    parts = ALL_FULL | {"image_encoder": "frozen", "volume_encoder": "frozen"}
    grpo = {"updates": 2, "kl": 0.1}
    data = {"train": [phantoms(question_types=SIDES, limit=8)]}
    train(parse_recipe(document(grpo, parts=parts, max_steps=8, data=data), "r"), tmp_path / "run")
    assert seen and len(seen) == len(set(seen)), "rollouts, reference and updates share one encoding"


def test_advantages_and_weights_of_each_variant() -> None:
    rewards = torch.tensor([[0.0, 1.0, 1.0, 0.0], [0.3, 0.3, 0.3, 0.3]], dtype=torch.float64)
    divided = group_advantages(rewards, GroupPolicy())
    assert divided[0].tolist() == pytest.approx([-0.8659, 0.8659, 0.8659, -0.8659], abs=1e-4)
    assert divided[1].tolist() == [0, 0, 0, 0]
    assert group_advantages(rewards, GroupPolicy(divide_by_deviation=False))[0].tolist() == [
        -0.5,
        0.5,
        0.5,
        -0.5,
    ]
    lengths, counted = [2, 8, 5], [True, True, False]
    sums = {}
    for way in ("answer", "batch", "constant"):
        settings = GroupPolicy(length_normalisation=way, max_new_tokens=10)
        items = loss_items(lengths, counted, settings)
        sums[way] = (
            sum(n * token_weights(n, settings) for n, one in zip(lengths, counted, strict=True) if one)
            / items
        )
    assert sums == pytest.approx({"answer": 2 / 3, "batch": 1.0, "constant": 10 / 30})


def test_flat_groups_are_replaced_and_the_rest_is_kept(tmp_path: Path, phantom_cache: Path) -> None:
    grpo = {"refills": 3, "group_size": 2}
    flat = document(grpo | {"truncated": "penalty", "max_new_tokens": 2}, max_steps=1)
    train(parse_recipe(flat, "r"), tmp_path / "flat")
    assert curve(tmp_path / "flat", "refilled") == [3.0], (
        "all are cut off and earn nothing: all tries are used up"
    )
    assert curve(tmp_path / "flat", "groups_without_spread") == [1.0]
    train(parse_recipe(document({"group_size": 2}, max_steps=2), "r"), tmp_path / "kept")
    train(parse_recipe(document(grpo, max_steps=2), "r"), tmp_path / "filled")
    kept, filled = (curve(tmp_path / name, "groups_without_spread") for name in ("kept", "filled"))
    assert sum(filled) < sum(kept)


def test_flat_groups_are_left_out_of_the_pass_with_equal_loss_and_gradients(
    tmp_path: Path, phantom_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[dict[str, torch.Tensor]] = []

    def keep(self: Any, args: Any, state: Any, control: Any, model: Any, **more: Any) -> None:
        found.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})

    monkeypatch.setattr(policy_trainer._BetweenBatches, "on_pre_optimizer_step", keep, raising=False)
    passed: list[int] = []
    original = policy_trainer.answer_batch
    monkeypatch.setattr(
        policy_trainer,
        "answer_batch",
        lambda groups, *rest: (passed.append(len(groups)), original(groups, *rest))[1],
    )
    # the answers of three groups of four earn the same; one micro batch has no other
    draw = policy_trainer.Rollouts.draw

    def flattened(self: Any, *given: Any) -> Any:
        groups = draw(self, *given)
        return [
            _earning(group, [0.0, 1.0, 0.4] if place == 1 else [0.5] * 3)
            for place, group in enumerate(groups)
        ]

    monkeypatch.setattr(policy_trainer.Rollouts, "draw", flattened)
    more = {"max_steps": 1, "micro_batch_size": 2, "log_steps": 1}
    train(parse_recipe(document(**more), "r"), tmp_path / "left_out")
    assert passed == [1, 1]
    monkeypatch.setattr(PolicyTrainer, "_taught", lambda self, groups: groups)
    train(parse_recipe(document(**more), "r"), tmp_path / "all")
    assert passed[2:] == [2, 2]
    ours, theirs = found
    assert ours.keys() == theirs.keys() and max(float(one.abs().max()) for one in ours.values()) > 0
    scale = max(float(gradient.norm()) for gradient in theirs.values())
    assert max(float((ours[name] - theirs[name]).norm()) for name in ours) < 1e-5 * scale
    for name in ("loss", "grad_norm", "entropy", "groups_without_spread"):
        one, other = (curve(tmp_path / run, name) for run in ("left_out", "all"))
        assert one == pytest.approx(other, rel=1e-5, abs=1e-7) and one, name
    assert curve(tmp_path / "all", "groups_without_spread") == [0.75]


def _earning(group: Any, rewards: list[float]) -> Any:
    answers = zip(group.answers, rewards, strict=True)
    return replace(group, answers=tuple(replace(answer, reward=reward) for answer, reward in answers))


def test_with_a_divergence_flat_groups_stay() -> None:
    trainer = PolicyTrainer.__new__(PolicyTrainer)
    item: Any = SimpleNamespace(prompt=SimpleNamespace(input_ids=[1, 2]))
    answers = [SampledAnswer((1, 2), (0.0, 0.0), False, reward, {}) for reward in (0.0, 1.0)]
    flat, other = Group(item, (answers[0],) * 2), Group(item, tuple(answers))
    trainer.first_weights = None
    assert trainer._taught([flat, other]) == [other] and trainer._taught([flat, flat]) == [flat]
    trainer.first_weights = FirstWeights({})
    assert trainer._taught([flat, other]) == [flat, other]


def replayed(**more: Any) -> dict[str, Any]:
    """A source whose answers are learned next to the prompts."""
    return phantoms("train_reports", replay=True, **more)


@pytest.mark.parametrize("temperature", [1.0, 1.5])
def test_a_replayed_answer_has_the_gradient_of_its_cross_entropy(
    phantom_cache: Path, temperature: float
) -> None:
    data = {"train": [phantoms(question_types=SIDES, limit=4), replayed(limit=3)], "validation": []}
    model, processor, dataset = opened(phantom_cache, data=data)
    items = [dataset.prompt(row) for row in range(4, 7)]
    assert dataset.prompt_rows == [0, 1, 2, 3] and all(item.record is None for item in items)
    samples = [item.prompt for item in items]
    assert all(sample.num_supervised > 5 for sample in samples)
    objective = GroupRelativePolicy(model, GroupPolicy(temperature=temperature), ()).train()
    batch = answer_batch([AnsweredPrompt(sample, ()) for sample in samples], processor, model.llm)
    count = sum(sample.num_supervised for sample in samples)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    ones, own = torch.ones(count), torch.ones(count, dtype=torch.bool)
    loss = objective(advantages=ones, weights=ones, replayed=own, **batch)["loss"]
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    wanted = torch.autograd.grad(model(**processor.collate(samples)).loss, weights, allow_unused=True)
    scale = max(float(gradient.norm()) for gradient in wanted if gradient is not None)
    for one, other in zip(found, wanted, strict=True):
        assert other is None or float((one - other).norm()) < 1e-5 * scale


@pytest.mark.parametrize("grpo", [{}, {"updates": 2, "kl": 0.01, "refills": 1}])
def test_what_no_reward_asks_about_is_kept_by_replay(
    tmp_path: Path, phantom_cache: Path, grpo: dict[str, Any]
) -> None:
    """The rewards teach the letter e; reports are learned next to it, and are forgotten without."""
    settings = {"max_steps": 24, "learning_rate": 1e-2, "schedule": "constant", "save_steps": 100}
    losses = {}
    for name, weight in (("without", 1e-6), ("with", 1.0)):
        data = {
            "train": [phantoms(question_types=SIDES, limit=4), replayed(limit=4, weight=weight)],
            "validation": [],
        }
        loaded = parse_recipe(document(grpo, **settings, data=data), "r")
        train(loaded, tmp_path / name)
        model = MedMVLForConditionalGeneration.from_pretrained(tmp_path / name / "model").eval()
        processor = MedMVLProcessor.from_pretrained(tmp_path / name / "model")
        sources = list(load_sources(loaded, phantom_cache).values())
        dataset = open_dataset(sources, loaded.stages[0], processor, 256)
        reports = processor.collate([dataset.samples[row] for row in range(len(dataset) - 4, len(dataset))])
        with torch.no_grad():
            losses[name] = float(model(**reports).loss)
    assert losses["with"] < losses["without"] - 0.5, losses
    assert curve(tmp_path / "with", "reward"), "prompts are still answered"


@pytest.mark.parametrize(
    ("objective", "part", "said"),
    [
        ("grpo", "validation", "replay is for data that train"),
        ("lm", "train", "replay is for the objective grpo; 'lm' learns from all of its data"),
        ("grpo", "train", "nothing is left to draw answers to"),
    ],
)
def test_replay_out_of_place_is_told(
    tmp_path: Path, phantom_cache: Path, objective: str, part: str, said: str
) -> None:
    data = {"train": [phantoms(limit=2)], "validation": []} | {part: [replayed(limit=2)]}
    told = document(data=data)
    if objective == "lm":
        told["stages"][0] |= {"grpo": None, "rewards": [], "objective": objective}
    with pytest.raises(UserError, match=said):
        train(parse_recipe(told, "r"), tmp_path / "run")


def test_a_replayed_sample_without_an_answer_or_too_long_is_named(phantom_cache: Path) -> None:
    processor = opened(phantom_cache)[1]

    def source(name: str, answer: str, replay: bool) -> LoadedSource:
        turns = [Message(role="user", content="Is it large?"), Message(role="assistant", content=answer)]
        sample = Sample(id=name, messages=tuple(turns if answer else turns[:1]))
        return LoadedSource(name, [sample], BlockLoader(Path()), name, replay=replay)

    prompts = source("prompt", "yes", replay=False)
    for replay, said in (
        (source("open", "", replay=True), "'open' is to be replayed, and no assistant turn"),
        (source("long", "yes " * 300, replay=True), "'long' is to be replayed and has"),
    ):
        with pytest.raises(UserError, match=said):
            open_prompts([prompts, replay], processor, max_length=256)


@pytest.mark.parametrize(
    ("parts", "grpo"),
    [(ALL_FULL, {"refills": 2, "updates": 2}), (LORA, {"kl": 0.2, "temperature": 0.8, "truncated": "mask"})],
    ids=["full", "lora"],
)
def test_a_crash_and_a_restart_end_with_the_same_weights(
    tmp_path: Path, phantom_cache: Path, monkeypatch: pytest.MonkeyPatch, parts: Any, grpo: dict[str, Any]
) -> None:
    more = {"micro_batch_size": 2, "parts": parts, "max_steps": 6, "log_steps": 3, "learning_rate": 1e-2}
    more["data"] = {"train": [phantoms(question_types=SIDES), replayed(weight=0.3)], "validation": []}
    loaded = parse_recipe(document(grpo | {"group_size": 2}, **more), "r")
    # in the fourth step of two micro batches, the second on its answers where there are two
    train_with_a_crash(loaded, tmp_path / "crashed", monkeypatch, micro_batch=8)
    train(loaded, tmp_path / "whole")
    assert_same_weights(tmp_path / "crashed", tmp_path / "whole")
    assert _numbers(tmp_path / "crashed") == _numbers(tmp_path / "whole")


def _numbers(out: Path) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in record.items() if not key.startswith("train_")}
        for record in history(out)
    ]


def test_the_divergence_begins_at_nothing(tmp_path: Path, phantom_cache: Path) -> None:
    grpo = {"kl": 0.1}
    for name, parts in (("full", ALL_FULL), ("lora", LORA)):
        settings = {"parts": parts, "learning_rate": 2e-2, "warmup": 0, "max_steps": 2}
        train(parse_recipe(document(grpo, **settings), "r"), tmp_path / name)
        found = curve(tmp_path / name, "kl")
        assert abs(found[0]) < 1e-9 and found[-1] > 1e-6, found


def test_several_updates_move_the_ratio(tmp_path: Path, phantom_cache: Path) -> None:
    grpo = {"updates": 3, "clip_low": 0.001, "clip_high": 0.001}
    more = {"learning_rate": 3e-2, "max_steps": 6, "save_steps": 2}
    train(parse_recipe(document(grpo, **more), "r"), tmp_path / "run")
    low, high = curve(tmp_path / "run", "clip_low"), curve(tmp_path / "run", "clip_high")
    assert low[0] == high[0] == low[3] == high[3] == 0, "fresh answers are where the model is"
    assert low[2] + high[2] > 0.1
    assert [path.name for path in sorted((tmp_path / "run/stages/01-learn/checkpoints").iterdir())] == [
        "checkpoint-3", "checkpoint-6",
    ]  # fmt: skip


def test_prompts_in_order_are_asked_for_once() -> None:
    class Mixture:
        sizes, weights, lengths, study_keys, shards = [5], [1.0], [1] * 5, list(range(5)), [-1] * 5

    settings = Stage.model_validate(stage(objective="grpo", batch_size=2, max_steps=9))
    order = PromptOrder(Mixture(), settings, 0, updates=2)
    drawn = list(order)
    assert len(drawn) == 18 and all(drawn[place : place + 2] == [-1, -1] for place in (2, 6, 10, 14))
    asked = [drawn[place : place + 2] for place in (0, 4, 8, 12, 16)]
    assert asked == [order.prompts_of(number) for number in range(5)]
    assert sorted({index for pair in asked[:3] for index in pair}) == [0, 1, 2, 3, 4]


def test_mistakes_are_said_before_the_first_step(
    tmp_path: Path, phantom_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_draw(*given: Any) -> None:
        raise AssertionError("something was drawn")

    monkeypatch.setattr(PolicyTrainer, "_draw", no_draw)
    for number, (changes, grpo, message) in enumerate(
        (
            ({"rewards": [{"name": "broken"}]}, {}, "gave 1.5 for sample .*expected a number from 0 to 1"),
            ({"rewards": [{"name": "broken", "options": {"value": float("nan")}}]}, {}, "gave nan"),
            (
                {"rewards": [{"name": "findings_f1", "options": {"labeler": "phantoms"}}]},
                {},
                "needs a report",
            ),
            ({"rewards": [{"name": "length_band"}]}, {}, "no reward of content"),
            ({"rewards": [{"name": "lettrs"}]}, {}, "no reward 'lettrs'"),
            ({}, {"group_size": 1}, "group_size.*greater than or equal to 2"),
            ({}, {"max_new_tokens": 2000}, r"lower grpo.max_new_tokens to \d+"),
            ({}, {"overlong_tokens": 6, "truncated": "penalty"}, "is not less than max_new_tokens 6"),
            ({}, {"overlong_tokens": 2}, "truncated: penalty, not score"),
            ({"objective": "lm"}, {}, "grpo is for the objective grpo, not 'lm'"),
            ({"pack": True}, {}, "pack is for the objective lm"),
        )
    ):
        with pytest.raises(UserError, match=message):
            train(parse_recipe(document(grpo, **changes), "r"), tmp_path / str(number))
    with pytest.raises(UserError, match="grpo decodes with the model that trains"):
        parse_recipe(document() | {"distributed": {"fsdp": {}}}, "r")


def test_a_reference_that_does_not_fit_is_named(
    tmp_path: Path, phantom_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medmvl.training import policy_stage

    class Memory:
        available = 1000

    monkeypatch.setattr(policy_stage.psutil, "virtual_memory", Memory)
    with pytest.raises(UserError, match=r"the reference of grpo.kl holds .* GiB"):
        train(parse_recipe(document({"kl": 0.1}), "r"), tmp_path / "run")


def test_prompts_with_a_solution_and_without_any_truth(tmp_path: Path, phantom_cache: Path) -> None:
    lines = [
        {
            "id": str(number),
            "messages": [{"role": "user", "content": f"Question {number}?"}],
            "solution": "yes",
        }
        for number in range(4)
    ]
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    data = {"train": [{"path": str(file)}], "validation": []}
    train(parse_recipe(document(data=data, rewards=[], max_steps=1), "r"), tmp_path / "run")
    assert curve(tmp_path / "run", "reward/judge")
    del lines[2]["solution"]
    file.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(UserError, match="sample '2' has no target, no solution"):
        train(parse_recipe(document(data=data, rewards=[], max_steps=1), "r"), tmp_path / "other")


def test_a_gap_between_engine_and_training_is_said(
    tmp_path: Path, phantom_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = policy_trainer.PolicyTrainer._compare
    monkeypatch.setattr(
        policy_trainer.PolicyTrainer,
        "_compare",
        lambda self, engine, other: original(self, engine + 0.003, other),
    )
    train(parse_recipe(document(max_steps=1), "r"), tmp_path / "run")
    said = [
        record.message for record in caplog.records if "log-probabilities of the engine" in record.message
    ]
    assert len(said) == 1 and "0.003" in said[0]


NUMBERS = json.loads((ROOT / "tests/training/trl_grpo_losses.json").read_text())
NORMALISATION = {"grpo": "answer", "dapo": "batch", "dr_grpo": "constant"}


@pytest.mark.parametrize("shared", [True, False], ids=["one row", "a row each"])
@pytest.mark.parametrize("name", NUMBERS["variants"])
def test_loss_and_gradients_are_those_of_trl(
    name: str, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, expected = load_script("benchmarks/trl_grpo_losses.py"), NUMBERS["variants"][name]
    variant = expected["variant"]
    model = model_of_trl(NUMBERS)
    settings = GroupPolicy(
        group_size=3, max_new_tokens=script.LONGEST, temperature=variant["temperature"], clip_low=variant["low"],
        clip_high=variant["high"], divide_by_deviation=variant["divide"], kl=variant["beta"],
        length_normalisation=NORMALISATION[variant["loss_type"]],
    )  # fmt: skip
    monkeypatch.setattr("medmvl.training.policy_data._shares_prompts", lambda *given: shared)
    groups = [
        AnsweredPrompt(ProcessedSample(name="prompt", input_ids=torch.tensor(prompt), labels=None), answers)
        for prompt, answers in script.groups()
    ]
    batch = answer_batch(groups, Padding(), model.llm)
    objective = GroupRelativePolicy(model, settings).train()
    lengths = [len(answer) for group in groups for answer in group.answers]
    masked = [script.is_masked(variant, length) for length in lengths]
    counts = torch.tensor(lengths)
    advantages = group_advantages(torch.tensor(script.REWARDS), settings).flatten().repeat_interleave(counts)
    weights = torch.tensor(
        [0.0 if out else token_weights(n, settings) for n, out in zip(lengths, masked, strict=True)]
    ).repeat_interleave(counts)
    with torch.no_grad():
        now = objective.tokens(**batch).logprobs
    old = now + torch.cat(script.noise(variant["moved"], 1)) if "moved" in variant else None
    reference = now + torch.cat(script.noise(0.3, 2)) if variant["beta"] else None
    items = torch.tensor(float(loss_items(lengths, [not one for one in masked], settings)))
    loss = objective(
        advantages=advantages,
        weights=weights,
        old=old,
        reference=reference,
        num_items_in_batch=items,
        **batch,
    )["loss"]
    loss.backward()
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-5, abs=1e-6)
    norms = {key: float(weight.grad.norm()) for key, weight in model.llm.named_parameters()}
    assert norms == pytest.approx(expected["norms"], rel=1e-4, abs=1e-5)
    head = model.llm.lm_head.weight.grad.flatten()
    assert torch.allclose(head, torch.tensor(expected["head"]), atol=1e-5, rtol=1e-5)


class Padding:
    """Collates as a processor does."""

    def collate(self, samples: Any) -> Any:
        return collate(samples, pad_id=0)


SCRIPT = """
import sys
from medmvl.rewards import registry
from medmvl.training.run import train
from tests.training.test_policy import LettersReward
registry.REWARDS["letters"] = LettersReward
train(sys.argv[1], sys.argv[2])
"""


@pytest.mark.slow
def test_a_run_killed_at_any_moment_goes_on_bit_for_bit(tmp_path: Path, phantom_cache: Path) -> None:
    """SIGKILL from outside, at moments of chance: while answers are drawn, in a pass, or while a checkpoint is written."""
    grpo = {"updates": 2, "group_size": 2, "kl": 0.1, "refills": 1, "temperature": 0.9}
    more = {
        "max_steps": 6,
        "micro_batch_size": 2,
        "parts": LORA,
        "rewards": [{"name": "judge"}],
        "log_steps": 3,
    }
    file = write_recipe(tmp_path / "recipe.yaml", document(grpo, **more))
    start = time.monotonic()
    assert train_in_ranks([file, "--out", tmp_path / "whole"], 1, tmp_path / "logs") == [0]
    seconds = time.monotonic() - start
    out, kills = tmp_path / "killed", 0
    while kills < 2:
        moment = random.uniform(0.2, 0.7) * seconds
        if train_in_ranks([file, "--out", out], 1, tmp_path / "logs", kill_after=moment) == [-signal.SIGKILL]:
            kills += 1
        else:  # it ended before: from the start, and sooner
            shutil.rmtree(out)
            seconds /= 2
    assert train_in_ranks([file, "--out", out], 1, tmp_path / "logs") == [0]
    assert_same_weights(out, tmp_path / "whole")
    assert _numbers(out) == _numbers(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(tmp_path: Path, phantom_cache: Path) -> None:
    grpo = {"refills": 1, "kl": 0.1, "updates": 2, "group_size": 2}
    data = {
        "train": [phantoms(limit=12), replayed(limit=4)],
        "validation": [phantoms("validation", limit=3)],
    }
    file = write_recipe(
        tmp_path / "recipe.yaml", document(grpo, max_steps=4, data=data, learning_rate=5e-3, eval_steps=2)
    )
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    for count in (1, 2):
        launcher = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={count}",
        ]
        done = subprocess.run(
            [*launcher, str(script), str(file), str(tmp_path / str(count))],
            capture_output=True, text=True, timeout=500, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (_numbers(tmp_path / str(count)) for count in (1, 2))
    assert [record.keys() for record in one] == [record.keys() for record in two]
    assert any(record.get("reward") for record in one) and any(record.get("grad_norm") for record in one)
    for mine, theirs in zip(one, two, strict=True):
        for key, value in mine.items():
            assert key == "stage" or theirs[key] == pytest.approx(value, rel=1e-4, abs=1e-5), key
