"""Core ML's own times, with a double of Apple's side that has coremltools' own signatures."""

from __future__ import annotations

import inspect
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from edgepose.backends.mil.convert import INPUT_NAME
from edgepose.bench import core_ml
from edgepose.bench.core_ml import UNITS, tensor_package, time_units
from edgepose.bench.latency import Plan
from edgepose.errors import EdgeposeError

PLAN = Plan(warmup=2, max_warmup=4, calls=5, seconds=0.0)
ARTIFACT: Any = SimpleNamespace(input_hw=(32, 64))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small mlpackage with an image input."""
    ct = pytest.importorskip("coremltools")
    from coremltools.converters.mil import Builder as mb

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, 32, 64))], opset_version=ct.target.iOS17)
    def program(image: Any) -> Any:
        return mb.max_pool(x=image, kernel_sizes=[4, 4], strides=[4, 4], pad_type="valid",
                           name="heatmaps")  # fmt: skip

    model = ct.convert(
        program,
        inputs=[ct.ImageType(name="image", shape=(1, 3, 32, 64), color_layout="RGB")],
        minimum_deployment_target=ct.target.iOS17,
        skip_model_load=True,
    )
    path = tmp_path_factory.mktemp("core_ml") / "model.mlpackage"
    model.save(str(path))
    return path


def test_the_copy_with_an_array_input_computes_the_same(package: Path, tmp_path: Path) -> None:
    from edgepose.backends.mil.interpreter import Interpreter

    copy = tensor_package(package, tmp_path)
    assert tensor_package(package, tmp_path) == copy
    before, after = Interpreter.load(package), Interpreter.load(copy)
    assert INPUT_NAME in before.program.images
    assert not after.program.images
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 32, 64)).astype(np.float32)
    (expected,) = before.run({INPUT_NAME: image}).values()
    (found,) = after.run({INPUT_NAME: image}).values()
    assert expected.shape == (1, 3, 8, 16)
    assert np.array_equal(expected, found)


class _Bench:
    """MLModelBenchmarker on a machine of fixed speed per unit."""

    SPEED: ClassVar = {"CPU_ONLY": 4.0, "CPU_AND_GPU": 3.0, "CPU_AND_NE": 1.0, "ALL": 1.5}
    asked: ClassVar[list[tuple[str, tuple[int, ...], int]]] = []
    devices: ClassVar[list[Any]] = []

    def __init__(self, model: Any, device: Any = None) -> None:
        self.unit, self.device = model.compute_unit.name, device
        self.devices.append(device)

    async def benchmark_predict(
        self, inputs: dict[str, Any], iterations: int = 1, warmup: bool = False
    ) -> Any:
        self.asked.append((self.unit, inputs[INPUT_NAME].shape, iterations))
        return type("Measurement", (), {"samples": [self.SPEED[self.unit]] * iterations})()


class _Phone:
    name, udid, os_version = "Test Phone", "0000-1", "18.1"

    async def prepare_for_model_debugging(self) -> _Phone:
        return self


@pytest.fixture
def a_mac(package: Path, monkeypatch: pytest.MonkeyPatch) -> type[_Bench]:
    from coremltools.models.ml_program.experimental import perf_utils, remote_device

    real = inspect.signature(perf_utils.MLModelBenchmarker.benchmark_predict).parameters
    double = inspect.signature(_Bench.benchmark_predict).parameters
    assert list(double) == list(real)
    assert hasattr(remote_device.Device, "prepare_for_model_debugging")
    monkeypatch.setattr(perf_utils, "MLModelBenchmarker", _Bench)
    monkeypatch.setattr(core_ml, "package_folder", lambda artifact: package)
    monkeypatch.setattr(core_ml, "check_mac", lambda: None)
    _Bench.asked, _Bench.devices = [], []
    return _Bench


def test_each_unit_of_a_mac_is_timed_after_warming_up(a_mac: type[_Bench]) -> None:
    found = time_units(ARTIFACT, plan=PLAN)
    assert found.where == "this Mac"
    assert {unit: latency.p50 for unit, latency in found.latency.items()} == a_mac.SPEED
    assert all(len(samples) == PLAN.calls for samples in found.samples_ms.values())
    expected = [(unit, (1, 3, 32, 64), n) for unit in UNITS for n in (PLAN.warmup, PLAN.calls)]
    assert a_mac.asked == expected
    other: Any = SimpleNamespace(input_hw=(64, 64))
    with pytest.raises(EdgeposeError, match="own size, 32x64, not at 64x64"):
        time_units(other, plan=PLAN)


def test_a_connected_iphone(a_mac: type[_Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    from coremltools.models.ml_program.experimental.remote_device import Device

    monkeypatch.setattr(Device, "get_connected_devices", staticmethod(lambda kind: [_Phone()]))
    found = time_units(ARTIFACT, plan=PLAN, device="iphone:Test Phone")
    assert found.where == "Test Phone, 18.1"
    assert all(isinstance(device, _Phone) for device in a_mac.devices)
    with pytest.raises(EdgeposeError, match="0 iPhones fit 'iphone:other'; connected: Test Phone"):
        time_units(ARTIFACT, plan=PLAN, device="iphone:other")


@pytest.mark.skipif(sys.platform == "darwin", reason="this is a Mac")
def test_elsewhere_it_says_what_it_needs() -> None:
    with pytest.raises(EdgeposeError, match="reached from a Mac only") as caught:
        time_units(ARTIFACT, plan=PLAN, device="iphone")
    assert "Mac" in caught.value.fix
    assert shutil.which("xcrun") is None
