"""A place to look at: three planes through it, a ring as wide as what is there."""

from __future__ import annotations

from artifacts.drawing import OUTLINE, Frame, Picture, jpeg, montage
from artifacts.geometry import Vector
from artifacts.planes import PLANES, Cut
from artifacts.volume import Volume

FIELD_MM, PIXELS = 45.0, 120


def close_up(volume: Volume, center_lps_mm: Vector, radius_mm: float) -> bytes:
    """JPEG of axial, coronal and sagittal cuts side by side, 45 mm wide (more where the thing is larger)."""
    zyx = volume.geometry.zyx_from_lps_mm(center_lps_mm)
    field_mm = max(FIELD_MM, 3.2 * radius_mm)
    drawn = []
    for plane in PLANES:
        frame = Frame.around(Cut.through(volume.geometry, plane, zyx), zyx, field_mm, PIXELS)
        picture = Picture(volume.hu, frame).ring(zyx, radius_mm + 2, OUTLINE)
        drawn.append(picture.marks(letters=False, scale=plane == "axial").image)
    return jpeg(montage(drawn, 3, gap=2), 80)
