"""One picture: a person posed, dressed and placed; others; a place; light; a camera; labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepose.data.base import PoseSample
from edgepose.data.people import props
from edgepose.data.people.background import Stage, draw_background
from edgepose.data.people.banks import banks
from edgepose.data.people.body import Mesh, build
from edgepose.data.people.camera import Camera, sample_camera
from edgepose.data.people.draws import Draws
from edgepose.data.people.finish import finish
from edgepose.data.people.head import add_head
from edgepose.data.people.light import sample_light
from edgepose.data.people.paint import atlas
from edgepose.data.people.poses import SampledPose, sample_pose
from edgepose.data.people.raster import Layer, composite, render
from edgepose.data.people.skeleton3d import MPII_PLACES, sample_proportions
from edgepose.data.people.untangle import untangled
from edgepose.data.people.wardrobe import Outfit, sample_outfit

OCCLUDED_SHARE = 0.25
HIDDEN_LEVEL = 128
MARGIN = 1.25
_OCCLUDERS_AT_MOST = 4
_LABEL_GRID = 64  # labels are rounded to 1/64 px: the last bits of sin and cos do not matter
_BONES = (
    ("l_ankle", "l_knee", 0.09), ("l_knee", "l_hip", 0.14), ("r_ankle", "r_knee", 0.09),
    ("r_knee", "r_hip", 0.14), ("pelvis", "thorax", 0.32), ("neck", "head_top", 0.18),
    ("l_shoulder", "l_elbow", 0.09), ("l_elbow", "l_wrist", 0.07), ("r_shoulder", "r_elbow", 0.09),
    ("r_elbow", "r_wrist", 0.07),
)  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A person in the world. joints: (16, 3) MPII order; bones: (n, 2, 3); head_m: head length."""

    pose: SampledPose
    outfit: Outfit
    mesh: Mesh
    places: NDArray[np.float64]
    normals: NDArray[np.float64]
    joints: NDArray[np.float64]
    bones: NDArray[np.float64]
    head_m: float


def _spun(v: NDArray[np.float64], c: float, s: float) -> NDArray[np.float64]:
    out = v.copy()
    out[..., 0] = c * v[..., 0] + s * v[..., 2]
    out[..., 2] = c * v[..., 2] - s * v[..., 0]
    return out


def make_figure(d: Draws, *, easy: bool = False, yaw_deg: float = 0.0,
                at_xz: tuple[float, float] = (0.0, 0.0)) -> Figure:  # fmt: skip
    """Sample a person and stand them on the ground (y = 0) at `at_xz`, turned by `yaw_deg`."""
    body = sample_proportions(d)
    chosen = sample_pose(d, easy=easy)
    outfit = sample_outfit(
        d, child=body.child, womanly=body.chest > 0 or (body.child and d.chance(0.5)),
        patterns=len(banks().patterns),
    )  # fmt: skip
    posed = untangled(body, chosen.angles)
    mesh = build(posed, outfit)
    add_head(mesh, posed, outfit)
    places, normals = mesh.vertices()
    joints = np.array([posed.places[name] for name in MPII_PLACES])
    bones = np.array([(posed.places[a], posed.places[b]) for a, b, _ in _BONES])
    lift = chosen.lift_m - float(places[..., 1].min())
    c, s = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    shift = np.array((at_xz[0], lift, at_xz[1]))
    return Figure(
        chosen, outfit, mesh, _spun(places, c, s) + shift, _spun(normals, c, s),
        _spun(joints, c, s) + shift, _spun(bones, c, s) + shift, body.head,
    )  # fmt: skip


def _others(d: Draws, camera: Camera, count: int) -> list[Figure]:
    """Bystanders beside, behind and, less often, in front of the target."""
    right, _, towards = camera.axes()
    flat = math.sqrt(towards[0] ** 2 + towards[2] ** 2) or 1.0
    out = []
    for _ in range(count):
        front = d.chance(0.28)
        aside = d.sign() * (d.between(0.42, 1.1) if front else d.between(0.25, 1.2))
        away = d.between(0.35, 0.9) if front else -d.between(0.4, 2.6)
        away = min(away, camera.distance_m - 1.6)
        x = camera.target[0] + aside * right[0] + away * towards[0] / flat
        z = camera.target[2] + aside * right[2] + away * towards[2] / flat
        out.append(make_figure(d, easy=True, yaw_deg=d.between(-180, 180), at_xz=(x, z)))
    return out


