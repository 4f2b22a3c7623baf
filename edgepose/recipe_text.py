"""A recipe as YAML text that the reader takes back unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from edgepose.strict_yaml import IMPLICIT_TYPES


def to_yaml(values: Mapping[str, Any]) -> str:
    """Text that the recipe reader takes for these values."""
    return yaml.dump(
        dict(values),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=100,
    )


class _Dumper(yaml.SafeDumper):
    """Quotes every text that either YAML 1.1 or our reader would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Anything unprintable, line breaks too, is escaped: plain styles lose some of it."""
        style = None if data.isprintable() else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)


for _tag, _pattern, _first in IMPLICIT_TYPES:
    _Dumper.add_implicit_resolver(_tag, _pattern, _first)
