"""Whole-pose graphs: joints as device/decode.py finds them, from the graph alone."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgepose.backends.mil.whole_pose import WholePose
from edgepose.backends.onnx_graph.graph import Graph, Node, Port, to_bytes
from edgepose.backends.onnx_graph.whole_pose import whole_pose
from edgepose.device.codec import HeatmapCodec
from edgepose.device.coding import Coding
from edgepose.device.geometry import normalise
from edgepose.errors import EdgeposeError

JOINTS, H, W = 5, 24, 17
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CODINGS: tuple[Coding, ...] = ("standard", "dark")


def peaks(seed: int, count: int) -> NDArray[np.float32]:
    """(N, J, h, w): Gaussians on any place, the border and outside included, and noise; a map that is
    nowhere positive, one of zeros, one with two equal maxima."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(-1, 1.05, (count, JOINTS, 2)) * (W, H)
    dx = np.arange(W) - np.abs(centre[..., 0])[..., None]
    dy = np.arange(H) - np.abs(centre[..., 1])[..., None]
    maps = np.exp(-(dx[:, :, None, :] ** 2 + dy[:, :, :, None] ** 2) / 4)
    maps += rng.normal(0, 0.01, maps.shape)
    maps[0, 0] = -np.abs(maps[0, 0])
    maps[0, 1] = 0
    maps[0, 2, 5, 6] = maps[0, 2, 9, 4] = maps.max() + 1
    return maps.astype(np.float32)


def head(stride: int = 4) -> Graph:
    """A network of one convolution: (N, 3, 4 h, 4 w) -> (N, J, h, w)."""
    rng = np.random.default_rng(5)
    weight = rng.normal(0, 1, (JOINTS, 3, stride, stride)).astype(np.float32)
    size = (stride * H, stride * W)
    return Graph(
        nodes=(Node("Conv", ["image", "w"], ["heatmaps"], {"strides": [stride, stride]}, "head"),),
        constants={"w": weight},
        inputs=(Port("image", np.dtype(np.float32), ("batch", 3, *size)),),
        outputs=(Port("heatmaps", np.dtype(np.float32), ("batch", JOINTS, H, W)),),
    )


def run(graph: Graph, value: NDArray[np.generic]) -> NDArray[np.float32]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(to_bytes(graph), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": value})[0]


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("coding", CODINGS)
def test_an_onnx_graph_gives_the_joints_that_its_heatmaps_give(
    coding: Coding, double: bool
) -> None:
    codec = HeatmapCodec(coding=coding)
    crops = np.random.default_rng(1).integers(0, 256, (200, 4 * H, 4 * W, 3)).astype(np.uint8)
    heatmaps = run(head(), normalise(crops, MEAN, STD))
    xy, score = codec.decode(heatmaps)
    graph = whole_pose(head(), codec=codec, mean=MEAN, std=STD, double=double)
    assert graph.inputs[0].dtype == np.uint8
    assert graph.inputs[0].shape == ("batch", 4 * H, 4 * W, 3)
    found = run(graph, crops)
    assert found.shape == (200, JOINTS, 3)
    np.testing.assert_array_equal(found[..., 2], score)
    allowed = 0 if double or coding == "standard" else 0.01
    expected = codec.crop_xy(xy, (H, W))
    # Noise has saddles for peaks, which throw joints far away; only double precision follows them.
    near = (np.abs(expected).max(axis=2) < 4 * max(H, W)) | (allowed == 0)
    assert near.mean() > 0.8
    assert np.abs(found[..., :2] - expected)[near].max() <= allowed


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("seed", range(3))
def test_core_mls_decoder_gives_the_hosts_joints(coding: Coding, seed: int) -> None:
    codec = HeatmapCodec(coding=coding)
    heatmaps = peaks(seed, 12)
    xy, score = codec.decode(heatmaps)
    decoder = WholePose(nn.Identity(), codec=codec, joints=JOINTS, heatmap_hw=(H, W))
    found = torch.cat([decoder(torch.from_numpy(one[None])) for one in heatmaps]).numpy()
    np.testing.assert_array_equal(found[..., 2], score)
    np.testing.assert_allclose(found[..., :2], codec.crop_xy(xy, (H, W)), atol=0.01)
    assert np.ptp(found[..., 0]) > 2 * W, "the peaks lie all over the maps"


def test_a_coding_that_is_not_decoded_in_a_graph_is_refused_by_name() -> None:
    with pytest.raises(EdgeposeError, match="udp") as caught:
        whole_pose(head(), codec=HeatmapCodec(coding="udp"), mean=MEAN, std=STD)
    assert "pose_graphs" in caught.value.fix
