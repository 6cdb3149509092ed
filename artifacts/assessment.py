"""Assessment: what the line found in one scan against what is known to be there, each nodule and each finding accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from artifacts.arrays import read_json, with_tuples, write_json
from artifacts.artifact import Preview
from artifacts.geometry import Vector

# The stage that lost a nodule. measure: its candidate was probable enough, but was taken for another finding.
Stage = Literal["outline", "segment", "group", "classify", "measure", "threshold"]
STAGES: tuple[Stage, ...] = ("outline", "segment", "group", "classify", "measure", "threshold")
# hit: the most probable one on a nodule; double: a further one; ignored: on an excluded finding; beyond: the 101st and later
MarkRole = Literal["hit", "double", "ignored", "false", "beyond"]


@dataclass(frozen=True)
class Mark:
    """A finding, and what the truth says of it. nodule: index of the one it is on."""

    rank: int
    center_lps_mm: Vector
    diameter_mm: float
    p_nodule: float
    p_malignant: float | None
    role: MarkRole
    nodule: int | None = None


@dataclass(frozen=True)
class Known:
    """A nodule that is there, and what became of it.

    mark         rank of the most probable finding on it; None: none, and ``lost_by`` says where it was lost
    p_nodule     of that finding, else the highest probability of a candidate on it; None: no candidate was on it
    offset_mm    from the truth's centre to the finding's
    suspicious   share of its voxels that the heat map calls suspicious; None where nobody outlined it
    malignant, rating, kind, margin, place, risk  as in ``artifacts.dataset.Nodule``
    """

    number: int
    center_lps_mm: Vector
    diameter_mm: float
    excluded: bool = False
    malignant: bool | None = None
    rating: float | None = None
    kind: str | None = None
    margin: str | None = None
    place: str | None = None
    risk: float | None = None
    mark: int | None = None
    lost_by: Stage | None = None
    p_nodule: float | None = None
    p_malignant: float | None = None
    measured_mm: float | None = None
    offset_mm: float | None = None
    suspicious: float | None = None


@dataclass
class Assessment:
    """uid, patient: of the scan, pseudonyms; facts: how it was scanned (kernel, noise_hu, thickness_mm …).

    nodule_threshold, malignant_threshold  probabilities above which the networks mean yes
    elsewhere  float32 ``[n]``: the nodule probability of every candidate that is on nothing known
    voxels     suspicious ones rightly called, falsely called, and missed; None where no nodule is outlined
    pictures   "nodule-<number>", "finding-<rank>" -> JPEG: axial, coronal and sagittal close-up
    """

    kind: ClassVar[str] = "assessment"

    uid: str
    patient: str
    nodules: list[Known]
    marks: list[Mark]
    elsewhere: NDArray[np.float32]
    facts: dict[str, float | str] = field(default_factory=dict)
    voxels: tuple[int, int, int] | None = None
    nodule_threshold: float = 0.5
    malignant_threshold: float = 0.5
    pictures: dict[str, bytes] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        meta: dict[str, Any] = {"uid": self.uid, "patient": self.patient, "facts": self.facts, "voxels": self.voxels}
        meta |= {"nodule_threshold": self.nodule_threshold, "malignant_threshold": self.malignant_threshold}
        rows = {"nodules": [asdict(n) for n in self.nodules], "marks": [asdict(m) for m in self.marks]}
        write_json(folder / "assessment.json", meta | rows | {"elsewhere": [round(float(p), 6) for p in self.elsewhere]})
        (folder / "pictures").mkdir(exist_ok=True)
        for name, body in self.pictures.items():
            (folder / "pictures" / f"{name}.jpg").write_bytes(body)

    @classmethod
    def read(cls, folder: Path) -> Self:
        meta = with_tuples(read_json(folder / "assessment.json"))
        nodules = [Known(**with_tuples(n)) for n in meta.pop("nodules")]
        marks = [Mark(**with_tuples(m)) for m in meta.pop("marks")]
        elsewhere = np.array(meta.pop("elsewhere"), dtype=np.float32)
        pictures = {p.stem: p.read_bytes() for p in sorted((folder / "pictures").glob("*.jpg"))}
        return cls(nodules=nodules, marks=marks, elsewhere=elsewhere, pictures=pictures, **meta)

    def found(self, nodule: Known, threshold: float | None = None) -> bool:
        """Whether a finding above the threshold is on it."""
        least = self.nodule_threshold if threshold is None else threshold
        return nodule.mark is not None and nodule.p_nodule is not None and nodule.p_nodule > least

    def summary(self) -> dict[str, Any]:
        wanted = [n for n in self.nodules if not n.excluded]
        false = sum(m.role == "false" and m.p_nodule > self.nodule_threshold for m in self.marks)
        return {"nodules": len(wanted), "found": sum(self.found(n) for n in wanted), "false_findings": false}

    def preview(self, inputs: Mapping[str, Any]) -> Preview:
        s = self.summary()
        rows: list[dict[str, Any]] = [
            {
                "nodule": n.number + 1,
                "diameter, mm": round(n.diameter_mm, 1),
                "found": self.found(n),
                "p nodule": n.p_nodule,
                "lost by": n.lost_by or ("" if self.found(n) else "threshold"),
            }
            for n in self.nodules
            if not n.excluded
        ]
        roles = Counter(m.role for m in self.marks)
        counts: list[dict[str, Any]] = [{"what": role, "how many": n} for role, n in roles.items()]
        tables = {"Nodules": rows, "Findings": counts}
        shown = dict(list(self.pictures.items())[:12])
        headline = f"{s['found']} of {s['nodules']} nodules found, {s['false_findings']} false findings"
        return Preview(headline, tables, {name.replace("-", " "): body for name, body in shown.items()})
