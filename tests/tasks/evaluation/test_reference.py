"""What a data set knows of a scan's voxels: a label map that came with it, what readers drew, or nothing."""

from __future__ import annotations

import numpy as np

from artifacts.dataset import DatasetScan, Nodule
from artifacts.nifti import label_map
from tasks.evaluation.reference import reference_of_scan
from tasks.training.labels import LabelMap, read_digest
from tasks.training.truth import Truth
from tests.luna_folder import phantom


def truth(seed: int, labels: LabelMap | None, nodules: int = 3) -> Truth:
    made = phantom(seed, nodules)
    uid = made.volume.series.uid
    known = tuple(Nodule(uid, n.center_lps_mm, n.diameter_mm, row=k) for k, n in enumerate(made.nodules))
    scan = DatasetScan(uid, uid, "test", 0)
    return Truth(scan, known, (), ((),) * len(known), np.zeros((0, 3)), np.zeros(0, np.int8), labels)


def test_a_label_map_outlines_its_nodules(tmp_path):
    for seed, nodules in ((1, 3), (3, 0)):
        made, path = phantom(seed, nodules), tmp_path / f"{seed}.nii.gz"
        path.write_bytes(label_map(made.nodule_labels, made.volume.geometry, "nodules"))
        reference = reference_of_scan(truth(seed, LabelMap(path, read_digest(path)), nodules))
        assert reference.outlined is not None
        assert np.array_equal(reference.outlined(made.volume), made.nodule_labels)


def test_what_nobody_drew_has_no_outline_and_another_digest(tmp_path):
    plain = reference_of_scan(truth(1, None))
    assert plain.outlined is None
    assert plain.digest != reference_of_scan(truth(1, LabelMap(tmp_path, "of its voxels"))).digest
