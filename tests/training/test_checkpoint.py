import os
import signal
import subprocess
import sys

import pytest
import torch

from medssl.errors import OutputError, TrainingError
from medssl.training.checkpoint import AtomicCheckpointIO, newest_checkpoint


def save(folder, step, value):
    AtomicCheckpointIO().save_checkpoint(
        {"x": torch.full((4,), value)}, folder / f"step-{step}.ckpt"
    )


def test_round_trip(tmp_path):
    save(tmp_path, 5, 1.5)
    loaded = AtomicCheckpointIO().load_checkpoint(tmp_path / "step-5.ckpt")
    assert torch.equal(loaded["x"], torch.full((4,), 1.5))


def test_flipped_bit_is_refused_and_the_older_generation_is_taken(tmp_path):
    save(tmp_path, 5, 1.0)
    save(tmp_path, 10, 2.0)
    path = tmp_path / "step-10.ckpt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="damaged"):
        AtomicCheckpointIO().load_checkpoint(path)
    assert newest_checkpoint(tmp_path) == tmp_path / "step-5.ckpt"


def test_newest_is_by_step_not_by_name(tmp_path):
    save(tmp_path, 90, 1.0)
    save(tmp_path, 100, 2.0)
    assert newest_checkpoint(tmp_path).name == "step-100.ckpt"


def test_no_checkpoint(tmp_path):
    assert newest_checkpoint(tmp_path) is None


def test_full_disk_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    save(tmp_path, 5, 1.0)
    full = os.statvfs_result((4096, 4096, 0, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    with pytest.raises(OutputError, match="are free"):
        save(tmp_path, 5, 2.0)
    monkeypatch.undo()
    loaded = AtomicCheckpointIO().load_checkpoint(tmp_path / "step-5.ckpt")
    assert torch.equal(loaded["x"], torch.full((4,), 1.0))


WRITER = """
import sys, torch
from pathlib import Path
from medssl.training.checkpoint import AtomicCheckpointIO
folder, io = Path(sys.argv[1]), AtomicCheckpointIO()
for step in range(1, 10_000):
    io.save_checkpoint({"x": torch.full((200_000,), float(step))}, folder / f"step-{step}.ckpt")
    print(step, flush=True)
"""


@pytest.mark.slow
def test_kill_while_saving_leaves_a_whole_checkpoint(tmp_path):
    for attempt in range(10):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3 + attempt):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        path = newest_checkpoint(folder)
        step = int(path.stem.removeprefix("step-"))
        loaded = AtomicCheckpointIO().load_checkpoint(path)
        assert torch.equal(loaded["x"], torch.full((200_000,), float(step)))
