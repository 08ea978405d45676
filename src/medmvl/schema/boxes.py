"""Boxes around findings: half-open, in canonical voxels of their image or volume, in array order."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from medmvl.schema.strict import StrictModel

Coordinates2D = tuple[int, int, int, int]
Coordinates3D = tuple[int, int, int, int, int, int]


class Box(StrictModel):
    """`(y0, x0, y1, x1)` in an image or `(z0, y0, x0, z1, y1, x1)` in a volume; the upper ends are exclusive."""

    coordinates: Annotated[Coordinates2D | Coordinates3D, Field(union_mode="left_to_right")]
    """The numbers in array order."""
    label: str
    """Name of the finding."""
    visual: NonNegativeInt = 0
    """Which visual block of the sample the box lies in, counted over the whole conversation."""

    @field_validator("coordinates", mode="before")
    @classmethod
    def _must_be_voxels(cls, given: object) -> object:
        if isinstance(given, list | tuple) and any(
            isinstance(n, float) and not n.is_integer() for n in given
        ):
            raise ValueError(
                f"box {list(given)} has fractions; expected whole voxels in array order, such as y0, x0, y1, x1: multiply "
                "shares by the image's size"
            )
        return given

    @model_validator(mode="after")
    def _must_have_an_inside(self) -> Box:
        lower, upper = self.lower, self.upper
        if any(low < 0 or high <= low for low, high in zip(lower, upper, strict=True)):
            raise ValueError(
                f"box {list(self.coordinates)} is empty or starts before 0; expected lower < upper, half-open"
            )
        return self

    @property
    def lower(self) -> tuple[int, ...]:
        """First voxel inside, in array order."""
        return self.coordinates[: len(self.coordinates) // 2]

    @property
    def upper(self) -> tuple[int, ...]:
        """First voxel outside, in array order."""
        return self.coordinates[len(self.coordinates) // 2 :]
