"""A training that lost a rank goes on with another number of processes, with the losses of one that was never interrupted."""

from pathlib import Path

import pytest

from tests.factories.ranks import train_in_ranks
from tests.factories.training import losses, phantom_cache, phantoms, recipe, stage, write_recipe

__all__ = ["phantom_cache"]


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [(2, 1), (1, 2)])
def test_a_run_goes_on_with_another_number_of_processes(
    first: int, second: int, tmp_path: Path, phantom_cache: Path
) -> None:
    document = recipe(stage(batch_size=4, max_steps=4, save_steps=2), train=[phantoms(limit=40)])
    file = write_recipe(tmp_path / "recipe.yaml", document)
    assert train_in_ranks([file, "--out", tmp_path / "whole"], 1, tmp_path / "logs") == [0]
    codes = train_in_ranks([file, "--out", tmp_path / "run"], first, tmp_path / "first", die=(first - 1, 3))
    assert codes[-1] == -9
    codes = train_in_ranks([file, "--out", tmp_path / "run"], second, tmp_path / "second")
    said = (tmp_path / "second" / "0").read_text()
    assert codes == [0] * second, said[-3000:]
    assert "| 2/4 [" in said and "| 1/4 [" not in said
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)
