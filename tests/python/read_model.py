"""A second reader of the model file, written from docs/format.md alone.

    python read_model.py MODEL.safetensors [--exact]

Decodes and checks the file, runs the network on the images of its self-check and prints one JSON document: network,
samples, max_abs_diff (from the stored logits), logits, classes. An unreadable file, or a failed self-check, gives one line
on stderr and exit status 1. Sums are float64 and values are rounded to f16 as the text asks; --exact leaves them unrounded
and only reports the difference. Needs numpy and safetensors.
"""

import json
import os
import struct
import sys
from types import SimpleNamespace as Record

import general_operations as general
import numpy as np
from general_operations import check
from numpy.lib.stride_tricks import sliding_window_view
from safetensors import SafetensorError, safe_open

FIRST = ["conv", "linear", "pool", "global_average_pool", "pad_shortcut", "add", "concat"]
EIGHTS = 16
OPERATIONS = [*FIRST, *general.FIELDS]


# ---- Container ----------------------------------------------------------------------------------------------------------


def unique_members(pairs):
    """Builds a JSON object and refuses a name that comes twice."""
    check(len(dict(pairs)) == len(pairs), "the header has a name twice")
    return dict(pairs)


def tensor_offsets(path):
    """Checks what `safetensors` leaves unchecked in the header; returns each tensor's offset in the file."""
    check(os.path.getsize(path) <= 2**32, "the file is larger than 4 GiB")
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        text = file.read(size)
    check(text.startswith(b"{"), "the header does not begin with {")
    tensors = json.loads(text, object_pairs_hook=unique_members)
    tensors.pop("__metadata__", None)
    for name, tensor in tensors.items():
        check(tensor.keys() == {"dtype", "shape", "data_offsets"}, f"{name!r} has other fields in the header")
        check(len(tensor["shape"]) <= 4 and all(n < 2**32 for n in tensor["shape"]), f"{name!r}: shape out of range")
    spans = [tensor["data_offsets"] for tensor in tensors.values()]
    check(len(spans) <= 2048 or spans == sorted(spans), "more than 2048 tensors, not in the order of their data")
    return {name: 8 + size + tensor["data_offsets"][0] for name, tensor in tensors.items()}


def load(file, offsets, name, dtype, shape, align=1):
    """The tensor `name`, which must have this dtype, shape (None: any length) and alignment in the file."""
    check(name in offsets, f"tensor {name!r} is missing")
    part = file.get_slice(name)
    found = part.get_shape()
    fits = len(found) == len(shape) and all(want in (None, have) for want, have in zip(shape, found))
    check(part.get_dtype() == dtype and fits, f"{name!r} is {part.get_dtype()} {found}, not {dtype} {list(shape)}")
    check(offsets[name] % align == 0, f"{name!r} is misaligned")
    data = file.get_tensor(name)
    check(np.isfinite(data).all(), f"{name!r} has a value that is not finite")
    return data


def load_layer(file, offsets, op, shape):
    """The tensors of a layer with an input of `shape` in the order of its computation, as float64; none for other operations."""
    named = general.tensors(op, shape[0])
    if named is not None:
        name, shapes = named
        parts = [load(file, offsets, f"{name}.{part}", "F32", size, 4) for part, size in shapes.items()]
        return [part.astype(np.float64) for part in parts]
    if op.kind not in ("conv", "linear", "general_conv"):
        return ()
    channels = int(np.prod(shape)) if op.kind == "linear" else shape[0] // getattr(op, "groups", 1)
    kernel, point = ([], []) if op.kind == "linear" else (op.window.kernel, [1, 1])
    if op.weights == "pair":
        shapes = {"thin.weight": [op.rank, channels, *kernel], "expand.weight": [op.out, op.rank, *point]}
        shapes["expand.bias"] = [op.out]
    else:
        shapes = {"weight": [op.out, 1 if op.weights == "depthwise" else channels, *kernel], "bias": [op.out]}
    first = f"{op.name}.{next(iter(shapes))}"
    if op.kind != "general_conv" and op.weights != "depthwise" and first in offsets:
        if file.get_slice(first).get_dtype() == "I8":
            return load_bytes(file, offsets, op, shapes)
    kinds = {part: ("F32", shape, 4) if part.endswith("bias") else ("F16", shape, 2) for part, shape in shapes.items()}
    return [load(file, offsets, f"{op.name}.{part}", *kind).astype(np.float64) for part, kind in kinds.items()]


