"""From a person's box to heatmaps and back, against the published formulas written down literally.

Nothing below `# the formulas` calls edgepose: scale in units of 200 px, the crop from three point
pairs, a Gaussian pasted pixel by pixel, a quarter pixel towards the higher neighbour; for DARK and
UDP their own crop, Gaussians, and a blur of the whole map by OpenCV.
"""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.data.base import PoseSample
from edgepose.data.codec import encode_batch, encode_heatmaps
from edgepose.data.crop import crop_batch
from edgepose.device.codec import HeatmapCodec, sigma_for
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


def literal_udp_affine(center, size_wh, rotation_deg, out_wh):
    """UDP's warp matrix; rotation as its authors count it, against the screen's clock hand."""
    theta = math.pi * rotation_deg / 180
    cx, cy = center
    sx, sy = (out_wh[0] - 1.0) / size_wh[0], (out_wh[1] - 1.0) / size_wh[1]
    cos, sin = math.cos(theta), math.sin(theta)
    return np.array(
        [[cos * sx, -sin * sx, sx * (-cx * cos + cy * sin + 0.5 * size_wh[0])],
         [sin * sy, cos * sy, sy * (-cx * sin - cy * cos + 0.5 * size_wh[1])]]
    )  # fmt: skip


def literal_dark_target(joints, annotated, step_xy, heat_wh, sigma):
    """A Gaussian over the whole map, on the real position."""
    w, h = heat_wh
    target, weight = np.zeros((len(joints), h, w)), np.array(annotated, dtype=float)
    for j, (x, y) in enumerate(joints):
        mu_x, mu_y = x / step_xy[0], y / step_xy[1]
        reach = 3 * sigma
        outside = (
            mu_x - reach >= w or mu_y - reach >= h or mu_x + reach + 1 < 0 or mu_y + reach + 1 < 0
        )
        if outside:
            weight[j] = 0
        if weight[j]:
            for v in range(h):
                for u in range(w):
                    target[j, v, u] = math.exp(
                        -((u - mu_x) ** 2 + (v - mu_y) ** 2) / (2 * sigma**2)
                    )
    return target, weight


def literal_udp_target(joints, annotated, step_xy, heat_wh, sigma):
    """The classical window around the rounded position, in it a Gaussian on the real one."""
    w, h = heat_wh
    target, weight = np.zeros((len(joints), h, w)), np.array(annotated, dtype=float)
    reach = int(3 * sigma)
    for j, (x, y) in enumerate(joints):
        mu_x, mu_y = x / step_xy[0], y / step_xy[1]
        at_x, at_y = int(mu_x + 0.5), int(mu_y + 0.5)
        left, top, right, bottom = at_x - reach, at_y - reach, at_x + reach + 1, at_y + reach + 1
        if left >= w or top >= h or right <= 0 or bottom <= 0:
            weight[j] = 0
        if not weight[j]:
            continue
        x0, y0 = reach + mu_x - at_x, reach + mu_y - at_y
        for v in range(max(0, top), min(bottom, h)):
            for u in range(max(0, left), min(right, w)):
                target[j, v, u] = math.exp(
                    -((u - left - x0) ** 2 + (v - top - y0) ** 2) / (2 * sigma**2)
                )
    return target, weight


def literal_blur(heat, sigma, kernel):
    """The whole map through OpenCV's Gaussian, with a border of zeros."""
    border = (kernel - 1) // 2
    h, w = heat.shape
    padded = np.zeros((h + 2 * border, w + 2 * border))
    padded[border : border + h, border : border + w] = heat
    return cv2.GaussianBlur(padded, (kernel, kernel), sigma)[
        border : border + h, border : border + w
    ]


