"""What every random transform promises; a new subclass of Transform is found by itself."""

import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Iterator

import pytest
import torch

import medssl.transforms
from medssl.transforms.base import Transform, select
from medssl.transforms.crop import CropResize
from medssl.transforms.intensity import Contrast
from medssl.transforms.warp import Affine

# Transforms whose defaults change nothing, because what they do must be named,
# or because these images are too small for it.
NAMED = {"Flip": {"axes": (0, 1)}, "LocalShuffle": {"edge": 0.3}}
# What changes the size of every image keeps another contract, see tests/transforms/test_crop.py.
RESIZING = {"CentreCrop"}
# Compositions are tried with members, some of which move labels.
COMPOSITIONS = {"Compose", "OneOf"}
# A batch is changed as a whole or not at all.
WHOLE = {"BatchStyle"}
SHAPES = {"3d": (3, 2, 12, 12, 8), "2d": (3, 2, 12, 12)}


def subclasses(parent: type[Transform]) -> Iterator[type[Transform]]:
    for child in parent.__subclasses__():
        yield from subclasses(child)
        if not inspect.isabstract(child):
            yield child


def members() -> list[Transform]:
    for module in pkgutil.iter_modules(medssl.transforms.__path__):
        importlib.import_module(f"medssl.transforms.{module.name}")
    found = sorted(
        {c for c in subclasses(Transform) if c.__module__.startswith("medssl.")},
        key=lambda c: c.__name__,
    )
    alone = [c for c in found if c.__name__ not in COMPOSITIONS | RESIZING]
    singles = [c(**NAMED.get(c.__name__, {})) for c in alone]
    compose, one_of = (c for c in found if c.__name__ in COMPOSITIONS)
    return [*singles, compose(tuple(singles)), one_of((Affine(), CropResize(), Contrast()))]


def mixes_batch(transform: Transform) -> bool:
    """Whether an image of a batch becomes part of another, so that none can be taken alone."""
    parts = getattr(transform, "transforms", ())
    return transform.mixes_batch or any(mixes_batch(part) for part in parts)


def is_noisy(transform: Transform) -> bool:
    """Whether noise is made on the device itself."""
    return any("seed" in key.split(".")[-1] for key in transform.draw((2, 1, 8, 8, 8), seeded()))


@pytest.fixture(params=members(), ids=lambda t: type(t).__name__)
def transform(request):
    return request.param


@pytest.fixture(params=SHAPES.values(), ids=SHAPES.keys())
def shape(request):
    return request.param


@pytest.fixture
def images(shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(7)).clamp(-1, 1)


@pytest.fixture
def labels(shape):
    generator = torch.Generator().manual_seed(8)
    return torch.randint(0, 5, (shape[0], 1, *shape[2:]), generator=generator)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def half_as_often(transform: Transform) -> Transform:
    """Some images of a batch are transformed and some are not."""
    return type(transform)(**{**vars(transform), "p": 0.5})


def test_something_happens(transform, images):
    changed = transform(images, seeded())
    assert not torch.allclose(changed, images, atol=1e-3)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str
)
def test_shape_dtype_and_input_are_kept(transform, images, dtype):
    images = images.to(dtype)
    before = images.clone()
    changed = transform(images, seeded())
    assert changed.shape == images.shape
    assert changed.dtype == dtype
    assert changed.isfinite().all()
    assert torch.equal(images, before)


def test_labels_keep_type_and_values(transform, images, labels):
    for dtype in (torch.int64, torch.int16, torch.uint8):
        _, moved = transform(images, seeded(), label=labels.to(dtype))
        assert moved.dtype == dtype
        assert moved.shape == labels.shape
        assert set(moved.unique().tolist()) <= set(labels.unique().tolist())


def test_a_label_moves_with_its_image_if_and_only_if_the_transform_is_spatial(transform, labels):
    params = transform.draw(labels.shape, seeded())
    moved = transform.apply_label(labels, params)
    assert torch.equal(moved, labels) != transform.is_spatial