def load_bytes(file, offsets, op, shapes):
    """As `load_layer`, of weights of 8 bits: what they stand for."""
    *matrices, (bias, size) = shapes.items()
    biases, scales = load(file, offsets, f"{op.name}.{bias}", "F32", [2, *size], 4).astype(np.float64)
    halves, _ = np.frexp(scales)
    fit = (halves * 16 == np.floor(halves * 16)) & (scales >= 2.0**-21) & (scales <= 480)
    check(fit.all(), f"'{op.name}.{bias}' has a scale that weights of 8 bits do not have")
    check(op.states & EIGHTS, f"{op.name!r} has weights of 8 bits, which the program does not state")
    loaded = [load(file, offsets, f"{op.name}.{part}", "I8", shape).astype(np.float64) for part, shape in matrices]
    *thin, last = loaded
    last = last * scales.reshape(-1, *[1] * (last.ndim - 1))
    return [*[part / 128 for part in thin], last, biases]


# ---- Program ------------------------------------------------------------------------------------------------------------


class Decoder:
    """Reads postcard's wire format, and the program's records in it, from bytes."""

    def __init__(self, data):
        self.data, self.position = data, 0

    def take(self, count):
        """The next `count` bytes."""
        check(self.position + count <= len(self.data), "the program ends too early")
        self.position += count
        return self.data[self.position - count : self.position]

    def varint(self, bits):
        """An unsigned integer of at most `bits` bits."""
        value = 0
        for shift in range(0, bits, 7):
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                break
        check(byte < 128 and value < 2**bits, f"a number of the program does not fit into {bits} bits")
        return value

    def u16(self):
        return self.varint(16)

    def u32(self):
        return self.varint(32)

    def array(self, count, read):
        """`count` values."""
        return [read() for _ in range(count)]

    def f32(self):
        return struct.unpack("<f", self.take(4))[0]

    def string(self):
        return self.take(self.u32()).decode("utf-8")

    def choice(self, *variants):
        """One of `variants`, by its number."""
        number = self.u32()
        check(number < len(variants), f"unknown variant {number} in the program")
        return variants[number]

    def optional(self, read):
        """A value, or None."""
        tag = self.take(1)[0]
        check(tag < 2, "an optional value begins with neither 0 nor 1")
        return read() if tag else None

    def window(self, general=False):
        """Kernel, stride and padding of a convolution or a pool; those of a general one may have more padding."""
        kernel, stride, padding = (self.array(count, self.u16) for count in (2, 2, 4))
        check(min(stride) > 0, "a window has stride 0")
        check(general or all(p < k for p, k in zip(padding, kernel + kernel)), "a padding is not smaller than its kernel")
        return Record(kernel=kernel, stride=stride, padding=padding)

    def weights(self, op):
        """How the weights of `op` are stored."""
        op.weights = self.choice("dense", "pair", *["depthwise"][: op.kind == "conv"])
        op.rank = self.u32() if op.weights == "pair" else None
        check(op.rank != 0, "a pair has rank 0")

    def operation(self):
        """One operation; the kinds have their fields in one common order."""
        op = Record(kind=self.choice(*OPERATIONS), name=None, residual=None, activation=("none", []))
        if op.kind in general.FIELDS:
            general.read_fields(self, op)
            return self.reading(op)
        if op.kind in ("conv", "linear"):
            op.name = self.string()
        count = self.u32() if op.kind == "concat" else 2 if op.kind == "add" else 1
        check(1 <= count <= 4, f"an operation has {count} inputs")
        op.inputs = self.array(count, self.u16)
        if op.kind in ("conv", "linear", "pad_shortcut", "concat"):
            op.out = self.u32()
        if op.kind == "pad_shortcut":
            op.stride = self.u16()
        if op.kind == "pool":
            op.largest = self.choice(True, False)
        if op.kind in ("conv", "pool"):
            op.window = self.window()
        if op.kind in ("conv", "linear"):
            self.weights(op)
        if op.kind == "conv":
            op.residual = self.optional(self.u16)
        if op.kind in ("conv", "linear", "add"):
            op.activation = general.activation(self)
        return self.reading(op)

    @staticmethod
    def reading(op):
        """`op` with what it reads, and what it needs of a reader."""
        op.reads = op.inputs + ([] if op.residual is None else [op.residual])
        check(1 <= len(op.reads) <= 64, f"an operation has {len(op.reads)} inputs")
        op.needs = 1 * (op.kind in general.FIELDS)
        op.needs |= 2 * (op.activation[0] not in ("none", "relu", "relu6")) | 4 * (len(op.reads) > 4)
        op.needs |= 8 * (op.kind == "outputs")
        return op

    def program(self):
        """The header and all operations."""
        version = self.u16()
        check(version in (1, 2), f"format version {version} is not supported")
        shape = tuple(self.array(3, self.u32))
        values = version > 1 and self.kind()
        mean, std = (np.array(self.array(4, self.f32), np.float32) for _ in range(2))
        check(shape[0] <= 4 or version > 1, f"the image has {shape[0]} channels")
        check(np.isfinite([mean, std]).all() and (std > 0).all(), "mean or std out of range")
        output, classes, needs = ((self.u32(), 1, 1), True, 0) if version == 1 else self.result()
        count = self.u16()
        check(1 <= count <= 4096, f"the program has {count} operations")
        ops = self.array(count, self.operation)
        check(self.position == len(self.data), "bytes follow the last operation")
        listed = [op.kind == "outputs" for op in ops]
        check(not any(listed[:-1]) and not (classes and listed[-1]), "outputs that are not last, or logits")
        check(all(op.needs & ~needs == 0 for op in ops), "an operation needs what the program does not state")
        for op in ops:
            op.states = needs
        if shape[0] > 4:
            mean, std = (np.repeat(listed[:1], shape[0]) for listed in (mean, std))
        normalise = Record(mean=mean[: shape[0]], std=std[: shape[0]])
        return Record(input=shape, values=values, normalise=normalise, output=output, needs=needs, ops=ops)

    def kind(self):
        """True of values, False of a picture or of logits."""
        byte = self.take(1)[0]
        check(byte < 2, "no such kind of input or result")
        return byte == 1

    def result(self):
        """Shape of the result, and what a reader must have, in version 2."""
        output = tuple(self.array(3, self.u32))
        classes = not self.kind()
        check(not classes or output[1:] == (1, 1), "the logits are no vector")
        needs = self.u32()
        check(needs < 32, "the program needs a later reader")
        return output, classes, needs


