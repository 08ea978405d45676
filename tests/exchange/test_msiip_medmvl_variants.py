"""Every kind of MedM-VL checkpoint, made here with random weights, beside a plain computation of what its code gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from medmvl import imaging
from medmvl.atomic_files import write_json
from medmvl.engine import Engine
from medmvl.errors import UserError
from medmvl.exchange.imported import Components, write_folder
from medmvl.exchange.msiip_medmvl import read
from medmvl.models.assemble import load
from tests.factories.exchange import m3d_clip
from tests.factories.msiip_medmvl import ENDS, SYSTEM, MSIIPCheckpoint

VARIANTS: dict[str, dict[str, Any]] = {
    "llama": {"llm": "llama"},
    "llama 3": {"llm": "llama3"},
    "phi": {"llm": "phi"},
    "phi 3": {"llm": "phi3"},
    "clip without its class token": {"encoder": "clip", "select": "patch", "layer": -2},
    "clip with its class token": {"encoder": "clip", "layer": 2},
    "siglip that loses its first patch": {"select": "patch"},
    "one layer": {"depth": 1},
    "three layers": {"depth": 3},
    "attention pooling of images": {"connector": "attn_pooling"},
    "a tied head that was saved": {"head": "tied"},
    "a tied head that was not saved": {"head": "missing"},
    "shards": {"shards": 3},
    "a pickle": {"shards": -1},
}
CONVERSATIONS = {
    "one image": ["<image>\nIs there a nodule?", "Yes."],
    "two images, two turns": [
        "First <image> and second <image>\nCompare.",
        "It grew.",
        "有没有结节？",
        "没有。",
    ],
    "image at the end": ["Describe the findings.\n<image>", "No."],
    "text alone": ["Is there a nodule?", "No. It grew."],
}


def blocks(text: str, pil_images: list[Image.Image]) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    for number, piece in enumerate(text.split("<image>")):
        if number:
            content.append({"type": "image", "image": pil_images.pop(0)})
        if piece:
            content.append({"type": "text", "text": piece})
    return content


def pil_images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (40 + 7 * n, 50, 3), dtype=np.uint8)) for n in range(2)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_prompts_ids_and_logits_are_those_of_a_plain_computation(
    variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = MSIIPCheckpoint(tmp_path / "case", **VARIANTS[variant])
    monkeypatch.chdir(tmp_path / "case")
    write_folder(read(Path("ckpt"), Components()).save, tmp_path / "ours")
    model, processor = load(tmp_path / "ours")
    end = ENDS[theirs.llm_type]
    for turns in CONVERSATIONS.values():
        prompt = SYSTEM + "".join(
            f"USER: {q.strip()} ASSISTANT: {a}{end}" for q, a in zip(turns[::2], turns[1::2], strict=True)
        )
        shown = pil_images()
        conversation = [
            {"role": "assistant" if number % 2 else "user", "content": blocks(turn, shown)}
            for number, turn in enumerate(turns)
        ]
        batch = processor.apply_chat_template(conversation, tokenize=True)
        ids = [int(i) for i in batch["input_ids"][0]]
        visual = []
        if batch.get("pixel_values") is not None:
            with torch.no_grad():
                visual = list(theirs.visual_tokens(batch["pixel_values"]))
        collapsed = collapse(ids, processor.image_token_id, [len(tokens) for tokens in visual])
        if theirs.pieces is not None:
            assert collapsed == theirs.sentencepiece_ids(prompt)
        else:
            text = processor.tokenizer.decode([i for i in collapsed if i != -200])
            assert text == prompt.replace("<image>", "")
        with torch.no_grad():
            found, expected = model.eval()(**batch).logits[0], theirs.logits(collapsed, visual)
        assert (found[:, : expected.shape[1]] - expected).abs().max() < 1e-4


def collapse(ids: list[int], placeholder: int, lengths: list[int]) -> list[int]:
    """-200 for the placeholders of each visual."""
    collapsed, position, waiting = [], 0, iter(lengths)
    while position < len(ids):
        if ids[position] == placeholder:
            length = next(waiting)
            assert ids[position : position + length] == [placeholder] * length
            collapsed.append(-200)
            position += length
        else:
            collapsed.append(ids[position])
            position += 1
    return collapsed


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda c: c.update({"lvlm_llm_name_or_path": "nowhere/else"}), "--llm"),
        (lambda c: c.update({"lvlm_llm_type": "gemma"}), "unknown lvlm_llm_type 'gemma'"),
        (
            lambda c: c.update({"lvlm_encoder_image_type": "ctclip"}),
            "unknown lvlm_encoder_image_type 'ctclip'",
        ),
        (lambda c: c.update({"lvlm_connector_image_name": "mlp2x_relu"}), "unknown connector"),
        (lambda c: c.update({"lvlm_connector_image_name": "mlp3x_gelu"}), "2 tensors missing: mlp.4"),
    ],
)
def test_what_cannot_be_read_is_named(break_it: Any, message: str, tmp_path: Path) -> None:
    import json

    made = MSIIPCheckpoint(tmp_path)
    config = json.loads((made.folder / "config.json").read_text())
    break_it(config)
    (made.folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message):
        read(made.folder, Components())


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    made = MSIIPCheckpoint(tmp_path, shards=2)
    (made.folder / "model-1.safetensors").unlink()
    with pytest.raises(UserError, match=r"1 of 2 shards are missing: model-1\.safetensors"):
        read(made.folder, Components())


def test_a_pickle_that_runs_code_is_refused_with_the_flag_that_allows_it(tmp_path: Path) -> None:
    made = MSIIPCheckpoint(tmp_path, shards=-1)
    weights = torch.load(made.folder / "pytorch_model.bin", weights_only=True)
    torch.save({"state_dict": weights, "made by": Path("somebody")}, made.folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"runs code.*--trust-pickle"):
        read(made.folder, Components())
    assert read(made.folder, Components(trust_pickle=True)).model.image_encoder is not None


def test_adapters_in_the_middle_of_training_are_refused_with_the_reason(tmp_path: Path) -> None:
    made = MSIIPCheckpoint(tmp_path, shards=-1)
    weights = torch.load(made.folder / "pytorch_model.bin", weights_only=True)
    weights["llm.base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight"] = torch.zeros(2, 24)
    torch.save(weights, made.folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="not merged"):
        read(made.folder, Components())


M3D = {"img_size": [32, 256, 256], "patch_size": [8, 64, 64], "in_channels": 1, "hidden_size": 12, "num_layers": 2,
       "num_heads": 2, "mlp_dim": 24}  # fmt: skip


@pytest.mark.parametrize(("connector", "tokens"), [("spatial_pooling", 8), ("mlp", 64)])
def test_m3d_clip_reads_bare_arrays_as_hounsfield_units(
    connector: str, tokens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The volume is stretched between its own lowest and highest value, after its foreground was cut out."""
    made = MSIIPCheckpoint(tmp_path, shards=-1)
    weights = torch.load(made.folder / "pytorch_model.bin", weights_only=True)
    weights = {name: tensor for name, tensor in weights.items() if name.startswith("llm.")}
    encoder = m3d_clip(voxels=8 * 64 * 64, patches=64)
    weights |= {f"encoder_image3d.encoder.{name}": tensor for name, tensor in encoder.items()}
    weights |= {
        f"connector_image3d.connector.{n}.weight": torch.randn(24, 12 if n == 0 else 24) for n in (0, 2)
    }
    weights |= {f"connector_image3d.connector.{n}.bias": torch.randn(24) for n in (0, 2)}
    torch.save(weights, made.folder / "pytorch_model.bin")
    write_json(tmp_path / "m3d" / "config.json", M3D)
    config = {
        "model_type": "lvlm", "lvlm_llm_type": "qwen2", "lvlm_llm_name_or_path": "llm", "lvlm_llm_max_length": 256,
        "lvlm_encoder_image3d_type": "m3dclip", "lvlm_encoder_image3d_name_or_path": "m3d",
        "lvlm_encoder_image3d_select_layer": -1, "lvlm_encoder_image3d_select_feature": "patch",
        "lvlm_connector_image3d_type": connector, "lvlm_connector_image3d_name": "mlp2x_gelu",
    }  # fmt: skip
    write_json(made.folder / "config.json", config)
    monkeypatch.chdir(tmp_path)
    write_folder(read(made.folder, Components()).save, tmp_path / "ours")
    array = np.full((20, 30, 30), -2000, dtype=np.int16)
    array[4:12, 5:25, 6:26] = np.random.default_rng(0).integers(-900, 1200, (8, 20, 20))
    np.save(tmp_path / "scan.npy", array)
    engine = Engine.load(tmp_path / "ours")
    answer = engine.ask("Is there a nodule?", volumes=[tmp_path / "scan.npy"])
    assert answer.seen[0]["tokens"] == tokens
    seen = engine.processor.process_visual(imaging.read(tmp_path / "scan.npy"))
    grey = (np.clip(array, -1000, 1000) + 1000) / 2000
    cut = torch.from_numpy(((grey - grey.min()) / np.ptp(grey))[4:12, 5:25, 6:26]).float()
    expected = torch.nn.functional.interpolate(cut[None, None], size=(32, 256, 256), mode="trilinear")[0]
    assert (seen.pixels - expected).abs().max() < 1e-6
    with pytest.raises(UserError, match="Hounsfield units"):
        engine.processor.process_visual(replace(imaging.read(tmp_path / "scan.npy"), units="BQML"))
