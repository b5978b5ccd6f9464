"""Runs an ONNX file of one image in ONNX Runtime on each image of an array (.npy) and prints the logits as JSON."""

import json
import sys

import numpy as np
import onnxruntime


def main(file, array):
    """Runs the program."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    result = session.get_outputs()[0].name
    images = np.load(array)
    logits = [session.run([result], {given.name: image[None].reshape(given.shape)})[0].ravel().tolist() for image in images]
    print(json.dumps({"version": onnxruntime.__version__, "logits": logits}))


if __name__ == "__main__":
    main(*sys.argv[1:])
