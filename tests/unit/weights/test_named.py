"""Models by name."""

from __future__ import annotations

import re
import zlib

import pytest
import torch
import yaml
from safetensors.torch import save_file
from tiny import ROOT

from hat_arch import HAT, Upscaler, hat_s
from hat_arch.utils.errors import UserError
from hat_arch.utils.files import sha256
from hat_arch.weights import named
from hat_arch.weights.load import load

LIGHT = {"window_size": 4, "img_size": 8, "depths": [1], "embed_dim": 8, "num_heads": [2], "squeeze_factor": 4}


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Folders of the package's models and of downloaded ones, both empty; the current one is empty too."""
    inside, cache = tmp_path / "models", tmp_path / "cache"
    inside.mkdir()
    monkeypatch.setattr(named, "INSIDE", inside)
    monkeypatch.setattr(named, "IN_CLONE", tmp_path / "no_clone")
    monkeypatch.setenv("HAT_ARCH_MODELS", str(cache))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return inside, cache


def put(folder, name, scale=2):
    torch.manual_seed(scale)
    network = HAT(**LIGHT, upscale=scale, upsampler="pixelshuffledirect").eval()
    file = folder / f"{name}.safetensors"
    state = {key: value.half() if value.is_floating_point() else value for key, value in network.state_dict().items()}
    save_file(state, file)
    return network, file


def test_a_file_that_is_put_into_the_package_is_a_model(places):
    network, file = put(places[0], "hat-light-x2")
    card = f"---\nlicense: CC0-1.0\nsummary: small photographs\nsha256: {sha256(file)}\n---\n# hat-light-x2\n"
    file.with_suffix(".md").write_text(card)
    model = named.models()["hat-light-x2"]
    assert (model.scale, model.licence, model.note, model.inside) == (2, "CC0-1.0", "small photographs", True)
    assert model.fits(sha256(file)) and model.bytes == file.stat().st_size
    assert named.find("hat-light-x2") == file == model.path()
    assert load("hat-light-x2").scale == 2
    upscaler = Upscaler("hat-light-x2")
    assert (upscaler.scale, upscaler.multiple) == (2, 4)
    lq = torch.rand(1, 3, 5, 9)
    with torch.no_grad():
        assert torch.allclose(upscaler(lq), network(lq), atol=2e-3)


def test_the_default_is_the_model_of_the_scale_photographs_first(places):
    with pytest.raises(UserError, match="--model"):
        named.default(4)
    for name, scale in (("hat-light-x2", 2), ("hat-light-x4", 4)):
        put(places[0], name, scale)
    assert [named.default(scale).scale for scale in (1.5, 2, 3, 4, 8)] == [2, 2, 4, 4, 4]
    put(places[0], "hat-light-photo-x4", 4)
    assert named.default(4).name == "hat-light-photo-x4"


def test_published_models_are_found_where_they_were_put(places, tmp_path):
    _, cache = places
    with pytest.raises(UserError, match="basicsr models get HAT_SRx4"):
        named.find("HAT_SRx4")
    by_hand = tmp_path / "here/experiments/pretrained_models/HAT_SRx4.pth"
    for file in (by_hand, cache / "HAT_SRx4.pth"):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"")
        for name in ("HAT_SRx4", "HAT_SRx4.pth"):
            assert named.find(name).samefile(file)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("HAT_SRx5", "did you mean HAT_SRx"),
        ("hat_srx4", "HAT_SRx4"),
        ("net_g_latst.pth", "no such file; did you mean net_g_latest.pth"),
        ("models/x.pth", "no such file"),
        ("nothing of the kind", "no model of that name; basicsr models"),
        (".", "is a folder"),
    ],
)
def test_unknown_names_get_the_nearest(places, tmp_path, name, words):
    (tmp_path / "here/net_g_latest.pth").write_bytes(b"")
    with pytest.raises(named.UnknownModelError, match=re.escape(words)) as caught:
        named.find(name)
    assert str(caught.value).startswith(f"{name}: ")


def test_the_list_of_published_models_is_sound():
    published = {name: model for name, model in named.models().items() if not model.inside}
    assert len(published) > 20
    for name, model in published.items():
        assert model.file.startswith(name) and f"x{model.scale}" in name.lower().replace("bix", "x"), name
        assert model.sha256 is None or re.fullmatch("[0-9a-f]{8}|[0-9a-f]{64}", model.sha256), name
        assert model.page.startswith("https://") and all(url.startswith("https://") for url in model.urls), name
    official = {name: model for name, model in published.items() if model.network.startswith("HAT")}
    assert len(official) == 14 and all(len(model.sha256) == 64 and model.urls for model in official.values())
    assert len({model.sha256 for model in official.values()}) == 14


INSIDE = [model for model in named.models().values() if model.inside]


@pytest.mark.parametrize("model", INSIDE, ids=lambda model: model.name)
def test_a_model_of_the_package_is_what_its_card_says(model):
    file = model.path()
    assert model.fits(sha256(file)), "measure it: python experiments/models/evaluate.py"
    assert model.licence != "unknown" and model.note and file.stat().st_size < 4 * 2**20
    network = load(model.name).network
    count = sum(parameter.numel() for parameter in network.parameters())
    assert network.upscale == model.scale and count <= (1_000_000 if model.scale > 1 else 1_010_000)
    assert f"{count:,} parameters" in file.with_suffix(".md").read_text(encoding="utf-8")


def test_the_models_in_a_wheel_are_8_mb_at_most():
    assert sum(len(zlib.compress(file.read_bytes())) for file in named.INSIDE.glob("*.safetensors")) <= 8_000_000


def test_models_of_a_clone_are_found_by_name(places, tmp_path, monkeypatch):
    monkeypatch.setattr(named, "IN_CLONE", tmp_path / "clone")
    named.IN_CLONE.mkdir()
    _, file = put(named.IN_CLONE, "hat-light-x2")
    assert named.find("hat-light-x2") == file and named.models()["hat-light-x2"].inside


def test_every_file_that_the_papers_tables_want_is_in_the_list():
    layouts = yaml.safe_load((ROOT / "hat_arch/paper/table_layouts.yml").read_text(encoding="utf-8"))
    rows = [row for layout in layouts.values() for row in layout["rows"].values() if not row.get("ours")]
    wanted = {file for row in rows for file in row.get("files", {}).values()}
    assert len(wanted) > 15 and wanted <= {model.file for model in named.models().values()}


def test_a_file_is_recognised_by_its_checksum(tmp_path, monkeypatch):
    file = tmp_path / "download (1).pth"
    file.write_bytes(b"weights")
    assert named.recognise(file) is None
    model = named.Model("HAT_SRx9", "HAT_SRx9.pth", 9, bytes=7, sha256=sha256(file), page="https://example.org")
    monkeypatch.setattr(named, "_published", lambda: {model.name: model})
    assert named.recognise(file) is model


def test_presets_take_weights_by_name_or_file(tmp_path):
    small = {"depths": [1], "num_heads": [6], "window_size": 4, "img_size": 8}
    network = hat_s(2, **small)
    torch.save({"params": network.state_dict()}, tmp_path / "s.pth")
    again = hat_s(scale=2, weights=tmp_path / "s.pth", **small)
    assert not again.training
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in again.state_dict().items())
    assert hat_s(upscale=3, **small).upscale == 3
    with pytest.raises(UserError, match=r"s\.pth: does not fit HAT-S x4: .*not in the file"):
        hat_s(4, tmp_path / "s.pth", **small)
    with pytest.raises(UserError, match="did you mean"):
        hat_s(4, "HAT-S_SRx44")
