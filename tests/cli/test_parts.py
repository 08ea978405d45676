"""`medmvl parts`: complete, right at any size, and the tables of the documentation are its output."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from medmvl.cli import main as cli
from medmvl.models.catalogue import AS_SET, catalogue, in_words, markdown
from medmvl.models.connectors import CONNECTORS, build_connector
from medmvl.models.encoders import IMAGE_ENCODERS, VOLUME_ENCODERS, build_image_encoder
from medmvl.models.encoders.hf_families import FAMILIES

PAGE = Path(__file__).parents[2] / "docs/explanation/parts.md"


@pytest.fixture(scope="module")
def entries():
    return catalogue()


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main(["parts", *arguments])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_every_part_is_listed_with_its_size(entries):
    names = {entry.name.partition(" (")[0] for entry in entries if not entry.source}
    assert names == {*IMAGE_ENCODERS, *VOLUME_ENCODERS, *CONNECTORS}
    assert {f"hf_vision ({family})" for family in FAMILIES} <= {entry.name for entry in entries}
    without = {
        entry.name for entry in entries if not (entry.parameters and entry.reads) or entry.gives == AS_SET
    }
    assert without <= {"timm", "open_clip"}  # any tower of those libraries
    assert all(entry.summary for entry in entries)


def test_the_tables_of_the_documentation_are_up_to_date(entries):
    built_in = [entry for entry in entries if not entry.source]
    page = PAGE.read_text(encoding="utf-8")
    found = re.search(r"<!-- made by .*? -->\n(.*?)<!-- end of", page, re.DOTALL)
    assert found is not None
    assert found.group(1) == "\n" + markdown(built_in) + "\n", "run: medmvl parts --markdown"


def test_the_documentation_has_a_paragraph_for_every_connector():
    section = PAGE.read_text(encoding="utf-8").partition("## Connectors")[2]
    assert set(re.findall(r"^\*\*`(\w+)`\*\*", section, re.MULTILINE)) == set(CONNECTORS)


def test_numbers_are_those_of_built_parts(entries):
    by_name = {entry.name: entry for entry in entries}
    vit = build_image_encoder({"type": "vit2d"})
    assert by_name["vit2d"].parameters == sum(weight.numel() for weight in vit.parameters())
    tokens = vit(torch.zeros(1, 1, 224, 224)).streams[0]
    assert by_name["vit2d"].gives == f"1 x 14 x 14 = {tokens.shape[1]} of width {tokens.shape[2]}"
    mlp = build_connector({"type": "mlp"}, (768,), 2048)
    assert by_name["mlp"].parameters == sum(weight.numel() for weight in mlp.parameters())


def test_sizes_and_width_of_the_user_decide(capsys):
    arguments = ("--markdown", "--size", "128x64", "--size", "8x64x64", "--llm-width", "64")
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    rows = {
        line.split("`")[1]: [cell.strip() for cell in line.split("|")]
        for line in out.splitlines()
        if "`" in line
    }
    assert rows["vit2d"][2:4] == ["1 x 128 x 64", "1 x 8 x 4 = 32 of width 768"]
    assert rows["vit3d"][3] == "2 x 4 x 4 = 32 of width 768"
    assert rows["ct_vit"][3] == "not of this size"
    assert rows["pixel_shuffle"][2:4] == ["1 x 8 x 4 or 2 x 4 x 4", "8 or 8"]
    assert rows["linear"][4] == in_words(768 * 64 + 64)


def test_the_table_for_people_names_every_role(capsys):
    code, out, _ = run(capsys, "--llm-width", "64")
    assert code == 0
    for words in ("image encoders", "volume encoders", "connectors", "attention_pooling", "medmvl"):
        assert words in out


@pytest.mark.parametrize("arguments", [("--size", "256"), ("--size", "32x256xlarge"), ("--size", "0x8")])
def test_a_size_that_is_none_is_refused(capsys, arguments):
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert "HEIGHTxWIDTH in whole numbers" in err
