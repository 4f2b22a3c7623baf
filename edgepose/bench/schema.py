"""JSON Schema of record.json, shipped as record.schema.json beside this file.

python -m edgepose.bench.schema    # writes it anew after the models changed
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgepose.bench.record import BenchRecord
from edgepose.device.files import write_atomic

SCHEMA_FILE = Path(__file__).with_name("record.schema.json")


def record_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of record.json as this version writes it."""
    schema = BenchRecord.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


if __name__ == "__main__":
    write_atomic(SCHEMA_FILE, (json.dumps(record_schema(), indent=1) + "\n").encode())
