"""The MIL interpreter against torch on the embedded ResNet-18 and rendered people, in FP32 and FP16.

On noise, where its heatmaps are next to nothing, FP16 is off by 1.2e-3 (measured), people by less than 1e-3.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgepose
from edgepose.backends.coreml import emit, open_executor
from edgepose.data.spec import open_config
from edgepose.evaluation import EvaluationSet, TorchExecutor
from edgepose.models.pose_model import PoseModel
from edgepose.target import Target

pytestmark = pytest.mark.slow
EMBEDDED = Path(edgepose.__file__).parents[1] / "recipes/weights/resnet18_synthetic"


def test_float_packages_of_the_embedded_network_give_what_torch_gives(tmp_path: Path) -> None:
    model = PoseModel.load(EMBEDDED)
    people = open_config("synthetic", {"train": 8, "val": 8, "calibration": 8}, "val")
    crops = EvaluationSet.from_dataset(people, model.spec.input_hw).crops
    wanted = TorchExecutor(model.module(), model.spec).run(crops)
    assert wanted.max() > 0.5, "it sees people"
    target = Target(name="ios-test", runtime="coreml", precision="fp32",
                    extra_precisions=("fp16",), minimum_os="iOS17")  # fmt: skip
    made = emit(model, target, tmp_path / "a")
    for precision, allowed in (("fp32", 1e-5), ("fp16", 1e-3)):
        got = open_executor(made, precision=precision, threads=1).run(crops)
        assert got.shape == wanted.shape
        error = float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))
        assert error <= allowed, (precision, error)
