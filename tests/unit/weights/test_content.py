"""What a file is that should hold weights."""

from __future__ import annotations

import io
import json
import zipfile

import cv2
import numpy as np
import pytest
import torch

from hat_arch.weights.content import problem
from hat_arch.weights.files import WeightsError, read_weights


def archive(name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, "x")
    return buffer.getvalue()


def program():
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), buffer)
    return buffer.getvalue()


def exported():
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.ones(1),)), buffer)
    return buffer.getvalue()


def safetensors(header, data=b""):
    return len(header).to_bytes(8, "little") + header + data


CUT = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
FILES = {
    "empty": (b"", "0 bytes"),
    "page": (b"\n <!DOCTYPE html><html>", "web page"),
    "page with a mark": (b"\xef\xbb\xbf<html><head>", "web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4ee\nsize 85\n", "Git LFS pointer"),
    "zip": (archive("HAT_SRx4.pth"), "unpack it and take HAT_SRx4.pth"),
    "zip of others": (archive("read.me"), "no weights in it"),
    "half a zip": (archive("a/data.pkl")[:60], "cut off"),
    "program": (program(), "TorchScript"),
    "exported program": (exported(), "exported program (.pt2)"),
    "gzip": (b"\x1f\x8b\x08" + bytes(20), "gzip"),
    "image": (cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes(), "PNG image"),
    "text": (b"name: train_HAT\nscale: 4\n", "text"),
    "noise": (b"\x00\x01\x02\x03" * 30, "no format"),
    "half a safetensors": (safetensors(CUT, bytes(5)), "cut off: it has"),
    "damaged safetensors": (safetensors(b"{not json"), "table of contents"),
}


@pytest.mark.parametrize("name", FILES)
def test_it_is_said_what_the_file_is(tmp_path, name):
    data, words = FILES[name]
    file = tmp_path / "net.pth"
    file.write_bytes(data)
    assert words in problem(file)
    with pytest.raises(WeightsError) as caught:
        read_weights(file)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_only_named_safetensors_is_said(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"\x80\x02}q")
    assert "another format" in problem(tmp_path / "a.safetensors")


@pytest.mark.parametrize("new", [True, False])
def test_weights_have_no_problem(tmp_path, new):
    torch.save({"params": {"a": torch.ones(2)}}, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    assert problem(tmp_path / "a.pth") is None
    assert read_weights(tmp_path / "a.pth")["params"]["a"].tolist() == [1, 1]


def test_a_folder_is_an_error_in_one_line(tmp_path):
    with pytest.raises(WeightsError, match="cannot be read: Is a directory"):
        read_weights(tmp_path)
