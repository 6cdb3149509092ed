"""`hounsfield screen --direct`, cold and again, on a real scan with the book's checkpoints, against the book's own stages."""

from __future__ import annotations

import os
import tempfile
from contextlib import redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import row, timed

DATA = Path(os.environ.get("HOUNSFIELD_DATA", Path(__file__).parents[2] / "shared" / "data"))
SCAN = DATA / "ct" / "cptac-c3n-00247"
NETWORK_STAGES = ("segment", "classify", "grade")


def import_published(into: Path) -> None:
    from tasks.import_weights import import_book

    def only(pattern: str) -> Path:
        return next((DATA / "weights").glob(pattern))

    import_book("book", only("dlwpt/seg_*"), only("dlwpt/cls_*"), only("gregorytomy/mal_*"), into)


def run(n: int = 1) -> list[dict[str, Any]]:
    """Ours in this process after imports, into a fresh store; theirs: the sum of load, segment, group, classify."""
    if not SCAN.is_dir():
        return [row("screen cold", 0.0, None, ">= 4x", 0, "not measured: the real scan is not here (HOUNSFIELD_DATA)")]
    import torch

    from benchmarks.book import book_seconds

    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HOUNSFIELD_HOME"] = scratch
        import_published(Path(scratch) / "weights")
        from flows.run import run_screen, show_reports
        from flows.settle import open_store

        def screen(precision: str) -> Any:
            return run_screen(SCAN, {}, direct=True, weights="book", precision=precision)[0]

        imported, _ = timed(imports)
        rows, theirs = [], book_seconds()
        for precision in ("float32", "bfloat16"):
            os.environ["HOUNSFIELD_STORE"] = f"{scratch}/store-{precision}"
            cold, refs = timed(screen, precision)
            with redirect_stdout(StringIO()):
                export, _ = timed(show_reports, refs, Path(scratch) / "out", True)
            again, _ = timed(screen, precision)
            spent = {m.recipe.stage: m.seconds for m in open_store().lineage(refs[0])}
            network = sum(spent[s] for s in NETWORK_STAGES)
            shares = f"{1 - network / cold:.0%} of it is not network; imports ({imported:.1f} s) left out"
            note = f"{shares}; export {export:.2f} s more; {torch.get_num_threads()} threads"
            reach = ">= 4x" if precision == "float32" else ">= 10x with AMX"
            rows.append(row(f"screen cold, 99 slices, {precision}", cold, sum(theirs.values()), reach, 1, note))
            rows.append(row(f"screen again, {precision}", again, None, "< 2 s after imports", 1))
    return rows


def imports() -> None:
    """Everything that `screen --direct` imports, most of it late."""
    for name in ("flows.run", "flows.screen", "cc3d", "h5py", "zarr", "jinja2", "PIL.Image", "pydicom", "diskcache"):
        import_module(name)
    for name in (
        "scipy.ndimage",
        "scipy.spatial",
        "numcodecs",
        "torch",
        "tasks.nets.boxed",
        "tasks.nets.luna3d",
        "tasks.report_page",
    ):
        import_module(name)


if __name__ == "__main__":
    for line in run():
        print(line)