def test_the_same_seed_gives_the_same_numbers(transform, images):
    first, again, *others = (transform(images, seeded(s)) for s in (3, 3, 4, 5, 6))
    assert torch.equal(first, again)
    assert not all(torch.equal(first, other) for other in others)


def test_drawing_and_applying_is_what_a_call_does(transform, images):
    params = transform.draw(images.shape, seeded())
    assert torch.equal(transform.apply(images, params), transform(images, seeded()))
    assert all(len(value) == len(images) for value in params.values())


def test_strength_zero_is_the_identity(transform, images, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that they do nothing is what is asked for
        idle = transform.scaled(0.0)
    unchanged, unmoved = idle(images, seeded(), label=labels)
    torch.testing.assert_close(unchanged, images, atol=2e-5, rtol=0)
    assert torch.equal(unmoved, labels)


def test_a_transform_that_does_nothing_says_so(transform):
    with pytest.warns(UserWarning, match="never changes an image"):
        type(transform)(**{**vars(transform), "p": 0.0})


def test_applied_twice_it_is_the_same(transform, images):
    params = transform.draw(images.shape, seeded())
    kept = {key: value.clone() for key, value in params.items()}
    assert torch.equal(transform.apply(images, params), transform.apply(images, params))
    assert all(torch.equal(params[key], kept[key]) for key in kept)


def test_it_never_waits_for_the_device(transform, images, labels):
    # Tensors on "meta" have no values: whoever looks at one on the host fails.
    params = transform.draw(images.shape, seeded())
    if not is_noisy(transform):  # "meta" has no generators
        assert transform.apply(images.to("meta"), params).shape == images.shape
    assert transform.apply_label(labels.to("meta"), params).shape == labels.shape
    assert transform.mask(images.shape, params, "meta").shape == labels.shape


def test_a_mask_tells_all_that_was_overwritten_and_no_image_that_was_not(transform, images):
    transform = half_as_often(transform)
    params = transform.draw(images.shape, seeded())
    mask = transform.mask(images.shape, params)
    assert mask.dtype == torch.bool
    assert mask.shape == (len(images), 1, *images.shape[2:])
    assert not mask[~params["active"]].any()


def test_a_batch_is_its_images_one_by_one(transform, images, labels):
    if mixes_batch(transform):
        pytest.skip("images of a batch become part of each other")
    transform = half_as_often(transform)
    params = transform.draw(images.shape, seeded())
    together = transform.apply(images, params)
    labels_together = transform.apply_label(labels, params)
    for number in range(len(images)):
        own = select(params, torch.tensor([number]))
        alone = transform.apply(images[number : number + 1], own)
        torch.testing.assert_close(alone[0], together[number], atol=1e-5, rtol=1e-5)
        label_alone = transform.apply_label(labels[number : number + 1], own)
        assert torch.equal(label_alone[0], labels_together[number])


def test_images_that_are_not_chosen_are_untouched(transform, images):
    if type(transform).__name__ in WHOLE:
        pytest.skip("a batch is changed as a whole")
    transform = half_as_often(transform)
    many = images.repeat(8, *[1] * (images.ndim - 1))
    params = transform.draw(many.shape, seeded())
    changed = transform.apply(many, params)
    idle = ~params["active"]
    assert 0 < idle.sum() < len(many)
    assert torch.equal(changed[idle], many[idle])


def test_air_stays_finite(transform, images):
    constant = torch.full_like(images, -1.0)
    assert transform(constant, seeded()).isfinite().all()


def test_lower_precision_around_it_changes_nothing(transform, images):
    expected = transform(images, seeded())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = transform(images, seeded())
    assert torch.equal(under_autocast, expected)


def test_an_image_without_channels_is_refused(transform):
    with pytest.raises(ValueError, match=r"\(B, C, X, Y, Z\)"):
        transform(torch.zeros(4, 4, 4), seeded())


def test_parameters_of_another_batch_are_refused(transform, images):
    params = transform.draw(images.shape, seeded())
    with pytest.raises(ValueError, match="drawn for 3 images"):
        transform.apply(images[:2], params)
