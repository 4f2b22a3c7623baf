"""HRNet-W32 without 40 % of its channels: saved, read, exported, executed and linted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgepose.backends import onnx_mobile
from edgepose.backends.lint.findings import errors
from edgepose.backends.lint.subject import lint_artifact
from edgepose.models.pose_model import ModelSpec, PoseModel
from edgepose.quant.calibrate import calibrate
from edgepose.stages.prune import prune_channels
from edgepose.target import load_target

pytestmark = pytest.mark.slow
HW = (64, 64)


def test_a_pruned_hrnet_ships(tmp_path: Path) -> None:
    model = PoseModel.fresh(ModelSpec("hrnet_w32", 16, HW, "mpii16"), seed=0)
    pruned = prune_channels(model.module(), ratio=0.4, round_to=4, input_hw=HW).eval()
    small = model.with_module(pruned)
    small.save(tmp_path / "model")
    read = PoseModel.load(tmp_path / "model")
    assert read.num_params < 0.42 * model.num_params
    image = torch.rand(1, 3, *HW)
    with torch.no_grad():
        heatmaps = read.module()(image)
        assert torch.equal(heatmaps, pruned(image))
    assert heatmaps.shape == (1, 16, 16, 16)
    crops = np.random.default_rng(0).integers(0, 256, (32, *HW, 3), dtype=np.uint8)
    target = load_target("host")
    quantized = calibrate(read, [crops], observer="minmax")
    artifact = onnx_mobile.emit(quantized, target, tmp_path / "host")
    assert onnx_mobile.open_executor(artifact).run(crops[:2]).shape == (2, 16, 16, 16)
    assert errors(lint_artifact(artifact, target)) == []
