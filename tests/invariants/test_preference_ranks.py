"""Preference training survives what training survives: a kill, sharding over two processes, and the loss of one of them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.factories.ranks import train_in_ranks
from tests.factories.training import losses, phantom_cache, write_recipe
from tests.invariants.test_sharding import KINDS, SHARDS
from tests.training.test_preference import document, write_pairs

__all__ = ["phantom_cache"]
pytestmark = pytest.mark.slow


def prefer(folder: Path, cache: Path, **more: Any) -> Path:
    """A recipe of four steps on nine pairs, each batch in micro batches of one pair."""
    settings = {
        "micro_batch_size": 1,
        "max_steps": 4,
        "save_steps": 2,
        "eval_steps": 2,
        "dpo": {"sft_weight": 0.3},
    }
    made = document(write_pairs(folder, cache, 9), **settings)
    return write_recipe(folder / "recipe.yaml", made | more)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, phantom_cache: Path) -> Path:
    """The run of one process that nothing disturbs."""
    folder = tmp_path_factory.mktemp("alone")
    assert train_in_ranks([prefer(folder, phantom_cache), "--out", folder / "run"], 1, folder / "logs") == [0]
    return folder / "run"


def test_a_killed_run_goes_on_bit_for_bit(alone: Path, tmp_path: Path, phantom_cache: Path) -> None:
    file, out = prefer(tmp_path, phantom_cache), tmp_path / "run"
    assert train_in_ranks([file, "--out", out], 1, tmp_path / "first", die=(0, 3)) == [-9]
    kept = (out / "stages/01-prefer/reference.safetensors").read_bytes()
    assert train_in_ranks([file, "--out", out], 1, tmp_path / "second") == [0]
    assert (out / "stages/01-prefer/reference.safetensors").read_bytes() == kept
    expected, found = (load_file(run / "model/model.safetensors") for run in (alone, out))
    assert found.keys() == expected.keys()
    assert not [name for name in found if not torch.equal(found[name], expected[name])]
    assert losses(out) == losses(alone)


@pytest.mark.parametrize("kind", KINDS)
def test_sharded_over_two_processes_it_has_the_losses_of_one(
    kind: str, alone: Path, tmp_path: Path, phantom_cache: Path
) -> None:
    if "deepspeed" in KINDS[kind]:
        pytest.importorskip("deepspeed", reason="the extra `deepspeed` is not installed; `make scale`")
    file, out = prefer(tmp_path, phantom_cache, distributed=KINDS[kind]), tmp_path / "run"
    codes = train_in_ranks([file, "--out", out], 2, tmp_path / "first", die=(1, 3))
    assert codes == [2, -9], (tmp_path / "first" / "0").read_text()[-3000:]
    (checkpoint,) = (out / "stages/01-prefer/checkpoints").glob("checkpoint-*")
    assert checkpoint.name == "checkpoint-2" and list(checkpoint.rglob(SHARDS[kind]))
    codes = train_in_ranks([file, "--out", out], 2, tmp_path / "second")
    assert codes == [0, 0], (tmp_path / "second" / "0").read_text()[-3000:]
    one, two = losses(alone), losses(out)
    assert len(one) > 10
    assert two == pytest.approx(one, rel=1e-5, abs=1e-6)
    expected, found = (load_file(run / "model/model.safetensors") for run in (alone, out))
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-6)
