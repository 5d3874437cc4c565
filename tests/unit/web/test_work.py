"""The queue: its bounds, its order, and what happens to what is stopped."""

import threading
import time

import pytest

from hat_arch.web.limits import Limits, Refused
from hat_arch.web.networks import Settings
from hat_arch.web.sessions import Session
from hat_arch.web.uploads import Upload
from hat_arch.web.work import Stopped, Work

SETTINGS = Settings("tiny", 2.0, None, True, "png", "auto", "auto", "auto")


class Bench:
    """A queue whose work is done when the test says so."""

    def __init__(self, folder, **limits):
        self.folder = folder
        self.begun, self.go = [], threading.Semaphore(0)
        self.work = Work(Limits(**limits), folder, self.make)
        self.sessions = {}

    def make(self, job):
        self.begun.append(job.name)
        while not self.go.acquire(timeout=0.01):
            if job.stop.is_set():
                raise Stopped
        if job.name == "broken":
            raise Refused(422, "picture", message="is broken")
        if job.name == "bug":
            raise ZeroDivisionError
        job.result = job.folder / "result.png"
        job.result.write_bytes(b"result")

    def enter(self, who, name, bytes=10):
        job = self.work.enter(self.sessions.setdefault(who, Session(who)), name, SETTINGS, bytes)
        job.upload = Upload(".png", 1, 1, 1, 1)
        return job

    def add(self, who, name, bytes=10):
        job = self.enter(who, name, bytes)
        self.work.uploaded(job)
        return job

    def finish(self, *jobs):
        for _ in jobs:
            self.go.release()
        self.until(lambda: not any(job.active for job in jobs))

    def until(self, so):
        end = time.monotonic() + 10
        while not so():
            assert time.monotonic() < end
            time.sleep(0.005)


@pytest.fixture
def bench(tmp_path):
    benches = []

    def make(**limits):
        benches.append(Bench(tmp_path, **limits))
        benches[-1].work.start()
        return benches[-1]

    yield make
    for one in benches:
        one.work.end(10)
        assert not one.work.thread.is_alive()


def code(call, *args, **kwargs):
    with pytest.raises(Refused) as refused:
        call(*args, **kwargs)
    return refused.value.status, refused.value.code, refused.value.retry_after is not None


def test_visitors_take_turns(bench):
    one = bench()
    jobs = [one.add("ann", name) for name in ("a1", "a2", "a3")]
    one.until(lambda: one.begun)
    jobs += [one.add(who, name) for who, name in (("bob", "b1"), ("bob", "b2"), ("cyd", "c1"))]
    assert [job.name for job in one.work.ahead(jobs[2])] == ["a1", "b1", "c1", "a2", "b2"]
    one.finish(*jobs)
    assert one.begun == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert {job.state for job in jobs} == {"done"}


def test_places_are_bounded_for_all_and_for_each(bench):
    one = bench(waiting=5, waiting_each=3)
    jobs = [one.add("ann", f"a{number}") for number in range(2)] + [one.enter("ann", "still uploading")]
    assert code(one.enter, "ann", "a4") == (429, "queue_full_yours", True)
    jobs += [one.add("bob", f"b{number}") for number in range(2)]
    assert code(one.enter, "cyd", "c1") == (503, "queue_full", True)
    one.finish(*(job for job in jobs if job.state != "uploading"))
    one.add("cyd", "c1")


def test_history_and_disk_are_bounded(bench):
    one = bench(history=3, session_bytes=100, total_bytes=150)
    jobs = [one.add("ann", "a1", 40), one.add("ann", "a2", 50)]
    assert code(one.enter, "ann", "a3", 20) == (429, "disk_yours", True)  # the others may take less at last
    one.finish(*jobs)
    jobs[1].bytes = 55
    assert code(one.enter, "ann", "a3", 20) == (429, "disk_yours", False)
    one.add("bob", "b1", 50)
    assert code(one.enter, "cyd", "c1", 20) == (503, "disk_full", True)
    one.add("ann", "a3", 1)
    assert code(one.enter, "ann", "a4", 1) == (429, "history_full", False)
    one.work.remove(jobs[0])
    one.add("ann", "a4", 1)


def test_what_fails_is_told_and_the_next_is_done(bench, caplog):
    one = bench()
    jobs = [one.add("ann", name) for name in ("broken", "bug", "fine")]
    one.finish(*jobs)
    assert [job.state for job in jobs] == ["failed", "failed", "done"]
    assert [job.error for job in jobs] == [{"code": "picture", "message": "is broken"}, {"code": "server"}, None]
    assert "ZeroDivisionError" in caplog.text
    assert [job.folder.exists() for job in jobs] == [False, False, True]


def test_what_is_stopped_ends_at_once_and_leaves_no_file(bench):
    one = bench()
    jobs = [one.add("ann", name) for name in ("working", "waiting", "removed")]
    one.until(lambda: jobs[0].state == "working")
    one.work.stop(jobs[1])
    one.work.remove(jobs[2])
    one.work.stop(jobs[0])
    one.until(lambda: jobs[0].state == "stopped")
    assert jobs[1].state == "stopped" and list(one.sessions["ann"].items) == [jobs[0].id, jobs[1].id]
    assert list(one.folder.iterdir()) == [] and one.begun == ["working"]


def test_what_is_removed_while_it_is_worked_on_leaves_nothing(bench):
    one = bench()
    job = one.add("ann", "working")
    one.until(lambda: job.state == "working")
    one.work.forget(one.sessions["ann"])
    one.until(lambda: not one.work.jobs)
    assert list(one.folder.iterdir()) == [] and not one.sessions["ann"].items


def test_the_end_does_not_wait_for_the_work(tmp_path):
    one = Bench(tmp_path)
    one.work.start()
    jobs = [one.add("ann", name) for name in ("working", "waiting")]
    one.until(lambda: one.begun)
    one.work.end(10)
    assert not one.work.thread.is_alive() and jobs[0].state == "stopped"
    assert code(one.enter, "ann", "late") == (503, "queue_full", True)
