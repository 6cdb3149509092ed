"""The candidate cache: cut once, shared, one scan at a time; what breaks is skipped; a kill loses a scan at most."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from artifacts.errors import InputError, StoreError
from artifacts.examples import ORIGINS, Examples
from artifacts.patches import Patches
from artifacts.private_index import PrivateIndex
from artifacts.store import Store
from flows.cache import cached
from tasks.cut import CutParams
from tasks.patch import PatchParams
from tests.conftest import ROOT
from tests.luna_folder import luna_folder

FEW = {"cut": CutParams(negatives=10, jittered=1), "patch": PatchParams(bright=3, anywhere=2, size=48)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A LUNA16-shaped folder of three small phantoms, one without nodules, cut once."""
    home = tmp_path_factory.mktemp("cache")
    folder = luna_folder(home / "luna", (1, 2), (3,))
    store, index = Store(home / "store"), PrivateIndex(home / "private")
    return folder, store, index, cached(folder.root, params=FEW, store=store, index=index)


@pytest.fixture
def again(made, tmp_path):
    """The same, to be changed: folder, store, index, and a function that cuts again and says which stages ran."""
    folder, store, _index, _ = made
    shutil.copytree(folder.root, tmp_path / "luna", copy_function=shutil.copy2)
    shutil.copytree(store.root, tmp_path / "store")
    own = Store(tmp_path / "store")

    def cut(params=FEW, **options):
        before = {r.digest for r in own.refs()}
        done = cached(tmp_path / "luna", params=params, store=own, index=PrivateIndex(tmp_path / "private"), **options)
        return done, sorted(r.kind for r in own.refs() if r.digest not in before)

    return tmp_path / "luna", own, cut


def test_every_scan_gives_examples_and_patches_with_its_truth(made):
    folder, store, _, done = made
    assert (len(done.examples), len(done.patches), done.skipped) == (3, 3, {})
    for seed, phantom in folder.phantoms.items():
        examples = next(e for e in (store.read(r, Examples) for r in done.examples) if e.uid == phantom.volume.series.uid)
        names = np.array(ORIGINS)[examples.origin]
        assert (names == "annotated").sum() == len(phantom.nodules), seed
        assert int((examples.label == 0).sum()) == 10
        for n in phantom.nodules:  # a nodule is brighter than the lung around it
            at = np.flatnonzero((names == "annotated") & np.isclose(examples.centers_lps_mm, n.center_lps_mm).all(axis=1))
            assert len(at) == 1
            assert examples.diameter_mm[at[0]] == np.float32(n.diameter_mm)
            crop, (z, y, x) = examples.hu[at[0]], examples.offset_zyx[at[0]]
            assert crop[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2].mean() > -780
        gaps = np.linalg.norm(examples.centers_lps_mm[examples.label == 0][:, None] - _centers(phantom), axis=2)
        assert (gaps > np.array([n.diameter_mm / 2 + 4 for n in phantom.nodules])).all()


def _centers(phantom):
    return np.array([n.center_lps_mm for n in phantom.nodules]).reshape(1, -1, 3)


