"""Presets: which findings a data set has, how large they are, and what is asked.

`quickstart` is easy by intent: a model of 1M parameters learns its closed questions in minutes on a CPU;
`quickstart_normal` is the same with few findings.
`chest` is the whole range.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from medmvl.errors import UserError
from medmvl.phantoms.distributions import Distribution, LogUniform, TruncatedNormal, Uniform

HALF_WIDTH_MM = 180.0
"""Half of the field of view, in plane."""
HALF_HEIGHT_MM = 160.0
SOFT_TISSUE_HU = Uniform(25, 55)
CT_NOISE_HU = Uniform(10, 20)
NORMAL_RATIO = TruncatedNormal(0.44, 0.02, 0.40, 0.48)
DAYS_BETWEEN = LogUniform(30, 900)


@dataclass(frozen=True)
class FindingSettings:
    """How often a finding occurs and how large it is."""

    prevalence: float
    """Share of patients; a multiple of 1/40 is met exactly in every 40 patients."""
    size: Distribution
    """Size in the unit of its type (`findings.FINDINGS`)."""
    hu: Distribution = SOFT_TISSUE_HU
    spread: float = 1.0
    """0: the middle of its place, 1: anywhere in it."""


@dataclass(frozen=True)
class Preset:
    """Settings of one data set of phantoms, by name."""

    name: str
    ct_shape: tuple[int, int, int]
    xray_shape: tuple[int, int]
    findings: Mapping[str, FindingSettings]
    ct_questions: tuple[str, ...]
    """Names in `questions.QUESTIONS`, asked about the CT."""
    xray_questions: tuple[str, ...]
    """The same, asked about the X-ray."""
    normal_ratio: Distribution = NORMAL_RATIO
    """Cardiothoracic ratio of hearts that are not enlarged."""
    noise_hu: Distribution = CT_NOISE_HU
    prior_share: float = 0.0
    """Share of patients who have a prior study."""
    days_between: Distribution = DAYS_BETWEEN


QUICKSTART_FINDINGS = {
    "nodule": FindingSettings(
        0.5, Uniform(0.28 * HALF_WIDTH_MM, 0.44 * HALF_WIDTH_MM), Uniform(120, 220), spread=0.35
    ),
    "effusion": FindingSettings(0.5, Uniform(500, 900), Uniform(5, 25)),
    "cardiomegaly": FindingSettings(0.5, Uniform(0.60, 0.68)),
}

CHEST_FINDINGS = {
    "nodule": FindingSettings(0.5, LogUniform(6, 40), Uniform(20, 200), spread=0.95),
    "effusion": FindingSettings(0.4, LogUniform(80, 1000), Uniform(0, 30)),
    "cardiomegaly": FindingSettings(0.4, Uniform(0.51, 0.66)),
    "pneumothorax": FindingSettings(0.25, Uniform(0.12, 0.5), Uniform(-1000, -990)),
    "consolidation": FindingSettings(0.4, Uniform(50, 110), Uniform(20, 50)),
    "calcification": FindingSettings(0.4, Uniform(3, 10), Uniform(500, 1100)),
    "emphysema": FindingSettings(0.3, Uniform(14, 34), Uniform(-995, -975)),
    "atelectasis": FindingSettings(0.3, Uniform(6, 16), Uniform(10, 45), spread=0.4),
    "hiatal_hernia": FindingSettings(0.2, Uniform(34, 62), Uniform(20, 45)),
    "lymphadenopathy": FindingSettings(0.3, Uniform(14, 28), Uniform(30, 60)),
}

PRESETS: dict[str, Preset] = {
    "quickstart": Preset(
        name="quickstart",
        ct_shape=(32, 64, 64),
        xray_shape=(64, 64),
        findings=QUICKSTART_FINDINGS,
        ct_questions=("nodule", "nodule_lobe", "effusion", "effusion_side", "cardiomegaly", "report"),
        xray_questions=("effusion", "effusion_side", "cardiomegaly", "report"),
        normal_ratio=Uniform(0.38, 0.46),
    ),
    "quickstart_normal": Preset(
        name="quickstart_normal",
        ct_shape=(32, 64, 64),
        xray_shape=(64, 64),
        findings={finding_type: replace(settings, prevalence=0.1) for finding_type, settings in QUICKSTART_FINDINGS.items()},
        ct_questions=("nodule", "nodule_lobe", "effusion", "effusion_side", "cardiomegaly", "report"),
        xray_questions=("effusion", "effusion_side", "cardiomegaly", "report"),
        normal_ratio=Uniform(0.38, 0.46),
    ),
    "chest": Preset(
        name="chest",
        ct_shape=(64, 128, 128),
        xray_shape=(256, 256),
        findings=CHEST_FINDINGS,
        ct_questions=(
            "nodule", "nodule_lobe", "nodule_lobe_choice", "nodule_size", "effusion", "effusion_side",
            "effusion_volume", "cardiomegaly", "cardiothoracic_ratio", "pneumothorax", "pneumothorax_side",
            "consolidation", "consolidation_lobe", "consolidation_lobe_choice", "calcification",
            "calcification_site", "emphysema", "atelectasis", "atelectasis_lobe", "hiatal_hernia",
            "lymphadenopathy", "findings", "change", "report",
        ),
        xray_questions=(
            "effusion", "effusion_side", "effusion_side_choice", "cardiomegaly", "cardiothoracic_ratio",
            "pneumothorax", "pneumothorax_side", "consolidation", "consolidation_side", "findings", "change",
            "report",
        ),
        prior_share=0.5,
    ),
    "tiny": Preset(
        name="tiny",
        ct_shape=(8, 16, 16),
        xray_shape=(16, 16),
        findings=QUICKSTART_FINDINGS,
        ct_questions=("nodule", "nodule_lobe", "effusion", "effusion_side", "cardiomegaly", "report"),
        xray_questions=("effusion", "effusion_side", "cardiomegaly", "report"),
        normal_ratio=Uniform(0.38, 0.46),
    ),
}  # fmt: skip


def get_preset(preset: str | Preset) -> Preset:
    """Return a preset by name.

    Raises:
        UserError: listing the known names.
    """
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        raise UserError(f"no phantom preset '{preset}'; known presets: {', '.join(PRESETS)}")
    return PRESETS[preset]
