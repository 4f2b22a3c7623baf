"""From a person's box to heatmaps and back, against HRNet's formulas written down literally.

Nothing below `# the formulas` calls edgepose: scale in units of 200 px, the crop from three point
pairs, a Gaussian pasted pixel by pixel, a quarter pixel towards the higher neighbour.
"""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.data.base import PoseSample
from edgepose.data.codec import encode_batch, encode_heatmaps, sigma_for
from edgepose.data.crop import crop_batch
from edgepose.device.decode import decode_heatmaps, heatmap_to_image_xy
from edgepose.device.geometry import apply_affine, box_to_crop, crop_matrix, region_wh

# the formulas


def literal_center_scale(box, out_wh):
    """COCO: the box grows to the output's aspect, then by 1.25; scale is in units of 200 px."""
    x, y, w, h = box
    aspect = out_wh[0] / out_wh[1]
    if w > aspect * h:
        h = w / aspect
    elif w < aspect * h:
        w = h * aspect
    return np.array([x + box[2] * 0.5, y + box[3] * 0.5]), np.array([w, h]) / 200.0 * 1.25


def literal_affine(center, scale, rotation_deg, out_wh):
    """The affine that maps the centre, a point half a width above it and a third at right angles."""

    def third(a, b):
        d = a - b
        return b + np.array([-d[1], d[0]])

    src_w = scale[0] * 200.0
    angle = math.pi * rotation_deg / 180
    up = np.array([0, src_w * -0.5])
    src_dir = np.array(
        [up[0] * math.cos(angle) - up[1] * math.sin(angle),
         up[0] * math.sin(angle) + up[1] * math.cos(angle)]
    )  # fmt: skip
    dst_center = np.array([out_wh[0] * 0.5, out_wh[1] * 0.5])
    dst_up = dst_center + np.array([0, out_wh[0] * -0.5])
    src = np.stack([center, center + src_dir, third(center, center + src_dir)])
    dst = np.stack([dst_center, dst_up, third(dst_center, dst_up)])
    return np.linalg.solve(np.hstack([src, np.ones((3, 1))]), dst).T


def literal_move(matrix, xy):
    return np.array([matrix @ [x, y, 1.0] for x, y in xy])


def literal_targets(joints, annotated, in_wh, heat_wh, sigma):
    w, h = heat_wh
    target = np.zeros((len(joints), h, w))
    weight = np.array(annotated, dtype=float)
    reach = int(sigma * 3)
    stride = in_wh[0] / w
    for j, (x, y) in enumerate(joints):
        if not annotated[j]:
            continue
        mu_x, mu_y = int(x / stride + 0.5), int(y / stride + 0.5)
        left, top, right, bottom = mu_x - reach, mu_y - reach, mu_x + reach + 1, mu_y + reach + 1
        # HRNet asks `right < 0`: it keeps weight 1, and nothing to draw, for a window that ends at 0.
        if left >= w or top >= h or right <= 0 or bottom <= 0:
            weight[j] = 0
            continue
        for v in range(max(0, top), min(bottom, h)):
            for u in range(max(0, left), min(right, w)):
                target[j, v, u] = math.exp(-((u - mu_x) ** 2 + (v - mu_y) ** 2) / (2 * sigma**2))
    return target, weight


def literal_joints(heatmaps, matrix, stride):
    found = []
    for heat in heatmaps:
        h, w = heat.shape
        at = int(heat.reshape(-1).argmax())
        x, y = float(at % w), float(at // w)
        if heat.max() <= 0:
            x = y = 0.0
        px, py = int(x + 0.5), int(y + 0.5)
        if 1 < px < w - 1 and 1 < py < h - 1:
            x += 0.25 * np.sign(heat[py, px + 1] - heat[py, px - 1])
            y += 0.25 * np.sign(heat[py + 1, px] - heat[py - 1, px])
        back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
        found.append((back @ [stride * x, stride * y, 1])[:2])
    return np.array(found)


# ours against them

SHAPES = [(256, 256), (192, 256), (64, 64)]
boxes = st.tuples(st.floats(-50, 600), st.floats(-50, 400), st.floats(8, 500), st.floats(8, 500))


@settings(max_examples=150, deadline=None)
@given(boxes, st.sampled_from(SHAPES), st.floats(-80, 80))
def test_crop_matrix(box, out_wh, angle):
    center, size = box_to_crop(box)
    region = (size, size) if out_wh[0] == out_wh[1] else region_wh(box[2:], size, out_wh)
    ours = crop_matrix(center, region, out_wh, rotation_deg=angle)
    expected_center, scale = literal_center_scale(box, out_wh)
    theirs = literal_affine(expected_center, scale, angle, out_wh)
    np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(SHAPES))
def test_targets(seed, in_wh):
    rng = np.random.default_rng(seed)
    joints = rng.uniform(-60, max(in_wh) + 60, (8, 2))
    annotated = rng.random(8) < 0.8
    heat_hw = (in_wh[1] // 4, in_wh[0] // 4)
    sigma = sigma_for(heat_hw)
    ours, weights = encode_heatmaps(joints, annotated, heatmap_hw=heat_hw, stride=4, sigma=sigma)
    theirs, expected = literal_targets(joints, annotated, in_wh, heat_hw[::-1], sigma)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    np.testing.assert_array_equal(weights, expected)


def person(rng, joints=16):
    box = np.array([*rng.uniform(20, 300, 2), *rng.uniform(40, 250, 2)])
    center, size = box_to_crop(box)
    xy = box[:2] + rng.uniform(0.02, 0.98, (joints, 2)) * box[2:]
    return PoseSample(
        np.zeros((4, 4, 3), np.uint8), xy.astype(np.float32), np.ones(joints, bool),
        box.astype(np.float32), center.astype(np.float32), size, math.nan, math.nan, "random",
    )  # fmt: skip


def test_ground_truth_encoded_and_decoded_is_the_transcription_and_loses_little():
    """256x256: image -> crop -> heatmap -> decoded -> image, 60 people of 16 joints each."""
    rng = np.random.default_rng(0)
    people = [person(rng) for _ in range(60)]
    _, matrices = crop_batch(people, (256, 256))
    true = np.stack([p.joints_xy for p in people]).astype(np.float64)
    crop_xy = apply_affine(matrices, true)
    heatmaps, _ = encode_batch(
        crop_xy, np.ones(true.shape[:2], bool), heatmap_hw=(64, 64), stride=4, sigma=2.0
    )
    decoded, _ = decode_heatmaps(heatmaps)
    ours = heatmap_to_image_xy(decoded, matrices, 4)
    theirs = []
    for p in people:
        matrix = literal_affine(*literal_center_scale(p.box_xywh.astype(float), (256, 256)), 0,
                                (256, 256))  # fmt: skip
        joints = literal_move(matrix, p.joints_xy.astype(float))
        target, _ = literal_targets(joints, np.ones(16, bool), (256, 256), (64, 64), 2.0)
        theirs.append(literal_joints(target, matrix, 4))
    np.testing.assert_allclose(ours, np.stack(theirs), atol=2e-3)
    error_px = np.linalg.norm(apply_affine(matrices, ours) - crop_xy, axis=-1)
    assert 1.4 < error_px.mean() <= 1.6
