"""The peer of step_speed.rs: whole training steps of the same networks with PyTorch, channels-last.

Debian's python3-torch: `/usr/bin/python3 trainer/examples/step_speed.py [BATCH] [STEPS] [THREADS]`.
"""

import sys
import time

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut: a projection (option B) or zero channels (option A)."""

    def __init__(self, inputs, outputs, stride, project):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.new = outputs - inputs
        self.project = None
        if self.new and project:
            self.project = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        if self.project is not None:
            shortcut = self.project(x)
        elif self.new:
            shortcut = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))
        else:
            shortcut = x
        y = torch.relu_(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += shortcut
        return torch.relu_(y)


def network(channels, blocks, project):
    """A CIFAR ResNet with `blocks` blocks a stage, ten classes."""
    layers = [nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
    width = 16
    for stage, outputs in enumerate((16, 32, 64)):
        for block in range(blocks):
            layers.append(Block(width, outputs, 2 if stage and not block else 1, project))
            width = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def main():
    """Prints images a second: median and best over the steps, after two to warm up."""
    batch, steps, threads = [int(word) for word in sys.argv[1:]] + [128, 12, 2][len(sys.argv) - 1 :]
    torch.set_num_threads(threads)
    cases = [("resnet8 1x28x28", 1, 28, 1, True), ("resnet8 3x32x32", 3, 32, 1, True), ("resnet20 3x32x32", 3, 32, 3, False)]
    for name, channels, size, blocks, project in cases:
        model = network(channels, blocks, project).to(memory_format=torch.channels_last)
        optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9, weight_decay=1e-4)
        images = torch.randn(batch, channels, size, size).to(memory_format=torch.channels_last)
        labels = torch.randint(0, 10, (batch,))
        times = []
        for _ in range(steps + 2):
            start = time.perf_counter()
            optimizer.zero_grad()
            functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
            times.append(time.perf_counter() - start)
        times = sorted(times[2:])
        print(f"{name}: median {batch / times[len(times) // 2]:.0f}, best {batch / times[0]:.0f} images/s", flush=True)


if __name__ == "__main__":
    main()
