"""A DICOM header as raw fields: {tag: value bytes}, for the few tags that matter, and where the pixels begin.

Little-endian files, which nearly all are, are walked here; the rest (big endian, deflated, anything odd) goes through pydicom.
The walk follows DICOM PS3.5 section 7.1 (data elements) and 7.5 (nested sequences) and PS3.10 section 7.1 (file meta).
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from tasks.reading.quiet import quiet_pydicom

HEAD = 16384  # bytes read first; headers are rarely longer

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
TRANSFER_SYNTAX = 0x00020010
PIXELS = 0x7FE00010
FLOAT_PIXELS = (0x7FE00008, 0x7FE00009)
DIRECTORY = b"\x02\0\x02\0UI\x14\x001.2.840.10008.1.3.10"  # media storage SOP class of a DICOMDIR, as it stands in the file meta

# Nothing that names or describes a patient, a hospital or an examination is kept; of a patient's name and number only a mark.
TAGS = {
    "image_type": 0x00080008,
    "sop_class": 0x00080016,
    "sop_uid": 0x00080018,
    "modality": 0x00080060,
    "manufacturer": 0x00080070,
    "body_part": 0x00180015,
    "thickness": 0x00180050,
    "tilt": 0x00181120,
    "patient_name": 0x00100010,
    "patient": 0x00100020,
    "kernel": 0x00181210,
    "study_uid": 0x0020000D,
    "series_uid": 0x0020000E,
    "acquisition": 0x00200012,
    "instance": 0x00200013,
    "temporal": 0x00200100,
    "position": 0x00200032,
    "orientation": 0x00200037,
    "samples": 0x00280002,
    "frames": 0x00280008,
    "rows": 0x00280010,
    "columns": 0x00280011,
    "spacing": 0x00280030,
    "bits_allocated": 0x00280100,
    "bits_stored": 0x00280101,
    "signed": 0x00280103,
    "padding": 0x00280120,
    "padding_limit": 0x00280121,
    "intercept": 0x00281052,
    "slope": 0x00281053,
}
WANTED = frozenset(TAGS.values())
MARKED = frozenset((TAGS["patient_name"], TAGS["patient"]))
LONG = frozenset((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UT", b"UN", b"UC", b"UR", b"SV", b"UV"))
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD


class BrokenHeader(Exception):
    """The file claims to be DICOM and is not, or ends before it should."""


class _Odd(Exception):
    """Not for the quick walk."""


class _TooShort(Exception):
    """The head that was read ends inside the header."""


@dataclass
class RawHeader:
    """fields: tag -> value bytes, little endian. pixels_at, pixels_end: of plain pixel bytes; None, 0 where packed or absent."""

    transfer_syntax: str
    fields: dict[int, bytes] = field(default_factory=dict)
    has_pixels: bool = False
    pixels_at: int | None = None
    pixels_end: int = 0
    file_bytes: int = 0

    def text(self, name: str) -> str:
        value = self.fields.get(TAGS[name], b"")
        return value.decode("latin-1").strip(" \0\t\r\n")

    def number(self, name: str) -> int | None:
        """An unsigned 16-bit value, or a decimal string."""
        value = self.fields.get(TAGS[name], b"")
        return struct.unpack("<H", value[:2])[0] if len(value) >= 2 else None


def claims_dicom(head: bytes) -> bool:
    """The magic word, or a first element as the files of before 1993 begin (group 8, no preamble)."""
    return head[128:132] == b"DICM" or (len(head) >= 8 and head[:2] in (b"\x08\0", b"\x02\0") and head[3] == 0)


def is_directory(head: bytes) -> bool:
    """A DICOMDIR (PS3.3 F): it lists the images of a disc and is none."""
    return head[128:132] == b"DICM" and DIRECTORY in head[132:HEAD]


def read_header(f: BinaryIO, path: Path, file_bytes: int) -> RawHeader | None:
    """The header of an open file; None where it does not claim to be DICOM, or is a DICOMDIR. Raises BrokenHeader."""
    head = f.read(HEAD)
    if not claims_dicom(head) or is_directory(head):
        return None
    try:
        try:
            header = _walk(head)
        except _TooShort:
            f.seek(0)
            head = f.read(min(file_bytes, 64 * HEAD))
            header = _walk(head)
    except (_Odd, _TooShort, struct.error):
        header = _through_pydicom(path)
    header.file_bytes = file_bytes
    return header


def _kept(tag: int, value: bytes) -> bytes:
    return _mark(value) if tag in MARKED else value


@lru_cache(maxsize=256)
def _mark(value: bytes) -> bytes:
    """Four hex digits that tell the patients of one folder apart and fit every 65,536th person; nothing for nothing."""
    plain = re.sub(rb"[^A-Za-z0-9\x80-\xff]", b"", value).lower()
    return hashlib.blake2b(plain, digest_size=2).hexdigest().encode() if plain else b""


# -- the quick walk ----------------------------------------------------------------------------------------------------------


def _walk(head: bytes) -> RawHeader:
    if head[128:132] != b"DICM":
        raise _Odd
    syntax, at = _meta(head)
    if syntax in (DEFLATED, BIG_ENDIAN):
        raise _Odd
    header = RawHeader(syntax)
    explicit = syntax != IMPLICIT
    end = len(head)
    last = 0
    while True:
        if at + 12 > end:
            raise _TooShort
        tag, length, at = _element(head, at, explicit)
        if tag < last:
            raise _Odd  # elements stand in ascending order, or this is no header
        last = tag
        if tag >= 0x7FE00000:
            if tag == PIXELS:
                header.has_pixels = True
                if length != UNDEFINED:
                    header.pixels_at, header.pixels_end = at, at + length
                return header
            if tag in FLOAT_PIXELS:
                raise _Odd
        if length == UNDEFINED:
            at = _skip_sequence(head, at, explicit)
            continue
        if tag in WANTED:
            if at + length > end:
                raise _TooShort
            header.fields[tag] = _kept(tag, head[at : at + length])
        at += length


def _meta(head: bytes) -> tuple[str, int]:
    """Transfer syntax, and where the data set begins. The file meta group is always explicit little endian."""
    at, syntax = 132, ""
    while head[at : at + 2] == b"\x02\0":
        tag, length, at = _element(head, at, True)
        if length == UNDEFINED or at + length > len(head):
            raise _Odd
        if tag == TRANSFER_SYNTAX:
            syntax = head[at : at + length].decode("ascii", "replace").strip(" \0")
        at += length
    if not syntax:
        raise _Odd
    return syntax, at


_EXPLICIT, _SHORT, _LONG = struct.Struct("<HH2s"), struct.Struct("<H"), struct.Struct("<I")
_IMPLICIT = struct.Struct("<HHI")


def _element(b: bytes, at: int, explicit: bool) -> tuple[int, int, int]:
    """(tag, length, offset of the value) of the element at ``at``."""
    if not explicit:
        group, element, length = _IMPLICIT.unpack_from(b, at)
        return group << 16 | element, length, at + 8
    group, element, vr = _EXPLICIT.unpack_from(b, at)
    if group == 0xFFFE:  # items and their ends carry no VR
        return group << 16 | element, _LONG.unpack_from(b, at + 4)[0], at + 8
    if vr in LONG:
        return group << 16 | element, _LONG.unpack_from(b, at + 8)[0], at + 12
    if not vr.isalpha():
        raise _Odd
    return group << 16 | element, _SHORT.unpack_from(b, at + 6)[0], at + 8


def _skip_sequence(b: bytes, at: int, explicit: bool, depth: int = 0) -> int:
    """The offset after a sequence of undefined length that begins at ``at``."""
    if depth > 16:
        raise _Odd
    while True:
        if at + 8 > len(b):
            raise _TooShort
        tag, length, at = _element(b, at, explicit)
        if tag == SEQUENCE_END:
            return at
        if tag != ITEM:
            raise _Odd
        if length != UNDEFINED:
            at += length
            continue
        while True:
            if at + 8 > len(b):
                raise _TooShort
            tag, length, at = _element(b, at, explicit)
            if tag == ITEM_END:
                break
            at = _skip_sequence(b, at, explicit, depth + 1) if length == UNDEFINED else at + length


# -- everything else ---------------------------------------------------------------------------------------------------------


def _through_pydicom(path: Path) -> RawHeader:
    try:
        with path.open("rb") as f:
            data = quiet_pydicom().dcmread(f, stop_before_pixels=True, specific_tags=sorted(WANTED), force=True)
            at_pixels, order = f.tell(), _order(data)
            tail = f.read(12)
        header = RawHeader(_syntax_of(data))
        for tag in WANTED:
            if tag in data:
                header.fields[tag] = _kept(tag, _as_bytes(data[tag]))
    except Exception as e:  # pydicom raises whatever it likes on garbage
        raise BrokenHeader from e
    if not header.fields:
        raise BrokenHeader
    _locate_pixels(header, tail, at_pixels, order)
    return header


def _syntax_of(data: Any) -> str:
    named = str(data.file_meta.get("TransferSyntaxUID", "")) if hasattr(data, "file_meta") else ""
    return named or (IMPLICIT if data.original_encoding[0] else EXPLICIT)


def _order(data: Any) -> str:
    return "<" if data.original_encoding[1] is not False else ">"


def _locate_pixels(header: RawHeader, tail: bytes, at: int, order: str) -> None:
    """Where the plain pixel bytes are, from the element head that pydicom stopped before."""
    if header.transfer_syntax == DEFLATED:
        header.has_pixels = TAGS["rows"] in header.fields
        return
    if len(tail) < 12:
        return
    group, element = struct.unpack(f"{order}HH", tail[:4])
    if (group, element) != (0x7FE0, 0x0010):
        return
    header.has_pixels = True
    explicit = tail[4:6] in (b"OW", b"OB")  # whatever the file meta says; as a length either would be odd, and none is
    length = struct.unpack(f"{order}I", tail[8:12] if explicit else tail[4:8])[0]
    if length != UNDEFINED:
        header.pixels_at = at + (12 if explicit else 8)
        header.pixels_end = header.pixels_at + length


def _as_bytes(element: Any) -> bytes:
    """A value as it would stand in a little-endian file."""
    value = element.value
    if value is None:
        return b""
    if element.VR in ("US", "SS", "US or SS"):
        if isinstance(value, bytes):
            return value
        first = value if isinstance(value, int) else next(iter(value))
        return struct.pack("<H", int(first) & 0xFFFF)
    parts = value if isinstance(value, list | tuple) or type(value).__name__ == "MultiValue" else [value]
    return "\\".join(str(p) for p in parts).encode("latin-1", "replace")
