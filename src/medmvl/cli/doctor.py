"""`medmvl doctor`: what this machine has, what is missing and for what.

Every check is a function that yields results; a result is `ok`, `note` (works without it) or `broken`.
Exit code 2 where something needed is broken.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Literal, NamedTuple

import typer

from medmvl.json_types import JsonObject

Level = Literal["ok", "note", "broken"]


class CheckResult(NamedTuple):
    """One line of the listing."""

    topic: str
    name: str
    level: Level
    detail: str


# fmt: off
NEEDED = [
    "torch", "transformers", "tokenizers", "sentencepiece", "safetensors", "accelerate", "peft", "tensorboard",
    "numpy", "pillow", "nibabel",
    "pydicom", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle",
    "python-gdcm", "pynrrd", "filelock", "llguidance", "sacrebleu", "rouge-score", "nltk", "scikit-learn",
    "pydantic", "pyyaml", "jinja2", "typer", "rich", "matplotlib", "tqdm", "psutil",
]
# fmt: on

EXTRAS: dict[str, tuple[str, str]] = {
    "fastapi": ("serve", "medmvl serve"),
    "torchao": ("int8", "weights in 8 bits: --dtype int8"),
    "imagecodecs": ("jpegxl", "JPEG XL images"),
    "highdicom": ("report", "DICOM SR of medmvl report"),
    "fhir.resources": ("report", "FHIR of medmvl report"),
    "monai": ("bench", "the reading benchmark's comparison"),
    "mkdocs": ("docs", "building the documentation site"),
    "pytest": ("dev", "running the tests"),
}
"""Optional distribution: the extra that brings it, and what it is for."""

CHINESE_FONTS = (
    "Noto Sans CJK",
    "Noto Serif CJK",
    "Source Han",
    "WenQuanYi",
    "PingFang",
    "SimHei",
    "Microsoft YaHei",
)


def check_python() -> Iterator[CheckResult]:
    """The interpreter and the system."""
    level: Level = "ok" if sys.version_info >= (3, 11) else "broken"
    yield CheckResult("python", "version", level, f"{platform.python_version()} on {platform.platform()}")


def check_packages() -> Iterator[CheckResult]:
    """Versions of what the package needs, and what each absent extra is for."""
    for name in ("medmvl", *NEEDED):
        version = _version(name)
        yield CheckResult(
            "packages",
            name,
            "ok" if version else "broken",
            version or "missing: pip install -e . in the clone",
        )
    for name, (extra, purpose) in EXTRAS.items():
        version = _version(name)
        hint = f"absent; for {purpose}: pip install -e '.[{extra}]' in the clone"
        yield CheckResult("extras", name, "ok" if version else "note", version or hint)


def check_torch() -> Iterator[CheckResult]:
    """Devices, bf16 and threads as torch sees them."""
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    yield CheckResult("torch", "threads", "ok", f"{torch.get_num_threads()} of {os.cpu_count()} CPUs")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            memory = f"{device.total_memory / 2**30:.0f} GiB"
            yield CheckResult(
                "torch", f"cuda:{index}", "ok", f"{device.name}, {memory}, CUDA {torch.version.cuda}"
            )
        bf16 = torch.cuda.is_bf16_supported()
        yield CheckResult(
            "torch",
            "bf16",
            "ok" if bf16 else "note",
            "on the GPU" if bf16 else "not on this GPU: train in fp32",
        )
        return
    if torch.backends.mps.is_available():
        yield CheckResult("torch", "mps", "ok", "Apple GPU")
        return
    yield CheckResult(
        "torch", "gpu", "note", "none seen by torch: small models train on the CPU, large ones will not"
    )
    fast = "amx" in _cpu_flags() or "avx512_bf16" in _cpu_flags()
    yield CheckResult(
        "torch",
        "bf16",
        "ok" if fast else "note",
        "CPU instructions for it" if fast else "no CPU instructions: slow",
    )


def check_torchvision() -> Iterator[CheckResult]:
    """The trap: a torchvision built for another torch breaks image processors that work without it."""
    version = _version("torchvision")
    if version is None:
        yield CheckResult("torchvision", "absence", "ok", "absent, as it should be: nothing here needs it")
        return
    if importlib.util.find_spec("torch") is None:
        return
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, AttributeError) as error:  # "operator torchvision::nms does not exist"
        detail = f"{version} does not fit torch {_version('torch')} ({error}): pip uninstall torchvision"
        yield CheckResult("torchvision", "torchvision", "broken", detail)
        return
    detail = f"{version} loads beside torch {_version('torch')}; nothing here needs it"
    yield CheckResult("torchvision", "torchvision", "note", detail)


def check_decoders() -> Iterator[CheckResult]:
    """Which DICOM transfer syntaxes pydicom's plugins can decode here."""
    if importlib.util.find_spec("pydicom") is None:
        return
    from pydicom.pixels import get_decoder
    from pydicom.uid import AllTransferSyntaxes

    for syntax in AllTransferSyntaxes:
        try:
            decoder = get_decoder(syntax)
        except NotImplementedError:  # video and structured syntaxes hold no frames pydicom could decode
            continue
        if not syntax.is_encapsulated:
            yield CheckResult("decoders", syntax.name, "ok", "uncompressed")
        elif decoder.is_available:
            yield CheckResult("decoders", syntax.name, "ok", ", ".join(decoder.available_plugins))
        else:
            missing = "; ".join(decoder.missing_dependencies)
            yield CheckResult("decoders", syntax.name, "note", f"no decoder ({missing})")


