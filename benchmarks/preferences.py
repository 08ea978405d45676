"""DPO from judged pairs against SFT on the right answers: same model, questions and steps; compared paired, with intervals.

    medmvl phantoms runs/unseen --patients 480 --seed 1 --splits 240,0,240
    python benchmarks/preferences.py runs/quickstart/model runs/unseen --out runs/preferences --seeds 0 1 2

The model answers each question several times at a temperature; a reward chooses the best and the worst answer; a stage learns
from the pairs (`objective: dpo`), another from the references of the same questions (`lm`). The unseen patients are asked
before and after. It goes on where it stopped; results that disappoint are printed as the others are.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.console import Console

from medmvl.data.sources import open_data
from medmvl.engine import Engine, GenerationOptions, answer_samples, read_answers
from medmvl.evaluation import jobs
from medmvl.evaluation.compare import compare_runs, comparison_table, read_run, verdict
from medmvl.rewards import build_reward
from medmvl.rewards.pairs import PairCounts, make_pairs
from medmvl.schema import Sample, write_samples
from medmvl.training.recipe_files import parse_recipe
from medmvl.training.run import train


def asked(data: Path, split: str, given: argparse.Namespace, limit: int | None) -> list[Sample]:
    """Samples of a split of the chosen types of question, and in the chosen language."""
    return [
        sample
        for sample in open_data(data / f"{split}.jsonl").samples
        if sample.target is not None
        and sample.target.question_type in given.types
        and sample.language in given.languages
    ][:limit]


def make_data(given: argparse.Namespace, seed: int, out: Path) -> tuple[Path, Path, PairCounts]:
    """The pairs and the references of the same questions, each as a file; made once."""
    samples = asked(given.data, "train", given, given.questions)
    source, engine = open_data(given.data / "train.jsonl"), Engine.load(given.model)
    texts: dict[str, list[str]] = defaultdict(list)
    for number in range(given.answers):
        options = GenerationOptions(
            max_new_tokens=given.tokens, temperature=given.temperature, seed=1000 * seed + number
        )
        file = out / f"answers-{number}.jsonl"
        answer_samples(
            engine, samples, source.load, file, {"model": str(given.model)}, options, batch_size=64
        )
        for answer in read_answers(file):
            texts[answer.id].append(answer.text)
    counts = PairCounts()
    reward = build_reward(given.reward, **({"labeler": "phantoms"} if given.reward == "findings_f1" else {}))
    pairs = list(make_pairs(samples, texts, reward, given.margin, counts))
    chosen = {pair.id for pair in pairs}
    write_samples(out / "pairs.jsonl", pairs)
    write_samples(out / "references.jsonl", [sample for sample in samples if sample.id in chosen])
    return out / "pairs.jsonl", out / "references.jsonl", counts


def learn(given: argparse.Namespace, seed: int, objective: str, file: Path, out: Path) -> Path:
    """Train one stage from the model; the folder of what it became."""
    stage: dict[str, Any] = {
        "name": objective, "objective": objective, "parts": {"llm": "full"}, "max_steps": given.steps,
        "batch_size": given.batch, "learning_rate": given.learning_rate, "warmup": 0.1,
    }  # fmt: skip
    if objective == "dpo":
        stage["dpo"] = {"beta": given.beta, "sft_weight": given.sft_weight}
    roots = {"image_root": str(given.data.absolute()), "volume_root": str(given.data.absolute())}
    train(
        parse_recipe(
            {
                "seed": seed, "model": {"init": str(given.model)}, "stages": [stage],
                "data": {"train": [{"path": str(file.absolute()), **roots}]},
            },
            objective,
        ),
        out,
    )  # fmt: skip
    return out / "model"


def judge(given: argparse.Namespace, model: Path, out: Path) -> Path:
    """Evaluate on the unseen patients, without controls."""
    test = out.parent / f"{out.name}.jsonl"
    write_samples(test, asked(given.data, "test", given, given.unseen))
    jobs.evaluate(
        model, test, out=out, image_root=given.data, volume_root=given.data, controls=False, pages=False,
        max_new_tokens=given.tokens, protocols=("strict", "reader"),
    )  # fmt: skip
    return out


def main() -> None:
    """Run all seeds, and print each comparison."""
    given = _arguments()
    console = Console(width=120)
    for seed in given.seeds:
        out = given.out / f"seed-{seed}"
        out.mkdir(parents=True, exist_ok=True)
        pairs, references, counts = make_data(given, seed, out)
        sys.stdout.write(f"seed {seed}: {counts.pairs} pairs; alike {counts.alike}, single {counts.single}\n")
        runs = [judge(given, given.model, out / "before")]
        for objective, file in (("lm", references), ("dpo", pairs)):
            name = objective if objective == "lm" or not given.sft_weight else f"dpo-sft-{given.sft_weight:g}"
            made = learn(given, seed, objective, file, out / f"{name}-run")
            runs.append(judge(given, made, out / name))
        for chosen in (runs, runs[1:]):
            comparison = compare_runs([read_run(folder) for folder in chosen], seed)
            console.print(comparison_table(comparison))
            console.print(verdict(comparison))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a trained model, such as the quickstart's")
    parser.add_argument(
        "data", type=Path, help="phantoms that it has not seen, with train.jsonl and test.jsonl"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--types", nargs="+", default=["ct_report", "xray_report"], help="types of question")
    parser.add_argument("--languages", nargs="+", default=["en", "zh"])
    parser.add_argument("--reward", default="findings_f1")
    parser.add_argument("--margin", type=float, default=0.1)
    parser.add_argument("--questions", type=int, help="of the training patients; default all")
    parser.add_argument("--unseen", type=int, help="questions about the unseen patients; default all")
    parser.add_argument("--answers", type=int, default=4)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=2e-5)
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument(
        "--sft-weight", type=float, default=0.0, help="of an SFT term on the chosen answers in the DPO loss"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
