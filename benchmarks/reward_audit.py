"""The tables of docs/explanation/rewards.md: every built-in reward under attack, on phantoms and, where it is here, on VQA-RAD.

    python benchmarks/reward_audit.py [--vqa-rad FOLDER] [--patients 120]

Phantoms are synthetic; FOLDER holds the published testset.json of VQA-RAD with its images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from medmvl.phantoms import make_patient
from medmvl.phantoms.dataset import iter_patient_samples
from medmvl.rewards import REWARDS, audit_rewards, build_reward
from medmvl.rewards.audit import markdown
from medmvl.schema import Sample, iter_samples
from medmvl.tasks.judge import target_of
from medmvl.tasks.protocols.predictions import record_of


def table(title: str, samples: Iterable[Sample], labeler: str) -> None:
    """Print the audit of all built-in rewards that fit some of the samples."""
    records = [record_of(sample, None) for sample in samples if target_of(sample) is not None]
    rewards = {
        name: build_reward(name, **({"labeler": labeler} if name == "findings_f1" else {}))
        for name in REWARDS
    }
    fitting = {name: one for name, one in rewards.items() if any(one.missing(r) is None for r in records)}
    found = audit_rewards(records, fitting)
    paid = "; ".join(f"{name} pays {', '.join(attacks)}" for name, attacks in found.paid.items())
    lines = [
        f"{title}: {len(records)} questions",
        "",
        markdown(found),
        "",
        paid or "no attack is paid",
        "",
        "",
    ]
    sys.stdout.write("\n".join(lines))
    sys.stdout.flush()


def phantoms(patients: int) -> list[Sample]:
    """All samples of some patients, without pixels."""
    return [
        sample
        for index in range(patients)
        for sample in iter_patient_samples(make_patient(0, index, "quickstart"))
    ]


def is_report(sample: Sample) -> bool:
    """Whether a report is asked for."""
    return sample.target is not None and sample.target.question_type.endswith("_report")


def vqa_rad(folder: Path) -> list[Sample]:
    """The questions of the published test half."""
    from medmvl.datasets.public import ConvertOptions, find_dataset

    with TemporaryDirectory() as temporary:
        out = Path(temporary) / "vqa-rad"
        find_dataset("vqa-rad").convert(folder, out, ConvertOptions("official", fast=True), None)
        return list(iter_samples(out / "test.jsonl"))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vqa-rad", type=Path)
    parser.add_argument("--patients", type=int, default=120)
    parser.add_argument("--questions", type=int, default=200, help="closed questions about phantoms")
    names = ["reports", "questions", "vqa-rad"]
    parser.add_argument("--tables", nargs="+", choices=names, default=names)
    given = parser.parse_args()
    samples = phantoms(given.patients) if {"reports", "questions"} & set(given.tables) else []
    if "reports" in given.tables:
        table("Reports of phantoms", (one for one in samples if is_report(one)), "phantoms")
    if "questions" in given.tables:
        closed = [one for one in samples if not is_report(one)]
        step = max(1, len(closed) // given.questions)
        table("Questions about phantoms", closed[::step], "phantoms")
    if given.vqa_rad is not None and "vqa-rad" in given.tables:
        table("VQA-RAD, test", vqa_rad(given.vqa_rad), "chexpert")


if __name__ == "__main__":
    main()
