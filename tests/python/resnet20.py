"""Writes ResNet-20 (option A) of 3×16×16 images and 2 classes as PyTorch exports it, with random weights, for tests/tests/networks.rs.

Each node is one that `torch.onnx.export` writes for a network in training: convolutions and batch normalisations apart, a shortcut as
a slice of each axis and a padding of channels.
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE, CLASSES = 16, 2
random = np.random.default_rng(20)
nodes, weights = [], []


def constant(name, array):
    """A weight of the file; its name."""
    weights.append(numpy_helper.from_array(array, name))
    return name


def node(operator, inputs, **attributes):
    """One more node; the name of what it makes."""
    name = f"/{operator}_{len(nodes)}_output_0"
    nodes.append(helper.make_node(operator, inputs, [name], **attributes))
    return name


def convolution(x, name, norm, before, after, stride=1):
    """A convolution and its normalisation."""
    shape = (after, before, 3, 3)
    weight = constant(f"{name}.weight", random.normal(0, (2 / after / 9) ** 0.5, shape).astype(np.float32))
    x = node("Conv", [x, weight], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[stride, stride], dilations=[1, 1], group=1)
    ranges = {"weight": (0.7, 1.3), "bias": (-0.2, 0.2), "running_mean": (-0.2, 0.2), "running_var": (0.8, 1.2)}
    parts = [constant(f"{norm}.{part}", random.uniform(*ends, after).astype(np.float32)) for part, ends in ranges.items()]
    return node("BatchNormalization", [x, *parts], epsilon=1e-5, momentum=0.9)


def shortcut(x, more):
    """Every second pixel, and zero channels around."""
    for axis in (2, 3):
        numbers = [constant(f"slice_{len(nodes)}_{at}", np.array([value])) for at, value in enumerate([0, 2**63 - 1, axis, 2])]
        x = node("Slice", [x, *numbers])
    pads = np.array([0, more // 2, 0, 0, 0, more - more // 2, 0, 0])
    return node("Pad", [x, constant(f"pads_{len(nodes)}", pads), constant(f"zero_{len(nodes)}", np.float32(0))], mode="constant")


def main(path):
    """Runs the program."""
    x = node("Relu", [convolution("image", "conv1", "bn1", 3, 16)])
    channels = 16
    for stage, width in enumerate((16, 32, 64), 1):
        for block in range(3):
            name = f"layer{stage}.{block}"
            short, stride = x, 1
            if width != channels:
                short, stride = shortcut(x, width - channels), 2
            y = node("Relu", [convolution(x, f"{name}.conv1", f"{name}.bn1", channels, width, stride)])
            y = convolution(y, f"{name}.conv2", f"{name}.bn2", width, width)
            x = node("Relu", [node("Add", [y, short])])
            channels = width
    x = node("Flatten", [node("GlobalAveragePool", [x])], axis=1)
    weight = constant("fc.weight", random.uniform(-0.1, 0.1, (CLASSES, 64)).astype(np.float32))
    bias = constant("fc.bias", random.uniform(-0.1, 0.1, CLASSES).astype(np.float32))
    x = node("Gemm", [x, weight, bias], alpha=1.0, beta=1.0, transB=1)
    graph = helper.make_graph(
        nodes,
        "torch_jit",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, CLASSES])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="pytorch")
    onnx.checker.check_model(model)
    onnx.save(model, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