def output_shape(op, shape):
    """Shape of an operation's result, given the shape of its (first) input."""
    channels, height, width = shape
    if op.kind == "conv":
        check(op.weights != "depthwise" or op.out == channels, f"{op.name!r} is depthwise but changes the channels")
    if op.kind in ("conv", "pool"):
        (top, left, bottom, right), (kh, kw), (down, across) = op.window.padding, op.window.kernel, op.window.stride
        size = (height + top + bottom - kh) // down + 1, (width + left + right - kw) // across + 1
        return op.out if op.kind == "conv" else channels, *size
    if op.kind == "linear":
        return op.out, 1, 1
    if op.kind == "pad_shortcut":
        check(op.stride > 0 and op.out >= channels, "a shortcut has stride 0 or loses channels")
        return op.out, -(-height // op.stride), -(-width // op.stride)
    if op.kind == "concat":
        return op.out, height, width
    return (channels, 1, 1) if op.kind == "global_average_pool" else shape


def check_program(program):
    """Checks all shapes and the values that operations read; returns the shapes of the values."""
    shapes, last_read = [program.input], {}
    for i, op in enumerate(program.ops):
        check(max(op.reads) <= i, f"operation {i} reads a value that is not made before it")
        last_read.update((value, i) for value in op.reads)
        read = [shapes[value] for value in op.inputs]
        shape = general.output_shape(op, read) if op.kind in general.FIELDS else output_shape(op, read[0])
        check(op.kind != "add" or shapes[op.inputs[1]] == shape, f"operation {i} adds values of two shapes")
        if op.kind == "concat":
            check(all(part[1:] == shape[1:] for part in read), f"operation {i} joins values of two sizes")
            check(sum(part[0] for part in read) == op.out, f"operation {i} does not join to {op.out} channels")
        check(op.residual is None or shapes[op.residual] == shape, f"operation {i}: the residual has another shape")
        shapes.append(shape)
    for c, h, w in shapes:
        check(min(c, h, w) > 0 and c * h * w < 2**31, f"a value of shape {c}×{h}×{w} is empty or too large")
    check(len(last_read) == len(program.ops), "a value is never read")
    most = 128 if program.needs & 4 else 16
    for i in range(len(program.ops)):
        alive = sum(last_read[value] >= i for value in range(i + 1))
        check(alive <= most, f"{alive} values alive at operation {i}, of at most {most}")
    check(shapes[-1] == program.output, "the last value has not the shape of the result")
    names = [op.name if op.kind != "activate" else op.slope for op in program.ops]
    names = [name for name in names if name is not None]
    check(len(set(names)) == len(names), "two layers have one name")
    return shapes


# ---- Operations: values are arrays [channels, height, width] of float64 -------------------------------------------------


def windows(x, window, outside):
    """All positions of a window on a padded value: [channels, rows, columns, kernel height, kernel width]."""
    (top, left, bottom, right), (down, across) = window.padding, window.stride
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right)), constant_values=outside)
    return sliding_window_view(padded, window.kernel, axis=(1, 2))[:, ::down, ::across]


