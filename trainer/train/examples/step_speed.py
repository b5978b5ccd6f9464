"""The peer of step_speed.rs: whole training steps of the same networks with PyTorch, channels-last.

Debian's python3-torch: `/usr/bin/python3 trainer/train/examples/step_speed.py [BATCH [STEPS [THREADS [NETWORK CxHxW]...]]]`.
Rates are by the clock and by CPU time (of no use with several threads: PyTorch's wait busily). The memory is the
process's since its start: name one network to see its own.

`step_speed.py --serve NETWORK BATCH THREADS` is the peer's side of `cargo xtask bench train`, on images of 3x32x32.
"""

import json
import resource
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


def cifar_resnet(channels, blocks, project):
    """A CIFAR ResNet with `blocks` blocks a stage, ten classes."""
    layers = [nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
    width = 16
    for stage, outputs in enumerate((16, 32, 64)):
        for block in range(blocks):
            layers.append(Block(width, outputs, 2 if stage and not block else 1, project))
            width = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def conv(inputs, outputs, kernel, stride=1, groups=1, padding=None, act=nn.ReLU):
    """Convolution, batch normalisation and activation."""
    padding = kernel // 2 if padding is None else padding
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([act(inplace=True)] if act else []))


class Sum(nn.Module):
    """The sum of a body and a shortcut, with an activation."""

    def __init__(self, body, shortcut=None, relu=False):
        super().__init__()
        self.body, self.shortcut, self.relu = body, shortcut, relu

    def forward(self, x):
        y = self.body(x)
        y += x if self.shortcut is None else self.shortcut(x)
        return torch.relu_(y) if self.relu else y


class Inception(nn.Module):
    """Four branches, joined."""

    def __init__(self, inputs, one, three, five, pooled):
        super().__init__()
        self.branches = nn.ModuleList(
            [
                conv(inputs, one, 1),
                nn.Sequential(conv(inputs, three[0], 1), conv(three[0], three[1], 3)),
                nn.Sequential(conv(inputs, five[0], 1), conv(five[0], five[1], 3), conv(five[1], five[1], 3)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(inputs, pooled, 1)),
            ]
        )

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


