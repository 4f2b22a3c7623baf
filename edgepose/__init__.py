"""edgepose: distil, prune, quantize, export and score human-pose networks for Jetson and phones.

    edgepose.compress("recipes/resnet18_5mb.yaml")   -> folder of the finished run
    edgepose.evaluate("reports/x/latest/artifacts/host", data="synthetic")  -> scores
    edgepose.load("reports/x/latest/artifacts/host") -> an Artifact or a PoseModel

These three functions are stable; everything else may change between minor versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "compress", "evaluate", "load"]

if TYPE_CHECKING:
    from edgepose.api import compress, evaluate, load


def __getattr__(name: str) -> Any:
    if name in ("compress", "evaluate", "load"):
        from edgepose import api

        return getattr(api, name)
    raise AttributeError(f"module 'edgepose' has no attribute {name!r}")
