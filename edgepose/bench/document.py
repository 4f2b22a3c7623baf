"""A pydantic model as a JSON file: written atomically, read strictly."""

from __future__ import annotations

import json
import re
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from edgepose.errors import EdgeposeError


class Strict(BaseModel):
    """Frozen, refuses unknown keys, and refuses NaN: what is not known is `null`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Document = TypeVar("Document", bound=Strict)


def to_json_bytes(document: Strict) -> bytes:
    """Stable, readable JSON with a newline at the end; a list of numbers stays on one line."""
    text = json.dumps(document.model_dump(mode="json"), indent=1, ensure_ascii=False)
    # A raw line break never stands inside a JSON string, so this touches lists of numbers only.
    flat = re.sub(r"\[\n([-+\d.eE,\s]+?)\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    return (flat + "\n").encode()


def read_document(
    path: str | PathLike[str], model: type[Document], *, version_key: str, version: int
) -> Document:
    """Read and check a JSON document; EdgeposeError for what is missing, broken or too new."""
    file = Path(path)
    try:
        data: Any = json.loads(file.read_bytes())
    except OSError as error:
        raise EdgeposeError(
            f"cannot read {file}: {error.strerror or error}",
            fix="give the path of a finished run or record",
        ) from error
    except ValueError as error:
        raise EdgeposeError(
            f"{file} is not JSON: {error}", fix="it may be cut short; run the command again"
        ) from error
    found = data.get(version_key) if isinstance(data, dict) else None
    if found != version:
        raise EdgeposeError(
            f"{file} has {version_key} {found!r}; this edgepose reads {version}",
            fix="run the command again with this version, or use the edgepose that wrote the file",
        )
    try:
        return model.model_validate_json(file.read_bytes())
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in item['loc']) or 'document'}: {item['msg']}"
            for item in error.errors()
        ]
        raise EdgeposeError(
            f"{file} does not follow its schema:\n    " + "\n    ".join(lines[:10]),
            fix="write it with edgepose instead of by hand, or run the command again",
        ) from error
