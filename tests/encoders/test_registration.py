"""Poses and warps against what must come out, and the faults of the reference code."""

import math

import pytest
import torch
import torch.nn.functional as F

from medssl.encoders.registration import FlowHead, PoseHead, pose_frames, warp

SHAPES = [(6, 8, 10), (6, 9)]


def nothing(shape, batch=1):
    dims = len(shape)
    turns = 3 if dims == 3 else 1
    return [
        torch.zeros(batch, turns),
        torch.ones(batch, dims),
        torch.zeros(batch, dims * (dims - 1)),
        torch.zeros(batch, dims),
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_no_pose_and_no_shifts_change_nothing(shape):
    """The defect: nnssl's grid of zeros reads between voxels, for it mixes two conventions."""
    image = torch.randn(2, 1, *shape)
    frames = pose_frames(*nothing(shape, 2), shape)
    shifts = torch.zeros(2, len(shape), *shape)
    torch.testing.assert_close(warp(image, frames, shifts), image, rtol=1e-5, atol=1e-5)
    lines = [2 * (torch.arange(n) / (n - 1) - 0.5) for n in shape]
    mixed = torch.stack(torch.meshgrid(*lines, indexing="ij"), dim=-1).flip(-1)
    theirs = F.grid_sample(image, mixed.expand(2, *mixed.shape), align_corners=False)
    assert (theirs - image).abs().max() > 0.5


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("axis", [0, 1])
def test_shifts_are_voxels_along_the_axes_in_their_order(shape, axis):
    image = torch.randn(1, 1, *shape)
    shifts = torch.zeros(1, len(shape), *shape)
    shifts[:, axis] = 2.0
    moved = warp(image, pose_frames(*nothing(shape), shape), shifts)
    kept = image.shape[2 + axis] - 2
    expected = image.narrow(2 + axis, 2, kept)
    torch.testing.assert_close(moved.narrow(2 + axis, 0, kept), expected, rtol=1e-4, atol=1e-4)


def test_a_quarter_turn_is_one_in_each_plane():
    image = torch.randn(1, 1, 8, 8, 8)
    for axis, plane in enumerate([(3, 4), (2, 4), (2, 3)]):
        pose = nothing((8, 8, 8))
        pose[0][0, axis] = math.pi / 2
        moved = warp(image, pose_frames(*pose, (8, 8, 8)))
        turned = [torch.rot90(image, k, plane) for k in (1, 3)]
        assert any(torch.allclose(moved, each, atol=1e-4) for each in turned)


def test_a_turn_keeps_lengths_in_a_box_that_is_no_cube():
    pose = nothing((8, 16))
    pose[0][0, 0] = 0.3
    frames = pose_frames(*pose, (8, 16))[0]
    voxels = torch.diag(torch.tensor([8.0, 16.0])) @ frames[:, :2]
    linear = voxels @ torch.diag(1 / torch.tensor([8.0, 16.0]))
    torch.testing.assert_close(linear @ linear.mT, torch.eye(2), rtol=1e-5, atol=1e-5)


def test_scaling_shear_and_shift_act_in_that_order():
    pose = nothing((10, 10))
    pose[1][0] = torch.tensor([1.2, 0.8])
    pose[2][0] = torch.tensor([0.1, -0.2])
    pose[3][0] = torch.tensor([0.1, 0.25])
    frames = pose_frames(*pose, (10, 10))[0]
    expected = [
        [1.2, math.tan(0.1) * 0.8, 0.2],
        [math.tan(-0.2) * 1.2, 0.8, 0.5],
    ]
    torch.testing.assert_close(frames, torch.tensor(expected))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_pose_head_learns_from_what_was_moved(shape):
    """The defect: nnssl builds its matrix from copies of numbers, which pass no gradient."""
    dims = len(shape)
    head, flow = PoseHead(dims, 4, 16), FlowHead(dims, 4, 8)
    fixed, moving = (torch.randn(2, 4, *(4,) * dims) for _ in range(2))
    image = torch.randn(2, 1, *shape)
    frames = head(moving, fixed, shape)
    wide = [F.interpolate(each, shape) for each in (moving, fixed)]
    (warp(image, frames, flow(*wide)) * torch.randn_like(image)).sum().backward()
    for parameter in (*head.parameters(), *flow.parameters()):
        assert parameter.grad.abs().max() > 0
    assert (frames[:, :, :dims] - torch.eye(dims)).abs().max() < 0.1
