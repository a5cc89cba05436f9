"""The JSON schema of scenario files, for editors (``brokerbench schema``); made from the tables that also validate."""

from __future__ import annotations

from typing import Any

from harness.scenario.catalogue import Catalogue
from harness.scenario.keys import scenario_table

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(catalogue: Catalogue) -> dict[str, Any]:
    """Returns the schema of a scenario for what ``catalogue`` serves.

    It knows keys, words, units and bounds; what several keys say together only ``brokerbench check`` knows.
    """
    return {"$schema": DIALECT, "title": "brokerbench scenario", **scenario_table(catalogue).schema()}