def head(channels):
    """Global average pool and ten classes."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]


def vgg16_bn(channels):
    """Thirteen 3x3 convolutions."""
    layers, width = [], channels
    for stage in ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)):
        for outputs in stage:
            layers.append(conv(width, outputs, 3))
            width = outputs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, *head(512))


def googlenet(channels):
    """Nine inception modules behind a 3x3 stem."""
    layers, width = [conv(channels, 192, 3)], 192
    stages = (
        ((64, (96, 128), (16, 32), 32), (128, (128, 192), (32, 96), 64)),
        (
            (192, (96, 208), (16, 48), 64),
            (160, (112, 224), (24, 64), 64),
            (128, (128, 256), (24, 64), 64),
            (112, (144, 288), (32, 64), 64),
            (256, (160, 320), (32, 128), 128),
        ),
        ((256, (160, 320), (32, 128), 128), (384, (192, 384), (48, 128), 128)),
    )
    for number, stage in enumerate(stages):
        if number:
            layers.append(nn.MaxPool2d(3, 2, 1))
        for widths in stage:
            layers.append(Inception(width, *widths))
            width = widths[0] + widths[1][1] + widths[2][1] + widths[3]
    return nn.Sequential(*layers, *head(width))


def mobilenet_v2(channels, full_size):
    """Seventeen inverted residuals."""
    layers, width = [conv(channels, 32, 3, 2 if full_size else 1, act=nn.ReLU6)], 32
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for stage, (expansion, outputs, blocks, stride) in enumerate(table):
        for block in range(blocks):
            step = stride if block == 0 and (full_size or stage != 1) else 1
            middle = width * expansion
            body = [conv(width, middle, 1, act=nn.ReLU6)] if expansion != 1 else []
            body += [conv(middle, middle, 3, step, middle, act=nn.ReLU6), conv(middle, outputs, 1, act=None)]
            layers.append(Sum(nn.Sequential(*body)) if step == 1 and width == outputs else nn.Sequential(*body))
            width = outputs
    return nn.Sequential(*layers, conv(width, 1280, 1, act=nn.ReLU6), *head(1280))


def resnet(channels, blocks, bottleneck):
    """A ResNet for large images."""
    layers, width = [conv(channels, 64, 7, 2), nn.MaxPool2d(3, 2, 1)], 64
    for stage, count in enumerate(blocks):
        middle = 64 << stage
        outputs = 4 * middle if bottleneck else middle
        for block in range(count):
            step = 2 if stage and not block else 1
            if bottleneck:
                body = [conv(width, middle, 1), conv(middle, middle, 3, step), conv(middle, outputs, 1, act=None)]
            else:
                body = [conv(width, outputs, 3, step), conv(outputs, outputs, 3, act=None)]
            shortcut = conv(width, outputs, 1, step, act=None) if width != outputs else None
            layers.append(Sum(nn.Sequential(*body), shortcut, relu=True))
            width = outputs
    return nn.Sequential(*layers, *head(width))


def ds_cnn(channels):
    """10x4 stem and four depthwise-separable blocks, for 49x10 inputs."""
    layers = [nn.ZeroPad2d((1, 1, 4, 5)), conv(channels, 64, (10, 4), 2, padding=0)]
    for _ in range(4):
        layers += [conv(64, 64, 3, 1, 64), conv(64, 64, 1)]
    return nn.Sequential(*layers, *head(64))


NETWORKS = {
    "resnet8": lambda channels: cifar_resnet(channels, 1, True),
    "resnet20": lambda channels: cifar_resnet(channels, 3, False),
    "resnet20b": lambda channels: cifar_resnet(channels, 3, True),
    "resnet32": lambda channels: cifar_resnet(channels, 5, False),
    "resnet56": lambda channels: cifar_resnet(channels, 9, False),
    "resnet56b": lambda channels: cifar_resnet(channels, 9, True),
    "resnet110": lambda channels: cifar_resnet(channels, 18, False),
    "vgg16_bn": vgg16_bn,
    "googlenet": googlenet,
    "mobilenet_v2_cifar": lambda channels: mobilenet_v2(channels, False),
    "mobilenet_v2": lambda channels: mobilenet_v2(channels, True),
    "resnet18": lambda channels: resnet(channels, (2, 2, 2, 2), False),
    "resnet50": lambda channels: resnet(channels, (3, 4, 6, 3), True),
    "ds_cnn": ds_cnn,
}


# Parts of a step, in order.
PARTS = ("forward", "loss", "backward", "optimizer")


class Bench:
    """A network and one batch of random images."""

    def __init__(self, name, batch, sizes):
        self.model = NETWORKS[name](sizes[0]).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.01, 0.9, weight_decay=1e-4)
        self.images = torch.randn(batch, *sizes).to(memory_format=torch.channels_last)
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
    """Most memory that this process had in RAM so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


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
    """Prints images a second: median and best over the steps, after two to warm up, and of CPU time; peak memory."""
    words = sys.argv[1:]
    if words[:1] == ["--serve"]:
        torch.set_num_threads(int(words[3]))
        serve(Bench(words[1], int(words[2]), [3, 32, 32]))
        return
    batch, steps, threads = [int(word) for word in words[:3]] + [128, 12, 2][len(words[:3]) :]
    torch.set_num_threads(threads)
    cases = words[3:] or ["resnet8", "1x28x28", "resnet8", "3x32x32", "resnet20", "3x32x32"]
    for name, shape in zip(cases[::2], cases[1::2]):
        bench = Bench(name, batch, [int(size) for size in shape.split("x")])
        times, busy = [], []
        for _ in range(steps + 2):
            start = time.process_time()
            times.append(sum(bench.step()))
            busy.append(time.process_time() - start)
        times, busy = sorted(times[2:]), sorted(busy[2:])
        rates = [batch / seconds for seconds in (median(times), times[0], median(busy))]
        memory = peak_bytes() // 1_000_000
        print(f"{name} {shape}: {rates[0]:.1f}, {rates[1]:.1f}, {rates[2]:.1f}; peak memory {memory} MB", flush=True)


if __name__ == "__main__":
    main()
