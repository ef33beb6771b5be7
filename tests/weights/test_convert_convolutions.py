"""Twins of MedicalNet, torchvision-named and OpenMind residual networks."""

import pytest
import torch
import torch.nn.functional as F
from monai.networks.nets.resnet import ResNet as MonaiResNet

from medssl.encoders import build_encoder
from medssl.errors import ConfigError, WeightsMismatchError
from medssl.weights.convert.adapt import adapt_stem, resize_positions
from medssl.weights.convert.checkpoint import open_checkpoint, root_of
from medssl.weights.convert.engine import convert


def monai_resnet(kind, layers, shortcut, dims=3, channels=1):
    torch.manual_seed(0)
    return MonaiResNet(
        kind,
        list(layers),
        [64, 128, 256, 512],
        spatial_dims=dims,
        n_input_channels=channels,
        conv1_t_stride=2,
        shortcut_type=shortcut,
        widen_factor=0.125,
        feed_forward=False,
        bias_downsample=False,
    ).eval()


def dilate(network):
    """Give layer3 and layer4 MedicalNet's geometry: stride 1, dilation 2 and 4."""
    for stage, rate in ((network.layer3, 2), (network.layer4, 4)):
        for block in stage:
            block.stride = 1
            spatial = [m for m in (block.conv1, block.conv2) if m.kernel_size[0] == 3]
            for convolution in spatial:
                convolution.stride, convolution.dilation = (1,) * 3, (rate,) * 3
                convolution.padding = (rate,) * 3
            if block.downsample is not None and not callable(
                getattr(block.downsample, "func", None)
            ):
                block.downsample[0].stride = (1,) * 3
    return network


@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "layers", "name"),
    [("basic", (1, 1, 1, 1), "resnet10"), ("bottleneck", (3, 4, 6, 3), "resnet50")],
)
def test_medicalnet_gives_its_features_and_names_its_geometry(kind, layers, name):
    network = monai_resnet(kind, layers, "B")
    state = {"module." + n: t for n, t in network.state_dict().items()}
    content = {"state_dict": {**state, "module.conv_seg.0.weight": torch.ones(2)}, "epoch": 1}
    converted = convert(content)
    assert converted.encoder.name == name
    assert converted.report.share == 1.0
    assert converted.report.dropped == ("module.conv_seg.0.weight",)
    assert "layer3 and layer4" in " ".join(converted.report.notes)
    network = dilate(network)
    x = torch.randn(1, 1, 40, 32, 32)
    expected = network(x).flatten()
    torch.testing.assert_close(converted.encoder.embed(x)[0], expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(
    ("prefix", "family"),
    [
        ("", "resnet_2d"),
        ("online_network.encoder.", "byol_resnet"),
        ("encoder_q.", "moco_resnet"),
        ("model.", "swav_resnet"),
    ],
)
def test_a_planar_resnet_is_found_under_every_wrapper(prefix, family):
    network = monai_resnet("bottleneck", (1, 1, 1, 1), "B", dims=2, channels=3)
    state = {prefix + n: t for n, t in network.state_dict().items()}
    if prefix == "encoder_q.":
        state |= {"encoder_k." + n: torch.zeros_like(t) for n, t in network.state_dict().items()}
    if prefix == "online_network.encoder.":
        state |= {n.replace("online", "target"): torch.zeros_like(t) for n, t in state.items()}
    state |= {"projector.0.weight": torch.ones(2, 2)} if prefix else {}
    converted = convert({"state_dict": state} if prefix else state)
    assert converted.report.family == family
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(converted.encoder.embed(x), network(x), rtol=1e-5, atol=1e-6)


def torchvision_reference(w, x, layers):
    """Return the maps of torchvision's bottleneck ResNet, written down from its definition."""

    def norm(x, name):
        mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, w[f"{name}.weight"], w[f"{name}.bias"])

    x = F.relu(norm(F.conv2d(x, w["conv1.weight"], stride=2, padding=3), "bn1"))
    maps, x = [x], F.max_pool2d(x, 3, 2, 1)
    for stage, count in enumerate(layers, start=1):
        for index in range(count):
            at, stride = f"layer{stage}.{index}", 2 if stage > 1 and not index else 1
            y = F.relu(norm(F.conv2d(x, w[f"{at}.conv1.weight"]), f"{at}.bn1"))
            y = F.conv2d(y, w[f"{at}.conv2.weight"], stride=stride, padding=1)
            y = norm(F.conv2d(F.relu(norm(y, f"{at}.bn2")), w[f"{at}.conv3.weight"]), f"{at}.bn3")
            if f"{at}.downsample.0.weight" in w:
                x = F.conv2d(x, w[f"{at}.downsample.0.weight"], stride=stride)
                x = norm(x, f"{at}.downsample.1")
            x = F.relu(x + y)
        maps.append(x)
    return maps


