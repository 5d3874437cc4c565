"""An option file that cannot work is refused in a line with file, line, key and remedy, before anything is created."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import torch
import yaml

from hat_arch import HAT, Upscaler, config
from hat_arch.compat.registration import build
from hat_arch.config import ConfigError, files, reading, schema
from hat_arch.config.foreign import CONVERTIBLE

GONE = "<absent>"


def put(opt, key, value):
    *sections, last = key.split(".")
    for section in sections:
        opt = opt[section]
    if value is GONE:
        del opt[last]
    else:
        opt[last] = value


WRONG = [
    # key, value, the decisive words
    ("train.ema_decy", 0.9, "'ema_decay'"),
    ("datasets.train.use_hflp", True, "'use_hflip'"),
    ("lgger", {}, "'logger'"),
    ("val.save_imgs", True, "'save_img'"),
    ("logger.print_frequency", 3, "'print_freq'"),
    ("logger.wandb", {"resme_id": "x"}, "'resume_id'"),
    ("path.pretrain_networkg", None, "'pretrain_network_g'"),
    ("network_g.embed_dims", 12, "'embed_dim'"),
    ("train.optim_g.learning_rate", 1.0, "unknown"),
    ("val.metrics.psnr.crop_boarder", 4, "'crop_border'"),
    ("train.total_iter", "many", "'many'"),
    ("scale", "4", "integer"),
    ("train.total_iter", GONE, "missing"),
    ("network_g", GONE, "missing"),
    ("datasets.train.batch_size_per_gpu", GONE, "'batch_size_per_gpu' is missing"),
    ("datasets.val.dataroot_lq", GONE, "'dataroot_lq' is missing"),
    ("val.metrics.psnr.crop_border", GONE, "'crop_border' is missing"),
    ("val.val_freq", GONE, "missing"),
    ("model_type", "HATModell", "'HATModel'"),
    ("network_g.type", "HATT", "'HAT'"),
    ("datasets.train.type", "PairedDataset", "'PairedDataset'"),
    ("train.pixel_opt.type", "L3Loss", "'L1Loss'"),
    ("train.optim_g.type", "AdamV", "'Adam'"),
    ("train.scheduler.type", "Cosine", "CosineAnnealingRestartLR"),
    ("network_g.num_heads", [5, 5], "num_heads 5"),
    ("network_g.upscale", 2, "scale is 4"),
    ("datasets.train.gt_size", 30, "scale 4"),
    ("datasets.vall", {"name": "a", "type": "PairedImageDataset"}, "test_1"),
    ("datasets.train.dataroot_gt", "nowhere.lmdb", r"no LMDB store 'nowhere\.lmdb' \(looked in /"),
    ("datasets.train.dataroot_gt", "nowhere", r"\.lmdb"),
    ("datasets.val.dataroot_lq", "/nowhere", r"'/nowhere'\n.*docs/data\.md"),
    ("datasets.val.meta_info_file", "no.txt", r"'no\.txt'"),
    ("path.pretrain_network_g", "no.pth", r"'no\.pth'"),
    ("path.resume_state", "no.state", r"'no\.state'"),
    ("logger.keep_best", ["Set5/psnr"], "Set5/psnr"),
    ("tile", {"tile_size": 256}, "missing"),
    ("tile", {"tile_size": 256, "tile_pad": 16, "tile_pads": 3}, "'tile_pad'"),
    ("dist_params", {"bakend": "nccl"}, "'backend'"),
    ("ema_decay", 0.9, "belongs below train"),
    ("train.print_freq", 3, "belongs below logger"),
    ("val.total_iter", 3, "belongs below train"),
    ("name", "a/b", "folder"),
    ("name", "..", "folder"),
    ("name", "", "folder"),
    ("name", "/a", "folder"),
    ("datasets.val.name", "../x", "folder"),
    ("val.suffix", "a/b", "folder"),
    ("datasets.train.dataroot_gt", ["a", "b"], "text"),
    ("train.gan_opt", {"type": "GANLoss", "gan_type": "vanilla"}, "RealHATGANModel"),
    ("network_d", {"type": "UNetDiscriminatorSN", "num_in_ch": 3}, "RealHATGANModel"),
    ("path.pretrain_model_g", None, "pretrain_network_g"),
    ("datasets.train.use_flip", True, "use_hflip"),
    ("gpu_ids", [0], "num_gpu"),
    ("model_type", "BasicVSRModel", "VideoRecurrentModel"),
    ("model_type", "SRGANModel", "network_d"),
    ("network_g.scale", 2, "unknown"),
    ("scale", GONE, "missing"),
]


@pytest.mark.parametrize(("key", "value", "words"), WRONG, ids=[f"{key}={value}" for key, value, _ in WRONG])
def test_a_wrong_option_is_named(options, write_options, key, value, words):
    put(options, key, value)
    file = write_options(options)
    with pytest.raises(ConfigError) as error:
        config.load(file, is_train=True)
    text = str(error.value)
    section, _, last = key.rpartition(".")
    named = rf"{re.escape(section)}(\.{last}[\w.]*)?" if section else rf"{last}(\.\w+)?"
    assert re.match(rf"{re.escape(str(file))}(:\d+)?: {named}: .*{words}", text), text
    assert len(text.splitlines()) <= 3


@pytest.mark.parametrize(
    ("key", "typed"),
    [("train.total_iter", "totl_iter"), ("train", "trian"), ("scale", "scal"), ("val.val_freq", "freq")],
)
def test_a_needed_key_that_is_mistyped_is_named_with_its_line(options, write_options, key, typed):
    *sections, name = key.split(".")
    section = options[sections[0]] if sections else options
    section[typed] = section.pop(name)
    file = write_options(options)
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if text.lstrip().startswith(f"{typed}:"))
    named = ".".join([*sections, typed])
    with pytest.raises(ConfigError, match=rf"tiny\.yml:{line}: {named}: .*'{name}'"):
        config.load(file, is_train=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: !!python/object/apply:os.system ['touch owned']", "run code"),
        ("name: a\nscale: 4\nname: b", ":3: repeated key 'name'"),
        ("name: [a", "tiny.yml"),
        ("name: a\n\tscale: 4", ":2: "),
        ("", "no keys"),
        ("- a\n- b", "no keys"),
        (b"\x89PNG\xff\xfe", "not a text file"),
        (None, "No such file"),
    ],
)
def test_a_file_that_is_no_option_file_is_refused(tmp_path, text, words):
    file = tmp_path / "tiny.yml"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=re.escape(words)):
        config.load(file, is_train=True)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("section", ["path", "logger", "val", "datasets", "train", "network_g", "scale"])
def test_an_empty_key_is_no_key(options, write_options, section):
    options[section] = None
    file = write_options(options)
    if section in ("path", "logger", "val"):
        assert config.load(file, is_train=True).get(section) is not None or section == "val"
    else:
        with pytest.raises(ConfigError, match=rf"tiny\.yml:\d+: {section}: is missing"):
            config.load(file, is_train=True)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.toml", "x = 1", "neosr"),
        ("a.yml", '# first\n\nname = "train"\nmodel_type = "image"\n[datasets.train]\ntype = "paired"\n', "neosr"),
        ("a.yml", "[datasets.train]\ntype = 3\n", "neosr"),
        ("a.yml", "name: a\nscale: 4\nuse_amp: true\n", "traiNNer-redux"),
        ("a.yml", "name: a\nscale: 4\ntrain:\n  losses:\n    - type: l1loss\n", "traiNNer-redux"),
        ("a.json", '{"task": "sr", "netG": {"net_type": "swinir"}}', "KAIR"),
        ("a.yml", "name: a\ndistortion: sr\nnetwork_G: {}\n", "MMSR"),
    ],
)
def test_an_option_file_of_another_program_is_told_by_name(write_options, name, text, words):
    file = write_options(text, name)
    with pytest.raises(ConfigError) as error:
        config.load(file, is_train=True)
    line = str(error.value)
    assert line.startswith(f"{file}: ") and words in line and "\n" not in line
    assert (f"basicsr options convert {file}" if words in CONVERTIBLE else "basicsr options copy") in line


def test_numbers_in_scientific_notation_are_numbers(write_options):
    raw, lines = reading.read(write_options("a: 1e-4\nb: !!float 2e-4\nc: -1.5E+3\nd: {x: e4}\ne: 1e4x"))
    assert raw == {"a": 1e-4, "b": 2e-4, "c": -1500.0, "d": {"x": "e4"}, "e": "1e4x"}
    assert lines[("d", "x")] == 4


def test_good_options_become_a_plain_dict_with_defaults(options, write_options):
    del options["logger"]
    opt = config.load(write_options(options), is_train=True)
    assert type(opt) is dict and type(opt["train"]) is dict
    assert opt["logger"]["save_checkpoint_freq"] == 5000
    assert opt["val"]["suffix"] is None
    assert yaml.safe_load(yaml.safe_dump(opt)) == opt


def test_force_yml_changes_options_and_is_checked(options, write_options):
    file = write_options(options)
    overrides = ["train:ema_decay=0.5", "train:scheduler:milestones=[1, 2]", "val:suffix=x", "train:optim_g:lr=1e-5"]
    opt = config.load(file, True, overrides)
    assert opt["train"]["ema_decay"] == 0.5
    assert opt["train"]["scheduler"]["milestones"] == [1, 2]
    assert opt["train"]["optim_g"]["lr"] == 1e-5
    for wrong in ("train:ema_decy=0.5", "trian:ema_decay=0.5", "train", "train:total_iter=__import__('os')", "a=[1"):
        with pytest.raises(ConfigError):
            config.load(file, True, [wrong])


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("owned"),)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"params": {"upscale": 4}}, None),
        ({"params": {"upscale": 2}}, r"pretrain_network_g: .* 2 not in the file: upsample\.2"),
        ({"params": {"upscale": 2}, "strict_load_g": False}, None),
        ({"weights": {"upscale": 4}}, None),
        ({"a": {"upscale": 4}, "b": {"upscale": 4}}, "param_key_g: .*it has: a, b"),
        ({"params": Evil()}, "pretrain_network_g: .* cannot be read"),
        (b"torn", "pretrain_network_g: .* is text"),
    ],
)
def test_weights_must_fit_the_network(options, write_options, tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    options["path"]["pretrain_network_g"] = str(tmp_path / "it.pth")
    if isinstance(content, bytes):
        (tmp_path / "it.pth").write_bytes(content)
    else:
        if "strict_load_g" in content:
            options["path"]["strict_load_g"] = content.pop("strict_load_g")
        arguments = {key: value for key, value in options["network_g"].items() if key != "type"}
        saved = {k: HAT(**arguments | v).state_dict() if isinstance(v, dict) else v for k, v in content.items()}
        torch.save(saved, tmp_path / "it.pth")
    if words is None:
        config.load(write_options(options), is_train=True)
    else:
        with pytest.raises(ConfigError, match=words):
            config.load(write_options(options), is_train=True)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("value", ["HAT_SRx4", "./experiments/pretrained_models/HAT_SRx4.pth"])
def test_weights_may_be_named_as_models_are(options, write_options, tmp_path, monkeypatch, value):
    """By name, or as the official files do, which know one folder for what is downloaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HAT_ARCH_MODELS", str(tmp_path / "cache"))
    options["path"]["pretrain_network_g"] = value
    with pytest.raises(ConfigError, match=rf"pretrain_network_g: no model '{value}'[^\n]*\n.*models get HAT_SRx4"):
        config.load(write_options(options), is_train=True)
    (tmp_path / "cache").mkdir()
    arguments = {key: value for key, value in options["network_g"].items() if key != "type"}
    torch.save({"params_ema": HAT(**arguments).state_dict()}, tmp_path / "cache/HAT_SRx4.pth")
    opt = config.load(write_options(options), is_train=True)
    assert opt["path"]["pretrain_network_g"] == str(tmp_path / "cache/HAT_SRx4.pth")


