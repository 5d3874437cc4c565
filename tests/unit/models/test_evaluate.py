"""How the numbers of a model get into its card."""

from __future__ import annotations

import json
from pathlib import Path

import evaluate
import pytest
from tiny import ROOT

from hat_arch.utils.errors import UserError
from hat_arch.utils.files import sha256

CARD = (ROOT / "hat_arch/weights/models/hat-light-x4.md").read_text(encoding="utf-8")
FOUND = {
    "scale": 4,
    "datasets": [
        {
            "name": name,
            "images": images,
            "metrics": {
                "psnr": {"bicubic": 28.426, "ours": 31.604},
                "ssim": {"bicubic": 0.8104, "ours": 0.89},
                "psnr_rgb": {"bicubic": 26.69, "ours": 29.7},
            },
        }
        for name, images in (("Set5", 5), ("held_out", 10))
    ],
    "versions": {"torch": "2.13.0"},
    "date": "2026-11-25T10:00:00+00:00",
    "device": "a CPU",
}


def test_a_card_is_filled_in_again_and_again():
    once = evaluate.filled_in(CARD, {"sha256": "0" * 64, "facts": "old", "results": "old"})
    texts = {
        "sha256": "a" * 64,
        "facts": r"992,952 \1 parameters.",
        "results": evaluate.results({"hat-light-x4": FOUND}),
    }
    again = evaluate.filled_in(once, texts)
    assert again == evaluate.filled_in(CARD, texts) and "old" not in again.partition("## Training")[0]
    head = again.split("---")[1]
    assert f"\nsha256: {'a' * 64}\n" in head and r"992,952 \1 parameters." in again
    row = next(line for line in again.splitlines() if "held_out" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")][1:] == [
        "10",
        "28.43 / 0.8104 / 26.69",
        "31.60 / 0.8900 / 29.70",
    ]
    assert "2026-11-25, a CPU, torch 2.13.0." in again
    kept = [line for line in CARD.splitlines() if line.startswith(("##", "- **", "| CID22"))]
    assert all(line in again for line in kept)


def test_a_model_for_photographs_stands_beside_the_one_it_was_trained_from():
    better = json.loads(json.dumps(FOUND))
    for one in better["datasets"]:
        one["metrics"]["psnr"]["ours"] = 32
        one["metrics"]["niqe"] = {"bicubic": 7, "ours": 5.125}
    for one in (before := json.loads(json.dumps(FOUND)))["datasets"]:
        one["metrics"]["niqe"] = {"bicubic": 7, "ours": 6}
    head, _, row, *_ = evaluate.results({"before": before, "after": better}).splitlines()
    assert [cell.strip() for cell in head.strip("|").split("|")] == [
        "PSNR of Y / SSIM / PSNR of RGB / NIQE",
        "images",
        "bicubic",
        "before",
        "the model",
    ]
    assert [cell.strip() for cell in row.strip("|").split("|")][2:] == [
        "28.43 / 0.8104 / 26.69 / 7.00",
        "31.60 / 0.8900 / 29.70 / 6.00",
        "32.00 / 0.8900 / 29.70 / 5.12",
    ]


@pytest.mark.parametrize("place", ["sha256: ", "<!-- facts -->\n", "\n<!-- /results -->"])
def test_a_card_without_the_place_is_refused(place):
    with pytest.raises(UserError, match=place.strip(" \n<!->/:")):
        evaluate.filled_in(CARD.replace(place, ""), {"sha256": "1", "facts": "2", "results": "3"})


def test_a_model_is_tested_and_its_card_written(model_inside, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert evaluate.main(["hat-light-x4"]) == 2  # it has no card
    card = model_inside.with_suffix(".md")
    assert str(card) in capsys.readouterr().err
    card.write_text(CARD)

    def test(words):
        assert words == ["test", "-opt", "test_hat_light_x4", "--weights", "hat-light-x4"]
        results = Path("results/test_hat_light_x4/results.json")
        results.parent.mkdir(parents=True)
        results.write_text(json.dumps(FOUND))
        return 0

    monkeypatch.setattr(evaluate, "basicsr", test)
    assert evaluate.main(["hat-light-x4"]) == 0
    text = card.read_text()
    assert f"sha256: {sha256(model_inside)}" in text and "992,952 parameters" in text and "31.60" in text
    monkeypatch.setattr(evaluate, "basicsr", lambda words: 2)
    assert evaluate.main(["hat-light-x4"]) == 2 and card.read_text() == text


def test_the_curve_goes_on_from_run_to_run(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    for run in ("one", "two"):
        with SummaryWriter(str(tmp_path / run)) as writer:
            for step in (10, 20):
                writer.add_scalar("metrics/held_out/psnr", 20 + step, step)
    file = evaluate.draw_curve([tmp_path / "one", tmp_path / "two"], tmp_path / "curve.png")
    assert file.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="none: has no log"):
        evaluate.draw_curve([tmp_path / "none"], file)
