"""A summary of a swarm against what the manual promises."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema

DOCS = Path(__file__).resolve().parents[2] / "docs"
SCHEMA: dict[str, Any] = json.loads((DOCS / "summary.schema.json").read_text())


def check_summary(summary: dict[str, Any]) -> None:
    """It fits the schema, and nothing in it is undocumented."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(summary, SCHEMA, cls=jsonschema.Draft202012Validator)
    documented = set(re.findall(r"`([a-z0-9_@]+)`", (DOCS / "summary-schema.md").read_text()))
    method = SCHEMA["$defs"]["method"]["properties"]
    for known, said in (
        (SCHEMA["properties"], [summary]),
        (method, summary["methods"].values()),
        (SCHEMA["$defs"]["quality"]["properties"], [m["all"] for m in summary["methods"].values()]),
    ):
        for keys in said:
            assert set(keys) <= set(known), set(keys) - set(known)
        assert set(known) <= documented, set(known) - documented
