"""The method contract: every method, with a CNN and a transformer, in 3D and 2D.

A new method is found by itself. Each ``check_*`` is also run against a planted fault, to show that
it can fail.
"""

import contextlib
import copy
import functools
import itertools

import numpy as np
import pytest
import torch

from medssl.commands.configuration import load_configuration, pretrain_sections
from medssl.encoders import build_encoder
from medssl.errors import ConfigError
from medssl.methods import MAECNN, METHODS, VoCo
from medssl.parts.masking import RandomCells
from medssl.parts.teacher import Teacher
from medssl.sampling.facts import VolumeFacts
from medssl.training.config import OptimConfig
from medssl.training.datamodules import CropDataset, collate
from medssl.training.module import TrainingPlan, batch_generator
from medssl.training.optim import build_optimizer

CPU = torch.device("cpu")
PATCH = {3: (16, 16, 16), 2: (32, 32)}
ENCODERS = {
    "cnn": ("resenc_s", {"features": (8, 16, 24), "blocks": (1, 1, 1)}),
    "vit": ("vit_tiny", {"token": 4, "width": 48, "depth": 4, "heads": 4}),
}
VARIANTS = [
    ("voco", {"teacher": "head", "negative": "log", "inter_weight": 1.0}),
    ("voco", {"teacher": "full", "regularisation_power": 1}),
    ("mae", {"normalise_targets": True}),
    ("mae_cnn", {"skips": False}),
    ("spark", {"densify": "full", "normalise_targets": True}),
    ("simclr", {"overlap": (0.25, 0.75), "dense_weight": 1.0}),
    ("moco", {"mixed": 8, "hardest": 2}),
    ("byol", {"predictor": "direct"}),
    ("simsiam", {"predictor": "direct"}),
    ("mmcr", {"views_a_crop": 3}),
    ("swav", {"queue": 8, "local_views": 2}),
]
ALL = [(name, {}, "cnn", 3) for name in METHODS] + [(name, {}, "vit", 3) for name in METHODS]
ALL += [(name, {}, kind, 2) for name, kind in itertools.product(METHODS, ENCODERS)]
ALL += [(name, options, "cnn", 3) for name, options in VARIANTS]


def build(name, options, kind, dims, *, channels=1, patch=None):
    patch = patch or PATCH[dims]
    torch.manual_seed(0)
    encoder_name, config = ENCODERS[kind]
    encoder = build_encoder(
        encoder_name, spatial_dims=dims, in_channels=channels, patch=patch, **config
    )
    try:
        return METHODS[name](encoder=encoder, patch=patch, **{**METHODS[name].tiny(), **options})
    except ConfigError as error:
        pytest.skip(f"says when built that it can't: {error}")


@pytest.fixture(params=ALL, ids=lambda case: "-".join(map(str, case)))
def method(request):
    return build(*request.param)


def smooth_volume(shape, seed):
    """Waves of random direction: something to be learned, cheap to make."""
    generator = np.random.default_rng(seed)
    grid = np.meshgrid(*(np.linspace(0, 3, n) for n in shape), indexing="ij")
    waves = [np.sin(sum(generator.normal() * 2 * axis for axis in grid)) for _ in range(4)]
    return (np.sum(waves, axis=0) / 2).astype(np.float32)


