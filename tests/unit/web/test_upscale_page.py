"""The page, asked as a browser asks it."""

import io
import time
import zipfile

import numpy as np
import pytest
import requests
from PIL import Image as PillowImage
from visitors import Browser, picture

from hat_arch import cli
from hat_arch.web import upscale_page
from hat_arch.web.upscale_page import clean


@pytest.fixture
def visitor(page):
    """Makes visitors of a page that the test may set up by `visitor.page` first."""
    made = {}

    def visitor(**limits):
        if not made:
            made["page"] = page(**limits)
        visitor.page = made["page"]
        browser = Browser(visitor.page.address)
        assert browser.enter().status_code == 204
        return browser

    return visitor


def refusal(answer):
    return answer.status_code, answer.json()["error"]["code"]


def test_a_result_is_what_the_command_makes(visitor, weights, tmp_path, capsys):
    exif = PillowImage.Exif()
    exif[0x010F] = "a camera"
    files = {
        "one.png": picture(size=(17, 9), dpi=(300, 300)),
        "two.jpg": picture("JPEG", exif=exif, icc_profile=None, comment=b"hello"),
        "three.webp": picture("WEBP", lossless=True),
    }
    browser = visitor()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        answer = browser.upload(data, name, precision="fp32", engine="torch")
        assert answer.status_code == 202, answer.text
    for told in browser.wait():
        assert told["state"] == "done", told
        assert (
            cli.main(["upscale", str(tmp_path / told["name"]), "--weights", str(weights), "--precision", "fp32"]) == 0
        )
        made = tmp_path / told["file"]
        answer = browser.get(f"/api/pictures/{told['id']}/result")
        assert answer.content == made.read_bytes()
        assert f'filename="{told["file"]}"' in answer.headers["content-disposition"]
        assert answer.headers["content-type"] == "image/png"
    with PillowImage.open(tmp_path / "two_x2.png") as image:
        assert image.getexif()[0x010F] == "a camera" and "tiny" in image.getexif()[0x0131]


@pytest.mark.parametrize("engine", ["auto", "openvino", "onnxruntime"])
def test_every_engine_makes_the_same_picture(visitor, tmp_path, monkeypatch, engine):
    for package in ("onnx", "onnxscript", *([] if engine == "auto" else [engine])):
        pytest.importorskip(package)
    monkeypatch.setenv("HAT_ARCH_ENGINES", str(tmp_path / "engines"))
    browser = visitor()
    pictures = []
    for name in ("torch", engine, engine):  # converted, and from what was kept
        browser.upload(picture(size=(17, 9)), precision="fp32", engine=name)
        told = browser.wait()[-1]
        assert told["state"] == "done", told
        with PillowImage.open(io.BytesIO(browser.get(f"/api/pictures/{told['id']}/result").content)) as image:
            pictures.append(np.asarray(image).astype(int))
    assert [np.abs(one - pictures[0]).max() <= 1 for one in pictures[1:]] == [True, True]


def test_settings_are_kept(visitor):
    browser = visitor()
    browser.upload(picture(size=(8, 6)), "a.png", scale="3", format="jpg", metadata="0", tile="128")
    [told] = browser.wait()
    assert (told["before"], told["after"], told["file"]) == ([8, 6], [24, 18], "a_x3.jpg")
    with PillowImage.open(io.BytesIO(browser.get(f"/api/pictures/{told['id']}/result").content)) as image:
        assert (image.format, image.size, dict(image.getexif())) == ("JPEG", (24, 18), {})


@pytest.mark.parametrize(
    "setting",
    [
        {"model": "../../etc/passwd"},
        {"scale": "99"},
        {"scale": "x"},
        {"scale": "nan"},
        {"format": "svg"},
        {"tile": "-1"},
    ],
)
def test_settings_that_cannot_be_are_refused(visitor, setting):
    assert refusal(visitor().upload(picture(), **setting)) == (422, "setting")


def test_an_animation_stays_one_or_is_refused_in_words(visitor):
    frames = [PillowImage.new("RGB", (8, 8), (90 * number, 9, 9)) for number in range(3)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=80)
    browser = visitor()
    browser.upload(file.getvalue(), "a.gif")
    browser.upload(file.getvalue(), "b.gif", format="jpg")
    done, failed = browser.wait()
    with PillowImage.open(io.BytesIO(browser.get(f"/api/pictures/{done['id']}/result").content)) as image:
        assert (image.format, image.n_frames, image.size) == ("GIF", 3, (16, 16))
    message = failed["error"]["message"]
    assert failed["state"] == "failed" and message.startswith("b.gif: ") and "3 frames" in message


