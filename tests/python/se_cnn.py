"""Writes the network of tests/tests/imported.rs: squeeze-and-excite, hard swish and a grouped convolution, as PyTorch exports them."""

import sys

import torch
from torch import nn


class SqueezeExcite(nn.Module):
    def __init__(self, channels, inner):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, inner, 1)
        self.fc2 = nn.Conv2d(inner, channels, 1)

    def forward(self, x):
        scale = torch.relu(self.fc1(self.pool(x)))
        return x * nn.functional.hardsigmoid(self.fc2(scale))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.Hardswish()
        )
        self.grouped = nn.Sequential(
            nn.Conv2d(16, 32, 3, stride=2, padding=1, groups=4, bias=False), nn.BatchNorm2d(32), nn.Hardswish()
        )
        self.excite = SqueezeExcite(32, 8)
        self.conv1 = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.Hardswish())
        self.conv2 = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(32, 10)

    def forward(self, x):
        x = self.excite(self.grouped(self.stem(x)))
        x = nn.functional.hardswish(x + self.conv2(self.conv1(x)))
        return self.fc(torch.flatten(self.pool(x), 1))


torch.manual_seed(4)
net = Net().eval()
torch.onnx.export(net, torch.zeros(1, 1, 28, 28), sys.argv[1], opset_version=14, training=torch.onnx.TrainingMode.PRESERVE,
                  do_constant_folding=False, input_names=["image"], output_names=["logits"])
