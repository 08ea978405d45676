"""HTML pages that need nothing else: one of an evaluation, with numbers, plots and cases; one over several tasks."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from medmvl.atomic_files import write_text
from medmvl.datasets.loader import ImageLoader
from medmvl.evaluation.cases import case_image
from medmvl.evaluation.pages import render
from medmvl.evaluation.results import Judged, Results
from medmvl.evaluation.statistics import FEW_CLUSTERS
from medmvl.json_types import JsonObject
from medmvl.schema import Sample
from medmvl.tasks import Group

NUM_CASES = 6
"""Number of the best answers that are shown, and of the worst."""
MAX_CHOICES = 8
"""Groups with more different truths get no confusion table."""
WORDS: dict[str, tuple[str, str]] = {
    "samples": ("questions", "个问题"), "clusters": ("clusters", "个聚类单位"), "protocol": ("protocol", "评测协议"),
    "question": ("question", "问题类型"), "score": ("score", "得分"), "majority": ("majority answer", "多数答案"),
    "no_image": ("no image", "去除图像"), "swapped_image": ("swapped image", "换为他人图像"),
    "needs_image": ("needs the image", "依赖图像的部分"), "detectable": ("could show", "可检出差异"),
    "confusion": ("Answers given to each truth", "各真实答案对应的回答"), "truth": ("truth", "真实答案"),
    "none": ("(none)", "（无）"), "calibration": ("Calibration", "校准"), "answer": ("answer", "回答"),
    "confidence": ("confidence", "置信度"), "accuracy": ("accuracy", "准确率"), "kept": ("share answered", "作答比例"),
    "error": ("calibration error", "校准误差"), "robustness": ("Shifted images", "图像偏移下的稳健性"),
    "shift": ("shift", "偏移"), "change": ("change", "变化"), "protocols": ("By named protocols", "按指定协议评分"),
    "metric": ("metric", "指标"), "scored": ("scored", "计分数"), "worst": ("Worst answers", "最差的回答"),
    "best": ("Best answers", "最好的回答"), "warnings": ("Keep in mind", "注意事项"), "results": ("Results", "结果"),
    "by": ("model", "模型"), "data": ("data", "数据"),
    "certain": ("All answers equally certain, so there is no curve", "所有回答置信度相同，不绘制曲线"),
    "made": ("How it was made", "运行信息"),
    "languages": ("English and Chinese", "中英文一致性"), "wordings": ("Asked in other words", "换一种问法"),
    "alike": ("all right or all wrong", "同对或同错"), "all_right": ("all right", "均正确"),
    "en": ("English", "英文"), "zh": ("Chinese", "中文"),
    "first": ("as first asked", "首次提问"), "others": ("in other words", "换问法后"),
    "rough": (
        f"* fewer than {FEW_CLUSTERS} clusters: the interval is rough.",
        f"* 聚类单位少于 {FEW_CLUSTERS} 个：区间较粗略。",
    ),
    "intervals": (
        "Intervals are 95 %, over whole clusters. Needs the image: score minus the larger of majority and no image. "
        "Could show: the smallest difference to another model that these clusters would show with 80 % power.",
        "区间为 95 %，按聚类单位整体重抽样。依赖图像的部分：得分减去多数答案与去除图像两者中较大者。"
        "可检出差异：在 80 % 功效下能够检出的与另一模型的最小差异。",
    ),
}  # fmt: skip


def write_page(
    path: Path, results: Results, samples: Sequence[Sample], load: ImageLoader, title: str = "Evaluation"
) -> None:
    """Write the page: no scripts or fonts from elsewhere, no ids, no paths; images are inside.

    Args:
        path: the `.html` file.
        results: of one evaluation.
        samples: the samples that were evaluated.
        load: gives the pixels of a block, for the cases.
        title: the heading.
    """
    worst, best = choose_extremes(results.judged)
    by_id = {sample.id: sample for sample in samples}
    page = render(
        "page.html.jinja",
        title=title,
        words=WORDS,
        about=results.about,
        headline=headline(results),
        dots=[group for group in results.more.get("calibration", ()) if len(group["bins"]) == 1],
        rows=[row.to_json() for row in results.rows],
        warnings=results.warnings,
        more=results.more,
        few=FEW_CLUSTERS,
        confusions=confusions(results.judged),
        cases={
            "worst": [_case(item, by_id[item.id], load) for item in worst],
            "best": [_case(item, by_id[item.id], load) for item in best],
        },
    )
    write_text(path, page)


def headline(results: Results) -> tuple[str, str]:
    """In English and Chinese: in how many rows the answers are better than both controls, as far as they were asked."""
    checked = [row.needs_image for row in results.rows if row.needs_image is not None]
    above = sum(interval.low > 0 for interval in checked)
    if not checked:
        return (
            "No controls were asked, so no score says whether the image was used.",
            "未评测对照，无法判断模型是否利用了图像。",
        )
    return (
        f"Better than the majority answer and than no image in {above} of {len(checked)} rows "
        "(the whole interval is above 0).",
        f"{len(checked)} 行中有 {above} 行优于多数答案与去除图像（整个区间大于 0）。",
    )


def write_overview(path: Path, tasks: Sequence[tuple[str, str, Results]]) -> None:
    """Write one page over several tasks, every number next to its controls, with links to the tasks' own pages.

    Args:
        path: the `.html` file, next to the folders of the tasks.
        tasks: for each its folder's name, its title and its results.
    """
    shown = [
        {
            "folder": folder,
            "title": title,
            "about": results.about,
            "warnings": results.warnings,
            "failures": len(results.failures),
            "rows": [row.to_json() for row in results.rows],
        }
        for folder, title, results in tasks
    ]
    write_text(path, render("index.html.jinja", tasks=shown, few=FEW_CLUSTERS))


def choose_extremes(judged: Sequence[Judged], count: int = NUM_CASES) -> tuple[list[Judged], list[Judged]]:
    """The worst and the best answers about images, as many groups and patients as there are; never one in both."""
    seen = [item for item in judged if item.group.modality != "text"]
    ordered = sorted(seen, key=lambda item: item.judgement.score)
    middle = len(ordered) // 2
    worst = [item for item in ordered[:middle] if item.judgement.score < 1]
    best = [item for item in reversed(ordered[middle:]) if item.judgement.score > 0]
    return _spread(worst, count), _spread(best, count)


def confusions(judged: Sequence[Judged]) -> list[JsonObject]:
    """For every group of closed questions a table: truths as rows, answers as columns, the last one for none."""
    groups: dict[Group, Counter[tuple[str, str | None]]] = {}
    for item in judged:
        if item.judgement.metric == "accuracy":
            said = item.truth if item.judgement.score == 1 else item.judgement.parsed
            groups.setdefault(item.group, Counter())[item.truth, said] += 1
    tables = []
    for group, counts in sorted(groups.items()):
        truths = sorted({truth for truth, _ in counts})
        names: list[str | None] = [*truths, *sorted({said for _, said in counts if said} - set(truths)), None]
        if 1 < len(truths) <= MAX_CHOICES and len(names) <= 2 * MAX_CHOICES:
            cells = [[counts[truth, said] for said in names] for truth in truths]
            tables.append({"group": str(group), "truths": truths, "answers": names, "counts": cells})
    return tables


def _spread(items: Sequence[Judged], count: int) -> list[Judged]:
    """The first of every group, then the second of every group, ..., no patient twice while there are others."""
    places: Counter[Group] = Counter()
    ranked: list[tuple[bool, int, int, Judged]] = []
    used: set[str] = set()
    for item in items:
        places[item.group] += 1
        ranked.append((item.cluster in used, places[item.group], len(ranked), item))
        used.add(item.cluster)
    return [entry[3] for entry in sorted(ranked, key=lambda entry: entry[:3])[:count]]


def _case(item: Judged, sample: Sample, load: ImageLoader) -> JsonObject:
    return {
        "group": str(item.group), "question": item.question, "text": item.text, "truth": item.truth,
        "score": item.judgement.score, "metric": item.judgement.metric, "image": _image(sample, load),
    }  # fmt: skip


def _image(sample: Sample, load: ImageLoader) -> str | None:
    """A data URI; None where the file cannot be read, which is why its answer failed."""
    try:
        image = case_image(sample, load)
    except (ValueError, OSError):
        return None
    image.thumbnail((512, 512))
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
