"""What a file is that should hold weights, told from its first bytes: a page, a pointer, an archive, half a file."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

AGAIN = "download it again"
ARCHIVES = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "7z",
    b"Rar!": "RAR",
}
OTHER = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"\x89HDF": "an HDF5 file (TensorFlow or Keras)",
    b"GGUF": "a GGUF file (llama.cpp)",
    b"\x7fELF": "a program",
}
PICKLE = b"\x80"  # the first byte of what PyTorch wrote before version 1.6


def is_safetensors(path: Path) -> bool:
    """Whether a file is of the safetensors format, by its name in any case, or by its first bytes."""
    if path.suffix.lower() == ".safetensors":
        return True
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def problem(path: Path) -> str | None:
    """Why a file cannot hold weights and what to do, or None if its beginning looks like weights.

    Nothing in the file is executed, and no more than its beginning and its table of contents are read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(1024)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not start:
        return f"is empty (0 bytes); {AGAIN}"
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself; run git lfs pull, or download the file from its page"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<script")):
        return "is a web page that was saved instead of the file; open its address in a browser and download the file"
    if start.startswith(b"PK"):
        return _zip_problem(path)
    if is_safetensors(path):
        return _safetensors_problem(start, size, path)
    for magic, name in ARCHIVES.items():
        if start.startswith(magic):
            return f"is a {name} archive; unpack it and take the file inside"
    for magic, name in OTHER.items():
        if start.startswith(magic):
            return f"is {name}, no weights"
    if not start.startswith(PICKLE):
        kind = "text" if start.isascii() and b"\0" not in start else "of no format that holds weights"
        return f"is {kind}; weights are .pth, .pt, .ckpt or .safetensors files of PyTorch"
    return None


def _zip_problem(path: Path) -> str | None:
    """Of a ZIP file, which PyTorch's files are: what else it is, or that its end is missing."""
    if not zipfile.is_zipfile(path):
        return f"is cut off after {path.stat().st_size:,} bytes; {AGAIN}"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith("/constants.pkl") for name in names):
        return "is a TorchScript program, which would have to be executed; take the weights that it was made from"
    if any(name.endswith(("/archive_format", "serialized_exported_program.json")) for name in names):
        return "is an exported program (.pt2), which would have to be executed; take the weights that it was made from"
    if not any(name.endswith("/data.pkl") for name in names):
        inside = next((name for name in names if name.lower().endswith((".pth", ".pt", ".ckpt", ".safetensors"))), None)
        return f"is a ZIP archive; unpack it{f' and take {inside}' if inside else ', there are no weights in it'}"
    return None


def _safetensors_problem(start: bytes, size: int, path: Path) -> str | None:
    """Of a safetensors file: that its table of contents is damaged, or the tensors after it are cut off."""
    length = int.from_bytes(start[:8], "little")
    if len(start) < 9 or start[8:9] != b"{":
        return "is named .safetensors, but is of another format"
    if 8 + length > size:
        return f"is cut off after {size:,} bytes; {AGAIN}"
    try:
        with path.open("rb") as file:
            table = json.loads(file.read(8 + length)[8:])
        end = 8 + length + max((entry["data_offsets"][1] for key, entry in table.items() if key != "__metadata__"))
    except (ValueError, KeyError, TypeError, IndexError):
        return f"is a damaged safetensors file: its table of contents cannot be read; {AGAIN}"
    if end > size:
        return f"is cut off: it has {size:,} of {end:,} bytes; {AGAIN}"
    return None