def _framed(d: Draws, camera: Camera, person: Figure, frame_px: int) -> Camera:
    """Mostly the whole person; sometimes cut at the knees or hips, or by a side of the frame."""
    shift = (d.near(0, 0.018), d.near(0, 0.018))
    fill = d.between(0.60, 0.69)
    cut = d.unit()
    if cut < 0.05 and person.pose.activity in ("stand", "walk", "reach", "raised", "sit", "play"):
        low = person.joints[[2, 3, 1, 4][:: 1 if cut < 0.03 else -1][:2], 1].mean()
        upper = person.places[person.places[..., 1].mean(axis=1) > low]
        if len(upper) > 8:
            tight = camera.framed(upper, frame_px=frame_px, fill=fill, shift_xy=(shift[0], 0.0))
            xy, _ = tight.project(upper)
            drop = frame_px - 1 - float(xy[..., 1].max())
            return Camera(tight.target, tight.azimuth_deg, tight.elevation_deg, tight.roll_deg,
                          tight.distance_m, tight.focal_px,
                          (tight.centre_xy[0], tight.centre_xy[1] + drop))  # fmt: skip
    if cut > 0.96:
        shift = (d.sign() * d.between(0.22, 0.36), shift[1])
    return camera.framed(person.places, frame_px=frame_px, fill=fill, shift_xy=shift)


def draw_scene(seed: int, frame_px: int, sample_id: str) -> PoseSample:
    """The picture and labels that belong to `seed`."""
    d = Draws(seed)
    person = make_figure(d)
    middle = person.places.reshape(-1, 3)
    centre = (middle.min(axis=0) + middle.max(axis=0)) / 2
    camera = sample_camera(
        d, target=(float(centre[0]), float(centre[1]), float(centre[2])),
        lying=person.pose.activity == "lie",
    )  # fmt: skip
    camera = _framed(d, camera, person, frame_px)
    outdoor = d.chance(0.55)
    light = sample_light(d, camera_azimuth_deg=camera.azimuth_deg, outdoor=outdoor)
    others = _others(d, camera, d.weighted(((0, 68), (1, 24), (2, 8))))

    metre_px = camera.focal_px / camera.distance_m
    stage = Stage(
        horizon_y=camera.horizon_y(),
        floor_y=props.ground_row(camera, d.between(0.5, 3.0)),
        roll_deg=camera.roll_deg,
        metre_px=metre_px,
        ground_y=props.ground_row(camera, 0.0),
    )
    canvas = draw_background(d, stage, frame_px, outdoor=outdoor)
    figures = [person, *others]
    rendered = [
        (render(f.mesh, f.places, f.normals, camera, light, atlas(f.outfit), frame_px), f)
        for f in figures
    ]
    layers = [(layer, f) for layer, f in rendered if layer is not None]
    widths = np.array([w for _, _, w in _BONES])
    for f in figures:
        props.cast_shadow(canvas, camera, light, f.bones, widths, metre_px)

    hidden = np.zeros((frame_px, frame_px), np.uint8)
    seat = _seat(d, camera, person) if person.pose.seated else None
    drawn = sorted(layers, key=lambda pair: -pair[0].depth_m)
    passed = False
    for layer, f in drawn:
        if f is person and seat:
            seat.behind(canvas)
        composite(canvas, layer)
        if passed:
            h, w = layer.alpha.shape
            view = hidden[layer.y : layer.y + h, layer.x : layer.x + w]
            view[layer.alpha >= HIDDEN_LEVEL] = 255
        if f is person:
            passed = True
            if seat:
                seat.before(canvas, hidden)

    xy, _ = camera.project(person.joints)
    body_xy, _ = camera.project(person.places)
    box = body_box(body_xy.reshape(-1, 2), frame_px)
    around = (float(box[0]), float(box[1]), float(box[0] + box[2]), float(box[1] + box[3]))
    wanted = d.weighted(((0.0, 66), (0.01, 13), (OCCLUDED_SHARE, 21)))
    for _ in range(_OCCLUDERS_AT_MOST):
        if _hidden_joints(hidden, xy)[0] >= wanted:
            break
        props.draw_occluder(canvas, hidden, d, around)
    image = finish(canvas, d)
    return _labelled(image, xy, box, camera, person, hidden, rendered[0][0],
                     [layer for layer, f in drawn if f is not person], sample_id)  # fmt: skip


