"""A GRPO step: against the sum of its parts alone, and against trl's GRPOTrainer on an image model of the same size.

The first claim: on the CT phantom model of the quickstart with G = 8, a step (drawing, reference, training) costs at most 1.5
times its parts alone: batched decoding of the same answers, one scoring pass, one training pass. The second: with the same CLIP
tower, projector and Qwen2 LLM, equal prompts, G and lengths, a step of ours is at least 1.5 times as fast as trl's. CPU
seconds, both sides in one run; models are random, so answers run to their longest.

    pip install --no-deps trl==1.16.0 datasets pyarrow pandas dill multiprocess xxhash  # not among our requirements
    python benchmarks/grpo_step.py [--steps 3] [--prompts 4] [--answer 24] [--no-trl]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

GROUP = 8
TOWER: dict[str, Any] = {
    "model_type": "clip_vision_model", "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 3,
    "num_attention_heads": 4, "image_size": 112, "patch_size": 14,
}  # fmt: skip
LLM: dict[str, Any] = {
    "model_type": "qwen2", "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "tie_word_embeddings": True, "max_position_embeddings": 512,
}  # fmt: skip
QUESTION = "On which side of the chest is the pleural effusion in this image?"


def stage(arguments: argparse.Namespace, kl: float, parts: dict[str, str]) -> dict[str, Any]:
    """A stage that draws answers of equal length, which all train: by its KL term, or as their rewards differ."""
    return {
        "name": "learn", "objective": "grpo", "parts": parts, "max_steps": arguments.steps + 1,
        "batch_size": arguments.prompts, "learning_rate": 1e-6, "schedule": "constant", "save_steps": 1000, "log_steps": 1000,
        "grpo": {"group_size": GROUP, "max_new_tokens": arguments.answer, "kl": kl, "truncated": "score"},
        "rewards": [{"name": "even_length" if kl == 0 else "closed_accuracy"}],
    }  # fmt: skip


def train_ours(document: dict[str, Any], folder: Path) -> tuple[Any, list[float]]:
    """The trainer after its steps, and CPU seconds of each but the first."""
    from transformers import TrainerCallback

    from medmvl.models.assemble import assemble
    from medmvl.training import stage as stages
    from medmvl.training.interruption import Interruption
    from medmvl.training.policy_stage import learn_from_rollouts
    from medmvl.training.recipe_files import parse_recipe
    from medmvl.training.run import load_sources, training_texts
    from medmvl.training.stage_features import keep_features
    from medmvl.training.stage_plan import plan_stage

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, *given: Any, **more: Any) -> None:
            self.ends.append(time.process_time())

    recipe = parse_recipe(document, "benchmark")
    sources = load_sources(recipe, folder / "cache")
    model, processor = assemble(recipe.model, texts=training_texts(recipe, sources), seed=0)
    plan = plan_stage(recipe, recipe.stages[0], model, processor, sources)
    trainer = stages.make_trainer(plan, stages.build_objective(plan), folder / "run", Interruption())
    keep_features(recipe, plan.stage, model, processor, [plan.train], "cpu as the weights")
    learn_from_rollouts(trainer, plan)
    clock = Clock()
    trainer.add_callback(clock)
    trainer.train()
    return trainer, list(np.diff(clock.ends))


def alone(trainer: Any, prompts: int, repeats: int) -> dict[str, float]:
    """CPU seconds of each part of a step with nothing around it."""
    import torch

    rollouts, objective = trainer.rollouts, trainer.accelerator.unwrap_model(trainer.model)
    items = [rollouts.dataset[row] for row in trainer.order.prompts_of(1)[:prompts]]
    batch = {name: value for name, value in trainer._batches[0].items() if name != "engine"}
    inputs = {
        name: value
        for name, value in batch.items()
        if name not in ("advantages", "weights", "reference", "old")
    }
    seconds: dict[str, list[float]] = {"decoding": [], "scoring": [], "training": []}
    for number in range(repeats):
        start = time.process_time()
        rollouts.engine.forget()
        objective.model.eval()
        sequences = [
            rollouts.engine.new_sequence(rollouts._options(number, 0, item.row, answer))
            for item in items
            for answer in range(GROUP)
        ]
        rollouts.engine.decode_sequences([item.prompt for item in items], sequences)
        seconds["decoding"].append(time.process_time() - start)
        objective.model.train()
        start = time.process_time()
        with torch.no_grad():
            objective.tokens(**inputs)
        seconds["scoring"].append(time.process_time() - start)
        start = time.process_time()
        objective(**batch)["loss"].backward()
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        seconds["training"].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def ct(arguments: argparse.Namespace, folder: Path) -> None:
    """A step on the CT phantom model, and its parts."""
    from medmvl.training.recipe_files import resolve

    model = resolve("quickstart")["model"]
    source = {
        "phantoms": {"preset": "quickstart", "patients": 40, "split": "train"},
        "question_types": ["ct_effusion_side"],
    }
    parts = {"volume_connector": "full", "llm": "full"}
    document = {"model": model, "data": {"train": [source]}, "stages": [stage(arguments, 0.05, parts)]}
    trainer, steps = train_ours(document, folder)
    parts_alone = alone(trainer, arguments.prompts, arguments.steps)
    step, total = statistics.median(steps), sum(parts_alone.values())
    shown = ", ".join(f"{name} {value:.2f}" for name, value in parts_alone.items())
    print(f"CT, {arguments.prompts} prompts x {GROUP} answers of {arguments.answer} tokens, CPU seconds")
    print(
        f"  a step {step:.2f}; alone: {shown}; together {total:.2f}; ratio {step / total:.2f} (bar: at most 1.5)"
    )


def even(answer: str) -> float:
    """A reward by which random answers of one group differ."""
    return float(len(answer) % 2 == 0)


def image_samples(folder: Path, count: int) -> Path:
    """Images of noise with one question."""
    from PIL import Image

    generator, lines = np.random.default_rng(0), []
    for number in range(count):
        pixels = generator.integers(0, 256, (112, 112, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        content = [{"type": "image", "image": f"{number}.png"}, {"type": "text", "text": QUESTION}]
        lines.append(
            {
                "id": str(number),
                "messages": [{"role": "user", "content": content}],
                "solution": "on the left side",
            }
        )
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder / "data.jsonl"


def ours_on_images(arguments: argparse.Namespace, folder: Path) -> tuple[list[float], int]:
    """CPU seconds of steps on images, and the size of the vocabulary."""
    from medmvl.rewards import REWARDS, Reward

    class EvenLength(Reward):
        """Fooled by anything: for this measurement alone."""

        def score(self, record: Any) -> float:
            return even(record.answer)

    REWARDS["even_length"] = EvenLength
    data = image_samples(folder, arguments.prompts * (arguments.steps + 1))
    model = {
        "max_length": 512, "llm": {"tokenizer_vocab_size": 1024, "config": LLM},
        "image_encoder": {"type": "hf_vision", "config": TOWER, "layer": -2}, "image_connector": {"type": "mlp"},
        "image_processor": {"size": [112, 112], "channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3},
    }  # fmt: skip
    # the same that trl trains: all of it
    parts = {"image_encoder": "full", "image_connector": "full", "llm": "full"}
    document = {
        "model": model,
        "data": {"train": [{"path": str(data)}]},
        "stages": [stage(arguments, 0.0, parts)],
    }
    trainer, steps = train_ours(document, folder)
    lengths = trainer._batches[0]["weights"].numel() / (arguments.prompts * GROUP)
    print(f"images: ours, answers of {lengths:.1f} tokens")
    return steps, int(trainer.rollouts.engine.model.config.llm.vocab_size)


def trl_on_images(arguments: argparse.Namespace, folder: Path) -> list[float]:
    """CPU seconds of trl's steps on the same images with a Llava of the same sizes."""
    from PIL import Image
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessor,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
        TrainerCallback,
    )
    from trl import GRPOConfig, GRPOTrainer

    import datasets

    names = ["<pad>", "<eos>", "<image>", "<unk>", *QUESTION.replace("?", " ?").split()]
    words = {word: number for number, word in enumerate(dict.fromkeys(names))}
    words |= {f"w{number}": number for number in range(len(words), 1024)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>",
        additional_special_tokens=["<image>"], padding_side="left",
    )  # fmt: skip
    template = (
        "{% for m in messages %}{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
        "{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}{% endfor %}"
    )
    processor = LlavaProcessor(
        CLIPImageProcessor(size={"height": 112, "width": 112}, do_center_crop=False), fast, patch_size=14,
        vision_feature_select_strategy="default", chat_template=template, image_token="<image>", num_additional_image_tokens=1,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=TOWER,
        text_config=LLM | {"vocab_size": 1024},
        image_token_index=2,
        vision_feature_layer=-2,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 1, 0
    count = arguments.prompts * (arguments.steps + 1)
    rows = [
        {"prompt": [{"role": "user", "content": QUESTION}], "image": Image.open(folder / f"{number}.png")}
        for number in range(count)
    ]

    # datasets 5.2 cannot hash a table of pyarrow 26, and needs the hash for nothing here
    datasets.arrow_dataset.generate_fingerprint = lambda dataset: "images"

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, *given: Any, **more: Any) -> None:
            self.ends.append(time.process_time())

    def reward(completions: Any, **more: Any) -> list[float]:
        return [even(completion[0]["content"]) for completion in completions]

    settings = GRPOConfig(
        output_dir=str(folder / "trl"), per_device_train_batch_size=arguments.prompts * GROUP, num_generations=GROUP,
        max_completion_length=arguments.answer, max_steps=arguments.steps + 1, beta=0.0, learning_rate=1e-6, use_cpu=True,
        report_to="none", save_strategy="no", logging_steps=1000, bf16=False, gradient_checkpointing=False,
        generation_kwargs={"min_new_tokens": arguments.answer}, disable_tqdm=True,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model,
        reward,
        args=settings,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=processor,
        callbacks=[clock := Clock()],
    )
    trainer.train()
    return list(np.diff(clock.ends))


def main() -> None:
    """Both claims."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--answer", type=int, default=24, help="tokens of an answer")
    parser.add_argument("--no-trl", action="store_true")
    parser.add_argument("--no-ct", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.environ["MEDMVL_CACHE"] = str(Path(name) / "cache")
        if not arguments.no_ct:
            (Path(name) / "ct").mkdir()
            ct(arguments, Path(name) / "ct")
        if arguments.no_trl:
            return
        folder = Path(name) / "images"
        folder.mkdir()
        ours, _ = ours_on_images(arguments, folder)
        theirs = trl_on_images(arguments, folder)
        one, other = statistics.median(ours), statistics.median(theirs)
        print(
            f"  a step of ours {one:.2f}, of trl's {other:.2f} CPU seconds: {other / one:.2f} times as fast (bar: 1.5)"
        )


if __name__ == "__main__":
    main()
