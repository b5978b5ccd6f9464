"""Runs an ONNX file: FILE INPUT OUTPUTS AXES FROM TO.

FROM has inputs of f32 one after another, each of the axes 1x3x8x8; their results, those of OUTPUTS (a list in JSON), go to TO as f32. Prints one JSON document: the
version of ONNX Runtime, or what Python lacks.
"""

import json
import sys


def main(model, name, outputs, axes, source, target):
    """Runs the program."""
    try:
        import numpy as np
        import onnxruntime
    except ImportError as error:
        print(json.dumps({"lacks": str(error)}))
        return
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (given,) = [given for given in session.get_inputs() if given.name == name]
    types = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
    if given.type not in types:
        sys.exit(f"its input {name} is a {given.type}, no numbers with fractions")
    axes = [int(axis) for axis in axes.split("x") if axis]
    # A file made for several images at once gets the same one several times.
    many = 1
    if given.shape and axes and isinstance(given.shape[0], int) and axes[0] == 1:
        many = given.shape[0]
    inputs = np.fromfile(source, np.float32).reshape(-1, *axes).astype(types[given.type])
    with open(target, "wb") as file:
        for values in inputs:
            given = {name: np.concatenate([values] * many) if many > 1 else values}
            for result in session.run(json.loads(outputs), given):
                result.astype(np.float32).reshape(many, -1)[0].tofile(file)
    print(json.dumps({"version": onnxruntime.__version__}))


if __name__ == "__main__":
    main(*sys.argv[1:])
