"""What a DICOM file says of itself in its first bytes: whether it is one, and its modality."""

from __future__ import annotations

import struct
from pathlib import Path

NOT_IMAGES = frozenset(
    ("SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "REG", "PR", "KO", "SR", "AU", "DOC")
)
"""Values of Modality (0008,0060) whose objects accompany a scan and are none."""

HEAD_BYTES = 1 << 16
MODALITY = b"\x08\x00\x60\x00"


def dicom_files(folder: Path) -> list[Path]:
    """Return the folder's DICOM files, sorted by name."""
    return sorted(file for file in folder.iterdir() if is_dicom(file))


def is_dicom(file: Path) -> bool:
    """Tell by the extension, or by the magic bytes where names are numbers or have none."""
    if file.name.startswith(".") or file.name.upper() == "DICOMDIR" or not file.is_file():
        return False
    suffix = file.suffix.lower()
    if suffix in (".dcm", ".ima"):
        return True
    if suffix and not suffix[1:].isdigit():
        return False
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def modality_of(file: Path) -> str:
    """Return the Modality (0008,0060) as written, whether or not the rest can be read; or ""."""
    with file.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    at = head.find(MODALITY)
    if at < 0 or at + 8 > len(head):
        return ""
    explicit = head[at + 4 : at + 6] == b"CS"
    (length,) = struct.unpack_from("<H" if explicit else "<I", head, at + (6 if explicit else 4))
    return head[at + 8 : at + 8 + min(length, 16)].decode("ascii", "replace").strip(" \0")


def may_be_image(file: Path) -> bool:
    """Tell whether a DICOM file is an image, or too damaged to say that it is none."""
    return modality_of(file) not in NOT_IMAGES
