import itertools
import math

import pytest
import torch

from medssl.errors import ConfigError
from medssl.transforms.separable import smooth_field
from medssl.transforms.warp import Affine, Deform, Elastic


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def ball(shape, centre, sigma):
    """A smooth bump with its top at ``centre``, in voxels."""
    axes = [torch.arange(n, dtype=torch.float32) - c for n, c in zip(shape, centre, strict=True)]
    total = torch.zeros(shape)
    for axis, distance in enumerate(axes):
        total = total + distance.square().view([-1 if a == axis else 1 for a in range(len(shape))])
    return torch.exp(-total / (2 * sigma**2))[None, None]


def centroid(image):
    weights = image[0, 0] / image.sum()
    return [
        float(
            (weights.sum(dim=[a for a in range(weights.ndim) if a != axis]) * torch.arange(n)).sum()
        )
        for axis, n in enumerate(weights.shape)
    ]


def affine_params(dims, *, angles=0.0, scale=1.0, shift=None):
    params = {
        "active": torch.ones(1, dtype=torch.bool),
        "angles": torch.zeros(1, 3 if dims == 3 else 1),
        "scale": torch.full((1, dims), scale),
        "shear": torch.zeros(1, dims, dims),
        "shift": torch.zeros(1, dims),
    }
    params["angles"][0, -1] = angles
    if shift is not None:
        params["shift"][0] = torch.tensor(shift)
    return params


def test_a_shift_is_a_fraction_of_each_edge():
    image = ball((20, 16, 12), (8, 7, 6), 1.5)
    moved = Affine().apply(image, affine_params(3, shift=[0.1, -0.125, 0.0]))
    assert centroid(moved) == pytest.approx([10, 5, 6], abs=0.05)


def test_a_scale_of_two_doubles_the_distance_from_the_centre():
    image = ball((32, 24, 20), (18.5, 11.5, 7.5), 1.0)
    moved = Affine().apply(image, affine_params(3, scale=2.0))
    assert centroid(moved) == pytest.approx([21.5, 11.5, 5.5], abs=0.1)


def test_a_rotation_is_a_true_angle_when_voxels_are_not_cubes():
    # The marker lies 8 mm from the centre along y, that is 4 voxels; turned about z by a quarter it
    # must lie 8 mm away along x, that is 8 voxels.
    image = ball((31, 31, 5), (15, 19, 2), 1.2)
    turned = Affine(spacing_mm=(1.0, 2.0, 3.0)).apply(image, affine_params(3, angles=math.pi / 2))
    x, y, z = centroid(turned)
    assert (abs(x - 15), y, z) == pytest.approx((8, 15, 2), abs=0.05)


def test_rotation_in_a_patch_that_is_no_cube_keeps_distances():
    image = ball((40, 20), (19.5, 14.5), 1.0)
    turned = Affine().apply(image, affine_params(2, angles=math.pi / 6))
    x, y = centroid(turned)
    assert math.hypot(x - 19.5, y - 9.5) == pytest.approx(5.0, abs=0.05)


