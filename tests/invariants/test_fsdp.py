"""FSDP2 on two processes: parameters are sharded, and the loss of a few steps is that of the unsharded model."""

import json
import os
import sys
from copy import deepcopy
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
import torch

from medmvl.data.prepared import default_cache_dir
from medmvl.models.assemble import load
from medmvl.training.recipe_files import parse_recipe
from medmvl.training.run import load_sources, start_model
from medmvl.training.stage_data import Collate, open_dataset
from tests.factories.training import phantom_cache, phantoms, recipe, stage, write_text_samples

__all__ = ["phantom_cache"]

STEPS = 3
RATE = 0.1


def prepare(folder: Path) -> None:
    """A saved model, and for each rank a batch: one of text alone, one with a volume."""
    texts = folder / "texts.jsonl"
    write_text_samples(texts, 2)
    loaded = parse_recipe(
        recipe(stage(), train=[phantoms(question_types=["ct_nodule"], limit=2), {"path": str(texts)}]), "r"
    )
    sources = load_sources(loaded, default_cache_dir())
    model, processor = start_model(loaded, folder, 1, sources)
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    chosen = [sources[source.model_dump_json()] for source in loaded.data.train]
    dataset = open_dataset(chosen, loaded.stages[0], processor, None)
    collate = Collate(processor, "lm")
    torch.save([collate([dataset[0], dataset[1]]), collate([dataset[2], dataset[3]])], folder / "batches.pt")


def steps(model: torch.nn.Module, batches: list[dict[str, Any]], num_items: int, scale: float) -> list[float]:
    """Losses summed over `batches` and divided by all supervised tokens, for a few steps of plain descent."""
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    found = []
    for _ in range(STEPS):
        total = 0.0
        for batch in batches:
            loss = model(**batch, num_items_in_batch=num_items, use_cache=False).loss
            (loss * scale).backward()
            total += loss.item()
        optimizer.step()
        optimizer.zero_grad()
        found.append(total)
    return found


def supervised(batches: list[dict[str, Any]]) -> int:
    return sum(int((batch["labels"] != -100).sum()) for batch in batches)


def worker(folder: Path) -> None:
    """What each of the two processes runs."""
    import torch.distributed as dist
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    dist.init_process_group("gloo")
    mesh = dist.init_device_mesh("cpu", (2,))
    model = load(folder / "model")[0].train()
    for layer in model.llm.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(
        model, mesh=mesh
    )  # encoders and connectors are gathered with the root, whatever a rank's batch holds
    batches = torch.load(folder / "batches.pt", weights_only=False)
    own = steps(
        model, [batches[dist.get_rank()]], supervised(batches), scale=2.0
    )  # FSDP averages over the ranks
    losses = torch.tensor(own, dtype=torch.float64)
    dist.all_reduce(losses)
    sharded = all(isinstance(p, DTensor) and isinstance(p.grad, DTensor | None) for p in model.parameters())
    local = sum(p.to_local().numel() for p in model.parameters())
    if dist.get_rank() == 0:
        result = {"losses": losses.tolist(), "sharded": sharded, "local": local}
        (folder / "result.json").write_text(json.dumps(result))
    dist.destroy_process_group()


@pytest.mark.slow
def test_sharded_equals_whole(tmp_path: Path, phantom_cache: Path) -> None:
    prepare(tmp_path)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    root = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = run([*launcher, __file__, str(tmp_path)], capture_output=True, text=True, timeout=120, env=root)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((tmp_path / "result.json").read_text())

    batches = torch.load(tmp_path / "batches.pt", weights_only=False)
    model = load(tmp_path / "model")[0].train()
    expected = steps(model, deepcopy(batches), supervised(batches), scale=1.0)
    assert result["sharded"]
    assert result["local"] < 0.7 * sum(p.numel() for p in model.parameters())
    assert expected[-1] < expected[0]
    assert result["losses"] == pytest.approx(expected, rel=1e-5)


if __name__ == "__main__":
    worker(Path(sys.argv[1]))
    # gloo's threads still hold sharded tensors here: one that lets go while Python 3.11 is being finalised
    # aborts the process, so leave without finalising
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