class Memory:
    """Endless volumes of two modalities, a patient each, made when they are asked for."""

    def __init__(self, shape, *, constant=False):
        self.shape, self.constant = shape, constant

    def facts(self, volume):
        cells = np.ones(tuple(-(-n // 8) for n in self.shape), bool)
        return VolumeFacts(
            self.shape, (1.0,) * len(self.shape), cells, (8,) * len(self.shape), volume=volume
        )

    def read(self, volume, start, size):
        whole = smooth_volume(self.shape, int(volume)) * (not self.constant)
        edges = [
            (max(0, -a), max(0, a + n - edge))
            for a, n, edge in zip(start, size, self.shape, strict=True)
        ]
        box = tuple(
            slice(a + low, a + low + n) for a, n, (low, _) in zip(start, size, edges, strict=True)
        )
        return np.pad(whole, edges)[box][None]


def make_batch(method, *, size=4, first=0, constant=False):
    """Cut a batch as the loader does, from volumes kept in memory."""
    patch = method.patch
    dims = getattr(method.places(), "volume_dims", len(patch))
    shape = tuple(3 * edge for edge in (*patch, patch[-1])[:dims])
    store = Memory(shape, constant=constant)
    samples = CropDataset(store, [str(n) for n in range(12)], method.places(), patch, seed=0)
    batch = collate([samples[number] for number in range(first, first + size)])
    channels = method.encoder.in_channels
    if batch.images.shape[2] == 1 and channels > 1:
        batch.images = batch.images.expand(-1, -1, channels, *patch).contiguous()
    return batch


def losses_of(method, batch, seed=0):
    return method.compute_losses(batch, batch_generator(seed, batch.indices[0], CPU))


def check_gradients(method):
    losses = losses_of(method, make_batch(method))
    assert losses["loss"].ndim == 0
    assert torch.isfinite(losses["loss"])
    losses["loss"].backward()
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"{name} is trainable and gets no gradient"
        else:
            assert parameter.grad is None, f"{name} is frozen and gets a gradient"


def teachers_of(method):
    """Pairs of a teacher and the student it follows, by the name ``teacher_<student>``."""
    pairs = []
    for name, module in method.named_children():
        if isinstance(module, Teacher):
            pairs.append((module, getattr(method, name.removeprefix("teacher_"))))
    return pairs


def check_teacher(method):
    for teacher, student in teachers_of(method):
        for key, value in student.state_dict().items():
            assert torch.equal(teacher.module.state_dict()[key], value), f"{key} is not a copy"
    optimise(method, steps=2)
    for teacher, student in teachers_of(method):
        before, after = teacher.module.state_dict(), student.state_dict()
        moved = [k for k in after if not torch.equal(before[k], after[k])]
        assert moved, "the student did not move away from its teacher"


def check_loss_uses_mask(method):
    """The loss must not depend on what is said about visible voxels."""
    outputs = []
    handle = method.decoder.register_forward_hook(lambda *args: outputs.append(args[-1]))
    masks = []
    mask = method.mask
    method.mask = lambda *args: masks.append(mask(*args)) or masks[-1]
    losses = losses_of(method, make_batch(method))
    handle.remove()
    (gradient,) = torch.autograd.grad(losses["loss"], outputs[0])
    cells = masks[0]
    for axis, (cell, edge) in enumerate(zip(cells.shape[1:], method.patch, strict=True), start=1):
        cells = cells.repeat_interleave(edge // cell, dim=axis)
    assert gradient[:, 0][cells].abs().max() > 0
    assert gradient[:, 0][~cells].abs().max() == 0


def optimise(method, *, steps):
    # without a warm-up a transformer wants smaller steps
    lr = 3e-4 if method.encoder.drops_tokens else 1e-3
    method.plan = TrainingPlan(OptimConfig(lr=lr), steps)
    optimizer = build_optimizer(method, method.encoder, method.plan.optim)
    batch = make_batch(method, size=2)
    seen = []
    for step in range(1, steps + 1):
        loss = losses_of(method, batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(method.parameters(), method.plan.optim.clip_norm)
        optimizer.step()
        method.after_step(step)
        seen.append(loss.item())
    return seen


def test_every_trainable_parameter_gets_a_gradient_and_no_other(method):
    check_gradients(method)


def test_teacher_starts_as_a_copy_and_follows(method):
    check_teacher(method)


def test_thirty_steps_on_one_batch_lower_the_loss_without_collapse(method):
    seen = optimise(method, steps=30)
    # the lowest five in a row: what is random in a method must not decide the last step
    assert np.convolve(seen, np.ones(5) / 5, "valid").min() < 0.9 * seen[0]
    crops = make_batch(method, size=8).images[:, 0]
    with torch.no_grad():
        features = torch.nn.functional.normalize(method.eval().encoder.embed(crops), dim=1)
    assert features.std(dim=0).mean() > 1e-3


def test_same_seed_gives_the_same_numbers(method):
    first, again = (losses_of(method, make_batch(method))["loss"] for _ in range(2))
    assert torch.equal(first, again)


def test_constant_crop_gives_no_nan(method):
    losses = losses_of(method, make_batch(method, constant=True))
    losses["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("name", METHODS)
def test_bfloat16_autocast_is_finite(name, kind):
    # planar and small: a CPU without bfloat16 instructions is some hundred times slower in it
    method = build(name, {}, kind, 2, patch=(16, 16))
    with torch.autocast("cpu", torch.bfloat16):
        losses = losses_of(method, make_batch(method, size=2))
    assert torch.isfinite(losses["loss"])
    assert losses["loss"].dtype == torch.float32


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("name", METHODS)
def test_anisotropic_crop_and_two_channels(name, kind):
    check_gradients(build(name, {}, kind, 3, channels=2, patch=(16, 8, 12)))


def without_draws(name):
    """A method, one batch of its views and targets; skips a loss that draws more than a mask."""
    method = build_with_any(name, {})
    fix_mask(method)
    batch = make_batch(method)
    views, targets = method.views_and_targets(batch, batch_generator(0, 0, CPU))
    once, again = (loss_of(method, views, targets, seed) for seed in (0, 1))
    if not torch.equal(once, again):
        pytest.skip("the loss itself draws")
    return method, views, targets


def loss_of(method, views, targets, seed=0):
    state = copy.deepcopy(method.state_dict())
    loss = method.loss(views, targets, torch.Generator().manual_seed(seed))["loss"]
    method.load_state_dict(state)  # queues and centres as they were
    return loss


def pick(views, targets, places, count=4):
    """The views and targets of some places of a batch."""

    def of_places(tensor):
        return tensor.unflatten(0, (count, -1))[places].flatten(0, 1)

    chosen = {
        name: [of_places(each) for each in value] if name == "frames" else value[places]
        for name, value in targets.items()
    }
    return [of_places(view) for view in views], chosen


@pytest.mark.parametrize("name", METHODS)
def test_order_in_the_batch_does_not_matter(name):
    method, views, targets = without_draws(name)
    turned = pick(views, targets, [2, 0, 3, 1])
    torch.testing.assert_close(
        loss_of(method, views, targets), loss_of(method, *turned), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", METHODS)
def test_two_half_batches_equal_a_whole_one_or_the_method_says_no(name):
    if METHODS[name].couples_samples:
        pytest.skip("the method says that its samples are coupled")
    method, views, targets = without_draws(name)
    halves = [loss_of(method, *pick(views, targets, part)) for part in ([0, 1], [2, 3])]
    torch.testing.assert_close(
        loss_of(method, views, targets), sum(halves) / 2, rtol=1e-5, atol=1e-6
    )


def fix_mask(method):
    """Hide the same cells of every sample, so that samples can change places."""
    for each in (method, *getattr(method, "terms", {}).values()):
        if isinstance(getattr(each, "mask", None), RandomCells):
            one = each.mask((1, 1, *method.patch), torch.Generator().manual_seed(0))
            each.mask = functools.partial(repeated, one)


def repeated(mask, shape, _):
    return mask.expand(shape[0], *mask.shape[1:])


def build_with_any(name, options):
    """Return the method with the first encoder that it takes; none if it takes none."""
    for dims, kind in itertools.product((3, 2), ENCODERS):
        with contextlib.suppress(pytest.skip.Exception):
            return build(name, options, kind, dims)
    return None


@pytest.mark.parametrize("name", METHODS)
def test_configuration_survives_yaml(name, tmp_path):
    kind = "vit" if name == "mae" else "cnn"  # a configuration is read before anything is built
    encoder, _ = ENCODERS[kind]
    given = {
        "method": {"name": name, **METHODS[name].tiny()},
        "encoder": {"name": encoder},
        "data": {"patch": [16, 16, 16]},
    }
    first = load_configuration(given, (), pretrain_sections())
    path = tmp_path / "config.yaml"
    path.write_text(first.to_yaml())
    assert load_configuration(path, (), pretrain_sections()) == first


def test_planted_fault_teacher_that_is_no_copy():
    method = build("voco", {"teacher": "head"}, "cnn", 3)
    assert isinstance(method, VoCo)
    method.teacher_head.module[0].reset_parameters()
    with pytest.raises(AssertionError, match="not a copy"):
        check_teacher(method)


def test_masked_methods_judge_hidden_voxels_only(method):
    if not (hasattr(method, "mask") and hasattr(method, "decoder")):
        pytest.skip("nothing is hidden and rebuilt")
    check_loss_uses_mask(method)


def test_planted_fault_loss_that_ignores_its_mask():
    class Leaky(MAECNN):
        name = "leaky_for_this_test"

        def loss(self, views, targets, generator):
            (volume,) = views
            hidden = self.mask(volume.shape, generator)
            rebuilt = self.decoder(self.encoder.forward_masked(volume, hidden))
            return {"loss": (rebuilt - volume).square().mean()}

    try:
        sound = build("mae_cnn", {}, "cnn", 3)
        leaky = Leaky(encoder=copy.deepcopy(sound.encoder), patch=sound.patch, mask_size=4)
        check_loss_uses_mask(sound)
        with pytest.raises(AssertionError):
            check_loss_uses_mask(leaky)
    finally:
        METHODS._entries.pop("leaky_for_this_test")