def check_machine() -> Iterator[CheckResult]:
    """Memory, disk, the cache, and the fonts images need for Chinese text."""
    memory = _memory_gib()
    if memory is not None:
        level: Level = "ok" if memory >= 4 else "note"
        yield CheckResult(
            "machine", "memory", level, f"{memory:.1f} GiB available; the quickstart wants under 4"
        )
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    yield CheckResult("machine", "disk", "ok" if free >= 3 else "note", f"{free:.0f} GiB free in this folder")
    yield CheckResult("machine", "cache", "ok", _cache())
    font = _chinese_font()
    missing = "none found: Chinese in images shows as boxes; install Noto Sans CJK (Debian: fonts-noto-cjk)"
    yield CheckResult("machine", "Chinese font", "ok" if font else "note", font or missing)


def check_model(folder: Path) -> CheckResult:
    """Every file of a model's list of digests, whatever its size."""
    from medmvl.digests import SUMS, first_damage, listed, num_bytes
    from medmvl.errors import UserError
    from medmvl.models.saved_folder import check_model_folder

    try:
        check_model_folder(folder)
    except UserError as error:
        return CheckResult("model", folder.name, "broken", str(error))
    if not (folder / SUMS).exists():
        return CheckResult("model", folder.name, "broken", f"{folder} has no {SUMS}: nothing to compare with")
    damage = first_damage(folder)
    if damage is not None:
        return CheckResult("model", folder.name, "broken", damage)
    size = f"{len(listed(folder) or ())} files, {num_bytes(folder) / 2**20:.1f} MiB"
    return CheckResult("model", folder.name, "ok", f"{size}, all as they were written")


CHECKS: dict[str, Callable[[], Iterator[CheckResult]]] = {
    "python": check_python,
    "packages": check_packages,
    "torch": check_torch,
    "torchvision": check_torchvision,
    "decoders": check_decoders,
    "machine": check_machine,
}


def examine() -> list[CheckResult]:
    """All results, in the order of CHECKS."""
    return [result for check in CHECKS.values() for result in check()]


def doctor(
    model: Annotated[
        Path | None, typer.Argument(help="Folder of a model: compare its files with their digests instead.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Show what this machine has, and what is missing for what; or whether a model is as it was written.

    Exit code 2 where something needed is broken.
    """
    results = examine() if model is None else [check_model(model)]
    broken = [result for result in results if result.level == "broken"]
    if as_json:
        found = {"ok": not broken, "checks": [result._asdict() for result in results]}
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _print_table(results)
        whole = "Everything needed works." if model is None else "The model is as it was written."
        typer.echo(f"\n{len(broken)} broken" if broken else f"\n{whole}")
    if broken:
        raise typer.Exit(2)


def _print_table(results: list[CheckResult]) -> None:
    marks = {"ok": "  ", "note": "- ", "broken": "! "}
    topic = None
    for result in results:
        if result.topic != topic:
            topic = result.topic
            typer.echo(topic)
        typer.echo(
            f"  {marks[result.level]}{shorten(result.name, 44, placeholder=' ...'):<44} {result.detail}"
        )


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_flags() -> set[str]:
    """Instruction sets as Linux names them; empty elsewhere."""
    information = Path("/proc/cpuinfo")
    if not information.is_file():
        return set()
    flags = next((line for line in information.read_text().splitlines() if line.startswith("flags")), "")
    return {"amx" if flag.startswith("amx") else flag for flag in flags.split()}


def _memory_gib() -> float | None:
    """Memory available to new programs; None where the system does not say."""
    information = Path("/proc/meminfo")
    if not information.is_file():
        return None
    rows: JsonObject = dict(line.split(":", 1) for line in information.read_text().splitlines())
    return int(rows["MemAvailable"].split()[0]) / 2**20


def _cache() -> str:
    """Where phantoms and processed scans are kept, and how much they are."""
    folder = Path(os.environ.get("MEDMVL_CACHE") or Path.home() / ".cache" / "medmvl")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return f"{folder}, {size / 2**30:.1f} GiB; scans in it are patient data: medmvl data cache --clear"


def _chinese_font() -> str | None:
    if importlib.util.find_spec("matplotlib") is None:
        return None
    from matplotlib import font_manager

    names = {font.name for font in font_manager.fontManager.ttflist}
    return next((name for name in sorted(names) if name.startswith(CHINESE_FONTS)), None)
