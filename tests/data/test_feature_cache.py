"""The cache of features: right for tiles, crops, dropped tokens and questions, private, limited, and never a wrong feature."""

import importlib
import logging
import os
import stat
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from medmvl.atomic_files import PARTIAL
from medmvl.data.entry_cache import EntryCache
from medmvl.data.feature_cache import FeatureCache, FeatureReader, part_digests
from medmvl.data.prepared import process_block
from medmvl.datasets.loader import BlockLoader
from medmvl.errors import UserError
from medmvl.models.visuals import IGNORED_LABEL
from medmvl.schema import Message
from tests.factories.models import SHARED, SLICES, tiny
from tests.factories.parts import vit3d

GUIDED = {"type": "text_selection", "keep": 3}
MODELS: dict[str, dict[str, Any]] = {
    "plain": {},
    "slices": SLICES,
    "shared encoder": SHARED,
    "tiles": {
        "image_processor": {"size": [16, 16], "channels": 1, "mean": [0.5], "std": [0.5], "max_tiles": 4}
    },
    "crops": {"volume_processor": {"size": [8, 16, 16], "crops": 2}},
    "dropped tokens": {**SLICES, "volume_processor": {"size": [8, 16, 16], "drop_unchanged": 0.05}},
    "questions": {"image_connector": GUIDED, "volume_connector": GUIDED},
}
TRAINED = {
    "encoders frozen": ("image_connector", "volume_connector", "llm"),
    "connectors frozen, too": ("llm",),
}


class Case:
    """A model with frozen parts, and three conversations about two images and two volumes on disk."""

    def __init__(self, folder: Path, trained: tuple[str, ...], **changes: Any) -> None:
        self.model, self.processor = tiny(**changes)
        self.model.requires_grad_(False)
        for name in trained:
            getattr(self.model, name).requires_grad_(True)
        self.model.train()
        self.folder = folder
        rng = np.random.default_rng(0)
        for number in range(2):
            np.save(
                folder / f"image{number}.npy", rng.integers(0, 255, (30, 20 + 9 * number)).astype(np.uint8)
            )
            voxels = rng.integers(-1000, 900, (1, 40, 30)).repeat(12 + number, 0).astype(np.int16)
            voxels[5:, :9] = 40  # a change between slices
            np.save(folder / f"volume{number}.npy", voxels)
        self.conversations = [
            self.ask("image0", "volume0"),
            self.ask("volume1"),
            self.ask("image1", "image0"),
        ]
        self.reader: FeatureReader | None = None
        self.read: list[str] = []

    def ask(self, *names: str) -> list[Message]:
        blocks: list[dict[str, Any]] = [
            {"type": "image", "image": f"{name}.npy", "units": "display"}
            if name.startswith("image")
            else {"type": "volume", "volume": f"{name}.npy", "units": "HU", "spacing_mm": [2, 1, 1]}
            for name in names
        ]
        content = [*blocks, {"type": "text", "text": "Is there a nodule?"}]
        return [
            Message.model_validate({"role": "user", "content": content}),
            Message.model_validate({"role": "assistant", "content": "Yes. It grew."}),
        ]

    def use(self, cache: FeatureCache) -> None:
        kinds = ("image", "volume")
        parts = {kind: part_digests(self.model, kind, "cpu as the weights") for kind in kinds}
        self.reader = FeatureReader(cache, self.processor, parts)
        self.model.keep_features = self.reader.keep

    def batch(self, chosen: tuple[int, ...] = (0, 1, 2)) -> Any:
        load = BlockLoader(self.folder)

        def decode(block: Any) -> Any:
            self.read.append(block.path)
            return process_block(self.processor, load, block)

        find = decode if self.reader is None else self.reader.wrap(load, decode)
        samples = [
            self.processor.prepare(self.conversations[number], find, supervised=True) for number in chosen
        ]
        return self.processor.collate(samples)

    def step(self, batch: Any) -> tuple[float, list[torch.Tensor]]:
        """Loss and all gradients."""
        self.model.zero_grad()
        loss = self.model(**batch).loss
        loss.backward()
        return loss.item(), [weight.grad for weight in self.model.parameters() if weight.grad is not None]


