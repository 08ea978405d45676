"""One run of an experiment: trained, then evaluated, in this process or by `torchrun` over several GPUs."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from pathlib import Path

from medmvl.atomic_files import write_json
from medmvl.data.prepared import default_cache_dir
from medmvl.data.sources import load_source
from medmvl.engine import Engine, joined_process_group
from medmvl.errors import UserError
from medmvl.evaluation.jobs import evaluate
from medmvl.experiments.experiment import Evaluated
from medmvl.json_types import JsonObject
from medmvl.training.recipe import Recipe
from medmvl.training.recipe_files import parse_recipe, plain
from medmvl.training.run import train

TASK, FACTS = "task.json", "facts.json"


def execute(recipe: Recipe, folder: Path, options: Evaluated, gpus: int = 1) -> JsonObject:
    """Train and evaluate; goes on where a killed one stopped.

    Args:
        recipe: recipe of the run.
        folder: gets `train` and `evaluation`.
        options: how it is evaluated.
        gpus: processes that share the run, one GPU per process where there are any; with 1, it runs here.

    Returns:
        Seconds of both halves, parameters, tokens, answers.

    Raises:
        UserError: a process of several failed; see its output above.
    """
    started = time.perf_counter()
    if gpus > 1:
        write_json(folder / TASK, {"recipe": plain(recipe), "options": options.model_dump(mode="json")})
        _launch(folder, "train", gpus)
    else:
        train(recipe, folder / "train")
    trained = time.perf_counter()
    if gpus > 1:
        _launch(folder, "evaluate", gpus)
    else:
        _evaluate(recipe, folder, options)
    now = time.perf_counter()
    seconds = {
        "seconds": now - started,
        "training_seconds": trained - started,
        "evaluation_seconds": now - trained,
    }
    facts: JsonObject = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return {**seconds, **facts, "gpus": gpus}


def _evaluate(recipe: Recipe, folder: Path, options: Evaluated) -> None:
    here, cache = Path.cwd(), default_cache_dir()
    test = load_source(recipe.data.test[0], here, cache)
    training = [load_source(data, here, cache) for data in recipe.data_of(recipe.stages[-1]).train]
    with joined_process_group() as processes:
        engine = Engine.load(folder / "train" / "model", processes.device("auto"))
        results = evaluate(
            engine,
            test,
            out=folder / "evaluation",
            train=[sample for source in training for sample in source.samples],
            processes=processes,
            pages=False,
            **options.asked,
        )
        if processes.first:
            text, visual = engine.processor.count_tokens(test.samples[0].messages, "the first test sample")
            parameters = sum(p.numel() for p in engine.model.parameters())
            facts = {
                "parameters": parameters,
                "answers": len(results.judged),
                "visual_tokens": visual,
                "text_tokens": text,
            }
            write_json(folder / FACTS, facts)


def _launch(folder: Path, half: str, gpus: int) -> None:
    """One half of a run in separate processes, so that nothing of training remains in memory for evaluation."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}",
        "-m", "medmvl.experiments.one_run", str(folder), half,
    ]  # fmt: skip
    if subprocess.run(command, check=False).returncode:
        raise UserError(f"{folder.name}: {half} failed in {gpus} processes; see their output above")


def _take_part(folder: Path, half: str) -> None:
    """What each process of `_launch` does."""
    task = json.loads((folder / TASK).read_text(encoding="utf-8"))
    recipe = parse_recipe(task["recipe"], folder.name)
    if half == "train":
        train(recipe, folder / "train")
    else:
        _evaluate(recipe, folder, Evaluated.model_validate(task["options"]))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    _take_part(Path(sys.argv[1]), sys.argv[2])
