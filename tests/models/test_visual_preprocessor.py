"""What is drawn and described of a visual is what enters the encoder."""

import json

import numpy as np
import pytest
from tests.factories.models import conversation, image_of, recipe
from typer.testing import CliRunner

from medmvl.models.assemble import preprocessor_of
from medmvl.models.visual_preprocessor import LABEL_PIXELS, describe


@pytest.fixture(scope="module")
def preprocessor():
    return preprocessor_of(recipe())


def test_an_image_is_drawn_pixel_by_pixel(preprocessor):
    visual = preprocessor.process(image_of(conversation("xray:a")[0].visuals[0]))
    drawn = np.asarray(preprocessor.draw(visual))
    assert drawn.shape == (16, 16)
    assert drawn / 255 == pytest.approx(visual.pixels[0, 0].numpy() * 0.5 + 0.5, abs=0.5 / 255 + 1e-6)


def test_every_slice_of_a_volume_is_drawn(preprocessor):
    visual = preprocessor.process(image_of(conversation("ct:a")[0].visuals[0]))
    drawn = np.asarray(preprocessor.draw(visual))
    assert drawn[:LABEL_PIXELS].max() > 128  # the name of what is below
    for index in range(8):
        top, left = LABEL_PIXELS + index // 3 * 18, index % 3 * 18
        seen = visual.pixels[0, index].numpy() * 0.5 + 0.5
        assert drawn[top : top + 16, left : left + 16] / 255 == pytest.approx(seen, abs=0.5 / 255 + 1e-6)


def test_the_description_is_plain_json(preprocessor):
    visual = preprocessor.process(image_of(conversation("ct:a")[0].visuals[0]))
    described = json.loads(json.dumps(describe(visual)))
    assert described["model_shape"] == [1, 8, 16, 16]
    assert described["tokens"] == 8
    assert described["matrix"] == visual.matrix.tolist()


def test_inspect_shows_what_a_recipe_will_see(tmp_path):
    from PIL import Image
    from typer import Typer

    from medmvl.cli.inspect import inspect

    Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20)).save(tmp_path / "a.png")
    app = Typer()
    app.command()(inspect)
    arguments = [
        str(tmp_path / "a.png"),
        "--model",
        "quickstart",
        "--json",
        "--preview",
        str(tmp_path / "seen.png"),
    ]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 0, found.output
    described = json.loads(found.stdout)["model"]
    with Image.open(tmp_path / "seen.png") as drawn:
        assert [drawn.height, drawn.width] == described["model_shape"][-2:]
