"""`medmvl data check` with a recipe next to data of one's own."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from medmvl.cli.main import app
from medmvl.data.entry_cache import FOLDER_VARIABLE
from medmvl.phantoms import dataset, write_dataset


def test_named_data_are_counted_by_a_recipe_of_phantoms_without_drawing_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(tmp_path / "mine", patients=5, seed=3, preset="tiny")
    monkeypatch.setattr(dataset, "draw_ct", lambda patient: pytest.fail("a CT was drawn"))
    monkeypatch.setattr(dataset, "draw_xray", lambda patient: pytest.fail("an X-ray was drawn"))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))
    done = CliRunner().invoke(app, ["data", "check", str(tmp_path / "mine"), "--recipe", "quickstart"])
    assert done.exit_code == 0, done.output
    assert "here from 80 patients per split, so numbers of tokens are estimates" in done.stderr
    assert "Nothing is wrong." in done.stdout and "Limit:    256 tokens" in done.stdout