def conv(op, weights, x):
    """Convolution: dense, pair (thin, then 1×1) or depthwise, with bias."""
    patches = windows(x, op.window, 0)
    if op.weights == "depthwise":
        out = np.einsum("cyxij,cij->cyx", patches, weights[0][:, 0])
    else:
        out = np.tensordot(weights[0], patches, ([1, 2, 3], [0, 3, 4]))
    if op.weights == "pair":
        out = np.tensordot(weights[1][:, :, 0, 0], out, 1)
    return out + weights[-1][:, None, None]


def linear(op, weights, x):
    """Linear layer: one matrix, or the two of a pair, and bias."""
    vector = x.reshape(-1)
    for matrix in weights[:-1]:
        vector = matrix @ vector
    return (vector + weights[-1]).reshape(-1, 1, 1)


def pool(op, weights, x):
    """Largest value, or mean, of each window's positions inside the image."""
    if op.largest:
        return windows(x, op.window, -np.inf).max(axis=(3, 4))
    inside = windows(np.ones_like(x[:1]), op.window, 0).sum(axis=(3, 4))
    return windows(x, op.window, 0).sum(axis=(3, 4)) / inside


def global_average_pool(op, weights, x):
    """Mean of each plane."""
    return x.mean(axis=(1, 2), keepdims=True)