def test_what_is_damaged_behind_its_header_is_named_without_a_path(visitor, tmp_path):
    browser = visitor()
    data = bytearray(picture(size=(60, 60)))
    data[len(data) // 2] ^= 1
    browser.upload(bytes(data), "my photo.png")
    [told] = browser.wait()
    assert told["state"] == "failed" and told["error"]["message"].startswith("my photo.png: ")
    assert str(tmp_path) not in str(told)


def test_views_are_there_for_every_kind(visitor):
    browser = visitor()
    grey, alpha = io.BytesIO(), io.BytesIO()
    PillowImage.new("I;16", (6, 5), 40_000).save(grey, "TIFF")
    PillowImage.new("RGBA", (6, 5), (1, 2, 3, 4)).save(alpha, "PNG")
    browser.upload(grey.getvalue(), "grey.tif", format="tif")
    browser.upload(alpha.getvalue(), "alpha.png")
    for told in browser.wait():
        for view, size in (("before", (6, 5)), ("after", (12, 10)), ("thumb", (12, 10))):
            answer = browser.get(f"/api/pictures/{told['id']}/{view}")
            assert answer.headers["content-type"] in ("image/png", "image/jpeg"), told
            with PillowImage.open(io.BytesIO(answer.content)) as image:
                image.load()
                assert image.size == size


def test_all_come_in_one_archive_under_names_of_their_own(visitor):
    browser = visitor()
    assert refusal(browser.get("/api/all.zip")) == (404, "nothing_done")
    for seed in range(3):
        browser.upload(picture(seed=seed), "a.png")
    results = [browser.get(f"/api/pictures/{told['id']}/result").content for told in browser.wait()]
    with zipfile.ZipFile(io.BytesIO(browser.get("/api/all.zip").content)) as archive:
        assert archive.testzip() is None and archive.namelist() == ["a_x2.png", "a_x2_2.png", "a_x2_3.png"]
        assert [archive.read(name) for name in archive.namelist()] == results


def test_no_visitor_sees_what_is_anothers(visitor):
    ann, bob = visitor(), visitor()
    ann.upload(picture(), "secret.png")
    [told] = ann.wait()
    address = f"/api/pictures/{told['id']}"
    stranger = Browser(ann.address)
    stranger.cookies.set("hat_arch", "guess")
    for view in ("result", "before", "after", "thumb"):
        assert ann.get(f"{address}/{view}").status_code == 200
        assert refusal(bob.get(f"{address}/{view}")) == (404, "not_found")
        assert refusal(stranger.get(f"{address}/{view}")) == (401, "session")
    assert refusal(bob.delete(address)) == refusal(bob.post(f"{address}/stop")) == (404, "not_found")
    assert bob.pictures() == [] and refusal(bob.get("/api/all.zip")) == (404, "nothing_done")
    for path in ("/api/pictures", "/api/setup", "/api/all.zip", "/api/examples/coffee"):
        assert refusal(stranger.get(path)) == (401, "session")
    assert refusal(stranger.upload(picture())) == (401, "session")
    cookie = next(iter(ann.cookies))
    assert len(cookie.value) > 40 and cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "strict"


@pytest.mark.parametrize(
    "path",
    [
        *("/static/../work.py", "/static/%2e%2e/work.py", "/static/..%2fwork.py", "/static//etc/passwd"),
        *("/static/%2fetc%2fpasswd", "/static/", "/%00"),
        *("/api/pictures/..%2f..%2f/result", "/api/examples/..%2f..%2fcoffee"),
    ],
)
def test_no_file_of_the_server_can_be_read(visitor, path):
    browser = visitor()
    sent = requests.Request("GET", browser.address + "/").prepare()
    sent.url = browser.address + path  # as it is: clients tidy up
    sent.headers["cookie"] = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    answer = requests.Session().send(sent)
    assert answer.status_code == 404 and "root:" not in answer.text and "import" not in answer.text


def test_a_token_is_asked_for_where_there_is_one(page):
    browser = Browser(page(token="the token").address)
    assert browser.get("/").status_code == browser.get("/static/upscale.js").status_code == 200
    assert refusal(browser.get("/api/setup")) == (401, "session")
    assert refusal(browser.enter()) == (401, "token_needed")
    assert refusal(browser.enter("the tokem")) == refusal(browser.enter("ü")) == (401, "token")
    assert refusal(browser.enter("x" * 1000)) == (413, "token")
    assert browser.enter("the token").status_code == 204
    assert browser.enter().status_code == 204  # who is in stays in
    assert browser.get("/api/setup").status_code == 200


def test_what_is_too_large_is_refused_and_its_sender_hears_of_it(visitor, tmp_path):
    browser = visitor(upload_bytes=2_000_000, pixels=20_000)
    assert refusal(browser.upload(bytes(3_000_000))) == (413, "bytes")

    def unsaid():  # how many will come
        for _ in range(300):
            yield bytes(10_000)

    assert refusal(browser.post("/api/pictures", params={"name": "a.png"}, data=unsaid())) == (413, "bytes")
    assert refusal(browser.upload(picture(size=(200, 101)))) == (413, "pixels")
    assert refusal(browser.upload(picture(size=(100, 51)))) == (413, "result_pixels")
    assert browser.upload(picture(size=(100, 50))).status_code == 202
    browser.wait()
    assert len(list((tmp_path / "served").iterdir())) == 1


def test_places_are_bounded_and_free_again(visitor, monkeypatch):
    one, other = visitor(waiting=3, waiting_each=2), visitor()
    work, make = visitor.page.work, visitor.page.work.make

    def slow(job):
        while not job.stop.wait(0.01) and work.make is slow:
            pass
        make(job)

    work.make = slow
    assert [one.upload(picture()).status_code for _ in range(2)] == [202, 202]
    answer = one.upload(picture())
    assert refusal(answer) == (429, "queue_full_yours") and int(answer.headers["retry-after"]) > 0
    other.upload(picture())
    assert refusal(other.upload(picture())) == (503, "queue_full")
    [waits] = [told for told in one.pictures() if told["state"] == "waiting"]
    assert waits["ahead"] == 2  # visitors take turns
    assert one.post(f"/api/pictures/{waits['id']}/stop").json()["state"] == "stopped"
    assert other.upload(picture()).status_code == 202
    work.make = make
    assert [told["state"] for told in other.wait()] == ["done", "done"]
    assert sorted(told["state"] for told in one.wait()) == ["done", "stopped"]


def test_the_network_is_stopped_in_the_middle_of_an_image(visitor):
    browser = visitor()
    browser.upload(picture(), engine="torch")
    browser.wait()
    ready = next(iter(visitor.page.networks.ready.values()))
    calls = []

    def slow(*_):
        calls.append(1)
        time.sleep(0.02)

    for module in ready.upscaler.network.modules():
        module.register_forward_pre_hook(slow)
    browser.upload(picture(size=(40, 40)), "long.png", engine="torch")
    end = time.monotonic() + 60
    while not calls:
        assert time.monotonic() < end
        time.sleep(0.005)
    told = browser.pictures()[1]
    assert told["state"] == "working" and 0 <= told["share"] < 1
    browser.post(f"/api/pictures/{told['id']}/stop")
    assert browser.wait()[1]["state"] == "stopped"
    after = len(calls)
    time.sleep(0.1)
    assert len(calls) == after < len(list(ready.upscaler.network.modules()))


def test_what_visitors_leave_is_deleted(visitor, monkeypatch, tmp_path):
    monkeypatch.setattr(upscale_page, "HOUSEKEEPING_SECONDS", 0.05)
    gone, there = visitor(keep_seconds=1), visitor()
    for browser in (gone, there):
        browser.upload(picture())
        browser.wait()
    folder, end = tmp_path / "served", time.monotonic() + 20
    while len(list(folder.iterdir())) > 1:
        assert time.monotonic() < end
        assert len(there.pictures()) == 1
        time.sleep(0.05)
    assert refusal(gone.get("/api/pictures")) == (401, "session")
    [told] = there.pictures()
    there.delete(f"/api/pictures/{told['id']}")
    assert list(folder.iterdir()) == []


def test_examples_and_setup(visitor):
    browser = visitor()
    setup = browser.get("/api/setup").json()
    assert [model["name"] for model in setup["models"]] == ["tiny"] and setup["automatic"] is None
    for name in setup["examples"]:
        with PillowImage.open(io.BytesIO(browser.get(f"/api/examples/{name}").content)) as image:
            assert (image.format, image.width > 99) == ("PNG", True)
    assert refusal(browser.get("/api/examples/nothing")) == (404, "not_found")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("photo.jpg", "photo.jpg"),
        ("C:\\Users\\me\\photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("a\x00b\nc\r.png", "abc.png"),
        ("gpj.\u202eexe", "gpj.exe"),
        ("", "picture"),
        ("..", "picture"),
        ("größe 写真.png", "größe 写真.png"),
        ("x" * 300 + ".jpeg", "x" * 115 + ".jpeg"),
    ],
)
def test_names_are_shown_without_what_misleads(name, shown):
    assert clean(name) == shown
