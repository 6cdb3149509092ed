"""The store decides: what is whole is reused, what is not is made again, and the plan says why."""

import multiprocessing
import os
import signal
import time

import pytest

from artifacts.errors import StoreError, UsageError
from artifacts.recipe import Recipe
from artifacts.store import Store
from tasks.line import Line, Plan, parse_params
from tasks.stage import Compute, stage
from tasks.train_malignancy import train_malignancy
from tasks.train_nodule import train_nodule
from tasks.train_segmenter import train_segmenter
from tests.toy import AddParams, CountParams, Numbers, Scan, Sum, add, calls, count, toy_line

SCAN = Scan([1, 2, 3, 4])


@pytest.fixture
def store(tmp_path):
    calls.clear()
    return Store(tmp_path / "store")


def run(store, scan=SCAN, **settings):
    ref = toy_line(Line(store, scan.digest, **settings), scan)
    return store.open(ref, Sum).value


def plan(store, scan=SCAN, **settings):
    p = Plan(store, scan.digest, **settings)
    toy_line(p, scan)
    return [(s.stage, s.action, s.because) for s in p.steps]


def artifacts(store):
    return {r.kind: r for r in store.refs()}


def test_a_second_run_computes_nothing(store):
    assert run(store) == run(store) == 10
    assert calls == ["count", "add"]


def test_another_process_reuses_from_disk(store):
    run(store)
    assert run(Store(store.root)) == 10
    assert calls == ["count", "add"]


def test_a_changed_parameter_runs_only_what_is_below_it(store):
    run(store)
    assert run(store, params={"add": AddParams(offset=5)}) == 15
    assert calls == ["count", "add", "add"]
    assert run(store, params={"count": CountParams(step=2)}) == 4
    assert calls[3:] == ["count", "add"]


def test_the_same_scan_from_elsewhere_is_the_same_artifact_and_another_is_not(store):
    first = toy_line(Line(store, SCAN.digest), Scan([1, 2, 3, 4]))
    assert toy_line(Line(store, "5ca8" * 8), Scan([9], digest="5ca8" * 8)) != first


def test_the_plan_says_because_of_what(store):
    assert plan(store) == [
        ("count", "run", "missing: never made of this input"),
        ("add", "run", "missing: never made of this input"),
    ]
    run(store)
    assert {a for _, a, _ in plan(store)} == {"reuse"}
    changed = plan(store, params={"count": CountParams(step=2)})
    assert changed == [("count", "run", "params: step 1 -> 2"), ("add", "run", "input: numbers changed")]
    assert plan(store, refresh=frozenset({"add"}))[1] == ("add", "run", "asked: refresh")


def test_a_new_version_is_another_artifact(store, monkeypatch):
    run(store)
    from dataclasses import replace

    newer = replace(count, version=2)
    p = Plan(store, SCAN.digest)
    p(newer, scan=SCAN)
    assert p.steps[0].because == "version: 1 -> 2"


def test_a_removed_artifact_is_mended_by_its_stage_alone(store):
    run(store)
    import shutil

    shutil.rmtree(artifacts(store)["numbers"].path)
    fresh = Store(store.root)
    assert plan(fresh)[0] == ("count", "run", "missing: it was removed")
    assert plan(fresh)[1][1] == "reuse"
    assert run(fresh) == 10
    assert calls == ["count", "add", "count"]


@pytest.mark.parametrize("harm", ["flip a byte", "remove a file", "empty the manifest", "alter the manifest", "empty a file"])
def test_damage_is_noticed_and_mended_by_that_stage_alone(store, harm):
    run(store)
    folder = artifacts(store)["numbers"].path
    chunk = next(p for p in sorted(folder.rglob("*")) if p.is_file() and "c" in p.relative_to(folder).parts)
    if harm == "flip a byte":
        body = bytearray(chunk.read_bytes())
        body[len(body) // 2] ^= 1
        chunk.write_bytes(body)
    elif harm == "remove a file":
        chunk.unlink()
    elif harm == "empty a file":
        chunk.write_bytes(b"")
    elif harm == "empty the manifest":
        (folder / "manifest.json").write_bytes(b"")
    else:
        text = (folder / "manifest.json").read_text()
        (folder / "manifest.json").write_text(text.replace('"sum": 10', '"sum": 11'))
    fresh = Store(store.root)
    if harm != "flip a byte":  # names and sizes are all that a plan looks at
        assert plan(fresh)[0][2].startswith("damaged: ")
    assert fresh.verify(artifacts(store)["numbers"]).startswith("damaged: ")
    assert run(fresh) == 10
    assert calls == ["count", "add", "count"]
    assert fresh.verify(artifacts(store)["numbers"]) == "whole"


def test_damage_under_a_running_process_is_noticed_too(store):
    run(store)
    (artifacts(store)["sum"].path / "sum.txt").write_text("11")
    assert run(store) == 10


def test_a_failure_in_the_middle_of_writing_leaves_nothing(store, monkeypatch):
    def full(self, folder):
        (folder / "half").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Numbers, "write", full)
    with pytest.raises(StoreError, match="disk of the store is full"):
        run(store)
    assert list(store.refs()) == []
    assert list(store.root.glob("artifacts/*/.tmp-*")) == []
    monkeypatch.undo()
    assert run(store) == 10


