"""An image of a few cases: the slice or image that was asked about, the question, the answer, the truth."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medmvl.atomic_files import atomic_write
from medmvl.datasets.loader import ImageLoader
from medmvl.evaluation.results import Judged
from medmvl.imaging.draw import slice_image
from medmvl.schema import Sample, VolumeBlock
from medmvl.tasks import Group

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

CJK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei", "Microsoft YaHei", "SimHei", "PingFang SC", "Heiti SC", "Droid Sans Fallback",
)  # fmt: skip
RIGHT, WRONG = "#1a7f37", "#cf222e"
MISSING = "\N{WHITE SQUARE}"
"""Drawn for a character that no installed font has."""
_WIDTH = 44


def choose_cases(
    judged: Sequence[Judged], count: int = 8, languages: Sequence[str] | None = None
) -> list[Judged]:
    """Cases of as many groups as there are, each of another patient, in a fixed order.

    Where all chosen ones were answered right and some others were not, one of those takes the last place.
    """
    groups: dict[Group, list[Judged]] = {}
    for item in judged:
        if (languages is None or item.group.language in languages) and item.group.modality != "text":
            groups.setdefault(item.group, []).append(item)
    chosen: list[Judged] = []
    used: set[str] = set()
    for group in sorted(groups, key=lambda group: (group.question_type, group.language, group.modality)):
        fresh = [item for item in groups[group] if item.cluster not in used] or groups[group]
        chosen.append(fresh[0])
        used.add(fresh[0].cluster)
    chosen = [
        chosen[round(i * (len(chosen) - 1) / max(1, count - 1))] for i in range(min(count, len(chosen)))
    ]
    wrong = [item for group in groups.values() for item in group if _is_wrong(item)]
    if chosen and wrong and not any(_is_wrong(item) for item in chosen):
        chosen[-1] = wrong[0]
    return chosen


def draw_cases(
    path: Path,
    judged: Sequence[Judged],
    samples: Sequence[Sample],
    load: ImageLoader,
    *,
    note: str | None = None,
    count: int = 8,
) -> bool:
    """Draw `count` cases into a PNG; False where there is nothing to draw.

    Args:
        path: the PNG.
        judged: all cases to choose from. Chinese ones are chosen only where a font can show them.
        samples: the samples of `judged`, in any order.
        load: gives the pixels of a block.
        note: a statement below the image, such as that phantoms are not medicine.
        count: how many.
    """
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    cjk = [name for name in CJK_FONTS if name in installed]
    cases = choose_cases(judged, count, None if cjk else ("en", "-"))
    if not cases:
        return False
    by_id = {sample.id: sample for sample in samples}
    figure, panels = _empty_panels(len(cases))
    fonts = [*cjk[:1], "DejaVu Sans"]
    known = _glyphs(fonts)
    for axes, case in zip(panels, cases, strict=True):
        _draw_case(axes, case, by_id[case.id], load, fonts, known)
    if note:
        figure.text(0.5, 0.008, note, ha="center", va="bottom", fontsize=9, style="italic", color="#57606a")
    with atomic_write(path) as file:
        figure.savefig(file, dpi=110, format="png")
    return True


def _empty_panels(count: int) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """A figure with two axes per case: its image, and its words below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(4, count)
    rows = -(-count // columns)
    height = 4.4 * rows + 0.4
    figure = Figure(figsize=(3.3 * columns, height), facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        2 * rows,
        columns,
        height_ratios=[3, 1.4] * rows,
        left=0.015,
        right=0.985,
        bottom=0.4 / height,
        top=1 - 0.3 / height,
        hspace=0.08,
        wspace=0.08,
    )
    places = (divmod(number, columns) for number in range(count))
    panels = [
        (figure.add_subplot(grid[2 * row, column]), figure.add_subplot(grid[2 * row + 1, column]))
        for row, column in places
    ]
    return figure, panels


def _glyphs(fonts: Sequence[str]) -> set[int]:
    """Characters that some of the fonts can draw, in normal and in bold."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    weights = [
        set().union(
            *(get_font(findfont(FontProperties(family=name, weight=weight))).get_charmap() for name in fonts)
        )
        for weight in ("normal", "bold")
    ]
    return weights[0] & weights[1]


def _draw_case(
    axes: tuple[Axes, Axes],
    case: Judged,
    sample: Sample,
    load: ImageLoader,
    fonts: list[str],
    known: set[int],
) -> None:
    shown, words = axes
    shown.imshow(case_image(sample, load), interpolation="nearest")
    shown.set_axis_off()
    shown.set_title(
        f"{case.group.modality} · {case.group.question_type}", fontsize=9, color="#57606a", family=fonts
    )
    words.set_axis_off()
    closed = case.judgement.metric == "accuracy"
    colour = "black" if not closed else WRONG if _is_wrong(case) else RIGHT
    score = "" if closed else f"  (token F1 {case.judgement.score:.2f})"
    lines = [
        ("Q: " + case.question, "black", "bold"),
        ("Answer: " + (case.text.strip() or "(empty)") + score, colour, "normal"),
        ("Truth: " + case.truth, "#57606a", "normal"),
    ]
    place = 0.97
    for text, shade, weight in lines:
        wrapped = _wrap("".join(sign if ord(sign) in known or sign.isspace() else MISSING for sign in text))
        words.text(
            0,
            place,
            wrapped,
            fontsize=8,
            color=shade,
            weight=weight,
            va="top",
            family=fonts,
            linespacing=1.15,
            parse_math=False,  # a $ is a dollar
        )
        place -= 0.1 * (wrapped.count("\n") + 1) + 0.04


def case_image(sample: Sample, load: ImageLoader) -> Image.Image:
    """The last visual asked about; of a volume, the slice through the middle of its first box or of the volume."""
    number = len(sample.visuals) - 1
    block = sample.visuals[number]
    image = load(block)
    boxes = [box for box in sample.boxes if box.visual == number]
    index = 0
    if isinstance(block, VolumeBlock):
        index = (boxes[0].lower[0] + boxes[0].upper[0]) // 2 if boxes else image.shape[0] // 2
    return slice_image(image, index)


def _wrap(text: str, limit: int = 4) -> str:
    """Broken into lines; Chinese characters are twice as wide."""
    wide = sum(ord(c) > 0x2E80 for c in text) > len(text) / 3
    lines = textwrap.wrap(" ".join(text.split()), _WIDTH // 2 if wide else _WIDTH)
    if len(lines) > limit:
        lines = [*lines[: limit - 1], lines[limit - 1] + " …"]
    return "\n".join(lines)


def _is_wrong(case: Judged) -> bool:
    return case.judgement.metric == "accuracy" and case.judgement.score < 1