def _seat(d: Draws, camera: Camera, person: Figure) -> props.Seat:
    hips, knees = person.joints[[2, 3]], person.joints[[1, 4]]
    hip_z, top = float(hips[:, 2].mean()), float(hips[:, 1].mean()) - 0.09
    front = hip_z + 0.62 * max(float(knees[:, 2].mean()) - hip_z, 0.2)
    return props.Seat(d, camera, half_width=d.between(0.22, 0.45), back_z=hip_z - 0.24,
                      front_z=front, top_y=max(top, 0.1))  # fmt: skip


def body_box(xy: NDArray[np.float64], frame_px: int) -> NDArray[np.float64]:
    """(4,) x, y, w, h of the part of (n, 2) image places inside the frame."""
    low = np.clip(xy.min(axis=0), 0, frame_px - 1)
    high = np.clip(xy.max(axis=0), 0, frame_px - 1)
    return np.concatenate([low, high - low])


def _grid(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return (np.rint(values * _LABEL_GRID) / _LABEL_GRID).astype(np.float32)


def head_size(neck_xy: NDArray[np.float64], top_xy: NDArray[np.float64], head_px: float) -> float:
    """0.6 x the diagonal of a head box as MPII's annotators draw it: from neck to head top, but
    never less than a face when the head is seen from above or below; three quarters as wide."""
    dx, dy = (float(c) for c in top_xy - neck_xy)
    length = max(math.sqrt(dx * dx + dy * dy), 0.8 * head_px)
    width = 0.75 * head_px
    return 0.6 * math.sqrt(length * length + width * width)


def _hidden_joints(hidden: NDArray[np.uint8], xy: NDArray[np.float64]
                   ) -> tuple[float, NDArray[np.bool_]]:  # fmt: skip
    """Share of the joints in the frame that something hides, and which are in the frame."""
    size = hidden.shape[0]
    inside = ((xy >= -0.5) & (xy < size - 0.5)).all(axis=1)
    pixel = np.clip(np.rint(xy).astype(int), 0, size - 1)
    covered = inside & (hidden[pixel[:, 1], pixel[:, 0]] > 0)
    return float(covered.sum()) / max(int(inside.sum()), 1), inside


def _labelled(image: NDArray[np.uint8], xy: NDArray[np.float64], box: NDArray[np.float64],
              camera: Camera, person: Figure, hidden: NDArray[np.uint8], own: Layer | None,
              others: list[Layer], sample_id: str) -> PoseSample:  # fmt: skip
    share, inside = _hidden_joints(hidden, xy)
    tags = set()
    if share >= OCCLUDED_SHARE:
        tags.add("occluded")
    box32 = _grid(box)
    centre = _grid(box[:2] + box[2:] / 2)
    side = float(_grid(np.array(MARGIN * float(box[2:].max()))))
    if any(_reaches(layer, centre, side) for layer in others):
        tags.add("multi_person")
    head_px = person.head_m * camera.focal_px / camera.distance_m
    area = float((own.alpha >= HIDDEN_LEVEL).sum()) if own is not None else float("nan")
    return PoseSample(
        image=image,
        joints_xy=_grid(xy),
        annotated=inside,
        box_xywh=box32,
        center_xy=centre,
        size_px=side,
        head_px=float(_grid(np.array(head_size(xy[8], xy[9], head_px)))),
        area_px2=area,
        sample_id=sample_id,
        tags=frozenset(tags),
    )


def _reaches(layer: Layer, centre: NDArray[np.float32], side: float) -> bool:
    """Whether a visible part of another person (over 0.4 % of it) lies inside the crop."""
    h, w = layer.alpha.shape
    x0, y0 = (round(float(c) - side / 2) for c in centre)
    a, b = max(x0 - layer.x, 0), max(y0 - layer.y, 0)
    c, e = min(x0 + round(side) - layer.x, w), min(y0 + round(side) - layer.y, h)
    if a >= c or b >= e:
        return False
    return int((layer.alpha[b:e, a:c] >= HIDDEN_LEVEL).sum()) > 0.004 * side * side
