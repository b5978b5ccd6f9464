"""PyTorch's side of gpu_speed.rs: whole training steps of the same networks on the same card.

`python3 trainer/train/examples/gpu_speed.py [--device cuda:0] [--precision tf32] [--channels-last] [--batch 128] [--steps 200]`
"""

import argparse
import time

import torch
from torch.nn import functional

from step_speed import network

# Blocks a stage; option-A shortcuts.
BLOCKS = {"resnet20": 3, "resnet56": 9, "resnet110": 18}


def main():
    """Prints images a second, median and best of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--precision", choices=["f32", "tf32"], default="f32")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--nets", default="resnet20,resnet56")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    words = parser.parse_args()
    device = torch.device(words.device)
    # Both switches: cuDNN's is on by default.
    torch.backends.cuda.matmul.allow_tf32 = words.precision == "tf32"
    torch.backends.cudnn.allow_tf32 = words.precision == "tf32"
    torch.backends.cudnn.benchmark = True
    layout = torch.channels_last if words.channels_last else torch.contiguous_format

    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    print(f"torch {torch.__version__}, {words.device}, {words.precision}, {layout}, batch {words.batch}")
    for name in words.nets.split(","):
        model = network(3, BLOCKS[name], False).to(device, memory_format=layout)
        optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9, weight_decay=1e-4)
        images = torch.randn(words.batch, 3, 32, 32)
        labels = torch.randint(0, 10, (words.batch,))

        def train(steps):
            wait()
            start = time.perf_counter()
            for _ in range(steps):
                # From the host each time, as in a training.
                batch = images.to(device, memory_format=layout, non_blocking=True)
                optimizer.zero_grad(set_to_none=True)
                functional.cross_entropy(model(batch), labels.to(device, non_blocking=True)).backward()
                optimizer.step()
            wait()
            return time.perf_counter() - start

        train(20)
        rates = sorted(words.batch * words.steps / train(words.steps) for _ in range(words.rounds))
        print(f"{name}: median {rates[len(rates) // 2]:.0f}, best {rates[-1]:.0f} images/s", flush=True)


if __name__ == "__main__":
    main()
