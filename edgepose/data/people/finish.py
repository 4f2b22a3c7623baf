"""From a clean drawing to a photograph: white balance, contrast, blur, grain, compression."""

from __future__ import annotations

import cv2
import numpy as np

from edgepose.data.people.background import Image
from edgepose.data.people.banks import banks
from edgepose.data.people.draws import Draws

_LEVEL = np.arange(256, dtype=np.float64) / 255


def finish(image: Image, d: Draws) -> Image:
    """The picture as a camera would have kept it."""
    size = image.shape[0]
    contrast, brightness = d.near(1.0, 0.13), d.near(0.0, 0.06)
    bend = d.near(0.0, 0.25)  # lifts or lowers the mid-tones
    table = np.empty((256, 3))
    for channel, gain in enumerate((d.near(1, 0.045), d.near(1, 0.02), d.near(1, 0.05))):
        level = (_LEVEL - 0.5) * contrast + 0.5 + brightness
        table[:, channel] = gain * (level + bend * level * (1 - level))
    lut = np.rint(np.clip(table, 0, 1) * 255).astype(np.uint8)
    image = cv2.LUT(image, lut[None]).astype(np.uint8)

    kind = d.weighted((("sharp", 5), ("soft", 4), ("motion", 1)))
    if kind == "soft":
        image = cv2.GaussianBlur(image, (0, 0), d.between(0.3, 1.0) * size / 128).astype(np.uint8)
    elif kind == "motion":
        length = max(round(d.between(2, 5) * size / 128), 2)
        box = (length, 1) if d.chance(0.7) else (1, length)
        image = cv2.blur(image, box).astype(np.uint8)

    if d.chance(0.75):
        grain = banks().grain
        x, y = d.below(max(grain.shape[1] - size, 1)), d.below(max(grain.shape[0] - size, 1))
        strength = d.between(1, 9) if d.chance(0.85) else d.between(9, 18)
        if size > grain.shape[0]:
            grain = np.tile(grain, (-(-size // grain.shape[0]),) * 2 + (1,))
        piece = grain[y : y + size, x : x + size]
        noisy = image + ((piece * round(strength * 8)) >> 8)
        image = np.clip(noisy, 0, 255).astype(np.uint8)

    if d.chance(0.35):
        quality = 35 + d.below(60)
        packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        unpacked = cv2.imdecode(packed, cv2.IMREAD_COLOR)
        assert unpacked is not None  # it was packed one line above
        image = unpacked.astype(np.uint8, copy=False)
    return image
