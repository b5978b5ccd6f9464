"""One engine, serving timed inferences: engines.py onnxruntime|openvino MODEL.onnx VALUES THREADS.

VALUES holds the input, raw f32. The first line printed has the engine's version and its logits; then each line read, a
number of seconds, is answered by the nanoseconds of every inference made in that time. Input and output stay
where they are, so that as little as possible is timed besides the engine; `call_us` is what a call takes that does nothing.
"""

import gc
import json
import statistics
import sys
import time

import numpy as np


def onnxruntime_call(model, values, threads):
    """A call of ONNX Runtime, how to get its result, and the version."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (given,), (result,) = session.get_inputs(), session.get_outputs()
    binding = session.io_binding()
    binding.bind_cpu_input(given.name, values.reshape(given.shape))
    binding.bind_output(result.name, "cpu")

    def call():
        session.run_with_iobinding(binding)

    return call, lambda: binding.copy_outputs_to_cpu()[0], onnxruntime.__version__


def openvino_call(model, values, threads):
    """A call of OpenVINO, how to get its result, and the version."""
    import openvino

    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        # Wherever there is room, as the others.
        "ENABLE_CPU_PINNING": False,
        # Left to itself it computes in bf16 where the processor can.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    core = openvino.Core()
    network = core.read_model(model=model) if isinstance(model, bytes) else core.read_model(model)
    compiled = core.compile_model(network, "CPU", config)
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(values.reshape(compiled.input(0).shape), shared_memory=True))

    def call():
        request.infer(share_outputs=True)

    return call, lambda: request.get_output_tensor().data.copy(), openvino.get_version().split("-")[0]


ENGINES = {"onnxruntime": onnxruntime_call, "openvino": openvino_call}


def record(tag, content):
    """A field of a protocol buffer: a number, or bytes (fewer than 128)."""
    if isinstance(content, int):
        return bytes([tag << 3, content])
    return bytes([tag << 3 | 2, len(content)]) + content


def nothing():
    """An ONNX model that does as good as nothing: Relu of one value."""
    axis = record(1, record(1, 1))
    kind = record(2, record(1, record(1, 1) + record(2, axis)))
    node = record(1, b"a") + record(2, b"b") + record(4, b"Relu")
    graph = record(1, node) + record(2, b"g") + record(11, record(1, b"a") + kind) + record(12, record(1, b"b") + kind)
    return record(1, 7) + record(7, graph) + record(8, record(1, b"") + record(2, 13))


def timed(call, seconds):
    """Nanoseconds of every call in a number of seconds."""
    times, clock = [], time.perf_counter_ns
    end = clock() + seconds * 1e9
    while True:
        start = clock()
        call()
        stop = clock()
        times.append(stop - start)
        if stop >= end:
            return times


def main(arguments):
    """Runs the program."""
    engine, model, values, threads = arguments
    # The engines read these where they are and keep no reference to them.
    one, image = np.ones(1, np.float32), np.fromfile(values, np.float32)
    empty, _, _ = ENGINES[engine](nothing(), one, 1)
    call, result, version = ENGINES[engine](model, image, int(threads))
    gc.disable()
    timed(empty, 0.02)
    call_us = statistics.median(timed(empty, 0.05)) / 1e3
    call()
    print(json.dumps({"version": version, "logits": result().ravel().tolist(), "call_us": call_us}), flush=True)
    for line in sys.stdin:
        print(json.dumps({"nanoseconds": timed(call, float(line))}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
