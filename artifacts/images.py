"""Images: a labelled image set on one grid, in parts for training and for judging. HDF5 by default, Zarr as the other layout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from artifacts.arrays import read_json, write_json
from artifacts.artifact import Preview

Layout = Literal["hdf5", "zarr"]
PARTS = ("train", "validation", "test")
IMAGES_A_CHUNK = 1024
CHANGED = ("resized", "converted from ")  # how a note begins of an image that is there all the same


@dataclass(frozen=True)
class Labelled:
    """images: uint8 ``[n, channel, y, x]``, RGB; labels: int64 ``[n]``, an index into the set's class names."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.labels.shape != (len(self.images),):
            raise ValueError(f"images are uint8 [n, c, y, x] with a label each, not {self.images.dtype} {self.images.shape}")

    def __len__(self) -> int:
        return len(self.labels)


class TrainingImages(Labelled):
    """What may be learned from. Statistics and networks take this type and no other."""


class HeldOutImages(Labelled):
    """What is only ever judged on."""


@dataclass
class Images:
    """Parts of one image set with the same classes and size; ``validation`` may be empty. Classes: names by label.

    notes: what was done to images of the source, or why they were left out -> how many.
    origin: what kind of source it was, never where it lies.
    """

    kind: ClassVar[str] = "images"

    train: TrainingImages
    test: HeldOutImages
    classes: tuple[str, ...]
    validation: HeldOutImages
    origin: str = ""
    notes: dict[str, int] = field(default_factory=dict)
    layout: Layout = "hdf5"

    @property
    def parts(self) -> dict[str, Labelled]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of one image."""
        return self.train.images.shape[1:]  # type: ignore[return-value]

    @property
    def changed(self) -> dict[str, int]:
        """Of the notes, how many images were resized or converted: they are there."""
        return {what: n for what, n in self.notes.items() if what.startswith(CHANGED)}

    @property
    def left_out(self) -> dict[str, int]:
        return {why: n for why, n in self.notes.items() if not why.startswith(CHANGED)}

    def counts(self) -> dict[str, list[int]]:
        """Part -> how many images each class has."""
        return {name: np.bincount(p.labels, minlength=len(self.classes)).tolist() for name, p in self.parts.items()}

    def write(self, folder: Path) -> None:
        if self.layout == "hdf5":
            (folder / "images.h5").write_bytes(as_hdf5(dict(self._arrays())))
        else:
            write_zarr(folder / "images.zarr", dict(self._arrays()))
        about = {"classes": list(self.classes), "origin": self.origin, "skipped": self.notes, "layout": self.layout}
        write_json(folder / "images.json", about)

    def _arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        for name, part in self.parts.items():
            yield f"{name}_images", part.images
            yield f"{name}_labels", part.labels

    @classmethod
    def read(cls, folder: Path) -> Self:
        about = read_json(folder / "images.json")
        if about["layout"] == "hdf5":
            arrays = read_hdf5(folder / "images.h5")
        else:
            arrays = read_zarr(folder / "images.zarr")
        train, validation, test = ((arrays[f"{p}_images"], arrays[f"{p}_labels"]) for p in PARTS)
        return cls(
            TrainingImages(*train),
            HeldOutImages(*test),
            tuple(about["classes"]),
            HeldOutImages(*validation),
            about["origin"],
            about["skipped"],
            about["layout"],
        )

    def summary(self) -> dict[str, Any]:
        held_out = {"validation": len(self.validation)} if len(self.validation) else {}
        noted = {"changed": sum(self.changed.values()), "left out": sum(self.left_out.values())}
        return {
            "train": len(self.train),
            **held_out,
            "test": len(self.test),
            "classes": len(self.classes),
            "shape": list(self.shape),
            **{k: n for k, n in noted.items() if n},
            "origin": self.origin,
        }

    def preview(self, inputs: Mapping[str, Any]) -> Preview:
        from artifacts.image_pictures import images_preview

        return images_preview(self)


def as_hdf5(arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any] | None = None) -> bytes:
    """An HDF5 file's bytes. In memory first: HDF5 takes the whole process down when a disk fills up under it."""
    import h5py

    with h5py.File("images.h5", "w", driver="core", backing_store=False) as f:
        for name, array in arrays.items():
            f.create_dataset(name, data=array)
        f.attrs.update(attributes or {})
        f.flush()
        return f.id.get_file_image()


def read_hdf5(path: Path) -> dict[str, NDArray[Any]]:
    import h5py

    with h5py.File(path) as f:
        return {name: np.asarray(f[name][...]) for name in f}


def write_zarr(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    import zarr

    group = zarr.open_group(folder, mode="w")
    for name, array in arrays.items():
        chunks = (max(min(IMAGES_A_CHUNK, len(array)), 1), *array.shape[1:])
        group.create_array(name, shape=array.shape, dtype=array.dtype, chunks=chunks, compressors=None)[...] = array


def read_zarr(folder: Path) -> dict[str, NDArray[Any]]:
    import zarr

    group: Any = zarr.open_group(folder, mode="r")
    return {name: np.asarray(group[name][...]) for name in group.array_keys()}
