"""Checkpoints of MSIIP/MedM-VL give the numbers that its own code gave (`expected.npz`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medmvl.datasets.llava import from_llava
from medmvl.datasets.loader import BlockLoader
from medmvl.engine import Engine, GenerationOptions, Request
from medmvl.exchange.imported import Components, write_folder
from medmvl.exchange.msiip_medmvl import read
from medmvl.models.assemble import load
from medmvl.models.visuals import IGNORED_LABEL

CASES = (
    "2d_siglip_mlp_qwen2_full",
    "2d_siglip_mlp_qwen2tied_lora",
    "3d_medmclip_spatial_qwen2_full",
    "3d_siglip_attn_qwen2_full",
)
SENTINELS = (-200, -201)


class Case:
    """One checkpoint, imported and loaded again, with what it must give."""

    def __init__(self, folder: Path, out: Path) -> None:
        write_folder(read(folder / "ckpt", Components()).save, out)
        self.out = out
        self.model, self.processor = load(out)
        self.model.eval()
        self.expected: dict[str, Any] = json.loads((folder / "expected.json").read_text("utf-8"))
        self.arrays = np.load(folder / "expected.npz")
        records = json.loads((folder / "data.json").read_text("utf-8"))
        self.samples = [from_llava(record, "data.json", str(i)) for i, record in enumerate(records)]
        where = folder / ("volumes" if (folder / "volumes").is_dir() else "images")
        self.loader = BlockLoader(where)

    def prepare(self, index: int, **options: Any) -> Any:
        sample = self.samples[index]
        messages = sample.messages if options.get("supervised") else sample.messages[:-1]
        return self.processor.prepare(
            messages, self.processor.visual_loader(self.loader), name=sample.id, **options
        )

    def array(self, index: int, name: str) -> Any:
        return self.arrays[f"s{index}_{name}"]


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    root = request.getfixturevalue("msiip_medmvl_checkpoints")
    return Case(root / request.param, tmp_path_factory.mktemp("imported") / "model")


def without_placeholders(ids: Any, placeholders: tuple[int, ...]) -> list[int]:
    return [int(i) for i in ids if int(i) not in placeholders]


def test_prompts_token_ids_and_labels_are_those_of_the_predecessor(case: Case) -> None:
    ours = (case.processor.image_token_id, case.processor.volume_token_id)
    for index, expected in enumerate(case.expected["samples"]):
        prepared = case.prepare(index, supervised=True)
        theirs = case.array(index, "input_ids")
        assert without_placeholders(prepared.input_ids, ours) == without_placeholders(theirs, SENTINELS)
        merged = case.array(index, "merged_labels")
        assert prepared.labels.tolist() == merged.tolist()
        assert len(prepared.input_ids) == expected["merged_len"]
        asked = case.prepare(index, supervised=False, add_generation_prompt=True)
        text = case.processor.tokenizer.decode(without_placeholders(asked.input_ids, ours))
        for placeholder in ("<image3d>", "<image>"):
            expected["prompt_infer"] = expected["prompt_infer"].replace(placeholder, "")
        assert text == expected["prompt_infer"]


def pixels_of(case: Case, prepared: Any) -> list[tuple[str, torch.Tensor]]:
    return [(v.kind, v.pixels if v.kind == "image" else v.pixels[None]) for v in prepared.visuals]


def test_pixels_are_those_of_the_predecessor(case: Case) -> None:
    compared = 0
    for index in range(len(case.samples)):
        visuals = pixels_of(case, case.prepare(index, supervised=True))
        if not visuals:
            continue
        kind, suffix = ("image", "image") if visuals[0][0] == "image" else ("volume", "image3d")
        pixels = torch.cat([pixels for _, pixels in visuals]).numpy()
        theirs = case.array(index, f"{suffix}_sub")
        if kind == "volume" and theirs.shape[1] == 3:
            pixels = np.repeat(pixels, 3, axis=1)[:, :, ::4, ::2, ::2]
        elif kind == "volume":
            pixels = pixels[..., ::8, ::8]
        assert np.abs(pixels - theirs).max() < 1e-5
        compared += 1
    assert compared


def test_visual_tokens_and_answer_logits_are_within_1e_4(case: Case) -> None:
    for index in range(len(case.samples)):
        prepared = case.prepare(index, supervised=True)
        batch = case.processor.collate([prepared])
        suffix = "image" if f"s{index}_image_tokens" in case.arrays else "image3d"
        if prepared.visuals:
            tokens = torch.stack(encoded(case, batch)).numpy()
            theirs = case.array(index, f"{suffix}_tokens")
            assert np.abs(tokens[:, : theirs.shape[1]] - theirs).max() < 1e-4
        with torch.no_grad():
            logits = case.model(**{k: v for k, v in batch.items() if k != "labels"}).logits[0]
        answers = logits[torch.from_numpy(case.array(index, "answer_positions"))].numpy()
        theirs = case.array(index, "answer_logits")
        assert np.abs(answers[:, : theirs.shape[1]] - theirs).max() < 1e-4
        assert (prepared.labels[1:] != IGNORED_LABEL).sum() == len(theirs)


def encoded(case: Case, batch: Any) -> list[torch.Tensor]:
    names = ("pixel_values", "pixel_values_volumes", "visual_table", "volume_positions_mm")
    with torch.no_grad():
        return list(case.model.encode(**{name: batch.get(name) for name in names}))


def test_greedy_answers_are_equal_alone_batched_and_with_beams(case: Case) -> None:
    engine = Engine.load(case.out)
    requests = [
        Request(sample.messages[:-1], case.processor.visual_loader(case.loader)) for sample in case.samples
    ]
    options = GenerationOptions(max_new_tokens=16)
    alone = [engine.answer([request], options)[0].text for request in requests]
    together = [answer.text for answer in engine.answer(requests, options)]
    expected = [sample["greedy_text"].strip() for sample in case.expected["samples"]]
    assert [text.strip() for text in alone] == expected
    assert [text.strip() for text in together] == [t.strip() for t in case.expected["batch_greedy_text"]]
    beams = engine.answer(requests[:1], GenerationOptions(max_new_tokens=16, num_beams=3))[0]
    assert beams.text.strip() == case.expected["s0_beam3_text"].strip()
