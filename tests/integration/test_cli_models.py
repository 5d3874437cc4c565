"""``basicsr models`` as its user sees it."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open

from hat_arch import HAT, cli
from hat_arch.utils.files import sha256
from hat_arch.weights import named

TINY = {"window_size": 4, "img_size": 8, "depths": [1], "embed_dim": 12, "num_heads": [2], "squeeze_factor": 4}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HAT_ARCH_MODELS", str(tmp_path / "cache"))

    def run(*args):
        code = cli.main(["models", *map(str, args)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def weights(tmp_path):
    network = HAT(**TINY, upscale=2)
    torch.save({"params": network.state_dict(), "params_ema": network.state_dict()}, tmp_path / "net.pth")
    return network.state_dict()


def test_the_list_tells_what_is_where_and_whether_it_is_right(run, tmp_path):
    code, out, _ = run()
    assert code == 0 and run("list")[1] == out
    [line] = [line.split() for line in out.splitlines() if line.startswith("HAT_SRx4_ImageNet-pretrain ")]
    assert line[1:5] == ["x4", "HAT", "81.2", "Apache-2.0"] and "not here" in " ".join(line)
    assert max(map(len, out.splitlines()[:-1])) <= 120
    assert out.count("package ") == len(list(named.INSIDE.glob("*.safetensors")))
    file = tmp_path / "cache/HAT_SRx4.pth"
    file.parent.mkdir()
    file.write_bytes(b"another file")
    code, out, err = run()
    assert code == 1 and "WRONG" in out and f"{file}: " in err and "models get HAT_SRx4" in err


def test_what_a_file_holds(run, weights):
    code, out, _ = run("info", "net.pth")
    assert code == 0 and "params_ema is a HAT" in out and "embed_dim: 12" in out and "upscale: 2" in out
    torch.save({"conv_first.weight": torch.ones(1), "body.0.rdb1.conv1.weight": torch.ones(1)}, "other.pth")
    assert "params is a" in run("info", "other.pth")[1]


def test_the_source_of_a_known_file(run, weights, tmp_path, monkeypatch):
    page, digest = "https://example.org/models", sha256(tmp_path / "net.pth")
    model = named.Model("HAT_SRx9", "HAT_SRx9.pth", 9, sha256=digest, page=page, note="small", licence="MIT")
    monkeypatch.setattr(named, "_published", lambda: {model.name: model})
    assert f"  small; licence: MIT; source: {page}\n" in run("info", "net.pth")[1]
    code, out, _ = run("info", "HAT_SRx9")
    assert (code, f"  small; licence: MIT; source: {page}\n" in out) == (0, True) and "models get HAT_SRx9" in out


def test_a_file_is_added_if_it_is_what_it_is_said_to_be(run, weights, tmp_path, monkeypatch):
    code, _, err = run("add", "net.pth")
    assert code == 2 and "net.pth: its checksum" in err and "--name" in err
    assert run("add", "net.pth", "--name", "HAT_SRx2")[0] == 2
    assert run("add", "none.pth")[0] == 2
    code, _, err = run("add", "net.pth", "--name", "my-photos")
    assert code == 2 and "--model net.pth" in err and err.count("\n") == 1
    model = named.Model("HAT_SRx9", "HAT_SRx9.pth", 9, sha256=sha256(tmp_path / "net.pth"), page="https://example.org")
    monkeypatch.setattr(named, "_published", lambda: {model.name: model})
    code, out, _ = run("add", "net.pth")
    assert code == 0 and out.strip() == str(tmp_path / "cache/HAT_SRx9.pth") == str(named.find("HAT_SRx9"))


def test_several_files_are_added_at_once(run, weights, tmp_path, monkeypatch):
    models = {}
    for scale in (8, 9):
        torch.save({"params": {"conv_first.weight": torch.full((1,), scale)}}, file := tmp_path / f"{scale}.pth")
        name = f"HAT_SRx{scale}"
        models[name] = named.Model(name, f"{name}.pth", scale, sha256=sha256(file), page="https://example.org")
    monkeypatch.setattr(named, "_published", lambda: models)
    code, _, err = run("add", "8.pth", "9.pth", "--name", "HAT_SRx8")
    assert code == 2 and "--name HAT_SRx8: is of one file; 2 are named" in err
    code, out, _ = run("add", "8.pth", "9.pth")
    assert code == 0 and out.split() == [str(tmp_path / f"cache/{name}.pth") for name in models]
    assert all(model.path() for model in models.values())


@pytest.mark.parametrize("target", ["net.safetensors", "half.pth"])
def test_weights_are_converted(run, weights, tmp_path, target):
    code, out, _ = run("convert", "net.pth", target, "--dtype", "bf16")
    assert code == 0 and out.startswith(f"{target}: params_ema of ")
    if target.endswith("pth"):
        assert torch.load(target)["params_ema"]["conv_first.bias"].dtype == torch.bfloat16
    else:
        with safe_open(target, "pt") as file:
            assert set(file.keys()) == set(weights)
            bias = file.get_tensor("conv_first.bias")
            assert bias.dtype == torch.bfloat16 and torch.allclose(bias.float(), weights["conv_first.bias"], atol=1e-2)
    code, _, err = run("convert", "net.pth", target)
    assert code == 2 and f"{target}: exists" in err
    assert run("convert", "net.pth", "net.onnx")[0] == 2


def test_an_unknown_model_cannot_be_had(run):
    code, _, err = run("get", "HAT_SRx44")
    assert code == 2 and err.startswith("basicsr: HAT_SRx44: ") and "did you mean HAT_SRx4" in err
