"""Patient: a synthetic person in a few numbers, drawn later; made from seed and index alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from medmvl.phantoms.anatomy import Anatomy, sample_anatomy
from medmvl.phantoms.findings import DRAW_ORDER, FINDINGS, Finding, settle
from medmvl.phantoms.presets import FindingSettings, Preset, get_preset
from medmvl.phantoms.streams import BLOCK, stratum, stream

CHANGES = ("new", "larger", "unchanged", "smaller", "resolved")
"""How a finding of the current study compares with the prior one."""


@dataclass(frozen=True)
class Prior:
    """An earlier study of the same chest."""

    days_before: int
    findings: tuple[Finding, ...]
    cardiothoracic_ratio: float
    changes: tuple[tuple[str, str], ...]
    """Finding type and what happened to it since; one of `CHANGES`."""


@dataclass(frozen=True)
class Patient:
    """A synthetic patient. Equal seeds, indices and presets give equal patients, however many are made."""

    seed: int
    index: int
    preset: Preset
    anatomy: Anatomy
    findings: tuple[Finding, ...]
    prior: Prior | None = None
    study: int = 0
    """0 for the current study, 1 for the prior one."""

    @property
    def pseudonym(self) -> str:
        """The name in samples, such as `"phantom-chest-0-0000007"`: other presets and seeds are other patients."""
        return f"phantom-{self.preset.name}-{self.seed}-{self.index:07d}"

    def finding(self, finding_type: str) -> Finding | None:
        """Return the patient's finding of a type; there is at most one."""
        return next((finding for finding in self.findings if finding.finding_type == finding_type), None)

    def wording_of(self, finding_type: str, num_places: int = 0) -> int:
        """Return a number that chooses words: those who share it balance out in who has the finding, or where.

        A guesser that sees only the words then scores what the most frequent answer scores.
        """
        number = stratum(self.seed, self.index, finding_type)
        group = number // (2 * num_places) if num_places else number % (BLOCK // 2)
        return group + self.index // BLOCK

    def stream(self, purpose: str) -> np.random.Generator:
        """Return this study's generator for a purpose."""
        return stream(self.seed, self.index, f"{purpose}/{self.study}")

    def at_prior(self) -> Patient | None:
        """Return the patient as seen in the prior study, or None."""
        if self.prior is None:
            return None
        anatomy = replace(self.anatomy, cardiothoracic_ratio=self.prior.cardiothoracic_ratio)
        return replace(self, anatomy=anatomy, findings=self.prior.findings, prior=None, study=1)


def make_patient(seed: int, index: int, preset: str | Preset = "quickstart") -> Patient:
    """Make patient number `index` of a seed. Cheap: nothing is drawn yet."""
    chosen = get_preset(preset)
    present = {
        finding_type: _place(seed, index, finding_type, settings)
        for finding_type, settings in chosen.findings.items()
    }
    rng = stream(seed, index, "anatomy")
    ratio = chosen.normal_ratio.sample(rng)
    if present.get("cardiomegaly") is not None:
        ratio = chosen.findings["cardiomegaly"].size.sample(rng)
    anatomy = sample_anatomy(rng, ratio, chosen.noise_hu.sample(rng))
    findings = tuple(
        _make_finding(
            finding_type, place, anatomy, chosen.findings[finding_type], stream(seed, index, finding_type)
        )
        for finding_type in DRAW_ORDER
        if (place := present.get(finding_type)) is not None
    )
    patient = Patient(seed, index, chosen, anatomy, findings)
    if stratum(seed, index, "prior") < round(chosen.prior_share * BLOCK):
        patient = replace(patient, prior=_make_prior(patient))
    return patient


def _place(seed: int, index: int, finding_type: str, settings: FindingSettings) -> str | None:
    """Return where this patient has a finding of this type, or None; strata balance places."""
    number = stratum(seed, index, finding_type)
    if number >= round(settings.prevalence * BLOCK):
        return None
    places = FINDINGS[finding_type].places
    return places[(number // 2) % len(places)]


def _make_finding(
    finding_type: str, place: str, anatomy: Anatomy, settings: FindingSettings, rng: np.random.Generator
) -> Finding:
    size = anatomy.cardiothoracic_ratio if finding_type == "cardiomegaly" else settings.size.sample(rng)
    finding = Finding(finding_type=finding_type, place=place, size=size, hu=settings.hu.sample(rng))
    return settle(finding, anatomy, rng, settings.spread)


def _make_prior(patient: Patient) -> Prior:
    """Draw how every finding came about: new, larger, smaller or unchanged; some have resolved."""
    rng = stream(patient.seed, patient.index, "prior-study")
    preset = patient.preset
    ratio = patient.anatomy.cardiothoracic_ratio
    kept, changes = [], []
    for finding in patient.findings:
        change = CHANGES[int(rng.integers(4))]
        if finding.finding_type == "cardiomegaly":
            change = "new" if change == "new" else "unchanged"
            ratio = preset.normal_ratio.sample(rng) if change == "new" else ratio
        changes.append((finding.finding_type, change))
        if change != "new":
            kept.append(_earlier(patient, finding, change, rng))
    for finding_type, settings in preset.findings.items():
        if patient.finding(finding_type) is None and finding_type != "cardiomegaly" and rng.random() < 0.12:
            places = FINDINGS[finding_type].places
            place = places[int(rng.integers(len(places)))]
            kept.append(_make_finding(finding_type, place, patient.anatomy, settings, rng))
            changes.append((finding_type, "resolved"))
    days = round(preset.days_between.sample(rng))
    ordered = tuple(sorted(kept, key=lambda finding: DRAW_ORDER.index(finding.finding_type)))
    return Prior(days, ordered, ratio, tuple(changes))


def _earlier(patient: Patient, finding: Finding, change: str, rng: np.random.Generator) -> Finding:
    """Return a finding as it was before it changed: clearly smaller, clearly larger, or the same."""
    if change == "unchanged":
        return finding
    factor = rng.uniform(0.4, 0.65) if change == "larger" else rng.uniform(1.5, 2.0)
    limit = patient.preset.findings[finding.finding_type].size.high * 1.5
    earlier = replace(finding, size=min(finding.size * float(factor), limit))
    if finding.finding_type not in ("effusion", "pneumothorax"):
        return earlier
    return settle(earlier, patient.anatomy, rng, 1.0)
