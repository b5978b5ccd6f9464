"""A network with channels last at both ends: x [1, 6, 7, 3] to maps y [1, 6, 7, 5] and z [1, 3, 3, 5]. python FILE"""

import sys

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

weights = numpy.random.default_rng(1).normal(size=(5, 3, 3, 3)).astype("float32") * 0.2
nodes = [
    helper.make_node("Transpose", ["x"], ["first"], perm=[0, 3, 1, 2]),
    helper.make_node("Conv", ["first", "w"], ["sums"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], name="conv"),
    helper.make_node("Relu", ["sums"], ["map"]),
    helper.make_node("MaxPool", ["map"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
    helper.make_node("Transpose", ["map"], ["y"], perm=[0, 2, 3, 1]),
    helper.make_node("Transpose", ["pooled"], ["z"], perm=[0, 2, 3, 1]),
]
maps = {"x": [1, 6, 7, 3], "y": [1, 6, 7, 5], "z": [1, 3, 3, 5]}
x, y, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in maps.items())
graph = helper.make_graph(nodes, "channels last", [x], [y, z], [numpy_helper.from_array(weights, "w")])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), sys.argv[1])
