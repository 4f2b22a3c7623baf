"""HRNet: parallel branches that keep the high resolution, fused again and again.

Source: Sun, Xiao, Liu, Wang 2019, "Deep High-Resolution Representation Learning for Human Pose
Estimation"; keys as in the official `pose_hrnet.py`.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgepose.models.blocks import Add, BasicBlock, Bottleneck, conv, norm, stack_blocks

MODULES_PER_STAGE = {2: 1, 3: 4, 4: 3}
BLOCKS_PER_BRANCH = 4


def _down(cin: int, cout: int, *, relu: bool) -> nn.Sequential:
    layers: list[nn.Module] = [conv(cin, cout, 3, 2), norm(cout)]
    return nn.Sequential(*layers, nn.ReLU()) if relu else nn.Sequential(*layers)


class FuseSum(nn.Module):
    """Sum of several tensors through named binary sums, then ReLU."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.adds = nn.ModuleList(Add() for _ in range(inputs - 1))
        self.relu = nn.ReLU()

    def forward(self, tensors: list[Tensor]) -> Tensor:
        total = tensors[0]
        for add, tensor in zip(self.adds, tensors[1:], strict=True):
            total = add(total, tensor)
        output: Tensor = self.relu(total)
        return output


class HighResolutionModule(nn.Module):
    """Residual branches, then every output branch sums all branches at its resolution."""

    def __init__(self, widths: list[int], *, outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            stack_blocks(BasicBlock, w, w, BLOCKS_PER_BRANCH) for w in widths
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(self._path(widths, source, out) for source in range(len(widths)))
            for out in range(outputs)
        )
        self.sums = nn.ModuleList(FuseSum(len(widths)) for _ in range(outputs))

    @staticmethod
    def _path(widths: list[int], source: int, out: int) -> nn.Module:
        """From branch `source` to the resolution and width of branch `out`."""
        if source == out:
            return nn.Identity()
        if source > out:
            return nn.Sequential(
                conv(widths[source], widths[out], 1),
                norm(widths[out]),
                nn.Upsample(scale_factor=float(2 ** (source - out)), mode="nearest"),
            )
        steps = [_down(widths[source], widths[source], relu=True) for _ in range(out - source - 1)]
        return nn.Sequential(*steps, _down(widths[source], widths[out], relu=False))

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        features = [branch(x) for branch, x in zip(self.branches, inputs, strict=True)]
        return [
            total([path(f) for path, f in zip(paths, features, strict=True)])  # type: ignore[call-overload]
            for paths, total in zip(self.fuse_layers, self.sums, strict=True)
        ]


class HRNet(nn.Module):
    """(N, 3, H, W) float32 normalised RGB -> (N, J, H/4, W/4) float32 heatmaps.

    H and W are multiples of 32.
    """

    def __init__(self, width: int, num_joints: int) -> None:
        super().__init__()
        self.conv1 = conv(3, 64, 3, 2)
        self.bn1 = norm(64)
        self.relu1 = nn.ReLU()
        self.conv2 = conv(64, 64, 3, 2)
        self.bn2 = norm(64)
        self.relu2 = nn.ReLU()
        self.layer1 = stack_blocks(Bottleneck, 64, 64, 4)
        widths = [width * 2**i for i in range(4)]
        self.transition1 = nn.ModuleList(
            [
                nn.Sequential(conv(256, widths[0], 3), norm(widths[0]), nn.ReLU()),
                nn.Sequential(_down(256, widths[1], relu=True)),
            ]
        )
        self.stage2 = self._stage(2, widths[:2])
        self.transition2 = self._new_branch(widths, 2)
        self.stage3 = self._stage(3, widths[:3])
        self.transition3 = self._new_branch(widths, 3)
        self.stage4 = self._stage(4, widths, outputs=1)
        self.final_layer = nn.Conv2d(widths[0], num_joints, 1)
        self._initialise()

    @staticmethod
    def _stage(number: int, widths: list[int], *, outputs: int | None = None) -> nn.Sequential:
        """The modules of one stage; only the last module may have fewer outputs than branches."""
        count, full = MODULES_PER_STAGE[number], len(widths)
        last = full if outputs is None else outputs
        return nn.Sequential(
            *(
                HighResolutionModule(widths, outputs=full if i < count - 1 else last)
                for i in range(count)
            )
        )

    @staticmethod
    def _new_branch(widths: list[int], existing: int) -> nn.ModuleList:
        """Existing branches pass; one more is made from the lowest resolution."""
        down = nn.Sequential(_down(widths[existing - 1], widths[existing], relu=True))
        return nn.ModuleList([nn.Identity() for _ in range(existing)] + [down])

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.final_layer.weight, std=0.001)
        nn.init.constant_(self.final_layer.get_parameter("bias"), 0.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.relu2(self.bn2(self.conv2(x)))
        x = self.layer1(x)
        features = self.stage2([step(x) for step in self.transition1])
        features = self.stage3([*features, self.transition2[2](features[-1])])
        features = self.stage4([*features, self.transition3[3](features[-1])])
        heatmaps: Tensor = self.final_layer(features[0])
        return heatmaps