def test_patches_carry_masks_that_overlap_the_true_ones(made):
    folder, store, _, done = made
    scans = {p.volume.series.uid: p for p in folder.phantoms.values()}
    for patches in (store.read(r, Patches) for r in done.patches):
        phantom = scans[patches.uid]
        masks = np.asarray(patches.masks)
        assert masks[patches.positive].any(axis=(1, 2)).all()
        assert set(patches.nodule[patches.positive]) == set(range(len(phantom.nodules)))
        bright = np.asarray(patches.hu)[:, patches.hu.shape[1] // 2][masks > 0]
        assert len(phantom.nodules) == 0 or np.median(bright) > -500


def test_the_volumes_that_were_needed_in_passing_are_gone(made):
    _, store, _, _ = made
    assert {r.kind for r in store.refs()} == {"dataset", "examples", "patches"}


def test_a_second_time_nothing_runs_and_no_pixel_is_read(again, monkeypatch):
    folder, _, cut = again
    cut()
    monkeypatch.setattr("flows.scans.read_scan", lambda found: pytest.fail("a known scan was read"))
    done, ran = cut()
    assert ran == []
    assert len(done.examples) == 3
    assert folder.exists()


def test_a_scan_more_is_cut_alone(again, made):
    folder, _, cut = again
    more = luna_folder(folder.parent / "more", (4,))
    shutil.copytree(more.root / "subset4", folder / "subset4")
    for table in ("annotations.csv", "candidates_V2.csv"):
        rows = (more.root / table).read_text().split("\n", 1)[1]
        (folder / table).write_text((folder / table).read_text() + rows)
    done, ran = cut()
    assert ran == ["dataset", "examples", "patches"]
    assert set(done.examples) > {r for r in done.examples if r.digest in {x.digest for x in made[3].examples}}


def test_other_crops_leave_the_patches_alone_and_the_other_way_round(again):
    _, _, cut = again
    assert cut(FEW | {"cut": CutParams(negatives=5)})[1] == ["examples"] * 3
    assert cut(FEW | {"patch": PatchParams(size=32)})[1] == ["patches"] * 3


def test_a_corrected_annotation_cuts_its_scan_alone(again):
    folder, _, cut = again
    lines = (folder / "annotations.csv").read_text().splitlines()
    lines[1] = lines[1].rsplit(",", 1)[0] + ",9.99"
    (folder / "annotations.csv").write_text("\n".join(lines) + "\n")
    assert cut()[1] == ["dataset", "examples", "patches"]


def test_a_damaged_artifact_is_cut_again_alone(again, made):
    _, store, cut = again
    ref = store.ref("examples", made[3].examples[0].digest)
    (ref.path / "examples.h5").write_bytes(b"")
    done, ran = cut()
    assert (ran, len(done.examples)) == ([], 3)
    assert len(store.read(ref, Examples)) > 0


@pytest.mark.slow
def test_volumes_are_kept_where_that_is_asked_for(again):
    _, store, cut = again
    assert cut(FEW | {"cut": CutParams(negatives=7)}, keep=True)[1].count("volume") == 3
    cut(FEW | {"cut": CutParams(negatives=6)})  # and what was there before is not removed
    assert sum(r.kind == "volume" for r in store.refs()) == 3


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["hdf5", "zarr"])
def test_both_layouts_hold_the_same_crops(again, made, layout):
    _, store, cut = again
    done, _ = cut({**FEW, "cut": FEW["cut"].model_copy(update={"layout": layout})})
    for ours, theirs in zip(done.examples, made[3].examples, strict=True):
        a, b = store.read(ours, Examples), made[1].read(theirs, Examples)
        np.testing.assert_array_equal(np.asarray(a.hu), np.asarray(b.hu))


def test_a_scan_that_breaks_is_skipped_and_listed_and_the_rest_goes_on(again):
    folder, _, cut = again
    raws = sorted(folder.glob("subset*/*.raw"))
    raws[0].write_bytes(raws[0].read_bytes()[:1000])
    raws[1].with_suffix(".mhd").write_bytes(b"\0" * 100)
    done, _ = cut(FEW | {"cut": CutParams(negatives=3)})
    assert set(done.skipped) == {raws[0].stem, raws[1].stem}
    assert len(done.examples) == len(done.patches) == 1
    assert str(folder) not in " ".join(done.skipped.values())


def test_where_every_scan_breaks_the_run_says_so(again):
    folder, _, cut = again
    for raw in folder.glob("subset*/*.raw"):
        raw.write_bytes(b"")
    with pytest.raises(InputError, match="none of the 3 scans could be cut"):
        cut(FEW | {"cut": CutParams(negatives=3)})


def test_the_size_is_announced_and_a_disk_without_room_refused_before_anything_is_written(again, monkeypatch):
    _, store, cut = again
    monkeypatch.setattr("flows.cache.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 10**6))
    with pytest.raises(StoreError, match=r"up to .* MB would be written and 1.0 MB are free"):
        cut(FEW | {"cut": CutParams(negatives=11)})
    assert sum(r.kind == "examples" for r in store.refs()) == 3


def test_what_is_announced_is_not_exceeded(made):
    _, store, _, done = made
    for ref in done.examples:
        e = store.read(ref, Examples)
        table = int((np.array(ORIGINS)[e.origin] == "candidate").sum())
        assert len(e) <= FEW["cut"].most(len(set(e.nodule[e.nodule >= 0])), table)
    for ref in done.patches:
        p = store.read(ref, Patches)
        assert len(p) <= FEW["patch"].most(len(set(p.nodule[p.nodule >= 0])))


KILLED = """
import sys
from pathlib import Path
from artifacts.private_index import PrivateIndex
from artifacts.store import Store
from flows.cache import cached
home = Path(sys.argv[1])
cached(home / "luna", store=Store(home / "store"), index=PrivateIndex(home / "private"))
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    folder = luna_folder(tmp_path / "luna", (1, 2), (3,))
    run = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path], cwd=ROOT, stderr=subprocess.DEVNULL, env=os.environ)
    store = Store(tmp_path / "store")
    while run.poll() is None and sum(r.kind == "patches" for r in store.refs()) < 1:
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    whole = {r.digest for r in store.refs() if r.kind in ("examples", "patches")}
    done = cached(folder.root, store=store, index=PrivateIndex(tmp_path / "private"))
    assert len(done.examples) == len(done.patches) == 3
    assert whole
    assert whole <= {r.digest for r in (*done.examples, *done.patches)}
    store.sweep()
    assert not list((store.root / "artifacts").glob("*/.tmp-*"))
