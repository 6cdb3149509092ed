"""From what the user gave to files on disk: a folder or a file as it is, a zip unpacked and removed again.

An archive is not trusted: what it says of itself is checked before, and the bytes are counted while they come out.
"""

from __future__ import annotations

import errno
import shutil
import stat
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile, ZipInfo, is_zipfile

from artifacts.errors import InputError, StoreError
from tasks.reading.header import HEAD, is_directory

MAX_BYTES = 16 * 2**30
MAX_ENTRIES = 200_000
MAX_RATIO = 200  # CT deflates to a half or a third, a phantom without noise to a hundredth; deflate itself ends near 1032
SMALL_BYTES = 32 * 2**20  # below this no ratio is a danger
BLOCK = 2**20


def meant(path: Path) -> Path:
    """The folder that a DICOMDIR stands for; any other path itself. Raises OSError."""
    if not path.is_file():
        return path
    with path.open("rb") as f:
        return path.resolve().parent if is_directory(f.read(HEAD)) else path


def check_there(path: Path) -> None:
    """Raises InputError where there is nothing, OSError where nobody lets us look."""
    if not path.exists():
        what = "give a folder of DICOM, a zip, .mhd, .mha, .nii, .nii.gz or .nrrd"
        raise InputError(f"there is nothing at the given path: {what}", private=str(path))


@contextmanager
def open_source(path: Path, scratch: Path, max_bytes: int = MAX_BYTES) -> Iterator[Path]:
    """A folder or a file: ``path`` itself (of a DICOMDIR its folder). A zip: a fresh folder under ``scratch`` with what was in
    it, removed afterwards.

    Raises InputError where there is nothing, a pipe or a device, or for a zip that is broken, encrypted, climbs out of its
    folder, holds links, or unpacks to more than ``max_bytes`` or to more than 200 times its size.
    """
    check_there(path)
    if not (path.is_dir() or path.is_file()):
        raise InputError("the path is neither a folder nor a plain file (a pipe or a device): give a folder or a file")
    path = meant(path)
    if path.is_dir() or not (path.suffix.lower() == ".zip" or is_zipfile(path)):
        yield path
        return
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="unpacked-", ignore_cleanup_errors=True) as folder:
        _unpack(path, Path(folder), max_bytes)
        yield Path(folder)


def _unpack(path: Path, folder: Path, max_bytes: int) -> None:
    try:
        with ZipFile(path) as archive:
            entries = archive.infolist()
            _check_entries(entries, max_bytes)
            allowed = min(max_bytes, max(SMALL_BYTES, MAX_RATIO * path.stat().st_size))
            too_much = InputError(
                f"the zip unpacks to more than {allowed // 2**20} MiB ({max_bytes // 2**30} GiB at most, and at most "
                f"{MAX_RATIO} times its own size): unpack it yourself if you trust it"
            )
            left, said = allowed, sum(e.file_size for e in entries)
            if said > allowed:
                raise too_much
            _check_room(said, folder)
            for entry in entries:
                left -= _unpack_entry(archive, entry, folder, left)
                if left < 0:
                    raise too_much
    except (BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError, UnicodeError, ValueError):
        raise InputError("the zip is damaged, cut short, or packed in a way that is not supported: pack it again") from None
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError("the disk is full: there is no room to unpack the zip") from None
        raise InputError("the zip cannot be unpacked: two of its entries want the same name, or a name is not possible") from None


def _check_entries(entries: list[ZipInfo], max_bytes: int) -> None:
    """Refuse on what the archive says of itself; names stay unsaid, they may name a patient."""
    if len(entries) > MAX_ENTRIES:
        raise InputError(f"the zip has {len(entries)} entries, {MAX_ENTRIES} are allowed")
    for entry in entries:
        name = PurePosixPath(entry.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or (name.parts and name.parts[0].endswith(":")) or "\0" in entry.filename:
            raise InputError("the zip has an entry that points outside its own folder ('../' or an absolute path): refused")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError("the zip holds a link or a special file: refused; pack plain files only")
        if entry.flag_bits & 0x1:
            raise InputError("the zip is encrypted: unpack it yourself and give the folder")
    total = sum(e.file_size for e in entries)
    if total > max_bytes:
        raise InputError(f"the zip says it unpacks to {total / 2**30:.1f} GiB, {max_bytes / 2**30:.1f} GiB are allowed")


def _check_room(total: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if total > free:
        raise StoreError(
            f"the zip unpacks to {total / 1e6:.0f} MB and the disk of $HOUNSFIELD_HOME has {free / 1e6:.0f} MB free: "
            "make room, or unpack it elsewhere and give the folder"
        )


def _unpack_entry(archive: ZipFile, entry: ZipInfo, folder: Path, allowed: int) -> int:
    """Bytes written, counted as they come: at most one block above ``allowed``."""
    target = folder / entry.filename.replace("\\", "/")
    if entry.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with archive.open(entry) as packed, target.open("xb") as unpacked:
        while block := packed.read(BLOCK):
            written += len(block)
            if written > allowed:
                break
            unpacked.write(block)
    return written
