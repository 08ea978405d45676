"""Names for values of JSON and YAML: what another program or a user wrote, before it is checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

JsonValue = Any
"""Null, boolean, number, string, list or object."""
JsonObject = dict[str, Any]
"""Object whose keys and values have no type of ours."""
JsonMapping = Mapping[str, Any]
"""The same where it is only read."""