def pad_shortcut(op, weights, x):
    """Every stride-th row and column, between planes of zeros."""
    extra = op.out - len(x)
    return np.pad(x[:, :: op.stride, :: op.stride], ((extra // 2, extra - extra // 2), (0, 0), (0, 0)))


def add(op, weights, a, b):
    """Elementwise sum."""
    return a + b


def concat(op, weights, *parts):
    """The planes of all inputs, one after another."""
    return np.concatenate(parts)


COMPUTE = dict(zip(FIRST, (conv, linear, pool, global_average_pool, pad_shortcut, add, concat))) | general.COMPUTE


def to_f16(x):
    """The nearest f16 values, saturating, as float64."""
    return np.clip(x, -65504, 65504).astype(np.float16).astype(np.float64)


def run(program, weights, image, exact):
    """The logits of one image of bytes [height, width, channels], or of values [channels, height, width]."""
    if not program.values:
        with np.errstate(over="ignore"):  # saturates below
            image = (image.astype(np.float32) / np.float32(255) - program.normalise.mean) / program.normalise.std
        image = image.transpose(2, 0, 1)
    values = [to_f16(image)]
    for i, (op, tensors) in enumerate(zip(program.ops, weights)):
        x = COMPUTE[op.kind](op, tensors, *(values[number] for number in op.inputs))
        if op.residual is not None:
            x = x + values[op.residual]
        x = general.activated(op.activation, x)
        values.append(x if exact or i + 1 == len(program.ops) else to_f16(x))
    return values[-1].reshape(-1)


# ---- Command line -------------------------------------------------------------------------------------------------------


def read(path, exact):
    """Reads, checks and runs a file; returns the document to print, and whether the self-check holds."""
    with safe_open(path, framework="np") as file:
        offsets = tensor_offsets(path)
        program = Decoder(load(file, offsets, "lrpet.program", "U8", [None]).tobytes()).program()
        shapes = check_program(program)
        weights = [load_layer(file, offsets, op, shapes[op.inputs[0]]) for op in program.ops]
        (channels, height, width), classes = program.input, int(np.prod(program.output))
        name, kind, shape = "selfcheck.images", "U8", [height, width, channels]
        if program.values:
            name, kind, shape = "selfcheck.values", "F16", [channels, height, width]
        images, stored = np.empty((0, *shape)), np.empty((0, classes))
        if name in offsets or "selfcheck.logits" in offsets:
            images = load(file, offsets, name, kind, [None, *shape], align=2 if program.values else 1)
            check(np.isfinite(images).all(), f"{name!r} has a number that is not finite")
            stored = load(file, offsets, "selfcheck.logits", "F32", [len(images), classes])
        largest = np.abs(stored).max(1, initial=1)
        bound = 1e-2 * largest
        if "selfcheck.tolerance" in offsets and name in offsets:
            bound = load(file, offsets, "selfcheck.tolerance", "F32", [len(images)])
            check(((bound >= 0) & (bound <= largest)).all(), "selfcheck.tolerance exceeds the logits or is below 0")
        network = (file.metadata() or {}).get("network")
    logits = np.array([run(program, weights, image, exact) for image in images]).reshape(stored.shape)
    difference = float(np.abs(logits - stored).max(initial=0))
    passed = (np.abs(logits - stored) <= bound[:, None]).all()
    document = {"network": network, "samples": len(images), "max_abs_diff": difference if len(images) else None}
    return document | {"logits": logits.tolist(), "classes": classes}, passed


def main(arguments):
    """Runs the program; returns the exit status."""
    paths, exact = [word for word in arguments if word != "--exact"], "--exact" in arguments
    try:
        check(len(paths) == 1, "usage: read_model.py MODEL.safetensors [--exact]")
        document, passed = read(paths[0], exact)
        print(json.dumps(document))
        check(passed or exact, f"the logits differ from the self-check, by up to {document['max_abs_diff']}")
    except (SafetensorError, OSError, ValueError, MemoryError) as error:
        print("error:", " ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
