"""A self-contained folder runs where our package is not installed, and gives the same logits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from medmvl.exchange.export import Export, export
from medmvl.exchange.self_contained import program
from medmvl.models.assemble import load
from tests.factories.models import tiny

WITHOUT_US = """
import sys
sys.path = [p for p in sys.path if not p.endswith("src")]
sys.meta_path = [f for f in sys.meta_path if "editable" not in type(f).__module__ + str(f)]
import importlib.util
assert importlib.util.find_spec("medmvl") is None
import numpy, torch
from transformers import AutoModelForImageTextToText, AutoProcessor
folder, volume, out = sys.argv[1:]
model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
turns = [{"role": "user", "content": [{"type": "volume", "volume": volume}, {"type": "text", "text": "Is there a nodule?"}]}]
batch = processor.apply_chat_template(turns, tokenize=True, add_generation_prompt=True)
with torch.no_grad():
    numpy.savez(out, ids=batch["input_ids"], logits=model(**batch).logits)
"""


@pytest.mark.slow
def test_it_gives_the_same_logits_without_our_package(tmp_path: Path) -> None:
    model, processor = tiny()
    for part in (model, processor):
        part.save_pretrained(tmp_path / "ours")
    export("self-contained", Export(tmp_path / "ours", tmp_path / "alone"))
    volume = tmp_path / "scan.npy"
    np.save(volume, np.random.default_rng(0).integers(-1000, 1000, (9, 20, 20)).astype(np.int16))
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hub"), "PYTHONPATH": ""}
    command = [
        sys.executable,
        "-c",
        WITHOUT_US,
        str(tmp_path / "alone"),
        str(volume),
        str(tmp_path / "out.npz"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = np.load(tmp_path / "out.npz")
    model, processor = load(tmp_path / "ours")
    content = [{"type": "volume", "volume": volume}, {"type": "text", "text": "Is there a nodule?"}]
    turns = [{"role": "user", "content": content}]
    batch = processor.apply_chat_template(turns, tokenize=True, add_generation_prompt=True)
    with torch.no_grad():
        logits = model.eval()(**batch).logits
    assert theirs["ids"].tolist() == batch["input_ids"].tolist()
    assert np.abs(theirs["logits"] - logits.numpy()).max() < 1e-6


def test_its_code_can_be_unpacked_and_read(tmp_path: Path) -> None:
    assert program() == program()
    (tmp_path / "medmvl_code.py").write_text(program(), encoding="utf-8")
    subprocess.run([sys.executable, str(tmp_path / "medmvl_code.py"), str(tmp_path / "read")], check=True)
    source = (tmp_path / "read" / "medmvl" / "models" / "modeling.py").read_text("utf-8")
    assert "class MedMVLForConditionalGeneration" in source
    assert (tmp_path / "read" / "medmvl" / "models" / "templates" / "plain.jinja").is_file()
