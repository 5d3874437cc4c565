"""Lists of images: what is no image is passed over, or said, with list and line."""

from __future__ import annotations

import pytest

from hat_arch.utils.errors import UserError
from hat_arch.utils.image_list import misread_by_basicsr, read_list


@pytest.mark.parametrize(
    "content,basicsr",
    [
        ("a.png (4,5,3)\nb/c.png\n", None),
        ("a.png (4,5,3)\r\nb/c.png", None),
        ("\ufeffa.png\nb/c.png\n", "1: begins with a byte-order mark"),
        ("a.png\n\n  \nb/c.png\n\n", "2: is empty"),
        ("# two\na.png\nb/c.png\n", "1: is a comment"),
        ("\ta.png\nb/c.png 1", None),
    ],
)
def test_what_is_listed(content, basicsr, tmp_path):
    file = tmp_path / "list.txt"
    file.write_bytes(content.encode())
    assert [line.name for line in read_list(file)] == ["a.png", "b/c.png"]
    place = content.splitlines().index(next(text for text in content.splitlines() if "b/c" in text)) + 1
    assert read_list(file)[1].place == f"{file}:{place}"
    assert misread_by_basicsr(file) == (basicsr and f"{file}:{basicsr}")
    with open(file) as stream:  # noqa: PTH123 (as BasicSR reads it)
        same = [line.strip().split(" ")[0] for line in stream] == ["a.png", "b/c.png"]
    assert same == (basicsr is None)


def test_a_name_may_begin_with_a_hash(tmp_path):
    (tmp_path / "list.txt").write_text("#1.png\n")
    assert read_list(tmp_path / "list.txt")[0].name == "#1.png"


@pytest.mark.parametrize("data", [b"", b"\n\n", b"# none\n", b"\xff\xfe\0a", None])
def test_lists_that_name_nothing(data, tmp_path):
    if data is not None:
        (tmp_path / "list.txt").write_bytes(data)
    with pytest.raises(UserError, match=r"list\.txt: "):
        read_list(tmp_path / "list.txt")
