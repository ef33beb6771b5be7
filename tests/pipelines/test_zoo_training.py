import runpy
import sys
from pathlib import Path

import medssl

SCRIPT = Path(__file__).resolve().parents[2] / "pipelines/zoo/trunk_ct.py"


def test_the_bundled_encoder_can_be_trained_again(monkeypatch, tmp_path):
    arguments = ["--out", str(tmp_path), "--subjects", "2", "--held-out", "1", "--seeds", "0"]
    arguments += ["--asked", "3"]
    arguments += ["--trainer.steps", "2", "--trainer.monitor_every", "0"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    again, _ = medssl.load_encoder(tmp_path / "run")
    bundled, _ = medssl.load_encoder("medssl/trunk-ct")
    shapes = [
        {name: tensor.shape for name, tensor in encoder.state_dict().items()}
        for encoder in (again, bundled)
    ]
    assert shapes[0] == shapes[1]