def _slowly(root, started):
    def write(self, folder):
        (folder / "half").write_text("half")
        started.set()
        time.sleep(60)

    Numbers.write = write
    run(Store(root))


def test_kill_9_while_writing_leaves_no_name_and_the_next_run_sweeps(store):
    context = multiprocessing.get_context("fork")
    started = context.Event()
    process = context.Process(target=_slowly, args=(store.root, started))
    process.start()
    assert started.wait(20)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert list(store.refs()) == []
    assert len(list(store.root.glob("artifacts/*/.tmp-*"))) == 1
    assert store.sweep() == 1
    assert run(store) == 10


def _count_once(root, log):
    import tests.toy as toy

    plain = toy.Numbers.write

    def write(self, folder):
        with open(log, "a") as f:
            f.write("x")
        time.sleep(0.3)
        plain(self, folder)

    toy.Numbers.write = write
    assert run(Store(root)) == 10


def test_two_processes_at_once_do_the_work_once(store, tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_count_once, args=(store.root, tmp_path / "log")) for _ in range(3)]
    for p in processes:
        p.start()
    for p in processes:
        p.join(30)
    assert [p.exitcode for p in processes] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "x"


def test_a_sweep_leaves_alone_what_is_being_written(store):
    with store.lock("ab" * 16):
        folder = store.root / "artifacts" / "numbers" / f".tmp-{'ab' * 16}-1-2"
        folder.mkdir(parents=True)
        assert Store(store.root).sweep() == 0
        assert folder.exists()


def test_a_newer_store_is_not_touched(tmp_path):
    (tmp_path / "format.json").write_text('{"version": 99}')
    with pytest.raises(StoreError, match="newer"):
        Store(tmp_path)


def test_names_by_prefix(store):
    run(store)
    ref = artifacts(store)["sum"]
    assert store.resolve(f"sum:{ref.digest[:6]}") == store.resolve(ref.digest) == store.resolve(str(ref.path)) == ref
    with pytest.raises(UsageError, match="no artifact"):
        store.resolve("sum:ffffffffffff")
    with pytest.raises(UsageError, match="no artifact"):
        store.resolve("")


def test_lineage_goes_back_to_the_scan(store):
    run(store)
    lineage = store.lineage(artifacts(store)["sum"])
    assert [m.recipe.stage for m in lineage] == ["count", "add"]
    assert lineage[0].recipe.inputs == {"scan": SCAN.digest}
    assert {m.scan for m in lineage} == {SCAN.digest}


def test_settings_are_validated_with_one_line():
    stages = {"count": count, "add": add}
    assert parse_params(stages, ["count.step=3"]) == {"count": CountParams(step=3)}
    for text, said in [
        ("step=3", "STAGE.PARAMETER"),
        ("count.stop=1", "no parameter 'stop': it has step"),
        ("count.step=0", "greater"),
    ]:
        with pytest.raises(UsageError, match=said):
            parse_params(stages, [text])


def test_the_store_is_its_owners_alone(store):
    assert store.root.stat().st_mode & 0o077 == 0


@stage("fit", version=1, params=AddParams)
def fit(numbers: Numbers, params: AddParams = AddParams(), compute: Compute = Compute()) -> Sum:
    return Sum(int(numbers.values.sum()))


def test_the_precision_of_a_training_is_part_of_its_key_and_float32_leaves_older_keys_as_they_were(store):
    keys = {}
    for precision in ("float32", "bfloat16"):
        compute = Compute(devices=2, strategy="ddp", precision=precision)
        line, planned = (kind(store, SCAN.digest, compute=compute) for kind in (Line, Plan))
        keys[precision] = line.ref(fit, {"numbers": SCAN}).digest
        assert planned.ref(fit, {"numbers": SCAN}).digest == keys[precision]
        assert line.ref(add, {"numbers": SCAN}) == Line(store, SCAN.digest).ref(add, {"numbers": SCAN}), "what trains nothing"
    assert keys["float32"] == Recipe("fit", 1, {"offset": 0}, {"numbers": SCAN.digest}).digest
    assert keys["float32"] != keys["bfloat16"]
    earlier, later = (Line(store, SCAN.digest, compute=Compute(precision=p)).recipe(fit, {}) for p in ("float32", "bfloat16"))
    assert later.changed_since(earlier) == "params: precision float32 -> bfloat16"


@pytest.mark.parametrize("name", ["segmenter", "nodule", "malignancy"])
def test_trainings_in_float32_keep_the_keys_that_they_had(store, name):
    """What was trained before the precision was part of the key is found again."""
    trains = {"segmenter": train_segmenter, "nodule": train_nodule, "malignancy": train_malignancy}[name]
    given = {"patches" if name == "segmenter" else "examples": [store.ref("examples", "ab" * 16)]}
    recipe = Line(store, "make-weights").recipe(trains, given)
    assert (recipe.version, recipe.precision, recipe.weights) == (1, None, None)
    assert recipe.params == trains.params().model_dump(mode="json")