def literal_peak(heat):
    at = int(heat.reshape(-1).argmax())
    return (at % heat.shape[1], at // heat.shape[1]) if heat.max() > 0 else (0, 0)


def literal_dark_refined(heatmaps, sigma, kernel):
    found = []
    for heat in heatmaps:
        h, w = heat.shape
        x, y = literal_peak(heat)
        p = np.array([x, y], float)
        log = np.log(np.maximum(literal_blur(heat, sigma, kernel), 1e-10))
        if 1 < x < w - 2 and 1 < y < h - 2:
            dx = 0.5 * (log[y][x + 1] - log[y][x - 1])
            dy = 0.5 * (log[y + 1][x] - log[y - 1][x])
            dxx = 0.25 * (log[y][x + 2] - 2 * log[y][x] + log[y][x - 2])
            dyy = 0.25 * (log[y + 2][x] - 2 * log[y][x] + log[y - 2][x])
            dxy = 0.25 * (
                log[y + 1][x + 1] - log[y - 1][x + 1] - log[y + 1][x - 1] + log[y - 1][x - 1]
            )
            if dxx * dyy - dxy**2 != 0:
                p -= np.linalg.inv(np.array([[dxx, dxy], [dxy, dyy]])) @ np.array([dx, dy])
        found.append(p)
    return np.array(found)


def literal_udp_refined(heatmaps, sigma, kernel):
    found = []
    for heat in heatmaps:
        x, y = literal_peak(heat)
        log = np.log(np.clip(literal_blur(heat, sigma, kernel), 1e-3, 50.0))
        m = np.pad(log, 1, mode="edge")
        u, v = x + 1, y + 1
        dx, dy = 0.5 * (m[v, u + 1] - m[v, u - 1]), 0.5 * (m[v + 1, u] - m[v - 1, u])
        dxx = m[v, u + 1] - 2 * m[v, u] + m[v, u - 1]
        dyy = m[v + 1, u] - 2 * m[v, u] + m[v - 1, u]
        dxy = 0.5 * (
            m[v + 1, u + 1] - m[v, u + 1] - m[v + 1, u] + m[v, u]
            + m[v, u] - m[v, u - 1] - m[v - 1, u] + m[v - 1, u - 1]
        )  # fmt: skip
        hessian = np.array([[dxx, dxy], [dxy, dyy]]) + np.finfo(np.float32).eps * np.eye(2)
        found.append(np.array([x, y]) - np.linalg.inv(hessian) @ np.array([dx, dy]))
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


@settings(max_examples=100, deadline=None)
@given(boxes, st.sampled_from(SHAPES), st.floats(-80, 80))
def test_udp_crop_matrix(box, out_wh, angle):
    center, size = box_to_crop(box)
    region = (size, size) if out_wh[0] == out_wh[1] else region_wh(box[2:], size, out_wh)
    ours = crop_matrix(center, region, out_wh, rotation_deg=angle, alignment="centers")
    expected_center, scale = literal_center_scale(box, out_wh)
    theirs = literal_udp_affine(expected_center, scale * 200.0, -angle, out_wh)
    np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-6)


LITERAL = {
    "dark": (literal_dark_target, literal_dark_refined),
    "udp": (literal_udp_target, literal_udp_refined),
}
KERNELS = {2.0: 11, 1.0: 7}  # 2.5 sigma each way; OpenCV's own sigma for 11 is 2


def step_of(coding, in_wh, heat_wh):
    """Crop pixels per heatmap pixel: of the whole widths, or between the outer pixels' centres."""
    less = 1 if coding == "udp" else 0
    return tuple((a - less) / (b - less) for a, b in zip(in_wh, heat_wh, strict=True))


