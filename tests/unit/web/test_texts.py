"""The pages' texts and files: complete in each language, and nothing from elsewhere."""

import json
import re
from pathlib import Path

import pytest

from hat_arch.web import pages, upscale_page
from hat_arch.web.networks import CHOICES
from hat_arch.weights import named

STATIC = pages.FOLDER
TEXTS = json.loads((STATIC / "texts.json").read_text(encoding="utf-8"))
SOURCES = {file.name: file.read_text(encoding="utf-8") for file in STATIC.iterdir()}
PYTHON = "\n".join(file.read_text(encoding="utf-8") for file in Path(upscale_page.__file__).parent.glob("*.py"))


def used():
    """Keys that pages and code name."""
    for name, text in SOURCES.items():
        if name.endswith(".html"):
            yield from re.findall(r'data-t(?:-[a-z-]+)?="([^"]+)"', text)
        elif name.endswith(".js"):
            yield from re.findall(r'\bt\("([\w.]+)"', text)
            yield from re.findall(r'(?:round|button)\("(?:\w+", ")?([\w.]+)"', text)
            yield from re.findall(r'begin\("([\w.]+)"', text)
    codes = re.findall(r'Refused\(\s*\d+, "(\w+)"', PYTHON)
    codes += ["picture", "server", "busy", "unreachable", "token", "token_needed", "result_pixels"]
    yield from (f"error.{code}" for code in codes)
    yield from (f"{name}.{value}" for name, values in CHOICES.items() for value in values)
    yield from (f"example.{name}" for name in upscale_page.EXAMPLES)
    yield from (f"setting.{name}" for name in ("model", "scale", "denoise", *CHOICES))


def test_every_text_that_is_used_is_there():
    assert len(set(used())) > 80
    assert {key for key in used() if key not in TEXTS["en"]} == set()


@pytest.mark.parametrize("language", sorted(set(TEXTS) - {"en"}))
def test_languages_have_the_same_texts_with_the_same_gaps(language):
    def gaps(text):
        return sorted(re.findall(r"\{\w+\}", text))

    assert list(TEXTS[language]) == list(TEXTS["en"])
    assert [key for key, text in TEXTS["en"].items() if gaps(text) != gaps(TEXTS[language][key])] == []


@pytest.mark.parametrize("language", sorted(TEXTS))
def test_what_a_model_is_for_is_said_in_each_language(language):
    """A note of the list of models is its own key."""
    offered = {model.note for model in named.models().values() if model.network.startswith("HAT")}
    assert len(offered) >= 10 and {note for note in offered if not TEXTS[language].get(note)} == set()
    same = {note for note in offered if TEXTS[language][note] == note}
    assert same == (offered if language == "en" else {"DF2K"})


def test_pages_load_nothing_from_elsewhere_and_hold_no_script():
    for name, text in SOURCES.items():
        assert set(re.findall(r"https?://[^\s\"'`)]+", text)) <= {"http://www.w3.org/2000/svg"}, name
        if name.endswith(".html"):
            assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", text), name
        if name.endswith(".js"):
            assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\b|document\.write", text), name


def test_every_file_that_is_named_is_there():
    for name, text in SOURCES.items():
        for file in re.findall(r'["\'`](?:/static|\.)/([\w.]+)', text):
            assert file in SOURCES, f"{name}: {file}"
