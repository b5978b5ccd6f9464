"""Runs the ONNX files of a folder on the inputs beside them and compares their logits with those beside them.

NAME.onnx takes the images of NAME.input (raw bytes of the input's type, one image after another) and should give NAME.logits
(raw f32), as many at once as its first axis says; where that axis is free, 1, 3 and 8 at once. Prints one JSON document: for each file what it takes and how far its logits are from those.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

# Images at once where the model takes any number.
FREE = (1, 3, 8)

TYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}


def run(path):
    """Runs one file on all of its images."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (given,), (result,) = session.get_inputs(), session.get_outputs()
    images = np.fromfile(path.with_suffix(".input"), TYPES[given.type]).reshape(-1, *given.shape[1:])
    expected = np.fromfile(path.with_suffix(".logits"), np.float32).reshape(len(images), *result.shape[1:])
    batches = FREE if isinstance(given.shape[0], str) else (given.shape[0],)
    logits, wanted = [], []
    for batch in batches:
        # Every image once at least, from the first on again to fill the last batch.
        order = np.arange(-(-len(images) // batch) * batch) % len(images)
        for part in order.reshape(-1, batch):
            found = session.run([result.name], {given.name: images[part]})[0]
            assert found.shape == (batch, *expected.shape[1:]), found.shape
            logits.append(found)
            wanted.append(expected[part])
    logits, expected = np.concatenate(logits), np.concatenate(wanted)
    return {
        "file": path.stem,
        "input": {"name": given.name, "type": given.type, "shape": given.shape},
        "output": {"name": result.name, "type": result.type, "shape": result.shape},
        "metadata": session.get_modelmeta().custom_metadata_map,
        "images": len(images),
        "batches": list(batches),
        # NaN would pass every comparison.
        "finite": bool(np.isfinite(logits).all() and np.isfinite(expected).all()),
        "difference": float(np.abs(logits - expected).max()),
        "largest": float(np.abs(expected).max()),
        "between_images": float(np.abs(logits - logits[:1]).max()),
    }


def main(arguments):
    """Runs the program."""
    (folder,) = arguments
    files = sorted(Path(folder).glob("*.onnx"))
    print(json.dumps({"version": onnxruntime.__version__, "models": [run(path) for path in files]}))


if __name__ == "__main__":
    main(sys.argv[1:])