@torch.no_grad()
def test_spark_gives_the_features_of_torchvisions_definition():
    layers = (1, 2, 1, 1)
    state = monai_resnet("bottleneck", layers, "B", dims=2, channels=3).state_dict()
    for name, tensor in state.items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.3)
    head = {"fc.weight": torch.ones(2, 3), "fc.bias": torch.ones(2)}
    converted = convert({"arch": "resnet50", "module": {**state, **head}, "is_pretrain": True})
    assert converted.report.family == "spark_resnet"
    assert converted.report.container == "module"
    assert converted.report.dropped == ("fc.bias", "fc.weight")
    x = torch.randn(2, 3, 64, 96)
    expected = torchvision_reference(state, x, layers)
    for ours, theirs in zip(converted.encoder(x), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def openmind(blocks=(1, 2, 2), features=(4, 6, 8)):
    torch.manual_seed(0)
    encoder = build_encoder("resenc_l", blocks=blocks, features=features).eval()
    state = {}
    for name, tensor in encoder.state_dict().items():
        for root in ("encoder.", "decoder.encoder."):
            state[root + name] = tensor
            state[
                root
                + name.replace(".conv.", ".all_modules.0.").replace(".norm.", ".all_modules.1.")
            ] = tensor
    state["decoder.stages.0.convs.0.conv.weight"] = torch.ones(2)
    strides = [[1, 1, 1], *[[2, 2, 2]] * (len(blocks) - 1)]
    plan = {"architecture_plans": {"arch_kwargs": {"strides": strides}}}
    content = {"network_weights": state, "trainer_name": "MAE", "nnssl_adaptation_plan": plan}
    return encoder, content


def reference(weights, x, blocks):
    def unit(x, name, stride=1, active=True):
        weight = weights[f"encoder.{name}.all_modules.0.weight"]
        bias = weights.get(f"encoder.{name}.all_modules.0.bias")
        x = F.conv3d(x, weight, bias, stride, weight.shape[-1] // 2)
        scale, shift = (weights[f"encoder.{name}.all_modules.1.{p}"] for p in ("weight", "bias"))
        x = F.instance_norm(x, weight=scale, bias=shift)
        return F.leaky_relu(x, 0.01) if active else x

    x, maps = unit(x, "stem.convs.0"), []
    for stage, count in enumerate(blocks):
        for index in range(count):
            name, stride = f"stages.{stage}.blocks.{index}", 2 if stage and not index else 1
            shortcut = F.avg_pool3d(x, 2) if stride == 2 else x
            if f"encoder.{name}.skip.{stride - 1}.conv.weight" in weights:
                shortcut = unit(shortcut, f"{name}.skip.{stride - 1}", active=False)
            x = unit(unit(x, f"{name}.conv1", stride), f"{name}.conv2", active=False)
            x = F.leaky_relu(x + shortcut, 0.01)
        maps.append(x)
    return maps


@torch.no_grad()
def test_openmind_gives_the_features_of_its_definition():
    _, content = openmind()
    converted = convert(content)
    assert converted.report.container == "network_weights"
    assert converted.report.share == 1.0
    # nnssl's arrays are (z, y, x), ours (x, y, z)
    x = torch.randn(1, 1, 16, 24, 20)
    expected = reference(content["network_weights"], x, (1, 2, 2))
    found = converted.encoder(x.permute(0, 1, 4, 3, 2))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.permute(0, 1, 4, 3, 2), theirs, rtol=1e-5, atol=1e-5)
    assert any("(z, y, x)" in line for line in converted.report.adapted)


def test_strides_come_from_the_plan_and_their_absence_is_told():
    _, content = openmind()
    plan = content["nnssl_adaptation_plan"]["architecture_plans"]["arch_kwargs"]
    plan["strides"][2] = [1, 2, 2]  # along z, y, x
    assert convert(content).encoder.strides[2] == (4, 4, 2)
    content["init_args"] = {"plans": {"transpose_forward": [1, 0, 2]}}  # y, z, x
    assert convert(content).encoder.strides[2] == (4, 2, 4)
    # of an nnU-Net run, the configuration that was trained counts
    configurations = {
        "2d": {"strides": [[1, 1], [2, 2], [2, 2]]},
        "3d_lowres": {"strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]]},
        "3d_fullres": {"strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]]},
    }
    content["init_args"] = {
        "plans": {"configurations": configurations},
        "configuration": "3d_fullres",
    }
    assert convert(content).encoder.strides[1:] == ((2, 2, 1), (4, 4, 2))
    content["trainer_name"] = "nnUNetTrainer"
    configurations["3d_fullres"] |= {"spacing": [3.0, 1.0, 0.5], "patch_size": [16, 32, 64]}
    converted = convert(content)
    assert converted.report.family == "nnunet_resenc"
    assert converted.contract.spacing_mm == (0.5, 1.0, 3.0)
    assert converted.contract.patch == (64, 32, 16)
    assert "check orientation" in converted.report.lines()[-1]
    del content["init_args"]
    del content["nnssl_adaptation_plan"]
    assert "no plan" in " ".join(convert(content).report.lines())


def test_a_lost_stage_is_refused():
    _, content = openmind()
    state = content["network_weights"]
    content["network_weights"] = {n: t for n, t in state.items() if ".stages.1." not in n}
    with pytest.raises(WeightsMismatchError, match="whole stages"):
        convert(content)
    network = monai_resnet("basic", (1, 1, 1, 1), "B")
    half = {n: t for n, t in network.state_dict().items() if not n.startswith("layer3")}
    with pytest.raises(WeightsMismatchError, match="3 of a ResNet's four stages"):
        convert(half)


def test_the_copy_that_authors_hand_on_is_chosen():
    names = ["student.backbone.a", "teacher.backbone.a", "a.b"]
    assert root_of(names, "a") == "teacher.backbone."
    assert root_of(names, "c") is None
    both = {"student": {"a": torch.ones(1)}, "teacher": {"a": torch.zeros(1)}}
    assert open_checkpoint(both).container == "teacher"
    nested = {"model": {"state_dict": {"a": torch.ones(1)}}}
    assert open_checkpoint(nested).container == "model.state_dict"


def test_stems_are_adapted_from_or_to_one_channel_alone():
    weight = torch.randn(4, 3, 2, 2, 2)
    assert adapt_stem(weight, 3) is weight
    image = torch.randn(1, 1, 4, 4, 4)
    copies = F.conv3d(image.repeat(1, 3, 1, 1, 1), weight)
    torch.testing.assert_close(F.conv3d(image, adapt_stem(weight, 1)), copies)
    with pytest.raises(WeightsMismatchError, match="one channel alone"):
        adapt_stem(weight, 2)


def test_positions_move_to_another_grid_linearly():
    x = torch.arange(4.0).view(4, 1, 1).expand(4, 2, 2)
    positions = x.reshape(1, -1, 1)
    assert resize_positions(positions, (4, 2, 2), (4, 2, 2)) is positions
    wider = resize_positions(positions, (4, 2, 2), (8, 2, 2)).view(8, 2, 2)
    torch.testing.assert_close(
        wider[:, 0, 0], torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    )
    with pytest.raises(WeightsMismatchError, match="make no grid"):
        resize_positions(positions, (4, 2, 3), (4, 2, 2))


@torch.no_grad()
def test_planar_kernels_are_inflated_and_see_alike_slices_as_one():
    network = monai_resnet("basic", (1, 1, 1, 1), "B", dims=2, channels=3)
    content = dict(network.state_dict())
    planar = convert(content, in_channels=1)
    volumes = convert(content, in_channels=1, inflate=True)
    assert volumes.encoder.spatial_dims == 3
    assert volumes.report.share == 1.0
    assert "from 2D to 3D" in " ".join(volumes.report.adapted)
    image = torch.randn(1, 1, 32, 32)
    found = volumes.encoder(image[..., None].expand(-1, -1, -1, -1, 96))
    # below the first stages the border, where slices end, has not reached the middle
    for ours, expected in list(zip(found, planar.encoder(image), strict=True))[:2]:
        middle = ours[..., ours.shape[-1] // 2]
        torch.testing.assert_close(middle, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match="leave it out"):
        convert({"state_dict": monai_resnet("basic", (1, 1, 1, 1), "B").state_dict()}, inflate=True)
