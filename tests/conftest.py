"""What several rooms' tests need."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

settings.register_profile("any machine", deadline=None)  # a busy machine is no counterexample
settings.load_profile("any machine")
# Benchmarks exclude each other on a machine; test processes side by side must not.
os.environ["EDGEPOSE_LOCK"] = os.path.join(
    tempfile.gettempdir(), f"edgepose-test-{os.getpid()}.lock"
)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tests run side by side; each keeps to one core."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _operators_read_once() -> Iterator[None]:
    """torch.onnx parses the source of its five hundred operators at every export, which takes most of a
    second; here once a process. Nothing registers operators of its own."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with pytest.MonkeyPatch.context() as patch:
        read = functools.cache(ONNXRegistry.from_torchlib)
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(read))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Public evaluation vectors, photographs and key lists; not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is absent: reference data is not part of the repository")
    return SHARED
