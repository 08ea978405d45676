"""A packed training resumes exactly in the middle of an epoch, and two processes that pack give the losses of one."""

from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.factories.ranks import train_in_ranks, train_with_a_kill
from tests.factories.training import losses, phantom_cache, phantoms, recipe, stage, write_recipe

__all__ = ["phantom_cache"]


def packed_recipe(folder: Path, **model: float) -> Path:
    """Two epochs of three steps, rows of two or four samples, in the order of studies."""
    packed = stage(pack=True, group="study", micro_batch_size=2, max_steps=6, save_steps=2)
    document = recipe(packed, train=[phantoms(limit=12)])
    document["model"]["llm"]["config"] |= model
    return write_recipe(folder / "recipe.yaml", document)


def weights(out: Path) -> dict[str, bytes]:
    found = load_file(out / "stages" / "01-instruct" / "model" / "model.safetensors")
    return {name: array.tobytes() for name, array in found.items()}


@pytest.mark.slow
def test_a_packed_run_killed_within_an_epoch_ends_as_if_never_killed(
    tmp_path: Path, phantom_cache: Path
) -> None:
    file = packed_recipe(tmp_path, attention_dropout=0.2)  # so that random states matter
    said = train_with_a_kill(file, tmp_path, step=5)
    assert "| 4/6 [" in said and "| 3/6 [" not in said  # on from the first of three steps of the second epoch
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_that_pack_equal_one(tmp_path: Path, phantom_cache: Path) -> None:
    file = packed_recipe(tmp_path)
    for count in (1, 2):
        codes = train_in_ranks([file, "--out", tmp_path / str(count)], count, tmp_path / f"logs{count}")
        assert codes == [0] * count, (tmp_path / f"logs{count}" / "0").read_text()[-3000:]
    one, two = losses(tmp_path / "1"), losses(tmp_path / "2")
    assert len(one) > 6
    assert two == pytest.approx(one, rel=1e-5)