def test_naming_the_rotation_axis_keeps_slices_in_place():
    image = torch.randn(4, 1, 9, 9, 6, generator=generator())
    # Each slice is constant, so turning within slices changes nothing.
    image = image[:, :, :1, :1].expand(4, 1, 9, 9, 6)
    turned = Affine(rotation_deg=40, scale=(1.0, 1.0), rotation_axes=(2,))(image, generator())
    torch.testing.assert_close(turned, image.contiguous(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_an_affine_agrees_with_a_voxel_by_voxel_loop(seed):
    shape = (5, 6, 7)
    transform = Affine(rotation_deg=30, shear_deg=10, translate=0.1, per_axis_scale=True)
    params = transform.draw((1, 1, *shape), generator(seed))
    image = torch.rand(1, 1, *shape, generator=generator(seed))
    fast = transform.apply(image, params)[0, 0]

    turn = torch.eye(3, dtype=torch.float64)
    for axis, angle in enumerate(params["angles"][0].double()):
        a, b = [i for i in range(3) if i != axis]
        about = torch.eye(3, dtype=torch.float64)
        about[a, a] = about[b, b] = angle.cos()
        about[a, b], about[b, a] = -angle.sin(), angle.sin()
        turn = turn @ about
    shear = params["shear"][0].double()
    shear = shear - torch.diag(shear.diag()) + torch.eye(3)
    matrix = turn @ shear @ torch.diag(1 / params["scale"][0].double())
    size = torch.tensor(shape, dtype=torch.float64)
    for voxel in itertools.product(*[range(n) for n in shape]):
        place = torch.tensor(voxel, dtype=torch.float64) - (size - 1) / 2
        source = matrix @ (place - params["shift"][0] * size) + (size - 1) / 2
        source = torch.minimum(source.clamp(min=0), size - 1)
        total = 0.0
        for corner in itertools.product((0, 1), repeat=3):
            low = torch.minimum(source.floor(), size - 2)
            part = source - low
            weight = torch.where(torch.tensor(corner) == 1, part, 1 - part).prod()
            total += float(weight * image[(0, 0, *(low.long() + torch.tensor(corner)).tolist())])
        assert float(fast[voxel]) == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize(
    "transform", [Affine(), Elastic(), Deform()], ids=lambda t: type(t).__name__
)
def test_a_label_is_moved_to_where_its_image_is(transform):
    blocks = torch.zeros(6, 1, 24, 24, 24)
    blocks[:, :, 6:17, 8:18, 7:16] = 1.0
    moved, label = transform(blocks, generator(1), label=blocks.long())
    inside = (moved > 0.5).long()
    dice = 2 * (inside * label).sum() / (inside.sum() + label.sum())
    assert dice > 0.97
    assert not torch.equal(label, blocks.long())


def jacobian_determinants(shift):
    """Determinants of ``identity + d shift / d place`` for shifts ``(B, *shape, d)`` in voxels."""
    dims = shift.shape[-1]
    inner = (slice(None), *[slice(0, n - 1) for n in shift.shape[1:-1]])
    slopes = [shift.diff(dim=axis)[inner] for axis in range(1, dims + 1)]
    return torch.linalg.det(torch.stack(slopes, dim=-1) + torch.eye(dims))


@pytest.mark.parametrize("shape", [(48, 48, 48), (64, 48, 10), (64, 64)])
def test_the_strongest_elastic_never_folds_tissue(shape):
    transform = Elastic(displacement_voxels=9.6, spacing_voxels=24)
    params = transform.draw((5, 1, *shape), generator())
    control = params["control"]
    largest = control.abs().amax(dim=(0, *range(2, control.ndim)), keepdim=True)
    extreme = {"control": control.sign() * largest}
    steps = transform.steps((5, 1, *shape), extreme).flip(1)
    shift = smooth_field(steps, shape).movedim(1, -1) * torch.tensor(shape) / 2
    assert shift.abs().max() > 0.5
    assert jacobian_determinants(shift).min() > 0


def test_an_elastic_that_could_fold_is_refused():
    with pytest.raises(ConfigError, match="could fold"):
        Elastic(displacement_voxels=12, spacing_voxels=24)


def test_deform_is_its_parts_when_only_one_is_active():
    image = torch.rand(3, 1, 12, 10, 8, generator=generator())
    both = Deform()
    params = both.draw(image.shape, generator())
    for active, idle in (("affine", "elastic"), ("elastic", "affine")):
        only = {**params, f"{idle}.active": torch.zeros(3, dtype=torch.bool)}
        part = getattr(both, active)
        own = {k.removeprefix(f"{active}."): v for k, v in params.items() if k.startswith(active)}
        torch.testing.assert_close(
            both.apply(image, only), part.apply(image, own), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("transform", [Affine, Elastic])
def test_spacing_of_another_dimension_is_refused(transform):
    with pytest.raises(ConfigError, match=f"{transform.__name__}: spacing_mm"):
        transform(spacing_mm=(1.0, 1.0))(torch.zeros(1, 1, 4, 4, 4), generator())


def test_thick_slices_are_pushed_as_many_millimetres_and_not_voxels():
    shape = (40, 1, 96, 96, 20)
    control = Elastic(spacing_mm=(1.0, 1.0, 5.0)).draw(shape, generator())["control"]
    assert control.shape == (40, 3, 7, 7, 7)
    reach = control.abs().amax(dim=(0, 2, 3, 4))
    torch.testing.assert_close(reach, torch.tensor([6.0, 6.0, 1.2]), atol=0, rtol=0.02)
