"""TensorBoard's log, read on while it grows."""

import io

import numpy as np
import pytest
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from hat_arch.web.events import Events


@pytest.fixture
def writer(tmp_path):
    with SummaryWriter(str(tmp_path / "run")) as writer:
        yield writer


def test_what_is_added_is_read(writer, tmp_path):
    events = Events(tmp_path / "run")
    writer.add_scalar("losses/l_pix", 0.5, 1)
    writer.flush()
    assert events.read_on() and events.scalars == {"losses/l_pix": {1: 0.5}}
    assert not events.read_on()
    writer.add_scalar("losses/l_pix", 0.25, 2)
    writer.add_image("set/0", np.full((4, 6, 3), 9, np.uint8), 2, dataformats="HWC")
    writer.flush()
    assert events.read_on() and events.scalars["losses/l_pix"] == {1: 0.5, 2: 0.25}
    with Image.open(io.BytesIO(events.picture("set/0", 2))) as image:
        assert image.size == (6, 4)
    assert events.picture("set/0", 1) is events.picture("other", 2) is None


def test_a_half_written_record_is_read_when_it_is_whole(writer, tmp_path):
    writer.add_scalar("a", 1, 1)
    writer.add_scalar("a", 2, 2)
    writer.flush()
    [file] = (tmp_path / "run").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    events = Events(tmp_path / "run")
    events.read_on()
    assert events.scalars["a"] == {1: 1}
    file.write_bytes(whole)
    events.read_on()
    assert events.scalars["a"] == {1: 1, 2: 2}


@pytest.mark.parametrize("damage", [b"\xff" * 40, b"\x08" + bytes(11) + b"\xff" * 12])
def test_damage_ends_a_file_and_no_more(writer, tmp_path, damage):
    writer.add_scalar("a", 1, 1)
    writer.flush()
    [file] = (tmp_path / "run").iterdir()
    file.write_bytes(file.read_bytes() + damage)
    events = Events(tmp_path / "run")
    events.read_on()
    assert events.scalars["a"] == {1: 1}
    assert not events.read_on()


def test_a_run_that_went_on_replaces_what_it_repeats(tmp_path):
    for number, value in enumerate((1.0, 2.0)):
        with SummaryWriter(str(tmp_path / "run"), filename_suffix=f".{number}") as writer:
            writer.add_scalar("a", value, 5)
    files = sorted((tmp_path / "run").iterdir())
    assert len(files) == 2
    events = Events(tmp_path / "run")
    events.read_on()
    assert events.scalars["a"][5] in (1.0, 2.0)  # both of one second, the order is that of their names
    assert Events(tmp_path / "nothing").read_on() is False
