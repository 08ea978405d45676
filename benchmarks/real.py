"""Claim: a small model of real parts answers closed questions of VQA-RAD better than the majority answer and than itself blind.

`make real VQA_RAD=FOLDER` runs it: pretrained parts, data, the training of `vqa-rad-small` with every seed and of its random
twin with the first, the official test of 451 questions with all controls, and a page. The same command goes on where it was
stopped; `--summary` writes the page of what is finished.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medmvl.evaluation.statistics import Interval, difference_interval, mean_interval
from medmvl.tasks.metrics.text import words

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "examples" / "efficientnet_lite"
PARTS = ("smollm2-135m-instruct", "efficientnet-lite0")
PROTOCOLS = ("medevalkit", "unimed")
TWIN = "vqa-rad-small-random"
COLUMNS = ("n", "score", "majority", "no image", "another patient's image", "random parts")
SCORES = ("score", "majority", "no_image", "swapped_image")
PUBLISHED = (
    ("LLaVA-Med-7B", "46.6", "MedEvalKit, all 451", "Hulu-Med README"),
    ("HuatuoGPT-V-7B", "67.6", "MedEvalKit, all 451", "Hulu-Med README"),
    ("Lingshu-7B", "67.9", "MedEvalKit, all 451", "Lingshu, table 6"),
    ("MedGemma-4B-it", "72.3", "MedEvalKit, all 451", "Hulu-Med README"),
    ("Hulu-Med-7B", "78.0", "MedEvalKit, all 451", "Hulu-Med README"),
    ("VILA-M3-8B", "84.5", "equal after lower case, a split of its own", "VILA-M3 README"),
)
"""Model, accuracy in per cent, protocol, source."""


def main() -> None:
    """Get, convert, train, evaluate, write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vqa-rad", type=Path, required=True, help="folder of VQA-RAD in a published layout")
    parser.add_argument("--out", type=Path, required=True, help="folder of parts, data and runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--wheels", type=Path, help="folder with wheels of the parts; default: they are fetched"
    )
    parser.add_argument(
        "--set",
        nargs="*",
        default=[],
        help="changes of the recipe, key.path=value, for a trial or a smoke run",
    )
    parser.add_argument("--limit", type=int, help="evaluate the first images only, for a smoke run")
    parser.add_argument("--page", type=Path, help="default: page.md in --out")
    parser.add_argument("--summary", action="store_true", help="only write the page")
    arguments = parser.parse_args()
    out = arguments.out
    if not arguments.summary:
        prepare(arguments)
        runs = [("vqa-rad-small", seed) for seed in arguments.seeds] + [(TWIN, arguments.seeds[0])]
        for recipe, seed in runs:
            execute(recipe, seed, arguments)
    text = page(out)
    (arguments.page or out / "page.md").write_text(text, encoding="utf-8")
    print(text)


def prepare(arguments: argparse.Namespace) -> None:
    """The tower's plug-in, the pretrained parts, and the data."""
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    if importlib.util.find_spec("medmvl_efficientnet_lite") is None:
        install = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            str(PLUGIN),
        ]
        subprocess.run(install, check=True)
    for name in PARTS:
        at_hand = arguments.wheels is not None and any(arguments.wheels.glob("*.whl"))
        medmvl(
            "pretrained",
            "get",
            name,
            out / "parts" / name,
            *(["--from", arguments.wheels] if at_hand else []),
        )
    medmvl("data", "convert", "vqa-rad", arguments.vqa_rad, out / "data", "--split", "official")


def execute(recipe: str, seed: int, arguments: argparse.Namespace) -> None:
    """Train and evaluate one run; what is finished is not repeated."""
    out, folder = arguments.out, arguments.out / f"{recipe}-seed-{seed}"
    parts = out / "parts"
    changes = [
        f"seed={seed}",
        f"model.llm.{'tokenizer' if recipe == TWIN else 'path'}={parts / PARTS[0]}",
        *([] if recipe == TWIN else [f"model.image_encoder.path={parts / PARTS[1]}"]),
        *(f"data.train.{index}.path={out / 'data/train.jsonl'}" for index in (0, 1)),
        f"data.test.0.path={out / 'data/test.jsonl'}",
        *(f"stages.{stage}.precision={precision()}" for stage in ("align", "instruct")),
        *arguments.set,
    ]
    if not (folder / "evaluation" / "results.json").is_file():
        medmvl("train", recipe, *changes, "--out", folder / "run")
    limit = ["--limit-patients", arguments.limit] if arguments.limit else []
    medmvl(
        "evaluate", folder / "run/model", "--data", out / "data/test.jsonl", "--train", out / "data/train.jsonl",
        "--protocol", ",".join(PROTOCOLS), "--calibration", "--max-new-tokens", 32, *limit, "--out", folder / "evaluation",
    )  # fmt: skip


