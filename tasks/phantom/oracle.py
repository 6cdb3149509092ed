"""How well malignancy can be told at all: the risk model's own AUC, and that of diameter alone. What a grader is measured by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tasks.phantom.nodules import complete, draw_varied_specs, risk


def draw_risks(n: int, seed: int) -> list[dict[str, Any]]:
    """``n`` nodules as varied phantoms draw them (slices of 1 mm, 45 % high in the lungs), without a chest around them."""
    rng = np.random.default_rng([0x0AC1E, seed])
    rows = []
    for wish in draw_varied_specs(rng, n, 1.0):
        spec = complete(rng, wish, varied=True)
        p = risk(spec, float(spec.diameter_mm or 0), bool(rng.random() < 0.45))
        rows.append({"diameter_mm": spec.diameter_mm, "p_malignant": p, "malignant": int(rng.random() < p)})
    return rows


def oracle(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | int | None]:
    """AUC of the true probability and of the diameter, against the coin that was tossed; None where one class is missing."""
    from tasks.training.metrics import roc_auc

    risks, sizes = (np.array([float(r[k]) for r in rows]) for k in ("p_malignant", "diameter_mm"))
    truth = np.array([int(r["malignant"]) == 1 for r in rows], dtype=bool)
    both = 0 < truth.sum() < len(truth)
    return {
        "nodules": len(rows),
        "malignant": int(truth.sum()),
        "auc_oracle": round(roc_auc(risks, truth), 4) if both else None,
        "auc_diameter": round(roc_auc(sizes, truth), 4) if both else None,
    }
