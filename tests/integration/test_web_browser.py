"""The pages in a real browser: chromium, driven by playwright; skipped where one of them is not installed."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch.utils.tensorboard import SummaryWriter
from visitors import TINY, picture, served

from hat_arch import HAT
from hat_arch.web.board_page import BoardPage
from hat_arch.web.limits import Limits
from hat_arch.web.networks import Networks
from hat_arch.web.runs import Run
from hat_arch.web.upscale_page import UpscalePage

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium"),
]
WIDTHS = {"desktop": (1280, 900), "telephone": (360, 740)}


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def look(chromium):
    """Opens a page as on a device, and lets no error in its console pass."""
    said = []

    def look(address, device="desktop", **how):
        width, height = WIDTHS[device]
        own = address.partition("/#")[0]
        context = chromium.new_context(viewport={"width": width, "height": height}, **{"locale": "en-US", **how})
        page = context.new_page()
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda line: said.append(line.text) if "Content Security Policy" in line.text else None)
        page.on(
            "request",
            lambda request: said.append(request.url) if not request.url.startswith((own, "blob:")) else None,
        )
        page.goto(address)
        return page

    yield look
    assert said == []


@pytest.fixture
def address(tmp_path):
    """Of a page whose network is a tiny HAT ×2."""
    torch.manual_seed(0)
    torch.save({"params_ema": HAT(**TINY, upscale=2).state_dict()}, tmp_path / "tiny.pth")
    (tmp_path / "served").mkdir()
    networks = Networks([str(tmp_path / "tiny.pth")], None, torch.device("cpu"))
    with served(UpscalePage(networks, Limits(), tmp_path / "served").app) as address:
        yield address


def photo(size=(64, 48)):
    exif = PillowImage.Exif()
    exif[0x010F] = "a camera"
    return {"name": "my photo.jpg", "mimeType": "image/jpeg", "buffer": picture("JPEG", size=size, exif=exif)}


def done(page, number=1):
    """Waits until so many pictures are done."""
    page.locator(".picture[data-state=done]").nth(number - 1).wait_for(timeout=60_000)


def fits(page):
    """Whether nothing is wider than the screen."""
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_from_a_file_to_the_download(look, address):
    page = look(address)
    page.locator("label", has_text="×3").click()
    page.set_input_files("#files", [photo()])
    done(page)
    assert "64 × 48 → 192 × 144" in page.inner_text(".picture .facts")
    with page.expect_download() as download:
        page.click(".picture .download")
    assert download.value.suggested_filename == "my photo_x3.png"
    with PillowImage.open(download.value.path()) as image:
        assert (image.format, image.size) == ("PNG", (192, 144))
        assert image.getexif()[0x010F] == "a camera" and "hat_arch" in image.getexif()[0x0131]
    page.reload()  # the history of the session stays
    done(page)
    page.click(".picture .away")
    page.locator("#list").wait_for(state="hidden")


def test_any_factor_can_be_typed(look, address):
    page = look(address)
    page.locator("#other").press_sequentially("2.5")
    page.set_input_files("#files", [photo()])
    done(page)
    assert "64 × 48 → 160 × 120" in page.inner_text(".picture .facts")
    page.reload()
    page.wait_for_selector("#examples img")
    assert page.input_value("#other") == "2.5"


def split(page):
    """Where the line is, as a share of the stage."""
    stage, line = page.locator(".stage").bounding_box(), page.locator(".split").bounding_box()
    return (line["x"] + line["width"] / 2 - stage["x"]) / stage["width"]


@pytest.mark.parametrize("device", WIDTHS)
def test_the_slider_moves_and_zooms(look, address, device):
    page = look(address, device)
    page.set_input_files("#files", [photo()])
    done(page)
    page.click(".picture .compare")
    page.wait_for_function("[...document.querySelectorAll('.layer img')].every((one) => one.naturalWidth)")
    sizes = page.eval_on_selector_all(".layer img", "all => all.map((one) => [one.naturalWidth, one.naturalHeight])")
    assert sizes == [[64, 48], [128, 96]]
    assert split(page) == pytest.approx(0.5, abs=0.01)
    stage = page.locator(".stage").bounding_box()
    middle = stage["y"] + stage["height"] / 2
    page.mouse.move(stage["x"] + stage["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(stage["x"] + 0.2 * stage["width"], middle, steps=4)
    page.mouse.up()
    assert split(page) == pytest.approx(0.2, abs=0.01)
    page.keyboard.press("End")
    assert split(page) == pytest.approx(1, abs=0.01)
    page.keyboard.press("ArrowLeft")
    assert split(page) < 0.99

    def zoom():
        boxes = [page.locator(".layer img").nth(place).bounding_box() for place in (0, 1)]
        assert boxes[0] == boxes[1]
        return boxes[0]["width"] / 128

    before = zoom()
    page.mouse.wheel(0, -400)
    assert zoom() > 1.5 * before
    page.keyboard.press("0")
    assert zoom() == pytest.approx(before)
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")


def test_wrong_files_are_named_and_the_others_are_done(look, address):
    page = look(address)
    wrong = {"notes.txt": b"hello", "drawing.svg": b"<svg/>", "empty.png": b"", "cut.png": picture()[:30]}
    files = [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in wrong.items()]
    page.set_input_files("#files", [*files, photo()])
    done(page)
    page.locator(".picture[data-state=failed]").nth(3).wait_for()
    texts = {card.split("\n")[0]: card for card in page.locator(".picture").all_inner_texts()}
    for name, word in {
        "notes.txt": "no picture",
        "drawing.svg": "SVG",
        "empty.png": "empty",
        "cut.png": "damaged",
    }.items():
        assert word in texts[name] and "error." not in texts[name]


@pytest.mark.parametrize("slow", ["POST", "GET"])
def test_answers_that_come_late_double_or_lose_no_picture(look, address, slow):
    page = look(address)
    page.wait_for_selector("#examples img")

    def late(route):
        answer = route.fetch()
        if route.request.method == slow:
            page.wait_for_timeout(1500)
        route.fulfill(response=answer)

    page.route(lambda url: "/api/pictures" in url and url.count("/") == 4, late)
    page.set_input_files("#files", [{**photo(), "name": f"{number}.jpg"} for number in range(3)])
    done(page, 3)
    page.wait_for_timeout(2000)
    assert page.locator(".picture .name").all_inner_texts() == ["0.jpg", "1.jpg", "2.jpg"]
    assert page.locator(".picture[data-state=done]").count() == 3
    page.context.close()  # before the server ends, which it goes on to ask


def test_pictures_are_dropped_and_pasted(look, address):
    page = look(address)
    page.wait_for_selector("#examples img")
    give = """([bytes, kind, name]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
        const event = kind === "paste" ? new ClipboardEvent(kind, { clipboardData: data, bubbles: true })
                                       : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
        document.body.dispatchEvent(event);
    }"""
    page.evaluate(give, [list(picture()), "drop", "dropped.png"])
    page.evaluate(give, [list(picture(seed=1)), "paste", "pasted.png"])
    done(page, 2)
    assert set(page.locator(".picture .name").all_inner_texts()) == {"dropped.png", "pasted.png"}
    with page.expect_download() as download:
        page.click("#all")
    assert download.value.suggested_filename == "pictures.zip"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_telephone_in_german_needs_no_scrolling_to_the_side(look, address, scheme):
    page = look(address, "telephone", locale="de-DE", color_scheme=scheme)
    assert page.inner_text("h1") == "Bilder vergrößern" and page.get_attribute("html", "data-theme") == scheme
    page.click("[data-example=rocket]")
    page.set_input_files(
        "#files", [{**photo(), "name": "x" * 100 + ".jpg"}, {**photo(), "name": "no.txt", "buffer": b"no"}]
    )
    done(page, 2)
    page.click("summary")
    assert fits(page)
    page.click("#theme")
    assert page.get_attribute("html", "data-theme") != scheme
    page.select_option("#language", "en")
    assert page.inner_text("h1") == "Enlarge pictures" and "Download" in page.inner_text(".picture .download")
    page.reload()
    page.wait_for_selector("#examples img")
    assert page.inner_text("h1") == "Enlarge pictures" and page.get_attribute("html", "data-theme") != scheme


def test_all_can_be_done_by_keys(look, address):
    page = look(address)
    page.wait_for_selector("#examples img")
    page.focus("[data-example=rocket]")
    page.keyboard.press("Enter")
    done(page)
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "document.activeElement.id || document.activeElement.className || document.activeElement.name"
            )
        )
    assert {"choose", "scale", "model", "format", "language", "theme", "all", "compare", "button download"} <= reached


def test_the_token_of_the_address_leads_in_and_is_gone_from_it(look, tmp_path, address):
    (tmp_path / "other").mkdir()
    networks = Networks([str(tmp_path / "tiny.pth")], None, torch.device("cpu"))
    with served(UpscalePage(networks, Limits(), tmp_path / "other", "the token").app) as guarded:
        page = look(f"{guarded}/#token=the token")
        page.wait_for_selector("#examples img")
        assert page.url == f"{guarded}/"
        stranger = look(guarded)
        stranger.fill("#token", "guess")
        stranger.keyboard.press("Enter")
        stranger.get_by_text("That is not the token").wait_for()
        stranger.fill("#token", "the token")
        stranger.keyboard.press("Enter")
        stranger.wait_for_selector("#examples img")


@pytest.fixture
def run(tmp_path):
    """A run with two curves and two pictures."""
    folder = tmp_path / "experiments/one"
    (folder / "models").mkdir(parents=True)
    (folder / "one.yml").write_text("name: one\nscale: 2\ntrain: {total_iter: 200}\n")
    for iteration, grey in ((100, 10), (200, 200)):
        file = folder / f"visualization/baby/baby_{iteration}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        PillowImage.new("L", (20, 10), grey).save(file)
    with SummaryWriter(str(tmp_path / "tb_logger/one")) as writer:
        for iteration in range(1, 201):
            writer.add_scalar("losses/l_pix", 1 / iteration, iteration)
        writer.add_scalar("metrics/Set5/psnr", 30, 200)
    return Run(folder)


@pytest.mark.parametrize("device", WIDTHS)
def test_the_board_is_live_and_its_slider_goes_through_the_iterations(look, run, tmp_path, device):
    with served(BoardPage([run], Limits()).app) as address:
        page = look(address, device)
        page.locator(".chart").nth(1).wait_for()
        assert "200 of 200" in page.inner_text(".run") and fits(page)

        def grey():
            """Of the picture that is shown."""
            source = page.get_attribute(".shots img", "src")
            with PillowImage.open(io.BytesIO(page.request.get(address + source).body())) as image:
                return int(np.asarray(image)[0, 0])

        assert page.inner_text("#iteration-value") == "200" and grey() == 200
        page.focus("#iteration")
        page.keyboard.press("ArrowLeft")
        assert page.inner_text("#iteration-value") == "100" and grey() == 10
        with SummaryWriter(str(Path(run.events.folder)), filename_suffix=".more") as writer:
            writer.add_scalar("losses/l_new", 0.5, 201)
        page.locator(".chart", has_text="l_new").wait_for(timeout=20_000)
        assert page.inner_text("#iteration-value") == "100"  # it stays where it was put


def test_a_curve_that_hardly_moves_has_ticks_that_differ(look, run):
    with SummaryWriter(str(run.events.folder), filename_suffix=".flat") as writer:
        for iteration, value in ((100, 32.397), (200, 32.398)):
            writer.add_scalar("metrics/flat/psnr", value, iteration)
    with served(BoardPage([run], Limits()).app) as address:
        chart = look(address, "desktop").locator(".chart", has_text="flat: psnr")
        chart.locator("svg text").first.wait_for()
        texts = chart.locator("svg text[text-anchor=end]").all_text_contents()
        assert len(texts) > 2 and len({*texts}) == len(texts)