def precision() -> str:
    """bfloat16 only where the processor computes in it: elsewhere it is many times slower than float32."""
    import torch

    from medmvl.training.trainer_arguments import cpu_has_bfloat16

    return "auto" if torch.cuda.is_available() else "bfloat16" if cpu_has_bfloat16() else "float32"


def medmvl(*words: str | Path | int) -> None:
    """Run the command; nothing is downloaded by it but what `pretrained get` is asked for."""
    print("$ medmvl", *words, flush=True)
    done = subprocess.run([sys.executable, "-m", "medmvl", *map(str, words)], env={**os.environ}, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def page(out: Path) -> str:
    """The results of every finished run as a page."""
    seeds, twins = finished(out, "vqa-rad-small"), finished(out, TWIN)
    if not seeds:
        return "# VQA-RAD with real parts\n\nNo run is finished.\n"
    categories, closed = categories_of(out / "data" / "test.jsonl"), joined(seeds, of_metric("accuracy"))
    lines = [
        "# VQA-RAD with real parts",
        "",
        "`make real VQA_RAD=FOLDER`, recipe `vqa-rad-small`: EfficientNet-Lite0, a bilinear connector, SmolLM2-135M-Instruct;",
        f"official test, {len(seeds)} seeds. Mean over seeds, 95 % interval over images. 1,912 of the 3,064 official training",
        "questions are about test images, as in all numbers published on this split.",
        "**Research software: no answer is a diagnosis.**",
        "",
        *head("questions", *COLUMNS),
    ]
    for metric, name in (("accuracy", "closed, accuracy"), ("token_f1", "open, token F1")):
        lines.append(row(name, *(joined(folders, of_metric(metric)) for folders in (seeds, twins))))
    lines += ["", *bar(closed), *lookup(out / "data", closed), *words_alone(out / "data", closed)]
    lines += ["", *head("closed, by organ or type", *COLUMNS)]
    for category in sorted({name for names in categories.values() for name in names}):
        named = {name for name, names in categories.items() if category in names}
        found, twin = (joined(folders, of_metric("accuracy", named)) for folders in (seeds, twins))
        if found["clusters"]:
            lines.append(row(category, found, twin))
    lines += [
        "",
        "Published numbers of large models, each by its protocol:",
        "",
        *head("model", "accuracy", "protocol", "source"),
    ]
    lines += [f"| {' | '.join(entry)} |" for entry in PUBLISHED]
    lines += [
        "",
        "Every protocol and seed:",
        "",
        *head("run", "protocol", "questions", "measure", "value", "n"),
    ]
    lines += [line for folder in (*seeds, *twins) for line in told(folder)]
    return "\n".join(lines) + "\n"


def head(*names: str) -> list[str]:
    """The first two lines of a table."""
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]


def of_metric(metric: str, named: Container[str] | None = None) -> Callable[[Mapping[str, Any]], bool]:
    """Chooses answers by how they are judged, and by their ids."""
    return lambda line: line["metric"] == metric and (named is None or line["id"] in named)


def finished(out: Path, recipe: str) -> list[Path]:
    """Evaluations of a recipe."""
    return [path.parent for path in sorted(out.glob(f"{recipe}-seed-*/evaluation/results.json"))]


def categories_of(data: Path) -> dict[str, tuple[str, ...]]:
    """Organ and types of every question."""
    return {one["id"]: tuple(one["target"].get("categories") or ()) for one in read_samples(data)}


