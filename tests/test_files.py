import itertools
import os
import stat

import pytest
import torch

from memorysam import files
from memorysam.errors import MemorySAMError, WeightsError
from memorysam.tensors import read_header, read_tensors, write_tensors

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1, dtype=torch.bfloat16), "c": torch.tensor(7)}


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_round_trip(tmp_path):
    path = tmp_path / "deep" / "x.safetensors"
    write_tensors(path, TENSORS, {"step": 3})
    tensors, header = read_tensors(path)
    assert header == read_header(path) == {"step": 3}
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())
    assert names(path.parent) == ["x.safetensors"]


def test_others_may_read_what_the_user_lets_them_read(tmp_path):
    before = os.umask(0o027)
    try:
        write_tensors(tmp_path / "x.safetensors", TENSORS, {})
        files.write_text(tmp_path / "x.txt", "text")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}


def test_leftovers_are_those_of_writes_alone(tmp_path):
    for name in (".x.safetensors.12.tmp", ".tmpAb12cD", ".tmp", ".tmpfiles.d", "notes.tmp", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / ".folder.tmp").mkdir()
    files.remove_leftovers(tmp_path)
    assert sorted(names(tmp_path)) == [".folder.tmp", ".hidden", ".tmp", ".tmpfiles.d", "notes.tmp"]


def test_a_changed_byte_is_noticed(tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, TENSORS, {"step": 3})
    whole = path.read_bytes()
    for position, bit in itertools.product(range(len(whole)), (1, 2, 16, 32, 128)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1 :])
        with pytest.raises(WeightsError):
            read_tensors(path)


def test_a_truncated_file_is_noticed(tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, TENSORS, {"step": 3})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError):
            read_tensors(path)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.txt"
    files.write_text(path, "old")

    def fail(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(MemorySAMError, match="no space left"):
        files.write_atomically(path, fail)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.txt"
    files.write_text(path, "old")

    def fail(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(path, fail)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes where it wants")
def test_a_read_only_folder_is_explained(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(MemorySAMError, match="cannot be written"):
            files.write_text(tmp_path / "x", "new")
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_a_file_where_a_folder_should_be_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MemorySAMError, match="cannot be written"):
        files.write_text(tmp_path / "file" / "x", "new")


def test_leftovers_are_removed(tmp_path):
    (tmp_path / ".last.safetensors.123.tmp").write_text("half")
    (tmp_path / "last.safetensors").write_text("whole")
    assert [path.name for path in files.remove_leftovers(tmp_path)] == [".last.safetensors.123.tmp"]
    assert names(tmp_path) == ["last.safetensors"]
