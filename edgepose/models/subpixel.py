"""Deconvolutions as convolutions: s output phases side by side, then interleaved. Exact.

Along one axis a deconvolution puts x[i] w[t] at s i + d t - p. Position s q + r (before the padding p
is cut off) gets x[q - j] w[r + s j] for j = 0, 1, ...: so phase r is a convolution with every s-th tap,
last tap first, and all phases have `taps` = ceil(k / s) of them where zeros fill up (k: kernel with its
dilation). Phases begin at q = skipped; the convolution's padding decides that. What then stands before
position p and behind the output's length is cropped.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Phases:
    """One axis of a deconvolution. size: of its kernel, holes of the dilation filled with zeros;
    padding: of the convolution; first, last: interleaved pixels to crop at either end, whatever the
    input's size."""

    stride: int
    size: int
    taps: int
    padding: int
    first: int
    last: int


def _axis(kernel: int, stride: int, padding: int, output_padding: int, dilation: int) -> Phases:
    size = dilation * (kernel - 1) + 1
    taps = -(-size // stride)
    # Both crops fall by one stride for each position that is skipped, and must not get negative;
    # nor must the convolution's padding, which is what is skipped of taps - 1.
    spare = stride * taps - size + padding - output_padding
    skipped = min(padding // stride, spare // stride, taps - 1)
    return Phases(
        stride=stride,
        size=size,
        taps=taps,
        padding=taps - 1 - skipped,
        first=padding - stride * skipped,
        last=spare - stride * skipped,
    )


def phases_of(deconv: nn.ConvTranspose2d) -> tuple[Phases, Phases]:
    """Rows and columns of an ungrouped deconvolution."""
    rows, columns = (
        _axis(
            deconv.kernel_size[axis],
            deconv.stride[axis],
            int(deconv.padding[axis]),
            deconv.output_padding[axis],
            deconv.dilation[axis],
        )
        for axis in (0, 1)
    )
    return rows, columns


def phased_weight(weight: Tensor, rows: Phases, columns: Phases) -> Tensor:
    """(Cin, C, kh, kw) of a deconvolution -> (phases x C, Cin, taps, taps) of its convolution.

    Phase (i, j), tap (t, u) is the deconvolution's tap (i + s (taps - 1 - t), j + s (taps - 1 - u)).
    """
    cin, cout, height, width = weight.shape
    full = weight.new_zeros(cin, cout, rows.taps * rows.stride, columns.taps * columns.stride)
    vertical = slice(0, rows.size, (rows.size - 1) // (height - 1) if height > 1 else 1)
    horizontal = slice(0, columns.size, (columns.size - 1) // (width - 1) if width > 1 else 1)
    full[:, :, vertical, horizontal] = weight
    split = full.reshape(cin, cout, rows.taps, rows.stride, columns.taps, columns.stride)
    split = split.permute(3, 5, 1, 0, 2, 4).flip(4, 5)
    return split.reshape(-1, cin, rows.taps, columns.taps).contiguous()


class Interleave(nn.Module):
    """Phases to one image, its border cropped.

    (N, sh sw C, h, w) -> (N, C, sh h - crop, sw w - crop); channel (sw i + j) C + c goes to rows sh r + i
    and columns sw q + j of channel c. Written with the channels last, where it moves runs of sw C values
    and costs little; rank 5 at most, and nothing but reshape, transpose and slice, which every runtime
    keeps in INT8.
    """

    def __init__(self, rows: Phases, columns: Phases) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, x: Tensor) -> Tensor:
        n, channels, h, w = x.shape
        sh, sw = self.rows.stride, self.columns.stride
        if sh * sw == 1 and not any(a.first or a.last for a in (self.rows, self.columns)):
            return x
        x = x.permute(0, 2, 3, 1)
        if sh * sw > 1:
            x = x.reshape(n, h, w, sh, channels // sh)
            x = x.permute(0, 1, 3, 2, 4).reshape(n, sh * h, sw * w, channels // (sh * sw))
        if self.rows.first or self.rows.last:
            x = x[:, self.rows.first : -self.rows.last or None]
        if self.columns.first or self.columns.last:
            x = x[:, :, self.columns.first : -self.columns.last or None]
        return x.permute(0, 3, 1, 2)


class PhasedConv2d(nn.Conv2d):
    """A convolution over phases: convolution, activation, and the interleave where it belongs.

    (N, Cin, H, W) -> (N, phases x C, H', W'), interleaved where `interleave` is given.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        *,
        padding: tuple[int, int] = (0, 0),
        groups: int = 1,
        relu: bool = False,
        interleave: Interleave | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=padding, groups=groups)
        self.relu: nn.Module = nn.ReLU() if relu else nn.Identity()
        self.interleave: nn.Module = nn.Identity() if interleave is None else interleave

    def forward(self, x: Tensor) -> Tensor:
        phases: Tensor = self.interleave(self.relu(super().forward(x)))
        return phases
