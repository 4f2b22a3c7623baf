"""A network with everything around it for Core ML: heatmaps in, joints out, in torch operators.

The rules are those of device/decode.py. Positions are computed in float32, whatever the network is
computed in; DARK is float64 on a host, which Core ML does not have.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgepose.backends.onnx_graph.whole_pose import derivatives
from edgepose.device.codec import HeatmapCodec
from edgepose.device.decode import BORDER_OF_DARK, dark_kernel

JOINTS = "joints"
_ARGMAX = "reduce_argmax"
_FLOOR = 1e-10


class WholePose(nn.Module):
    """(1, 3, H, W) -> (1, J, 3) float32: x, y in input pixels, the heatmap's maximum.

    network: (1, 3, H, W) -> heatmaps (1, J, h, w); heatmap_hw: (h, w)
    """

    def __init__(
        self, network: nn.Module, *, codec: HeatmapCodec, joints: int, heatmap_hw: tuple[int, int]
    ) -> None:
        super().__init__()
        self.network, self.stride = network, float(codec.stride)
        self.decode: nn.Module = (
            _Quarter(joints, heatmap_hw)
            if codec.coding == "standard"
            else _Dark(joints, heatmap_hw, sigma=codec.sigma_px(heatmap_hw))
        )

    def forward(self, image: Tensor) -> Tensor:
        x, y, score = self.decode(self.network(image))
        return torch.cat([x * self.stride, y * self.stride, score], dim=2)


class _Peaks(nn.Module):
    """Whole pixels of the peaks; indices are kept as float32, which holds them exactly."""

    def __init__(self, joints: int, heatmap_hw: tuple[int, int]) -> None:
        super().__init__()
        self.joints, (self.h, self.w) = joints, heatmap_hw

    def peaks(self, heatmaps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(flat maps (1, J, h w), x, y, score), the last three (1, J, 1)."""
        flat = heatmaps.reshape(1, self.joints, self.h * self.w)
        score = flat.amax(dim=2, keepdim=True)
        index = flat.argmax(dim=2, keepdim=True).float()
        at = index * (score > 0).float()
        y = torch.floor((at + 0.5) / self.w)
        return flat, at - y * self.w, y, score

    def inside(self, x: Tensor, y: Tensor, border: int) -> Tensor:
        """1.0 where 1 < x < w - border and 1 < y < h - border, else 0.0."""
        across = (x > 1).float() * (x < self.w - border).float()
        return across * (y > 1).float() * (y < self.h - border).float()


class _Quarter(_Peaks):
    """As decode_heatmaps: a quarter pixel towards the higher neighbour."""

    def forward(self, heatmaps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        flat, x, y, score = self.peaks(heatmaps)
        w, last = self.w, self.h * self.w - self.w - 1
        at = torch.clamp(y * w + x, w, last).int()
        inner = 0.25 * self.inside(x, y, 1)
        moved = []
        for position, step in ((x, 1), (y, w)):
            above = torch.gather(flat, 2, (at + step).long())
            below = torch.gather(flat, 2, (at - step).long())
            moved.append(position + torch.sign(above.float() - below.float()) * inner)
        return moved[0], moved[1], score


class _Dark(_Peaks):
    """As refine_dark: the patch around each peak smoothed, its logarithm's top."""

    patch: Tensor
    blur: Tensor
    blur_t: Tensor
    table: Tensor

    def __init__(self, joints: int, heatmap_hw: tuple[int, int], *, sigma: float) -> None:
        super().__init__(joints, heatmap_hw)
        blur = torch.tensor(dark_kernel(sigma), dtype=torch.float32)
        self.side = blur.shape[1]
        self.pad = self.side // 2
        self.wide = self.w + 2 * self.pad
        steps = torch.arange(self.side)
        self.register_buffer("blur", blur)
        self.register_buffer("blur_t", blur.T.contiguous())
        self.register_buffer("patch", (steps[:, None] * self.wide + steps).reshape(1, 1, -1).int())
        self.register_buffer("table", torch.from_numpy(derivatives()).float())

    def forward(self, heatmaps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, x, y, score = self.peaks(heatmaps)
        pad, side = self.pad, self.side
        padded = F.pad(heatmaps, (pad, pad, pad, pad))
        flat = padded.reshape(1, self.joints, (self.h + 2 * pad) * self.wide)
        at = (y * self.wide + x).int() + self.patch
        patch = torch.gather(flat, 2, at.long()).float().reshape(1, self.joints, side, side)
        smooth = torch.matmul(torch.matmul(self.blur, patch), self.blur_t)
        log = torch.log(torch.clamp(smooth, min=_FLOOR)).reshape(1, self.joints, 25)
        dx, dy, dxx, dyy, dxy = torch.split(torch.matmul(log, self.table), 1, dim=2)
        curvature = dxx * dyy - dxy * dxy
        usable = self.inside(x, y, BORDER_OF_DARK) * (torch.abs(curvature) > 0).float()
        safe = usable * curvature + (1 - usable)
        moved_x = x - usable * ((dyy * dx - dxy * dy) / safe)
        moved_y = y - usable * ((dxx * dy - dxy * dx) / safe)
        return moved_x, moved_y, score


def is_network(operation: Any) -> bool:
    """Whether a MIL operation (of coremltools) belongs to the network: it comes before the peaks."""
    waiting, seen = [operation], set[int]()
    while waiting:
        op = waiting.pop()
        if op is None or id(op) in seen:
            continue
        seen.add(id(op))
        if op.op_type == _ARGMAX:
            return False
        values = [v for given in op.inputs.values() for v in _flat(given)]
        waiting += [value.op for value in values]
    return True


def _flat(given: Any) -> list[Any]:
    return [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
