"""PyTorch's pickles: read where torch is installed, refused in one sentence where it is not or the file is no weights file."""

import argparse
import os
import sys

import numpy as np
import pytest

from sslax.errors import InputError
from sslax.export import load_weights

# The first bytes of a zip archive, which torch.save writes.
ZIP = b"PK\x03\x04" + bytes(60)


def sentence(path):
    with pytest.raises(InputError) as caught:
        load_weights(path)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


@pytest.mark.parametrize("start", [ZIP, b"\x80\x02}q\x00."], ids=["zip", "legacy"])
def test_without_torch_a_sentence_has_the_two_lines_that_convert(tmp_path, monkeypatch, start):
    monkeypatch.setitem(sys.modules, "torch", None)
    # The content tells the format, and not the name.
    path = tmp_path / "weights.bin"
    path.write_bytes(start)
    said = sentence(path)
    assert (
        'run pip install "torch>=2.6", or convert it where torch is installed: `import torch, safetensors.torch;'
        in said
    )
    assert 'torch.load("weights.bin", "cpu", weights_only=True)` and `safetensors.torch.save_file(' in said
    assert '"weights.safetensors")`' in said


def test_an_old_torch_is_refused(tmp_path, monkeypatch):
    class Torch:
        __version__ = "2.5.1+cpu"

    monkeypatch.setitem(sys.modules, "torch", Torch)
    (tmp_path / "w.pth").write_bytes(ZIP)
    assert 'torch is 2.5.1+cpu, which a pickle can make execute code; run pip install "torch>=2.6"' in sentence(
        tmp_path / "w.pth"
    )


class Calls:
    def __reduce__(self):
        return os.mkdir, (os.environ["SSLAX_TEST_MARK"],)


def test_torch_reads_nested_checkpoints_and_executes_nothing(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="PyTorch, which the library does without, is not installed here")
    path = tmp_path / "w.pth"
    weight = torch.arange(6.0).reshape(2, 3)
    inner = {"backbone.norm.weight": weight.T, "half": weight.bfloat16(), "count": torch.tensor(3)}
    stored = {
        "teacher": inner,
        "epoch": 3,
        "args": argparse.Namespace(lr=1),
        "optimizer": {"m": weight},
        "list": [weight],
    }
    torch.save(stored, path)
    tensors, metadata = load_weights(path)
    assert metadata == {}
    assert tensors.keys() == {"teacher.backbone.norm.weight", "teacher.half", "teacher.count"}
    np.testing.assert_array_equal(tensors["teacher.backbone.norm.weight"], weight.numpy().T)
    assert (tensors["teacher.half"].dtype, tensors["teacher.count"].dtype) == (np.float32, np.int64)

    mark = tmp_path / "executed"
    monkeypatch.setenv("SSLAX_TEST_MARK", str(mark))
    torch.save({"weight": Calls()}, path)
    assert "a pickle that holds more than weights (it calls posix.mkdir); nothing in it was executed" in sentence(path)
    assert not mark.exists()
    torch.save([weight], path)
    assert "holds no named tensors; it must be a state_dict" in sentence(path)
    path.write_bytes(path.read_bytes()[:300])
    assert "is not a complete PyTorch file" in sentence(path)
