"""From a block of a sample to pixels: where its file lies, what was declared about it, that it is 2D or 3D."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from medmvl.datasets.shards import has_member, in_shard, member_file, member_state
from medmvl.digests import file_state
from medmvl.errors import ReadError
from medmvl.imaging import MedicalImage, read
from medmvl.imaging.partners import files_of
from medmvl.imaging.selector import split_selector
from medmvl.messages import with_article
from medmvl.schema import Declarations, VisualBlock, VolumeBlock

PHANTOM_SCHEME = "phantom://"
ImageLoader = Callable[[VisualBlock], MedicalImage]
"""Reads the image or volume of a block, as a `BlockLoader` does."""


@dataclass(frozen=True)
class BlockLoader:
    """Reads the images and volumes of one source. Small and picklable, for worker processes."""

    folder: Path
    """The data file's folder."""
    image_root: Path | None = None
    volume_root: Path | None = None
    declared: dict[str, Declarations] = field(default_factory=dict)
    """Declarations of the source about its `"image"` and `"volume"` files; a block's own declarations win."""

    @property
    def roots(self) -> dict[str, str]:
        """A digest of each folder that was named for images or volumes: with other ones, equal samples show other scans."""
        named = {"image_root": self.image_root, "volume_root": self.volume_root}
        return {
            name: hashlib.sha256(os.fspath(root.resolve()).encode()).hexdigest()
            for name, root in named.items()
            if root is not None
        }

    def reference(self, block: VisualBlock) -> str:
        """The block's path as `medmvl.imaging.read` takes it, with its `#series=` and the like."""
        if block.path.startswith(PHANTOM_SCHEME):
            return block.path
        root = (self.volume_root if isinstance(block, VolumeBlock) else self.image_root) or self.folder
        return os.fspath(root / block.path)

    def exists(self, block: VisualBlock) -> bool:
        """Whether the file or folder is there; says nothing about what is in it."""
        reference = self.reference(block)
        if reference.startswith(PHANTOM_SCHEME):
            return True
        path, _ = split_selector(reference)
        return has_member(os.fspath(path)) if in_shard(reference) else path.exists()

    def signature(self, block: VisualBlock) -> str:
        """A string that changes when one of the block's files does: its header, its pixels, or any file in its folder."""
        return f"{self.reference(block)} {self.declarations(block)} {self.state(block)}"

    def state(self, block: VisualBlock) -> str:
        """A digest that changes when one of the block's files is replaced, added or removed."""
        return hashlib.sha256(json.dumps(self._states(block)).encode()).hexdigest()

    def written_ns(self, block: VisualBlock) -> int:
        """Time of the last change to the content of the block's files, in nanoseconds; 0 where there is none to look at."""
        return max((written for _, _, written, _ in self._states(block)), default=0)

    def _states(self, block: VisualBlock) -> tuple[tuple[str, int, int, int], ...]:
        reference = self.reference(block)
        return () if reference.startswith(PHANTOM_SCHEME) else states_of(split_selector(reference)[0])

    def declarations(self, block: VisualBlock) -> Declarations:
        """Keyword arguments of `medmvl.imaging.read` for a block."""
        return {**self.declared.get(block.type, Declarations()), **block.declared}

    def __call__(self, block: VisualBlock) -> MedicalImage:
        """Read the block's file.

        Raises:
            ReadError: when it is missing, cannot be read, or is 2D where 3D was promised or the other way
                round.
        """
        reference = self.reference(block)
        if reference.startswith(PHANTOM_SCHEME):
            from medmvl.phantoms.source import load

            image = load(block)
        elif in_shard(reference):
            path, selector = split_selector(reference)
            with member_file(os.fspath(path)) as file:
                image = read(f"{file}{selector}", **self.declarations(block))
        else:
            image = read(reference, **self.declarations(block))
        if image.kind != block.type:
            raise ReadError(
                f"{reference}: asked for as {with_article(block.type)}, but it holds "
                f"{with_article(image.kind)} of shape {image.shape}; "
                f"make it the block '{image.kind}' (--{image.kind} on the command line), or choose another file"
            )
        return image


def states_of(path: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Path, size and times of every file that reading a path opens; what is missing is left to reading.

    The time of the content goes with a file that is moved or copied over another; the time of the file's record (`ctime`) does
    not, so two scans of equal size and time that change names are noticed.
    """
    states = []
    if in_shard(os.fspath(path)):
        with suppress(OSError):
            states.append(member_state(os.fspath(path)))
        return tuple(states)
    for file in files_of(path):
        with suppress(OSError):
            states.append((os.fspath(file), *file_state(file)))
    return tuple(states)