NETWORKS = {
    "HAT": {"embed_dim": 12, "depths": [2], "num_heads": [2], "squeeze_factor": 4, "drop_path_rate": 0.1, "ape": True},
    "MSRResNet": {"num_feat": 4, "num_block": 1},
    "SwinIR": {
        "embed_dim": 12,
        "depths": [2],
        "num_heads": [2],
        "window_size": 8,
        "img_size": 8,
        "upsampler": "pixelshuffle",
    },
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_built_without_memory_where_they_can_be(name):
    section = {"type": name, "upscale": 4, **NETWORKS[name]}
    shapes = {name: tensor.shape for name, tensor in build(section).state_dict().items()}
    checked = files.build_for_shapes(section).state_dict()
    assert {name: tensor.shape for name, tensor in checked.items()} == shapes
    assert {tensor.device.type for tensor in checked.values()} == {"cpu" if name == "SwinIR" else "meta"}


def test_a_process_that_need_not_check_builds_no_network(options, write_options, monkeypatch):
    monkeypatch.setattr(files, "build", lambda section: pytest.fail("builds a network"))
    opt = config.load(write_options(options), is_train=True, build_networks=False)
    monkeypatch.undo()
    assert opt == config.load(write_options(options), is_train=True)


def test_the_keys_of_val_are_arguments_of_the_upscaler():
    names = {name.removeprefix("tile_") for name in schema.HAT_MODEL_ONLY["val"]}
    assert names <= inspect.signature(Upscaler).parameters.keys()
    for section, model in (("train", schema.Train), ("val", schema.Val), ("logger", schema.Logger)):
        assert schema.HAT_MODEL_ONLY[section] <= model.model_fields.keys()


@pytest.mark.parametrize(("key", "value"), [("train.accumulate", 2), ("val.tile", 64), ("logger.keep_last", 1)])
def test_other_models_refuse_what_they_would_ignore(options, write_options, key, value):
    options["model_type"] = "SRModel"
    options["logger"] = {}
    config.load(write_options(options), is_train=True)
    put(options, key, value)
    with pytest.raises(ConfigError, match=f"{key}: .*HATModel"):
        config.load(write_options(options), is_train=True)


def test_wandb_needs_its_package_and_tensorboard(options, write_options, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    options["logger"].update(use_tb_logger=False, wandb={"project": "a"})
    with pytest.raises(ConfigError, match=r"logger\.wandb: .*use_tb_logger.*\n.*logger\.wandb: .*pip install"):
        config.load(write_options(options), is_train=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_without_a_gpu_training_runs_on_the_cpu_and_says_so(options, write_options, capsys):
    options["num_gpu"] = 8
    assert config.load(write_options(options), is_train=True)["num_gpu"] == 0
    assert "no GPU" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["ESRGANModel", "SRGANModel", "SwinIRModel"])
def test_keys_that_basicsr_models_read_are_known(options, write_options, name):
    options["model_type"] = name
    options["logger"] = {}
    if "GAN" in name:
        options["network_d"] = {"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": 8}
        options["train"]["optim_d"] = {"type": "Adam", "lr": 1e-4}
        options["train"]["gan_opt"] = {"type": "GANLoss", "gan_type": "vanilla"}
        options["train"]["net_d_iters"] = 1
        options["path"]["pretrain_network_d"] = None
    config.load(write_options(options), is_train=True)


@pytest.fixture
def lists(options, tmp_path):
    """Changes the training set to folders with a list, and returns the list."""

    def make(type, content):
        file = tmp_path / "list.txt"
        file.write_bytes(content.encode())
        train, val = options["datasets"]["train"], options["datasets"]["val"]
        train.update(
            type=type, meta_info_file=str(file), dataroot_gt=val["dataroot_gt"], dataroot_lq=val["dataroot_lq"]
        )
        train.pop("io_backend", None)
        return file

    return make


@pytest.mark.parametrize(
    ("type", "content", "words"),
    [
        ("PairedImageDataset", "{0}\n\n{1}\n", r"list\.txt:2: is empty, which PairedImageDataset takes for an image"),
        ("PairedImageDataset", "\ufeff{0}\n", r"list\.txt:1: begins with a byte-order mark"),
        ("SeededPairedDataset", "{0}\n\ngone.png\n", r"list\.txt:3: names 'gone\.png', which is not in"),
        ("PairedImageDataset", "{0}\ngone.png\n", r"list\.txt:2: names 'gone\.png', which is not in"),
        ("SeededPairedDataset", "\n", r"list\.txt: names no image"),
    ],
)
def test_a_list_is_checked_line_by_line(options, write_options, lists, type, content, words):
    names = sorted(file.name for file in Path(options["datasets"]["val"]["dataroot_gt"]).glob("*.png"))
    lists(type, content.format(*names))
    with pytest.raises(ConfigError, match=rf"datasets\.train\.meta_info_file: .*{words}"):
        config.load(write_options(options), is_train=True)


def test_a_list_that_a_store_would_not_be_read_by_is_refused(options, write_options, lists, tmp_path):
    lists("PairedImageDataset", "a.png\n")
    for option in ("dataroot_gt", "dataroot_lq"):
        store = tmp_path / f"{option}.lmdb"
        store.mkdir()
        for name in ("data.mdb", "meta_info.txt"):
            (store / name).touch()
        options["datasets"]["train"][option] = f"{store}/"
    with pytest.raises(ConfigError, match=r"meta_info_file: PairedImageDataset does not read it with an LMDB store"):
        config.load(write_options(options), is_train=True)
    options["datasets"]["train"]["type"] = "SeededPairedDataset"
    train = config.load(write_options(options), is_train=True)["datasets"]["train"]
    assert train["dataroot_gt"] == f"{tmp_path}/dataroot_gt.lmdb" and train["io_backend"]["type"] == "lmdb"
    options["datasets"]["train"]["dataroot_lq"] = options["datasets"]["val"]["dataroot_lq"]
    with pytest.raises(ConfigError, match="is an LMDB store, and not all"):
        config.load(write_options(options), is_train=True)
