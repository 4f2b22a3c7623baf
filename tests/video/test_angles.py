"""Angles are those that the joints were placed at; ranges are over what was seen."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgepose.skeleton import COCO17, LSP14, MPII16, Skeleton
from edgepose.video.angle_plot import angles_png, motion_csv, motion_table
from edgepose.video.angles import angles_of, measure_angles, ranges

LEG = Skeleton("leg", ("right_hip", "right_knee", "right_ankle"), flip_pairs=(), limbs=())


@pytest.mark.parametrize("skeleton", [MPII16, COCO17, LSP14])
def test_every_known_skeleton_has_all_eight(skeleton: Skeleton) -> None:
    found = angles_of(skeleton)
    assert len(found) == 8
    elbow = next(a for a in found if a.name == "left_elbow")
    names = [skeleton.joints[i] for i in (elbow.ends[0], elbow.at, elbow.ends[1])]
    assert names == ["left_shoulder", "left_elbow", "left_wrist"]


def test_a_skeleton_gives_what_its_joints_allow() -> None:
    assert [a.name for a in angles_of(LEG)] == ["right_knee"]


@given(st.floats(0, 180), st.floats(-180, 180), st.floats(1, 300), st.floats(-500, 500))
def test_a_leg_bent_by_so_much_measures_so_much(
    bend: float, turn: float, length: float, at: float
) -> None:
    knee = at + 1j * at
    hip = knee + length * np.exp(1j * np.radians(turn))
    ankle = knee + 0.7 * length * np.exp(1j * np.radians(turn + bend))
    xy = np.array([[p.real, p.imag] for p in (hip, knee, ankle)])
    (found,) = measure_angles(xy, np.ones(3), angles_of(LEG))
    assert found == pytest.approx(bend, abs=1e-3)


def test_unsure_or_coinciding_joints_have_no_angle() -> None:
    xy = np.array([[0.0, 0], [0, 10], [10, 10]])
    assert measure_angles(xy, np.array([1, 1, 0.5]), angles_of(LEG))[0] == pytest.approx(90)
    assert np.isnan(measure_angles(xy, np.array([1, 1, 0.1]), angles_of(LEG))[0])
    assert np.isnan(measure_angles(xy[[0, 0, 2]], np.ones(3), angles_of(LEG))[0])


def test_ranges_tables_and_plot_agree() -> None:
    angles = angles_of(LEG)
    degrees = {2: np.array([[90.0], [np.nan], [150.0], [120.0]]), 5: np.array([[np.nan]])}
    (motion,) = ranges(degrees, angles)
    assert (motion.person, motion.frames, motion.range_deg) == (2, 3, 60)
    assert (motion.min_deg, motion.median_deg, motion.max_deg) == (90, 120, 150)
    assert motion_csv([motion]).splitlines()[1] == "2,right_knee,3,90.00,120.00,150.00,60.00"
    assert all(len(line) <= 80 for line in motion_table([motion]).splitlines())
    times = {2: np.arange(4) / 25, 5: np.zeros(1)}
    picture = Image.open(BytesIO(angles_png(times, degrees, angles, name="walk")))
    colours = np.array(picture.convert("RGB")).reshape(-1, 3)
    assert (colours == (255, 138, 36)).all(axis=1).any()  # the right side's line
