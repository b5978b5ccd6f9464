"""Writes the cases of ONNX's own backend tests as folders that are easy to read: `model.onnx` and, for each set of data, numpy
files `SET-input-INDEX.npy` and `SET-output-INDEX.npy`.

Usage: onnx_cases.py FOLDER OPERATOR...: cases of single operators whose name is among OPERATORS, and all cases that came from
PyTorch, simple ones, and the light forms of known networks.
"""

import pathlib
import shutil
import sys

import numpy
import onnx
from onnx import numpy_helper
from onnx.backend.test.case import node as nodes


def write(folder, model, sets):
    """One case; data that are no arrays of numbers leave it without data."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model)
    for number, (inputs, outputs) in enumerate(sets):
        for kind, values in (("input", inputs), ("output", outputs)):
            for index, value in enumerate(values):
                array = numpy.asarray(value)
                if array.dtype.kind not in "fiub":
                    continue
                numpy.save(folder / f"{number}-{kind}-{index}.npy", numpy.asarray(array, dtype=numpy.float32, order="C"))


def tensors(folder, kind):
    """The tensors of a set in the package's own form."""
    found = []
    for index in range(64):
        path = folder / f"{kind}_{index}.pb"
        if not path.exists():
            break
        tensor = onnx.TensorProto()
        try:
            tensor.ParseFromString(path.read_bytes())
            found.append(numpy_helper.to_array(tensor))
        except Exception:  # A sequence, a text or nothing.
            return None
    return found


def main():
    out, operators = pathlib.Path(sys.argv[1]), set(sys.argv[2:])
    for case in nodes.collect_testcases():
        model = case.model
        kinds = {node.op_type for node in model.graph.node}
        if len(kinds) == 1 and kinds <= operators and case.data_sets:
            write(out / "node" / case.name, model.SerializeToString(), case.data_sets)
    data = pathlib.Path(onnx.__file__).parent / "backend/test/data"
    for group in ("pytorch-converted", "pytorch-operator", "simple"):
        for folder in sorted((data / group).iterdir()):
            sets = []
            for part in sorted(folder.glob("test_data_set_*")):
                inputs, outputs = tensors(part, "input"), tensors(part, "output")
                if inputs is not None and outputs is not None:
                    sets.append((inputs, outputs))
            write(out / group / folder.name, (folder / "model.onnx").read_bytes(), sets)
    for path in sorted((data / "light").glob("*.onnx")):
        (out / "light" / path.stem).mkdir(parents=True)
        shutil.copy(path, out / "light" / path.stem / "model.onnx")


if __name__ == "__main__":
    main()
