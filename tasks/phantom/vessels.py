"""Branching arteries, veins and airways: trees of short tapering tubes grown from the hilum to points spread over a lung."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.phantom.anatomy import Anatomy
from tasks.phantom.style import CLASSIC, Look


@dataclass(frozen=True)
class Tubes:
    """Segments: ``start`` and ``end`` float64 ``[n, 3]`` (x, y, z mm), their radii ``[n]`` in mm."""

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    start_radius: NDArray[np.float64]
    end_radius: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.start)

    def keep(self, which: NDArray[np.bool_]) -> Tubes:
        return Tubes(self.start[which], self.end[which], self.start_radius[which], self.end_radius[which])


def concatenate(parts: list[Tubes]) -> Tubes:
    return Tubes(*(np.concatenate([getattr(p, k) for p in parts]) for k in ("start", "end", "start_radius", "end_radius")))


def grow_vessels(rng: np.random.Generator, anatomy: Anatomy, twigs: int) -> tuple[Tubes, Tubes, Tubes]:
    """Vessels, and the outer walls and lumina of the airways. ``twigs``: ends of each of the four vessel trees."""
    s = anatomy.build.scale
    vessels, airways = [], []
    for side in (-1.0, 1.0):
        for artery in (True, False):
            root = np.array([side * 40 * s, (10 if artery else -6) * s, (140 if artery else 112) * s])
            points = scatter(rng, anatomy, twigs, side, depth_mm=3.5)
            tree = grow_tree(rng, root, points, anatomy.look)
            vessels.append(tree)
            if artery:
                airways.append(_beside(tree, side))
    walls = concatenate([_windpipe(anatomy), *airways])
    wall = anatomy.look.wall_mm
    least = 0.72  # of the radius is air
    lumina = Tubes(walls.start, walls.end, *(np.maximum(r - wall, least * r) for r in (walls.start_radius, walls.end_radius)))
    return concatenate(vessels), walls, lumina


def scatter(rng: np.random.Generator, anatomy: Anatomy, n: int, side: float, depth_mm: float) -> NDArray[np.float64]:
    """``[n, 3]`` points spread evenly over the lung on ``side`` (-1 right, 1 left) at least ``depth_mm`` under its surface."""
    z, y, x = anatomy.axes
    allowed = (anatomy.lung < -depth_mm) & (x * side > 0)
    where = np.argwhere(allowed)
    picked = where[rng.integers(0, len(where), 3 * n)]
    points = np.stack([x[picked[:, 2]], y[picked[:, 1]], z[picked[:, 0]]], axis=1).astype(np.float64)
    points += rng.uniform(-0.5, 0.5, points.shape) * (x[1] - x[0])
    return _thin_out(points, n)


def _thin_out(points: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """Drop the later of the closest pairs until ``n`` are left: more even than chance, far cheaper than Poisson discs."""
    from scipy.spatial import cKDTree

    near, index = cKDTree(points).query(points, k=2)
    order = np.argsort(np.where(index[:, 1] < np.arange(len(points)), near[:, 1], np.inf), kind="stable")
    return points[order[-n:]]


def grow_tree(rng: np.random.Generator, root: NDArray[np.float64], points: NDArray[np.float64], look: Look = CLASSIC) -> Tubes:
    """Join points to a tree, nearest to the root first, each to the node that makes the way home short."""
    points = points[np.argsort(np.linalg.norm(points - root, axis=1), kind="stable")]
    nodes, way, parents = np.vstack([root, points]), np.zeros(len(points) + 1), np.zeros(len(points) + 1, dtype=int)
    for k in range(1, len(nodes)):
        gap = np.linalg.norm(nodes[:k] - nodes[k], axis=1)
        parents[k] = np.argmin(gap + look.homing * way[:k])
        way[k] = way[parents[k]] + gap[parents[k]]
    leaves = np.ones(len(nodes))
    for k in range(len(nodes) - 1, 0, -1):
        leaves[parents[k]] += leaves[k]
    radius = np.minimum(look.leaf_mm * leaves**look.murray, 7.0)
    return _bend(rng, nodes, parents, radius)


def _bend(rng: np.random.Generator, nodes: NDArray[np.float64], parents: NDArray[np.int_], radius: NDArray[np.float64]) -> Tubes:
    """Each branch as two tubes with a kink, so that vessels are not rulers."""
    start, end = nodes[parents[1:]], nodes[1:]
    length = np.linalg.norm(end - start, axis=1, keepdims=True)
    middle = 0.5 * (start + end) + rng.normal(0, 0.07, start.shape) * length
    near, far = radius[1:] * 1.08, radius[1:] * 0.9
    near = np.minimum(near, radius[parents[1:]])
    return Tubes(
        np.vstack([start, middle]),
        np.vstack([middle, end]),
        np.concatenate([near, 0.5 * (near + far)]),
        np.concatenate([0.5 * (near + far), far]),
    )


def _beside(tree: Tubes, side: float) -> Tubes:
    """Airways run along the larger arteries, a little wider than they."""
    big = tree.keep(tree.start_radius > 1.35)
    shift = np.array([-0.55 * side, -0.75, 0.35])
    return Tubes(
        big.start + shift * 2.0 * big.start_radius[:, None],
        big.end + shift * 2.0 * big.end_radius[:, None],
        np.minimum(big.start_radius * 0.95, 5.0),
        np.minimum(big.end_radius * 0.95, 5.0),
    )


def _windpipe(anatomy: Anatomy) -> Tubes:
    """Trachea, main and lower bronchi."""
    s = anatomy.build.scale
    carina = (0, 8, 158)
    lines = [
        ((0, -2, 300), carina, 10.0, 10.0),
        (carina, (-26, 12, 138), 8.5, 7.5),
        ((-26, 12, 138), (-42, 14, 118), 7.0, 5.0),
        (carina, (30, 14, 136), 7.5, 6.5),
        ((30, 14, 136), (44, 16, 118), 6.0, 5.0),
    ]
    start, end = (np.array([line[k] for line in lines], dtype=np.float64) * s for k in (0, 1))
    return Tubes(start, end, *(np.array([line[k] for line in lines]) * s for k in (2, 3)))
