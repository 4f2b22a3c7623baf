from __future__ import annotations

import numpy as np
import torch

from edgepose.device.geometry import normalise
from edgepose.models.pose_model import PoseModel
from edgepose.quant.calibrate import calibrate
from edgepose.quant.graph import int8_graph


def test_the_output_gets_the_mean_that_it_has_in_float(
    slim: PoseModel, static: PoseModel, crops
) -> None:  # type: ignore[no-untyped-def]
    """`static` is calibrated on the same pictures."""
    batches = list(crops(40, seed=1))
    corrected = calibrate(slim, batches, bias_corrected=True)
    pictures = np.concatenate(batches)
    x = torch.from_numpy(normalise(pictures, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        wanted = slim.module()(x).mean((0, 2, 3))
        before, after = (int8_graph(m)(x).mean((0, 2, 3)) - wanted for m in (static, corrected))
    assert after.abs().mean() < 0.35 * before.abs().mean()
    changed = {k for k, v in corrected.tensors.items() if not torch.equal(v, static.tensors[k])}
    assert changed == {k for k in static.tensors if k.endswith(".bias")}
    assert corrected.spec == static.spec
