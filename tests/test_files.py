"""Expansion of `~` in paths."""

import os
import pathlib

import pytest

from sslax.errors import InputError
from sslax.files import expanded, write_atomically


def test_a_leading_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~") == tmp_path
    assert expanded("~/runs/mine") == tmp_path / "runs" / "mine"
    assert expanded(pathlib.Path("~/a")) == tmp_path / "a"
    for other in ("runs/mine", "/abs/~", "a~b", "."):
        assert expanded(other) == pathlib.Path(other)
    assert expanded("./~/x") == expanded(expanded("./~/x")) == pathlib.Path.cwd() / "~/x"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs a list of users")
def test_a_tilde_with_a_name_is_that_users_home_folder():
    import pwd

    user = pwd.getpwuid(os.getuid())
    assert expanded(f"~{user.pw_name}/x") == pathlib.Path(user.pw_dir) / "x"


def test_an_unknown_user_is_an_input_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="~nobody-at-all/x begins with ~nobody-at-all, but this home folder is not"):
        expanded("~nobody-at-all/x")
    # A name may begin with a tilde.
    pathlib.Path("~nobody-at-all").mkdir()
    assert expanded("~nobody-at-all") == pathlib.Path("~nobody-at-all")


def test_files_are_written_to_the_expanded_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_atomically("~/a.txt", "written")
    assert (tmp_path / "a.txt").read_text() == "written"