@pytest.mark.parametrize("trained", TRAINED.values(), ids=TRAINED)
@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS)
def test_a_step_is_equal_without_the_cache_with_it_and_from_it(
    tmp_path: Path, changes: dict[str, Any], trained: tuple[str, ...]
) -> None:
    case = Case(tmp_path, trained, **changes)
    without = case.step(case.batch())
    case.use(FeatureCache(tmp_path / "cache"))
    case.step(case.batch((2,)))
    some = case.batch()
    assert some["visual_features"] and some["pixel_values_volumes"]
    mixed = case.step(some)
    case.read.clear()
    whole = case.batch()
    assert case.read == [] and not {"pixel_values", "pixel_values_volumes"} & whole.keys()
    found = case.step(whole)
    assert without[0] == mixed[0] == found[0] and len(without[1]) > 5
    for one, other, third in zip(without[1], mixed[1], found[1], strict=True):
        assert torch.equal(one, other) and torch.equal(one, third)
    assert int((whole["labels"] != IGNORED_LABEL).sum()) > 0


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    case = Case(tmp_path, ("llm",))
    cache = FeatureCache(tmp_path / "cache")
    case.use(cache)
    case.step(case.batch())
    for path in (cache.folder, *cache.folder.glob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert cache.entries() and all(stat.S_IMODE(entry.stat().st_mode) == 0o600 for entry in cache.entries())
    assert not any(b"image0" in entry.read_bytes() for entry in cache.entries())


def test_other_weights_settings_precision_or_files_are_other_features(tmp_path: Path) -> None:
    case = Case(tmp_path, ("llm",))
    first = part_digests(case.model, "volume", "cpu as the weights")
    assert part_digests(case.model, "volume", "cpu as the weights") == first
    assert part_digests(case.model, "volume", "cpu bfloat16").encoder != first.encoder
    other = Case(tmp_path, ("llm",), volume_encoder=vit3d(num_layers=2, patch_size=[4, 8, 8]))
    assert part_digests(other.model, "volume", "cpu as the weights").encoder != first.encoder
    with torch.no_grad():
        next(case.model.volume_connector.parameters()).add_(1)
    changed = part_digests(case.model, "volume", "cpu as the weights")
    assert changed.encoder == first.encoder and changed.connector != first.connector
    with torch.no_grad():
        next(case.model.volume_encoder.parameters())[0].add_(1)
    assert part_digests(case.model, "volume", "cpu as the weights").encoder != first.encoder
    case.use(FeatureCache(tmp_path / "cache"))
    case.step(case.batch())
    np.save(tmp_path / "volume1.npy", np.full((9, 30, 30), 7, np.int16))
    case.read.clear()
    case.batch()
    assert case.read == ["volume1.npy"]


def test_other_code_of_a_plug_in_is_other_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As while somebody develops an encoder: version, settings and weights stay, and what it computes does not."""
    case = Case(tmp_path, ("llm",))
    built_in = part_digests(case.model, "volume", "cpu")
    file = tmp_path / "their_encoder.py"
    code = "import torch\n\nclass Halved(torch.nn.Identity):\n    factor = {}\n"
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for factor in (0.5, 0.25):
        file.write_text(code.format(factor))
        case.model.volume_encoder.theirs = importlib.import_module("their_encoder").Halved()
        found.append(part_digests(case.model, "volume", "cpu").encoder)
    assert len({built_in.encoder, *found}) == 3


@pytest.mark.parametrize("gone", ["its file", "the module"])
def test_a_plug_in_without_a_file_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """As a class that was written in a notebook, or in a module that was loaded by hand."""
    case = Case(tmp_path, ("llm",))
    module = ModuleType("in_a_notebook")
    if gone == "its file":
        monkeypatch.setitem(sys.modules, module.__name__, module)
    theirs = type("Theirs", (torch.nn.Identity,), {"__module__": module.__name__})
    before = part_digests(case.model, "volume", "cpu").encoder
    case.model.volume_encoder.theirs = theirs()
    assert part_digests(case.model, "volume", "cpu").encoder == before


def test_a_shared_encoder_and_its_settings_name_the_features_of_slices(tmp_path: Path) -> None:
    case = Case(tmp_path, ("llm",), **SHARED)
    first = part_digests(case.model, "volume", "cpu")
    with torch.no_grad():
        next(case.model.image_encoder.parameters()).add_(1)
    assert part_digests(case.model, "volume", "cpu").encoder != first.encoder


@pytest.mark.parametrize("damage", ["cut", "a bit", "empty", "other key", "text", "header"])
def test_a_damaged_entry_is_made_anew_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    case = Case(tmp_path, ("image_connector", "volume_connector"))
    without = case.step(case.batch())
    cache = FeatureCache(tmp_path / "cache")
    case.use(cache)
    case.step(case.batch())
    entries = cache.entries()
    bodies = [entry.read_bytes() for entry in entries]
    for number, (entry, body) in enumerate(zip(entries, bodies, strict=True)):
        spoilt = {
            "cut": body[:-9], "a bit": body[:-9] + bytes([body[-9] ^ 1]) + body[-8:], "empty": b"",
            "other key": bodies[number - 1], "text": body.replace(b'\\"kind\\"', b'\\"kinq\\"'),
            "header": b"\xff" * 8 + body[8:],
        }[damage]  # fmt: skip
        assert spoilt != body
        entry.write_bytes(spoilt)
    with caplog.at_level(logging.WARNING):
        case.use(FeatureCache(tmp_path / "cache"))
        batch = case.batch()
    assert sum("cannot be used" in message for message in caplog.messages) == 1
    assert "visual_features" not in batch
    assert case.step(batch)[0] == without[0]
    assert "pixel_values" not in case.batch()


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), OSError(30, "Read-only file system")]
)
def test_a_disk_that_ends_costs_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    case = Case(tmp_path, ("image_connector", "volume_connector"))
    without = case.step(case.batch())

    def fail(*args: Any, **more: Any) -> None:
        raise error

    case.use(FeatureCache(tmp_path / "cache"))
    case.step(case.batch((2,)))
    monkeypatch.setattr("medmvl.data.entry_cache.atomic_write", fail)
    cache = FeatureCache(tmp_path / "cache")
    case.use(cache)
    with caplog.at_level(logging.WARNING):
        assert case.step(case.batch())[0] == case.step(case.batch())[0] == without[0]
    assert [message for message in caplog.messages if str(error.strerror) in message] == caplog.messages
    assert len(caplog.messages) == 1
    assert len(cache.entries()) == 2 and "pixel_values" not in case.batch((2,)), "what is there is still read"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_can_only_be_read_is_read(tmp_path: Path) -> None:
    case = Case(tmp_path, ("llm",))
    cache = FeatureCache(tmp_path / "cache")
    case.use(cache)
    case.step(case.batch())
    for path in (*cache.folder.glob("*"), cache.folder):
        path.chmod(0o500)
    case.use(FeatureCache(tmp_path / "cache"))
    assert "pixel_values" not in case.batch()


def test_a_cache_that_is_a_file_or_gone_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("no folder")
    case = Case(tmp_path, ("llm",))
    with caplog.at_level(logging.WARNING):
        case.use(FeatureCache(tmp_path / "cache"))
        first = case.step(case.batch())
    assert len(caplog.messages) == 1
    assert case.step(case.batch())[0] == first[0]


def test_what_this_run_needs_is_not_pushed_out_by_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Old features make room for new ones; a run that needs more than fits keeps what it has."""
    case = Case(tmp_path, ("image_connector", "volume_connector"))
    everything = FeatureCache(tmp_path / "cache")
    case.use(everything)
    case.step(case.batch())
    old = everything.entries()
    for entry in old:
        os.utime(entry, (10, 10))
    with torch.no_grad():
        for encoder in (case.model.image_encoder, case.model.volume_encoder):
            next(encoder.parameters()).add_(1)
    limit = sum(entry.stat().st_size for entry in old) - 1
    cache = FeatureCache(tmp_path / "cache", limit)
    case.use(cache)
    with caplog.at_level(logging.WARNING):
        first = case.step(case.batch())
        second = case.step(case.batch())
    assert first[0] == second[0]
    assert cache.num_bytes() <= limit and not set(old) & set(cache.entries())
    assert 0 < len(cache.entries()) < len(old)
    assert [message for message in caplog.messages if "is full" in message] == caplog.messages != []


def test_the_limit_is_named_in_gibibytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDMVL_CACHE_GIB", "0.5")
    assert FeatureCache(tmp_path).limit == 2**29
    for wrong in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("MEDMVL_CACHE_GIB", wrong)
        with pytest.raises(UserError, match="expected a number of GiB"):
            FeatureCache(tmp_path)
    monkeypatch.setenv("MEDMVL_CACHE_GIB", "0")
    case = Case(tmp_path, ("llm",))
    cache = FeatureCache(tmp_path / "cache")
    case.use(cache)
    case.step(case.batch())
    assert cache.entries() == []


def test_an_idle_frozen_encoder_is_not_run_but_where_all_processes_must_run_the_same(tmp_path: Path) -> None:
    case = Case(tmp_path, ("image_connector", "volume_connector", "llm"))
    ran: list[int] = []
    case.model.image_encoder.register_forward_hook(lambda *args: ran.append(1))
    losses = {}
    for each_alone in (True, False):
        ran.clear()
        case.model.each_alone = each_alone
        loss, gradients = case.step(case.batch((1,)))  # a volume alone
        assert (ran == []) is each_alone
        losses[each_alone] = loss
        connector = [weight.grad for weight in case.model.image_connector.parameters()]
        assert connector and all(grad is not None and not grad.any() for grad in connector) and gradients
    assert losses[True] == pytest.approx(losses[False], rel=1e-6)


def test_leftovers_of_killed_writers_go_at_the_first_write(tmp_path: Path) -> None:
    """Not when a cache is opened: readers of a million entries need not look through all folders."""
    cache = EntryCache(tmp_path / "entries")
    cache.write("aa1", {"x": torch.zeros(2)}, {})
    left = tmp_path / "entries" / "aa" / f".aa2.safetensors.abcdefgh{PARTIAL}"
    left.write_bytes(b"half")
    cache = EntryCache(tmp_path / "entries")
    assert cache.read("aa1") is not None and left.exists()
    cache.write("bb1", {"x": torch.zeros(2)}, {})
    assert not left.exists() and len(cache.entries()) == 2
