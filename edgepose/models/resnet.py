"""SimpleBaseline: a ResNet, three deconvolutions, a 1x1 head.

Source: Xiao, Wu, Wei 2018, "Simple Baselines for Human Pose Estimation and Tracking"; keys as in the
official `pose_resnet.py` (torchvision's backbone names, `deconv_layers`, `final_layer`). With
`attention` there is CBAM's spatial attention behind layer4, the only addition to those keys.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgepose.models.blocks import BasicBlock, Bottleneck, SpatialAttention, norm, stack_blocks

LAYOUTS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
DECONV_CHANNELS = 256


class PoseResNet(nn.Module):
    """(N, 3, H, W) float32 normalised RGB -> (N, J, H/4, W/4) float32 heatmaps.

    H and W are multiples of 32.
    """

    def __init__(self, depth: int, num_joints: int, *, attention: bool = False) -> None:
        super().__init__()
        block, counts = LAYOUTS[depth]
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = norm(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = stack_blocks(block, 64, 64, counts[0])
        self.layer2 = stack_blocks(block, 64 * block.expansion, 128, counts[1], stride=2)
        self.layer3 = stack_blocks(block, 128 * block.expansion, 256, counts[2], stride=2)
        self.layer4 = stack_blocks(block, 256 * block.expansion, 512, counts[3], stride=2)
        self.attention = SpatialAttention() if attention else None
        layers: list[nn.Module] = []
        channels = 512 * block.expansion
        for _ in range(3):
            layers += [
                nn.ConvTranspose2d(channels, DECONV_CHANNELS, 4, stride=2, padding=1, bias=False),
                norm(DECONV_CHANNELS),
                nn.ReLU(),
            ]
            channels = DECONV_CHANNELS
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(DECONV_CHANNELS, num_joints, 1)
        self._initialise()

    def _initialise(self) -> None:
        """He initialisation for the backbone, the paper's N(0, 0.001) for deconvolutions and head."""
        for name, module in self.named_modules():
            if isinstance(module, nn.ConvTranspose2d) or name == "final_layer":
                nn.init.normal_(module.weight, std=0.001)
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.constant_(self.final_layer.get_parameter("bias"), 0.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        if self.attention is not None:
            x = self.attention(x)
        heatmaps: Tensor = self.final_layer(self.deconv_layers(x))
        return heatmaps
