"""One run of an experiment: trained, then evaluated, in this process or by `torchrun` over several GPUs."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from medmvl.atomic_files import write_json
from medmvl.data.prepared import default_cache_dir
from medmvl.data.sources import load_source
from medmvl.engine import Engine, joined_process_group, model_digest
from medmvl.errors import UserError
from medmvl.evaluation import EvaluationOptions, evaluate, limit_clusters
from medmvl.experiments.experiment import Evaluated
from medmvl.training.recipe import Recipe
from medmvl.training.recipe_files import parse_recipe, plain
from medmvl.training.run import train

TASK, FACTS = "task.json", "facts.json"


def execute(recipe: Recipe, folder: Path, options: Evaluated, gpus: int = 1) -> dict[str, Any]:
    """Train and evaluate; goes on where a killed one stopped.

    Args:
        recipe: of the run.
        folder: gets `train` and `evaluation`.
        options: how it is evaluated.
        gpus: processes that share the run, a GPU each where there are any; with 1, it runs here.

    Returns:
        Seconds of both halves, parameters, tokens, answers.

    Raises:
        UserError: a process of several failed; what it said stands above.
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
    facts: dict[str, Any] = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return {**seconds, **facts, "gpus": gpus}


def _evaluate(recipe: Recipe, folder: Path, options: Evaluated) -> None:
    model = folder / "train" / "model"
    with joined_process_group() as processes:
        engine = Engine.load(model, processes.device("auto"))
        source = load_source(recipe.data.test[0], Path.cwd(), default_cache_dir())
        samples = limit_clusters(list(source.samples), options.limit_patients)
        known = [s for data in recipe.data_of(recipe.stages[-1]).train
                 for s in load_source(data, Path.cwd(), default_cache_dir()).samples]  # fmt: skip
        evaluate(
            engine, samples, source.load, folder / "evaluation",
            about={"model": model_digest(model), "data": source.digest, "data_name": source.name},
            train_samples=known, processes=processes,
            options=EvaluationOptions(
                max_new_tokens=options.max_new_tokens, batch_size=options.batch_size, controls=options.controls
            ),
        )  # fmt: skip
        if processes.first:
            text, visual = engine.processor.count_tokens(samples[0].messages, "the first test sample")
            parameters = sum(p.numel() for p in engine.model.parameters())
            facts = {
                "parameters": parameters,
                "answers": len(samples),
                "visual_tokens": visual,
                "text_tokens": text,
            }
            write_json(folder / FACTS, facts)


def _launch(folder: Path, half: str, gpus: int) -> None:
    """One half of a run in processes of its own: training leaves nothing behind that evaluation would meet."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}",
        "-m", "medmvl.experiments.one_run", str(folder), half,
    ]  # fmt: skip
    if subprocess.run(command, check=False).returncode:
        raise UserError(f"{folder.name}: {half} failed in {gpus} processes; what they said stands above")


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
