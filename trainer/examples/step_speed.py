"""The peer of step_speed.rs: whole training steps of the same networks with PyTorch, channels-last.

Debian's python3-torch: `/usr/bin/python3 trainer/examples/step_speed.py [BATCH] [STEPS] [THREADS]`.
`step_speed.py --serve NETWORK BATCH THREADS` is the peer's side of `cargo xtask bench train`.
"""

import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional


# Blocks a stage, and whether shortcuts that change the shape are projections.
NETWORKS = {
    "resnet8": (1, True),
    "resnet20": (3, False),
    "resnet20b": (3, True),
    "resnet32": (5, False),
    "resnet56": (9, False),
    "resnet56b": (9, True),
    "resnet110": (18, False),
}
# Parts of a step, in order.
PARTS = ("forward", "loss", "backward", "optimizer")


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


class Bench:
    """A network and one batch of random images."""

    def __init__(self, batch, channels, size, blocks, project):
        self.model = network(channels, blocks, project).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01, 0.9, weight_decay=1e-4)
        self.images = torch.randn(batch, channels, size, size).to(memory_format=torch.channels_last)
        self.labels = torch.randint(0, 10, (batch,))

    def step(self):
        """One training step: seconds of its forward pass, loss, backward pass and optimiser."""
        times = [time.perf_counter()]
        logits = self.model(self.images)
        times.append(time.perf_counter())
        loss = functional.cross_entropy(logits, self.labels)
        times.append(time.perf_counter())
        self.optimizer.zero_grad()
        loss.backward()
        times.append(time.perf_counter())
        self.optimizer.step()
        times.append(time.perf_counter())
        return [end - start for start, end in zip(times, times[1:])]


def median(values):
    """The middle one, the later of two."""
    return sorted(values)[len(values) // 2]


def peak_bytes():
    """Most memory that this process had in RAM so far (Linux)."""
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return None


def serve(bench):
    """The other side of `cargo xtask bench train`: trains for as long as each line says, prints one JSON line each."""
    for line in sys.stdin:
        limit, start, steps = float(line), time.perf_counter(), []
        while not steps or time.perf_counter() - start < limit:
            steps.append(bench.step())
        document = {
            "images_per_second": len(bench.labels) / median([sum(step) for step in steps]),
            "steps": len(steps),
            "parts": {name: median(part) for name, part in zip(PARTS, zip(*steps))},
            "peak_bytes": peak_bytes(),
            "version": torch.__version__,
        }
        print(json.dumps(document), flush=True)


def main():
    """Prints images a second: median and best over the steps, after two to warm up."""
    if sys.argv[1:2] == ["--serve"]:
        name, batch, threads = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
        torch.set_num_threads(threads)
        serve(Bench(batch, 3, 32, *NETWORKS[name]))
        return
    batch, steps, threads = [int(word) for word in sys.argv[1:]] + [128, 12, 2][len(sys.argv) - 1 :]
    torch.set_num_threads(threads)
    for name, channels, size in [("resnet8", 1, 28), ("resnet8", 3, 32), ("resnet20", 3, 32)]:
        bench = Bench(batch, channels, size, *NETWORKS[name])
        times = sorted([sum(bench.step()) for _ in range(steps + 2)][2:])
        rates = f"median {batch / median(times):.0f}, best {batch / times[0]:.0f}"
        print(f"{name} {channels}x{size}x{size}: {rates} images/s", flush=True)


if __name__ == "__main__":
    main()
