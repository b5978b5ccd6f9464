"""Writes twelve small networks as ONNX files, and beside each (NAME.pt) a batch with PyTorch's gradients in f64, for
trainer/train/tests/imported_gradients.rs.

The networks are torchvision's families in small forms, and one of what these lack. Their convolutions keep their batch normalisations in
the file. NAME.pt holds the images, their labels, and of each parameter `value.NAME` and `gradient.NAME`: of the mean cross-entropy in
training, without dropout.

ReLU and maxima bend. Where a value lies at a bend up to the roundings of f32, f32 and f64 go different ways, and no gradient says more
than that. So of some batches the one is taken whose values keep furthest from the bends.
"""

import sys
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torchvision import models
from torchvision.models.googlenet import BasicConv2d, Inception

BATCH = 4
SIZE = 48
# Batches that are tried.
TRIED = 24
CLASSES = 10


class Decoder(nn.Module):
    """Dilated and transposed convolutions, PReLU, instance and group normalisation, resizing, a join; of its own."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.InstanceNorm2d(8, affine=True), nn.PReLU(8))
        self.dilated = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=2, dilation=2), nn.GroupNorm(4, 16), nn.GELU())
        self.up = nn.Sequential(nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1), nn.ELU())
        self.mixed = nn.Conv2d(24, 12, 3, padding=1, groups=4)
        self.fc = nn.Linear(12, CLASSES)

    def forward(self, x):
        first = self.stem(x)
        second = self.dilated(first)
        wide = functional.interpolate(second, scale_factor=2, mode="bilinear", align_corners=False)
        joined = torch.cat([self.up(second), wide], 1)
        x = torch.tanh(self.mixed(joined)) * torch.sigmoid(joined[:, :12])
        return self.fc(functional.max_pool2d(x, 2).mean((2, 3)))


def normalises_alone(name):
    """True of DenseNet's normalisations without a convolution before them: the importer makes scales and shifts of them."""
    return name.endswith(("norm1", "norm5", "transition1.norm", "transition2.norm"))


def inception():
    """GoogLeNet's blocks."""
    pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    return nn.Sequential(BasicConv2d(3, 16, kernel_size=3, stride=2, padding=1), pool, Inception(16, 8, 8, 16, 4, 8, 8),
                         pool, Inception(40, 16, 12, 24, 4, 12, 12), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES))


def networks():
    """The networks by name."""
    block, bottleneck = models.resnet.BasicBlock, models.resnet.Bottleneck
    setting, block_of = models.convnext.CNBlockConfig, models.efficientnet.MBConvConfig
    classes = {"num_classes": CLASSES}
    return {
        "resnet": models.ResNet(block, [1, 1, 1, 1], **classes),
        "resnext": models.ResNet(bottleneck, [1, 1, 1, 1], groups=4, width_per_group=8, **classes),
        "squeezenet1_1": models.squeezenet1_1(**classes),
        "densenet": models.DenseNet(8, (2, 2, 2), 16, **classes),
        "mobilenet_v2": models.mobilenet_v2(width_mult=0.35, **classes),
        "mobilenet_v3_small": models.mobilenet_v3_small(width_mult=0.5, **classes),
        "mnasnet": models.mnasnet0_5(**classes),
        "shufflenet_v2": models.shufflenet_v2_x0_5(**classes),
        "efficientnet": models.EfficientNet([block_of(1, 3, 1, 16, 16, 1), block_of(6, 3, 2, 16, 24, 2), block_of(4, 5, 2, 24, 40, 2)],
                                            dropout=0.0, **classes),
        "inception": inception(),
        "convnext": models.ConvNeXt([setting(16, 32, 1), setting(32, None, 1)], layer_scale=1.0, **classes),
        "decoder": Decoder(),
    }


class Bends:
    """Notes how near values come to the bends of what `torch.nn.functional` computes meanwhile."""

    # Where the first derivative jumps.
    AT = {"relu": (0,), "relu6": (0, 6), "hardtanh": (0, 6), "hardswish": (-3, 3), "hardsigmoid": (-3, 3), "prelu": (0,), "elu": ()}

    def __enter__(self):
        self.least = float("inf")
        self.before = {name: getattr(functional, name) for name in (*self.AT, "max_pool2d")}
        for name, bends in self.AT.items():
            setattr(functional, name, self.noting(self.before[name], bends))
        functional.max_pool2d = self.pooling
        return self

    def __exit__(self, *_):
        for name, function in self.before.items():
            setattr(functional, name, function)

    def noting(self, function, bends):
        def noted(x, *more, **options):
            for bend in bends:
                self.least = min(self.least, float((x.detach() - bend).abs().min()))
            return function(x, *more, **options)

        return noted

    def pooling(self, x, kernel_size, stride=None, padding=0, dilation=1, **options):
        side = x.detach().flatten(0, 1)[:, None]
        # Beyond the edge too, where `ceil_mode` puts windows.
        side = functional.pad(side - side.min() + 1, (0, kernel_size, 0, kernel_size))
        windows = functional.unfold(side, kernel_size, dilation, padding, stride or kernel_size)
        first, second = windows.topk(2, 1).values.unbind(1)
        apart = (first - second)[(first - second) > 0]
        self.least = min(self.least, float(apart.min()))
        return self.before["max_pool2d"](x, kernel_size, stride, padding, dilation, **options)


def batch(network):
    """The images whose values keep furthest from the bends, of a network in f64."""
    best, furthest = None, -1.0
    for _ in range(TRIED):
        images = torch.randn(BATCH, 3, SIZE, SIZE)
        with Bends() as bends, torch.no_grad():
            network(images.double())
        if bends.least > furthest:
            best, furthest = images, bends.least
    return best, furthest


def write(name, network, folder):
    """Writes the network, and its gradients."""
    for module in network.modules():
        if hasattr(module, "p") and isinstance(module.p, float):
            module.p = 0.0
        if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d, nn.LayerNorm)):
            # Equal tensors would become one in the file.
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    network.eval()
    torch.onnx.export(network, torch.zeros(1, 3, SIZE, SIZE), str(folder / f"{name}.onnx"), opset_version=17,
                      training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False, input_names=["image"],
                      output_names=["logits"])
    network.double().train()
    if name == "densenet":
        for inner, module in network.named_modules():
            if normalises_alone(inner):
                module.eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    images, furthest = batch(network)
    labels = torch.arange(BATCH) % CLASSES
    functional.cross_entropy(network(images.double()), labels).backward()
    wide = {parameter: value.grad.clone() for parameter, value in network.named_parameters()}
    network.zero_grad()
    network.float()
    functional.cross_entropy(network(images), labels).backward()
    tensors = {"images": images, "labels": labels.float()}
    worst = 0.0
    for parameter, value in network.named_parameters():
        tensors[f"value.{parameter}"] = value.detach()
        tensors[f"gradient.{parameter}"] = wide[parameter]
        length = float(wide[parameter].norm())
        if length > 1e-9:
            worst = max(worst, float((value.grad.double() - wide[parameter]).norm()) / length)
    torch.save(tensors, folder / f"{name}.pt")
    print(f"{name}: nearest to a bend {furthest:.1e}, PyTorch's own error in f32 {worst:.1e}")


def main(folder):
    """Runs the program."""
    warnings.simplefilter("ignore")
    torch.manual_seed(3)
    for name, network in networks().items():
        write(name, network, Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
