"""Labelled people, and pictures without labels among them in a stated share."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Literal

from edgepose.data.base import PoseDataset, PoseSample
from edgepose.data.folder import Pictures, open_pictures
from edgepose.data.photographs import Photographs
from edgepose.errors import EdgeposeError
from edgepose.skeleton import Skeleton


class Unlabelled(Pictures):
    """Pictures that only a teacher says anything of; the keys are those of `source: folder`, but for
    the skeleton, which is the training data's."""

    source: Literal["folder"] = "folder"


class Mixture:
    """Both sets shuffled together (PoseDataset).

    One round shows every picture of both at least once; the set that the share calls for more often is
    gone through several times. Position i is labelled[i % L] first, then unlabelled[i % U].
    """

    def __init__(self, labelled: PoseDataset, unlabelled: PoseDataset, *, share: float) -> None:
        if labelled.skeleton.joints != unlabelled.skeleton.joints:
            raise EdgeposeError(
                f"the labelled data has {labelled.skeleton.name} joints, the unlabelled "
                f"{unlabelled.skeleton.name}",
                fix="open both with one skeleton",
            )
        self.labelled, self.unlabelled = labelled, unlabelled
        self.skeleton, self.domain = labelled.skeleton, labelled.domain
        self.counts = round_counts(len(labelled), len(unlabelled), share=share)
        text = f"mixture-v1 {labelled.fingerprint} {unlabelled.fingerprint} {self.counts}"
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()

    def __len__(self) -> int:
        return sum(self.counts)

    def __getitem__(self, index: int) -> PoseSample:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        first = self.counts[0]
        if index < first:
            return self.labelled[index % len(self.labelled)]
        return self.unlabelled[(index - first) % len(self.unlabelled)]


def round_counts(labelled: int, unlabelled: int, *, share: float) -> tuple[int, int]:
    """How many samples of each set make a round in which `share` of them are unlabelled."""
    if share >= 1:
        return 0, unlabelled
    wanted = round(labelled * share / (1 - share))
    if wanted >= unlabelled:
        return labelled, wanted
    return max(labelled, round(unlabelled * (1 - share) / share)), unlabelled


@lru_cache(maxsize=4)
def open_unlabelled(config: Unlabelled, skeleton: Skeleton) -> Photographs:
    """The pictures of `config`, opened once per process; no joint of them is annotated."""
    return open_pictures(config, skeleton)
