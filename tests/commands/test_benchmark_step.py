import pytest

from medssl.cli import main
from medssl.commands.benchmark_step import step
from medssl.errors import UsageError

CONFIG = {
    "method": {"name": "mae_cnn", "mask_size": 8},
    "encoder": {"name": "resenc_s"},
    "data": {"patch": [16, 16, 16], "batch": 2},
    "trainer": {"threads": 1, "accelerator": "cpu"},
}


def test_a_step_costs_more_than_its_floor_and_twice_the_crops_cost_more():
    small = step(config=CONFIG, steps=3)
    large = step(config=CONFIG, steps=3, overrides={"data.batch": 8})
    assert (small.crops, large.crops) == (2, 8)
    assert large.flops == pytest.approx(4 * small.flops, rel=0.01)
    assert large.seconds > small.seconds > small.floor > 0
    assert large.seconds > large.views
    assert 0 < small.share_of_floor < 1
    assert large.memory_bytes > 10**8


@pytest.mark.parametrize(
    "changes",
    [
        {"method.name": "voco", "method.grid": [2, 2, 1], "method.width": 16, "data.batch": 1},
        {
            "encoder.name": "vit_tiny",
            "encoder.token": 4,
            "method.name": "mae",
            "method.mask_size": 4,
        },
        {"data.patch": [16, 16]},
    ],
)
def test_crops_come_from_where_the_method_looks(changes):
    assert step(config=CONFIG, steps=1, overrides=changes).crops >= 2


def test_labels_cost_a_forward_of_their_own():
    joint = {"name": "joint", "terms": [{"name": "mae_cnn", "mask_size": 8}]}
    alone = step(config={**CONFIG, "method": joint}, steps=1)
    both = step(config={**CONFIG, "method": {**joint, "classes": 2}}, steps=1)
    assert both.flops > 1.5 * alone.flops


def test_the_command_prints_each_figure(capsys, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "method: {name: mae_cnn, mask_size: 8}\nencoder: {name: resenc_s}\n"
        "data: {patch: [16, 16, 16], batch: 1}\n"
    )
    arguments = ["--config", str(path), "--steps", "1", "--trainer.accelerator", "cpu"]
    assert main(["benchmark", "step", *arguments]) == 0
    printed = capsys.readouterr().out
    for word in ("step", "views", "encoder", "floor", "GFLOP", "memory"):
        assert word in printed


def test_no_step_is_refused():
    with pytest.raises(UsageError, match="at least 1"):
        step(config=CONFIG, steps=0)
