"""Class folders, as a tree on disk or in a zip: ``[train|validation|test/]<class>/<image>``."""

from __future__ import annotations

import hashlib
import lzma
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from artifacts.errors import InputError
from tasks.images.decode import MOST_BYTES, Loaded, Rules, Skip, decode, opened
from tasks.images.records import LINKS, Indices, of_links
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


def is_hidden(name: str) -> bool:
    """Whether a file or folder ``a/b/c`` is what systems put beside what is meant: .DS_Store, .git, __MACOSX."""
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def shown(name: str) -> str:
    """A name that may be no Unicode, as it can be printed."""
    return name.encode("utf-8", "backslashreplace").decode()


def is_image(name: str) -> bool:
    return "." + name.rpartition(".")[2].lower() in ENDINGS


def sorted_out(names: Iterable[str]) -> tuple[list[Entry], Counter[str]]:
    """Every image's part and class by its folders, in a fixed order; what was left out, counted.

    Where some folders are called train or test, what lies outside of them is left out; where none is, all of it trains.
    """
    entries, notes = [], Counter[str]()
    for name in names:
        folders, last = name.split("/")[:-1], name.rsplit("/", 1)[-1]
        if is_hidden(name):
            continue
        if not is_image(last):
            notes["files that are no images"] += 1
        elif folders:
            part = PART_NAMES.get(folders[-2].lower(), "") if len(folders) > 1 else ""
            entries.append((part, folders[-1], name))
        if len(entries) > MOST_FILES:
            raise InputError(f"there are more than {MOST_FILES:,} images: give a part of them")
    parted = [e for e in entries if e[0]]
    if any(part == "train" for part, _, _ in parted):
        if outside := len(entries) - len(parted):
            notes["images outside of train/<class> and test/<class>"] = outside
        return sorted(parted), notes
    return sorted(("train", c, n) for _, c, n in entries), notes


def records_of(
    names: Collection[str], folders: Iterable[str], read: Callable[[str], bytes], origin: str, links: int = 0
) -> TreeRecords:
    """names: of all files; folders: of all folders, for a class without images stays known, so that it can be told."""
    entries, notes = sorted_out(names)
    if links:
        notes[LINKS] = links
    if not entries:
        wanted = "train/<class>/<image> and test/<class>/<image>"
        raise InputError(f"there are no images in class folders: lay them out as {wanted}{of_links(notes)}")
    check_empty(names, folders, entries, of_links(notes))
    names_of = sorted({c for _, c, _ in entries})
    at = {name: i for i, name in enumerate(names_of)}
    classes = tuple(map(shown, names_of))
    parts = {p: [e for e in entries if e[0] == p] for p in ("train", "validation", "test")}
    labels = {p: np.array([at[c] for _, c, _ in es], dtype=np.int64) for p, es in parts.items()}
    return TreeRecords(origin, classes, {p: [n for _, _, n in es] for p, es in parts.items()}, labels, read, notes)


def check_empty(names: Iterable[str], folders: Iterable[str], entries: list[Entry], hint: str = "") -> None:
    """InputError names the folders that are classes by where they lie and have no image, and gives the ``hint``."""
    parted = any(PART_NAMES.get(name.split("/")[-3].lower()) for _, _, name in entries if name.count("/") > 1)
    used = {folder for name in names if not is_hidden(name) for folder in above(name)}
    with_images = {folder for _, _, name in entries for folder in above(name)}
    empty = set()
    for folder in folders:
        inside, _, last = folder.rpartition("/")
        if is_hidden(folder) or last.lower() in PART_NAMES:
            continue
        in_part = inside.rpartition("/")[2].lower() in PART_NAMES
        if (in_part and folder not in with_images) if parted else folder not in used:
            empty.add(last)
    if empty := empty - {c for _, c, _ in entries}:
        which = shown(", ".join(sorted(empty)))
        raise InputError(f"the class {which} has no images: remove its folder or put images into it{hint}")


def above(name: str) -> list[str]:
    """Every folder that ``name`` lies in."""
    parts = name.split("/")[:-1]
    return ["/".join(parts[: k + 1]) for k in range(len(parts))]


def open_folder(folder: Path) -> TreeRecords:
    """Links are not followed: they are counted."""
    found = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*"))}
    links = sum(p.is_symlink() for name, p in found.items() if not is_hidden(name))
    names = [n for n, p in found.items() if p.is_file() and not p.is_symlink()]
    folders = [n for n, p in found.items() if p.is_dir() and not p.is_symlink()]
    return records_of(names, folders, lambda name: (folder / name).read_bytes(), "class folders", links)


def open_zip(path: Path) -> TreeRecords:
    """Nothing is unpacked to disk: an entry is read when it is wanted. InputError where the archive is broken or encrypted."""
    try:
        archive = ZipFile(path)
        entries = archive.infolist()
    except (BadZipFile, OSError, ValueError, NotImplementedError) as e:
        raise InputError("the zip is damaged or cut short: download or pack it again") from e
    if any(e.flag_bits & 0x1 for e in entries):
        raise InputError("the zip is encrypted: unpack it yourself and give the folder")
    named = {e.filename.replace("\\", "/"): e for e in entries}  # as some Windows programs pack
    files = {name: e for name, e in named.items() if not name.endswith("/")}

    def read(name: str) -> bytes:
        if files[name].file_size > MOST_BYTES:
            raise Skip("file too large")
        try:
            return archive.read(files[name])
        except (BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, NotImplementedError, RuntimeError) as e:
            raise Skip("damaged in the zip (wrong checksum)") from e

    return records_of(files, [n.rstrip("/") for n in named if n.endswith("/")], read, "zip of class folders")


def folder_digest(folder: Path) -> str:
    """Of every file's relative name and content; hidden files and links are left out, as they are in reading."""
    h = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if is_hidden(name) or path.is_symlink():
            continue
        if path.is_file():
            h.update(
                name.encode("utf-8", "surrogateescape") + b"\0" + hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
            )
        elif path.is_dir():
            h.update(name.encode("utf-8", "surrogateescape") + b"/\0")
    return h.hexdigest()
