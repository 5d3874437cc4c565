"""Who is answered, and what every answer says to the browser."""

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from visitors import Browser, served

from hat_arch.web.guard import HEADERS, Guard
from hat_arch.web.limits import Limits, Refused


def scope(method="GET", **headers):
    named = {"host": "localhost:8765", **{name.replace("_", "-"): value for name, value in headers.items()}}
    pairs = [(name.encode(), value.encode()) for name, value in named.items()]
    return {"type": "http", "method": method, "headers": pairs, "client": ("10.0.0.1", 1)}


def guard(**limits):
    return Guard(lambda *_: None, Limits(**limits), ["localhost", "pictures.example"])


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8765", "127.0.0.1:8765", "[::1]:8765", "pictures.example"])
def test_known_names_and_addresses_are_answered(host):
    guard().check(scope(host=host))


@pytest.mark.parametrize(
    "host", ["", "evil.example", "localhost.evil.example:8765", "127.0.0.1.evil.example", "[::1", "a b"]
)
def test_a_name_that_may_point_elsewhere_is_not(host):
    with pytest.raises(Refused) as refused:
        guard().check(scope(host=host))
    assert (refused.value.status, refused.value.code) == (421, "host")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:1"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site", "origin": "http://localhost:8765"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
def test_what_another_page_sends_changes_nothing(method, headers):
    with pytest.raises(Refused) as refused:
        guard().check(scope(method, **headers))
    assert (refused.value.status, refused.value.code) == (403, "origin")


@pytest.mark.parametrize("headers", [{}, {"origin": "http://localhost:8765", "sec_fetch_site": "same-origin"}])
def test_what_the_page_itself_sends_does(headers):
    guard().check(scope("POST", **headers))


def test_too_many_requests_of_an_address_wait(monkeypatch):
    now = 100.0
    monkeypatch.setattr("hat_arch.web.guard.time.monotonic", lambda: now)
    small = guard(requests_at_once=3, requests_per_second=2)
    for _ in range(3):
        small.check(scope())
    with pytest.raises(Refused) as refused:
        small.check(scope())
    assert (refused.value.status, refused.value.retry_after) == (429, 1)
    small.check(scope() | {"client": ("10.0.0.2", 1)})
    now += 0.5
    small.check(scope())


def test_addresses_are_not_counted_without_bound(monkeypatch):
    monkeypatch.setattr("hat_arch.web.guard.ADDRESSES", 10)
    small = guard()
    for number in range(50):
        small.check(scope() | {"client": (f"10.0.0.{number}", 1)})
    assert len(small.buckets) == 10


def test_every_answer_has_the_headers(page):
    browser = Browser(page().address)
    browser.enter()
    answers = [
        browser.get(path) for path in ("/", "/static/upscale.js", "/api/setup", "/api/nothing", "/static/../work.py")
    ]
    answers += [browser.get("/", headers={"host": "evil.example"}), browser.upload(b"no picture")]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 404, 404, 421, 415]
    for answer in answers:
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert "server" not in answer.headers
    assert "default-src 'none'" in HEADERS["content-security-policy"]
    assert "unsafe" not in HEADERS["content-security-policy"]


def test_a_failure_of_the_server_tells_nothing_of_it(caplog):
    def failing(request):
        raise ValueError("/secret/path")

    with served(Starlette(routes=[Route("/", failing)])) as address:
        answer = Browser(address).get("/")
    assert answer.status_code == 500 and "secret" not in answer.text
