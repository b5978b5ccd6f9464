"""Writes torchvision's classification networks with random weights as ONNX files, for `cargo xtask bench import`.

`list` prints their names, those with few parameters first; `export NAME FOLDER` writes NAME.onnx, of one image, and NAME.npy, 8 random images (f32, n×3×h×w), and
prints one JSON document. `round NAME SIZE` prints the logits that the network has on these images where PyTorch, in f64, rounds its
weights (batch normalisation folded into them) and each value that is kept to f16: what the form of numbers does, whatever the engine.

The image is the usual one where the network takes about `USUAL_MACS` multiply-adds or fewer with it, else the smallest of `SIZES`
that it takes.
Weights are as torchvision makes them, from seed 0. A network whose values grow or shrink beyond `RANGE` with the statistics of batch
normalisation that it is made with (mean 0, variance 1) gets those of the images, as training would give it. Its image is the usual one
in any case: statistics of the few pixels that a small image leaves multiply roundings.
"""

import copy
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import fx, nn
from torch.fx.experimental.optimization import fuse

IMAGES = 8
USUAL_MACS = 1e9
SIZES = (32, 48, 64, 80, 96, 128, 160, 192, 224, 299)
# Least and greatest of the largest value of each layer.
RANGE = (1e-2, 1e4)
# What they are in the name's first word.
ATTENTION = ("vit", "swin", "maxvit")


def make(name):
    """The network as it is made, for inference."""
    torch.manual_seed(0)
    more = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    return torchvision.models.get_model(name, weights=None, **more).eval()


def usual_size(name):
    """The side of its images: 299 of Inception v3, 224 of the others."""
    return 299 if name == "inception_v3" else 224


def observed(network, images):
    """Multiply-adds of one image, and the largest value of each layer."""
    macs, peaks = [], []

    def hook(module, inputs, output):
        if not torch.is_tensor(output):
            return
        peaks.append(float(output.abs().max()))
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            macs.append(module.weight[0].numel() * output[0].numel())

    hooks = [module.register_forward_hook(hook) for module in network.modules() if not list(module.children())]
    with torch.no_grad():
        network(images)
    for each in hooks:
        each.remove()
    return sum(macs), peaks


def norms(network):
    """Its batch normalisations."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def estimate(network, images):
    """Gives batch normalisation the statistics of the images; whether there is any."""
    found = norms(network)
    for norm in found:
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        network(images)
    network.eval()
    return len(found) > 0


def write(network, images, path):
    """Writes the ONNX file of one image."""
    torch.onnx.export(network, images[:1], str(path), opset_version=17, input_names=["image"], output_names=["logits"])


def random_images(size):
    """Random images, whose numbers f16 holds."""
    random = np.random.default_rng(0)
    images = random.standard_normal((IMAGES, 3, size, size)).astype(np.float16).astype(np.float32)
    return torch.from_numpy(images)


def export(name, folder):
    """Writes one network."""
    usual = usual_size(name)
    network = make(name)
    path = folder / f"{name}.onnx"
    written = None
    for size in [size for size in SIZES if size < usual] + [usual]:
        try:
            written = export_at(network, size, path)
            break
        except Exception:
            # The next larger one, unless it is the last.
            if size == usual:
                raise
    macs = written.pop("macs")
    light = macs * (usual / written["size"]) ** 2 <= USUAL_MACS
    if written["size"] < usual and (light or written["estimated"]):
        written = export_at(network, usual, path)
        written.pop("macs")
    return written


def prepare(network, size):
    """Gives the network its statistics; its images, multiply-adds, and whether the statistics are those of the images."""
    images = random_images(size)
    for norm in norms(network):
        norm.reset_running_stats()
    macs, peaks = observed(network, images)
    estimated = False
    if min(peaks) < RANGE[0] or max(peaks) > RANGE[1]:
        estimated = estimate(network, images)
    return images, macs, estimated


def export_at(network, size, path):
    """Writes the network for images of a size, and these."""
    images, macs, estimated = prepare(network, size)
    write(network, images, path)
    np.save(path.with_suffix(".npy"), images.numpy())
    return {"size": size, "macs": macs, "estimated": estimated}


def rounded(values):
    """The nearest numbers of f16."""
    return values.to(torch.float16).to(torch.float64)


class Rounding(fx.Interpreter):
    """Runs a network whose values are rounded where they are kept: not between a layer and its activation, nor the logits."""

    def run_node(self, node):
        """The value of a node."""
        value = super().run_node(node)
        users = list(node.users)
        kept = node.op.startswith("call_") and users and users[0].op != "output"
        if not (torch.is_tensor(value) and kept) or len(users) == 1 and self.activates(users[0]):
            return value
        return rounded(value)

    def activates(self, node):
        """Whether the node is an activation, which is computed with the layer before it."""
        if node.op == "call_module":
            return isinstance(self.fetch_attr(node.target), (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish))
        return node.op == "call_function" and "relu" in str(node.target)


def round_network(name, size):
    """The logits of f64 with weights and values of f16."""
    network = make(name)
    images, _, _ = prepare(network, size)
    network = fuse(copy.deepcopy(network).double().eval())
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.weight.data = rounded(module.weight.data)
    with torch.no_grad():
        logits = Rounding(network).run(rounded(images.double()))
    return {"logits": logits.tolist()}


def parameters(name):
    """The number that torchvision publishes."""
    return torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"]


def main(arguments):
    """Runs the program."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if arguments == ["list"]:
        names = torchvision.models.list_models(module=torchvision.models)
        attention = [name for name in names if name.split("_")[0] in ATTENTION]
        convolutional = sorted((name for name in names if name not in attention), key=parameters)
        versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
        print(json.dumps({"convolutional": convolutional, "attention": attention, **versions}))
    elif arguments[0] == "round":
        _, name, size = arguments
        print(json.dumps(round_network(name, int(size))))
    else:
        _, name, folder = arguments
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        print(json.dumps(export(name, folder)))


if __name__ == "__main__":
    main(sys.argv[1:])
