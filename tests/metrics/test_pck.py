"""PCKh against published figures, other people's test vectors, and its own definition."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepose.errors import EdgeposeError
from edgepose.metrics.pck import CONVENTIONS, counted_joints, group_table, head_box_px, pck
from edgepose.skeleton import COCO17, LSP14, MPII16

MPII = Path(__file__).parents[3] / "shared" / "data" / "mpii-pckh"
needs_mpii = pytest.mark.skipif(not MPII.is_dir(), reason=f"no MPII ground truth at {MPII}")


@pytest.fixture(scope="module")
def mpii():
    truth = np.load(MPII / "mpii_valid_gt.npz", allow_pickle=False)
    predicted = np.load(MPII / "hg_s2_b1_preds.npz", allow_pickle=False)
    return {
        "pred_xy": predicted["xy"],
        "true_xy": truth["xy"],
        "size_px": head_box_px(truth["headbox"]),
        "annotated": ~truth["missing"],
        "counted": counted_joints(MPII16),
    }


@needs_mpii
@pytest.mark.parametrize(
    ("convention", "alpha", "expected"),
    [
        ("hrnet", 0.5, 87.299),
        ("pytorch-pose", 0.5, 86.757),
        ("hrnet", 0.11, 28.082),
        ("hrnet", 0.10, 23.914),
    ],
)
def test_mpii_means(mpii, convention, alpha, expected):
    result = pck(
        mpii["pred_xy"],
        mpii["true_xy"],
        size_px=mpii["size_px"],
        annotated=mpii["annotated"],
        counted=mpii["counted"],
        alpha=alpha,
        convention=convention,
    )
    assert result.mean == pytest.approx(expected, abs=1e-3)


@needs_mpii
def test_mpii_table(mpii):
    result = pck(**mpii_arrays(mpii))
    expected = {
        "Head": 95.805, "Sho": 94.565, "Elb": 88.120, "Wri": 83.312,
        "Hip": 86.238, "Kne": 80.879, "Ank": 77.445,
    }  # fmt: skip
    table = group_table(result.per_joint, MPII16)
    assert list(table) == list(expected)
    assert table == pytest.approx(expected, abs=1e-3)


@needs_mpii
def test_forgetting_that_mpii_counts_from_one_shows(mpii):
    shifted = {**mpii_arrays(mpii), "pred_xy": mpii["pred_xy"] - 1}
    assert abs(pck(**shifted).mean - 87.299) > 0.01


def mpii_arrays(mpii):
    return {k: mpii[k] for k in ("pred_xy", "true_xy", "size_px", "annotated", "counted")}


def mmpose_vector():
    """The arrays of mmpose's own unit test of PCK accuracy: 2 people, 5 joints, norm 10."""
    pred, true = np.zeros((2, 5, 2)), np.zeros((2, 5, 2))
    pred[0, :] = [(10, 0), (20, 20), (0, 0), (30, 30), (0, 10)]
    true[0, :] = [(10, 0), (10, 10), (-1, 0), (30, 30), (0, 10)]
    annotated = np.tile([True, True, False, True, True], (2, 1))
    return pred, true, annotated


def test_mmpose_unit_test_vector():
    pred, true, annotated = mmpose_vector()
    result = pck(pred, true, size_px=(10, 10), annotated=annotated, convention="mmpose")
    np.testing.assert_allclose(result.per_joint, [100, 50, np.nan, 100, 100])
    assert result.mean == pytest.approx(87.5)
    nobody = pck(pred, true, size_px=(0, 0), annotated=annotated, convention="mmpose")
    assert np.isnan(nobody.per_joint).all()
    assert np.isnan(nobody.mean)
    assert not nobody.valid.any()
    assert not nobody.correct.any()


