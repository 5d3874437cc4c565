"""Where what can be had again is kept."""

import os
from pathlib import Path

import pytest

from hat_arch.utils import caches
from hat_arch.utils.errors import UserError


@pytest.fixture
def homeless(tmp_path, monkeypatch):
    def no_home():
        raise RuntimeError

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(caches.Path, "home", no_home)
    monkeypatch.setattr(caches.tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"hat_arch_{os.getuid()}"


def test_it_lies_in_the_user_s_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert caches.folder() == tmp_path / "hat_arch"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert caches.folder() == Path(tmp_path, ".cache/hat_arch")


def test_without_a_home_it_is_a_temporary_folder_of_this_user(homeless):
    assert caches.folder() == homeless and not homeless.exists()
    homeless.mkdir(mode=0o755)
    assert caches.folder() == homeless


@pytest.mark.parametrize("how", ["writable by others", "a link", "a file"])
def test_what_others_could_have_made_is_not_used(homeless, tmp_path, how):
    if how == "a link":
        homeless.symlink_to(tmp_path)
    elif how == "a file":
        homeless.touch()
    else:
        homeless.mkdir()
        homeless.chmod(0o777)
    with pytest.raises(UserError, match=f"{homeless.name}: belongs to others, too; set XDG_CACHE_HOME"):
        caches.folder()
