"""Fields of OpenAI's and vLLM's clients that are not served: taken at the value that changes nothing, else refused."""

from __future__ import annotations

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from medmvl.json_types import JsonObject


class Unserved:
    """Annotation for a field that is not served.

    Args:
        *neutral: the values that change nothing; null is always one.
        kept: the field keeps the value, which means something for some models.
    """

    def __init__(self, *neutral: object, kept: bool = False) -> None:
        self.neutral = (None, *neutral)
        self.kept = kept

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the value instead of the annotated type."""
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonObject:
        """The values that are taken."""
        return {"enum": list(self.neutral)}

    def _check(self, value: object) -> object:
        if any(_same(value, neutral) for neutral in self.neutral):
            return value if self.kept else None
        neutral = ", ".join(repr(value) for value in self.neutral[1:]) or "null"
        raise PydanticCustomError(
            "unserved", "is not served here; leave it out, or send the value that changes nothing: {neutral}",
            {"neutral": neutral},
        )  # fmt: skip


def _same(value: object, neutral: object) -> bool:
    """Equal as JSON is: 0 and 0.0 are, 0 and false are not."""
    return isinstance(value, bool) == isinstance(neutral, bool) and bool(value == neutral)