def joined(folders: Iterable[Path], keep: Callable[[Mapping[str, Any]], bool]) -> dict[str, list[Any]]:
    """Scores of each chosen answer, averaged over seeds, and its image."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    clusters: dict[str, int] = {}
    for folder in folders:
        for text in (folder / "answers.jsonl").read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            if keep(line):
                clusters[line["id"]] = line["cluster"]
                found[line["id"]]["score"].append(line["score"])
                for control in SCORES[1:]:
                    if control in line:
                        found[line["id"]][control].append(line[control]["score"])
    columns: dict[str, list[Any]] = {"ids": list(found), "clusters": [str(clusters[name]) for name in found]}
    for score in SCORES:
        if all(values[score] for values in found.values()):
            columns[score] = [sum(values[score]) / len(values[score]) for values in found.values()]
    return columns


def interval(columns: Mapping[str, list[Any]], values: Sequence[float]) -> Interval:
    """Mean with its interval over images."""
    return mean_interval(list(values), columns["clusters"], seed=0)


def row(name: str, columns: Mapping[str, list[Any]], twin: Mapping[str, list[Any]]) -> str:
    """A line of a table."""
    cells = [str(interval(columns, columns[score])) if columns.get(score) else "-" for score in SCORES]
    cells.append(str(interval(twin, twin["score"])) if twin.get("score") else "-")
    return f"| {name} | {len(columns['clusters'])} | {' | '.join(cells)} |"


def bar(columns: Mapping[str, list[Any]]) -> list[str]:
    """Whether closed accuracy is above the majority answer and above the model without its image, outside the interval."""
    reached, said = True, []
    for control in ("majority", "no_image"):
        if control not in columns:
            return ["Bar: not judged, as a control is missing."]
        gain = difference_interval(columns["score"], columns[control], columns["clusters"], seed=0)
        reached &= gain.low > 0
        said.append(f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] over {control.replace('_', ' ')}")
    verdict = "reached" if reached else "not reached"
    return [
        f"Bar, closed accuracy above both controls, paired, outside the interval: **{verdict}** ({'; '.join(said)})."
    ]


def lookup(data: Path, columns: Mapping[str, list[Any]]) -> list[str]:
    """What is right without a model: the answer to the most similar closed training question about the same image."""
    known: dict[str, list[tuple[set[str], str]]] = defaultdict(list)
    for sample in read_samples(data / "train.jsonl"):
        if sample["target"].get("question_type") == "closed":
            known[sample["image_group"]].append((question_words(sample), answer_words(sample)))
    scores, clusters, seen = [], [], 0
    for sample in read_samples(data / "test.jsonl"):
        if sample["id"] not in columns["ids"]:
            continue
        asked, near = question_words(sample), known.get(sample["image_group"], [])
        best = max(
            near, key=lambda one: len(asked & one[0]) / max(len(asked | one[0]), 1), default=(set(), "")
        )
        seen += bool(near)
        scores.append(float(best[1] == answer_words(sample)))
        clusters.append(sample["image_group"])
    if not scores:
        return []
    found = mean_interval(scores, clusters, seed=0)
    return [
        "",
        f"The image of {seen} of these {len(scores)} closed questions has closed questions in the training half. The",
        f"answer to the most similar one of them, without any model, is right for {found}: a high score on this",
        "split is no sign of sight.",
    ]


def words_alone(data: Path, columns: Mapping[str, list[Any]]) -> list[str]:
    """What a classifier of the question's words reaches, taught on the closed training questions, and what the model adds."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    def asked(sample: Mapping[str, Any]) -> str:
        return " ".join(sorted(question_words(sample)))

    train = [one for one in read_samples(data / "train.jsonl") if one["target"]["question_type"] == "closed"]
    if len({answer_words(one) for one in train}) < 2:
        return []
    classifier = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10, max_iter=1000))
    classifier.fit([asked(one) for one in train], [answer_words(one) for one in train])
    test = {one["id"]: one for one in read_samples(data / "test.jsonl")}
    chosen = [test[name] for name in columns["ids"]]
    said = classifier.predict([asked(one) for one in chosen])
    scores = [float(answer == answer_words(one)) for answer, one in zip(said, chosen, strict=True)]
    gain = difference_interval(columns["score"], scores, columns["clusters"], seed=0)
    return [
        "",
        f"A classifier of the question's words alone (TF-IDF, logistic regression) is right for {interval(columns, scores)};",
        f"the model is better by {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]. Without its image the model guesses",
        "worse than that, as it saw few questions so.",
    ]


def read_samples(path: Path) -> list[dict[str, Any]]:
    """Samples of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def question_words(sample: Mapping[str, Any]) -> set[str]:
    """Words of the question."""
    blocks = sample["messages"][0]["content"]
    return {word for block in blocks for word in words(block.get("text", ""))}


def answer_words(sample: Mapping[str, Any]) -> str:
    """The answer without case and punctuation."""
    return " ".join(words(sample["messages"][-1]["content"][0]["text"]))


def told(folder: Path) -> list[str]:
    """Rows of one run: `strict`, the published protocols, and the likeliest choice."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    run, lines = folder.parent.name, []
    for item in results["rows"]:
        lines.append((run, "strict", item["question_type"], item["metric"], item["score"]))
    for item in results.get("protocols") or ():
        if "/" not in item["group"]:  # one organ or type; the table above has them
            lines.append((run, item["protocol"], item["group"], item["metric"], item["score"]))
    for item in results.get("calibration") or ():
        lines.append(
            (run, "strict", item["question_type"], "accuracy of the likeliest choice", item["accuracy"])
        )
    return [
        f"| {' | '.join(map(str, line))} | {score['value']:.3f} | {score['n']} |"
        for *line, score in lines
        if score
    ]


if __name__ == "__main__":
    main()