@pytest.mark.parametrize("coding", ["dark", "udp"])
@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(96, 128), (64, 64)]))
def test_unbiased_targets(coding, seed, in_wh):
    rng = np.random.default_rng(seed)
    joints = rng.uniform(-40, max(in_wh) + 40, (6, 2))
    annotated = rng.random(6) < 0.8
    heat_wh = (in_wh[0] // 4, in_wh[1] // 4)
    step = step_of(coding, in_wh, heat_wh)
    codec = HeatmapCodec(coding=coding)
    assert codec.pitch_xy(heat_wh[::-1]) == pytest.approx(step)
    sigma = 1.0 + rng.integers(0, 2)
    ours, weights = encode_heatmaps(
        joints, annotated, heatmap_hw=heat_wh[::-1], stride=step, sigma=sigma, coding=coding
    )
    theirs, expected = LITERAL[coding][0](joints, annotated, step, heat_wh, sigma)
    np.testing.assert_array_equal(weights, expected)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("coding", ["dark", "udp"])
@pytest.mark.parametrize("sigma", [2.0, 1.0])
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_unbiased_decoding(coding, sigma, seed):
    """Blobs on noise, anywhere up to the border, as a network gives them; the whole map is blurred."""
    rng = np.random.default_rng(seed)
    side = 64 if sigma == 2.0 else 32
    joints = rng.uniform(-4, 4 * side + 4, (1, 8, 2))
    maps, _ = encode_batch(
        joints, np.ones((1, 8), bool), heatmap_hw=(side, side), stride=4, sigma=sigma, coding="dark"
    )
    maps = maps * rng.uniform(0.3, 1.1, (1, 8, 1, 1)) + rng.normal(0, 0.01, maps.shape)
    maps = maps.astype(np.float32)
    ours, score = HeatmapCodec(coding=coding).decode(maps)
    theirs = LITERAL[coding][1](maps[0].astype(np.float64), sigma, KERNELS[sigma])
    np.testing.assert_allclose(ours[0], theirs, rtol=1e-4, atol=2e-3)
    np.testing.assert_array_equal(score[0], maps[0].max(axis=(1, 2)))


@pytest.mark.parametrize("coding", ["dark", "udp"])
def test_unbiased_ground_truth_comes_back(coding):
    """256x256 and 256x192: image -> crop -> heatmap -> decoded -> image, by the formulas and by us."""
    rng = np.random.default_rng(0)
    people = [person(rng) for _ in range(40)]
    codec = HeatmapCodec(coding=coding)
    for in_hw in ((256, 256), (256, 192)):
        heat_hw = (in_hw[0] // 4, in_hw[1] // 4)
        step = step_of(coding, in_hw[::-1], heat_hw[::-1])
        _, matrices = crop_batch(people, in_hw, alignment=codec.alignment)
        true = np.stack([p.joints_xy for p in people]).astype(np.float64)
        crop_xy = apply_affine(matrices, true)
        maps, _ = encode_batch(
            crop_xy, np.ones(true.shape[:2], bool), heatmap_hw=heat_hw,
            stride=codec.pitch_xy(heat_hw), sigma=codec.sigma_px(heat_hw), coding=coding,
        )  # fmt: skip
        ours = codec.image_xy(codec.decode(maps)[0], matrices, heat_hw)
        error_px = np.linalg.norm(apply_affine(matrices, ours) - crop_xy, axis=-1)
        print(coding, in_hw, f"mean {error_px.mean():.4f} px, worst {error_px.max():.4f} px")
        assert error_px.mean() < 0.1
        for p, found in zip(people[:3], ours, strict=False):
            center, scale = literal_center_scale(p.box_xywh.astype(float), in_hw[::-1])
            matrix = (
                literal_udp_affine(center, scale * 200, 0, in_hw[::-1])
                if coding == "udp"
                else literal_affine(center, scale, 0, in_hw[::-1])
            )
            joints = literal_move(matrix, p.joints_xy.astype(float))
            target, _ = LITERAL[coding][0](joints, np.ones(16, bool), step, heat_hw[::-1], 2.0)
            moved = LITERAL[coding][1](target.astype(np.float32), 2.0, 11) * step
            back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
            theirs = np.array([(back @ [x, y, 1])[:2] for x, y in moved])
            np.testing.assert_allclose(found, theirs, atol=5e-3)
