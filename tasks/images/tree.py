"""Class folders, as a tree on disk or in a zip: ``[train|validation|test/]<class>/<image>``."""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from artifacts.errors import InputError
from tasks.images.decode import MOST_BYTES, Loaded, Rules, Skip, decode, opened
from tasks.images.records import Indices
from tasks.stage import Progress

PART_NAMES = {"train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation"}
PART_NAMES |= {"test": "test", "testing": "test"}
ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
MOST_FILES = 5_000_000
REPORT_EVERY = 500

Entry = tuple[str, str, str]  # part, class, name


@dataclass(frozen=True)
class TreeRecords:
    """names: part -> the name of every image, for ``read``."""

    origin: str
    classes: tuple[str, ...]
    names: Mapping[str, list[str]]
    labels: Mapping[str, Indices]
    read: Callable[[str], bytes]
    notes: Mapping[str, int] = field(default_factory=dict)

    def size(self) -> tuple[int, int]:
        for name in self.names["train"]:
            try:
                image = opened(self.read(name))
            except Skip:
                continue
            return image.height, image.width
        raise InputError("not one training image can be read")

    def load(self, part: str, indices: Indices, rules: Rules, progress: Progress) -> Loaded:
        images = np.empty((len(indices), 3, *rules.size), dtype=np.uint8)
        kept, notes, n = np.zeros(len(indices), dtype=bool), Counter[str](), 0
        for k, index in enumerate(indices):
            try:
                images[n] = decode(self.read(self.names[part][index]), rules, notes)
            except Skip as why:
                notes[str(why)] += 1
            except InputError as e:
                raise InputError(str(e), private=self.names[part][index]) from e
            else:
                kept[k] = True
                n += 1
            if k % REPORT_EVERY == REPORT_EVERY - 1:
                progress((k + 1) / len(indices))
        return Loaded(images[:n], kept, notes)


def sorted_out(names: Iterable[str]) -> tuple[list[Entry], int]:
    """Every image's part and class by its folders, in a fixed order; how many files are no images.

    Where some folders are called train or test, what lies outside of them is left out; where none is, all of it trains.
    """
    entries, others = [], 0
    for name in names:
        folders, last = name.split("/")[:-1], name.rsplit("/", 1)[-1]
        if any(p.startswith((".", "__MACOSX")) for p in (*folders, last)):
            continue
        if "." + last.rpartition(".")[2].lower() not in ENDINGS:
            others += 1
        elif folders:
            part = PART_NAMES.get(folders[-2].lower(), "") if len(folders) > 1 else ""
            entries.append((part, folders[-1], name))
        if len(entries) > MOST_FILES:
            raise InputError(f"there are more than {MOST_FILES:,} images: give a part of them")
    parted = [e for e in entries if e[0]]
    if any(part == "train" for part, _, _ in parted):
        return sorted(parted), others
    return sorted(("train", c, n) for _, c, n in entries), others


def records_of(names: Iterable[str], read: Callable[[str], bytes], origin: str) -> TreeRecords:
    entries, others = sorted_out(names)
    if not entries:
        raise InputError("there are no images in class folders: lay them out as train/<class>/<image> and test/<class>/<image>")
    names_of = sorted({c for _, c, _ in entries})
    at = {name: i for i, name in enumerate(names_of)}
    classes = tuple(name.encode("utf-8", "backslashreplace").decode() for name in names_of)  # a name may be no Unicode
    parts = {p: [e for e in entries if e[0] == p] for p in ("train", "validation", "test")}
    labels = {p: np.array([at[c] for _, c, _ in es], dtype=np.int64) for p, es in parts.items()}
    notes = {"files that are no images": others} if others else {}
    return TreeRecords(origin, classes, {p: [n for _, _, n in es] for p, es in parts.items()}, labels, read, notes)


def open_folder(folder: Path) -> TreeRecords:
    """A class with an empty folder is a class with no images: it stays known, so that it can be told."""
    names = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink()]
    records = records_of(names, lambda name: (folder / name).read_bytes(), "class folders")
    return with_empty(records, empty_classes(folder, records.classes))


def empty_classes(folder: Path, known: tuple[str, ...]) -> list[str]:
    leaves = [p for p in folder.rglob("*") if p.is_dir() and not p.name.startswith(".") and not any(p.iterdir())]
    return sorted({p.name for p in leaves} - set(known) - set(PART_NAMES))


def with_empty(records: TreeRecords, empty: list[str]) -> TreeRecords:
    if empty:
        raise InputError(f"the class {', '.join(empty)} has no images: remove its folder or put images into it")
    return records


def open_zip(path: Path) -> TreeRecords:
    """Nothing is unpacked to disk: an entry is read when it is wanted. InputError where the archive is broken or encrypted."""
    try:
        archive = ZipFile(path)
        entries = archive.infolist()
    except (BadZipFile, OSError, ValueError, NotImplementedError) as e:
        raise InputError("the zip is damaged or cut short: download or pack it again") from e
    if any(e.flag_bits & 0x1 for e in entries):
        raise InputError("the zip is encrypted: unpack it yourself and give the folder")
    sizes = {e.filename: e.file_size for e in entries if not e.is_dir()}

    def read(name: str) -> bytes:
        if sizes[name] > MOST_BYTES:
            raise Skip("file too large")
        try:
            return archive.read(name)
        except (BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as e:
            raise Skip("damaged in the zip (wrong checksum)") from e

    records = records_of(sizes, read, "zip of class folders")
    filled = {folder for path in {name.rpartition("/")[0] for name in sizes} for folder in path.split("/")}
    folders = {e.filename.rstrip("/").rsplit("/", 1)[-1] for e in entries if e.is_dir()}
    return with_empty(records, sorted(folders - filled))


def folder_digest(folder: Path) -> str:
    """Of every file's relative name and content; hidden files and links are left out, as they are in reading."""
    h = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            body = hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
            h.update(path.relative_to(folder).as_posix().encode("utf-8", "surrogateescape") + b"\0" + body)
        elif path.is_dir():
            h.update(path.relative_to(folder).as_posix().encode("utf-8", "surrogateescape") + b"/\0")
    return h.hexdigest()
