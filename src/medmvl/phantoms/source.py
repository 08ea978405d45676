"""Phantoms without a disk: references such as `phantom://quickstart/0/7/ct/0`, rendered when loaded."""

from __future__ import annotations

import ast
import functools
import hashlib
import re
from pathlib import Path

from medmvl.errors import UserError
from medmvl.imaging.image import MedicalImage
from medmvl.lru import BoundedLRU
from medmvl.phantoms.patient import Patient, make_patient
from medmvl.phantoms.render import render_ct, render_xray
from medmvl.schema import ImageBlock, VolumeBlock

_REFERENCE = re.compile(
    r"phantom://(?P<preset>\w+)/(?P<seed>\d+)/(?P<index>\d+)/(?P<view>ct|xray)/(?P<study>[01])"
)

_RENDERED: BoundedLRU[str, MedicalImage] = BoundedLRU(1 << 30, lambda image: image.array.nbytes)
"""What this process rendered last: a training asks for the same phantoms again and again, and one costs 10 to 20 ms."""


def reference(patient: Patient, view: str) -> str:
    """Return the reference of one image: preset, seed, patient, view, and 0 (current) or 1 (prior study)."""
    return f"phantom://{patient.preset.name}/{patient.seed}/{patient.index}/{view}/{patient.study}"


def load(block: ImageBlock | VolumeBlock) -> MedicalImage:
    """Render what a block refers to; the array is read-only, as it is kept.

    Raises:
        UserError: where the reference is not one of a phantom, or the patient has no prior study.
    """
    match = _REFERENCE.fullmatch(block.path)
    if match is None:
        raise UserError(
            f"'{block.path}' is no phantom; expected phantom://PRESET/SEED/PATIENT/ct or xray/0 or 1"
        )
    if kept := _RENDERED.get(block.path):
        return kept
    patient: Patient | None = make_patient(int(match["seed"]), int(match["index"]), match["preset"])
    assert patient is not None
    if match["study"] == "1":
        patient = patient.at_prior()
        if patient is None:
            raise UserError(f"'{block.path}': this phantom has no prior study")
    image = render_ct(patient) if match["view"] == "ct" else render_xray(patient)
    image.array.flags.writeable = False
    _RENDERED.put(block.path, image)
    return image


@functools.cache
def code_digest(folder: Path = Path(__file__).parent) -> str:
    """Digest of the phantom code, so that a changed generator never answers with old patients.

    Comments, docstrings and layout decide no pixel and do not change it.
    """
    trees = (ast.parse(file.read_bytes()) for file in sorted(folder.glob("*.py")))
    text = "\n".join(ast.dump(_WithoutDocstrings().visit(tree)) for tree in trees)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class _WithoutDocstrings(ast.NodeTransformer):
    """Removes texts that are statements: docstrings of modules, classes, functions and fields."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        """Drop a statement that is a text."""
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node