def literal_pck(pred, true, head, annotated, *, alpha, counted, inclusive, weighted):
    """The definition, one joint at a time."""
    n, joints = annotated.shape
    right, total = np.zeros(joints), np.zeros(joints)
    for i in range(n):
        for j in range(joints):
            if not annotated[i, j] or not 0 < head[i] < np.inf:
                continue
            total[j] += 1
            dx, dy = pred[i, j] - true[i, j]
            error = np.sqrt(dx * dx + dy * dy) / head[i]
            right[j] += error <= alpha if inclusive else error < alpha
    each = [100 * right[j] / total[j] if total[j] else np.nan for j in range(joints)]
    use = [j for j in range(joints) if counted[j] and total[j]]
    if not use:
        return each, np.nan
    if weighted:
        return each, 100 * sum(right[j] for j in use) / sum(total[j] for j in use)
    return each, sum(each[j] for j in use) / len(use)


@settings(max_examples=120, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 6),
    st.integers(1, 5),
    st.sampled_from(sorted(CONVENTIONS)),
    st.sampled_from([0.1, 0.5, 1.0]),
)
def test_equals_the_literal_definition(seed, people, joints, convention, alpha):
    rng = np.random.default_rng(seed)
    true = rng.integers(-3, 4, (people, joints, 2)).astype(float)
    pred = true + rng.integers(-2, 3, (people, joints, 2))  # many errors equal the threshold
    head = rng.choice([2.0, 4.0, 10.0, 0.0, np.nan, np.inf], people)
    annotated, counted = rng.random((people, joints)) < 0.7, rng.random(joints) < 0.8
    result = pck(
        pred, true, size_px=head, annotated=annotated, alpha=alpha, counted=counted,
        convention=convention,
    )  # fmt: skip
    inclusive = convention == "hrnet"
    weighted = convention != "pytorch-pose"
    each, mean = literal_pck(
        pred, true, head, annotated, alpha=alpha, counted=counted, inclusive=inclusive,
        weighted=weighted,
    )  # fmt: skip
    np.testing.assert_allclose(result.per_joint, each, rtol=1e-12)
    np.testing.assert_allclose(result.mean, mean, rtol=1e-12)
    if weighted and result.valid.any():
        cells = result.correct[result.valid]
        assert 100 * cells.mean() == pytest.approx(result.mean)
    assert not result.correct[~annotated].any()


def test_an_error_equal_to_the_threshold():
    pred, true = np.array([[[5.0, 0.0]]]), np.zeros((1, 1, 2))
    how = {"size_px": [10.0], "annotated": [[True]]}
    scores = {name: pck(pred, true, convention=name, **how).mean for name in CONVENTIONS}
    assert scores == {"hrnet": 100, "mmpose": 0, "pytorch-pose": 0}


def test_a_prediction_that_is_no_number_is_wrong():
    pred, true = np.full((1, 2, 2), np.nan), np.zeros((1, 2, 2))
    result = pck(pred, true, size_px=[10.0], annotated=[[True, False]])
    assert result.mean == 0
    assert result.valid.tolist() == [[True, False]]


def test_uncounted_joints_are_scored_but_stay_out_of_the_mean():
    true = np.zeros((1, 16, 2))
    pred = true.copy()
    pred[0, [6, 7]] = 99
    result = pck(
        pred, true, size_px=[10.0], annotated=np.ones((1, 16)), counted=counted_joints(MPII16)
    )
    assert result.mean == 100
    assert result.per_joint[[6, 7]].tolist() == [0, 0]
    assert result.valid.sum() == 14


def test_groups_follow_joint_names_not_positions():
    assert list(group_table(np.arange(17.0), COCO17)) == ["Sho", "Elb", "Wri", "Hip", "Kne", "Ank"]
    assert group_table(np.arange(17.0), COCO17)["Sho"] == 5.5
    assert group_table(np.arange(14.0), LSP14)["Head"] == 13
    assert counted_joints(COCO17).all()


def test_bad_arguments_are_named():
    good = {"size_px": [1.0], "annotated": [[True]]}
    xy = np.zeros((1, 1, 2))
    with pytest.raises(EdgeposeError, match="convention 'coco'"):
        pck(xy, xy, convention="coco", **good)
    with pytest.raises(EdgeposeError, match="pred_xy"):
        pck(xy[0], xy, **good)
    with pytest.raises(EdgeposeError, match="counted"):
        pck(xy, xy, counted=[True, False], **good)
    with pytest.raises(EdgeposeError, match="size_px"):
        pck(xy, xy, size_px=[1.0, 2.0], annotated=[[True]])
