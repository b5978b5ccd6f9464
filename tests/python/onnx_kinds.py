"""Writes the ONNX file FILE in the forms that exporters give the same network, to FOLDER, for trainer/network/tests/kinds.rs.

`f16.onnx`, `bf16.onnx`, `f64.onnx`: all numbers of that type. `external.onnx`: weights in a file beside it. `int8.onnx`, `uint8.onnx`:
quantised by ONNX Runtime, rounding nodes around each operation (QDQ), weights by channel or as a whole. `nhwc.onnx`: channels last at the
input and inside, with a bias added there, as tf2onnx writes it.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

TYPES = {"f16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16, "f64": TensorProto.DOUBLE}


def of_type(model, kind):
    """The model with its numbers in another type."""
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = kind
    attributes = [attribute.t for node in graph.node for attribute in node.attribute if attribute.HasField("t")]
    for tensor in (*graph.initializer, *attributes):
        if tensor.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(kind))
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return model


class Values(CalibrationDataReader):
    """Random inputs."""

    def __init__(self, given):
        shape = [axis.dim_value for axis in given.type.tensor_type.shape.dim]
        random = np.random.default_rng(1)
        self.left = iter([{given.name: random.standard_normal(shape).astype(np.float32)} for _ in range(4)])

    def get_next(self):
        return next(self.left, None)


def channels_last(model):
    """Channels last at the input, and around a sum behind the first convolution's activation."""
    graph = model.graph
    given = graph.input[0]
    _, channels, height, width = [axis.dim_value for axis in given.type.tensor_type.shape.dim]
    inner = given.name
    given.CopyFrom(helper.make_tensor_value_info("nhwc", TensorProto.FLOAT, [1, height, width, channels]))
    begin = helper.make_node("Transpose", ["nhwc"], [inner], name="begin", perm=[0, 3, 1, 2])
    place = next(index for index, node in enumerate(graph.node) if node.op_type == "HardSwish")
    made = graph.node[place].output[0]
    graph.node[place].output[0] = "before"
    count = next(array.dims[0] for array in graph.initializer if len(array.dims) == 4)
    bias = numpy_helper.from_array(np.zeros(count, np.float32), "nothing")
    graph.initializer.append(bias)
    middle = [
        helper.make_node("Transpose", ["before"], ["last"], name="last", perm=[0, 2, 3, 1]),
        helper.make_node("Add", ["last", "nothing"], ["sum"], name="sum"),
        helper.make_node("Transpose", ["sum"], [made], name="first", perm=[0, 3, 1, 2]),
    ]
    nodes = [begin, *graph.node[: place + 1], *middle, *graph.node[place + 1 :]]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def main(file, folder):
    """Runs the program."""
    warnings.simplefilter("ignore")
    folder = Path(folder)
    for name, kind in TYPES.items():
        onnx.save(of_type(onnx.load(file), kind), folder / f"{name}.onnx")
    onnx.save(onnx.load(file), folder / "external.onnx", save_as_external_data=True, location="external.onnx.data", size_threshold=64)
    onnx.save(channels_last(onnx.load(file)), folder / "nhwc.onnx")
    given = onnx.load(file).graph.input[0]
    for name, kind, by_channel in (("int8", QuantType.QInt8, True), ("uint8", QuantType.QUInt8, False)):
        quantize_static(file, folder / f"{name}.onnx", Values(given), quant_format=QuantFormat.QDQ, per_channel=by_channel,
                        activation_type=kind, weight_type=kind)


if __name__ == "__main__":
    main(*sys.argv[1:])
