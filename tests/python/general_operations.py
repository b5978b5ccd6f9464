"""The operations and activations of format version 2 for read_model.py: fields, shapes, tensors and results, from docs/format.md alone.

Values are arrays [channels, height, width] of float64, shapes tuples of these three sizes. Needs numpy.
"""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

# Kinds from number 7 on, with their fields in order.
FIELDS = {
    "general_conv": "name input out window dilation groups transposed weights residual activation",
    "general_pool": "input reduction window dilation counted",
    "reduce": "input reduction reduced",
    "binary": "arithmetic both output activation",
    "affine": "name input activation",
    "activate": "input activation slope",
    "softmax": "input log",
    "slice": "input start step output",
    "shuffle": "input groups",
    "pad": "input before after mode",
    "resize": "input size mode_of_resize coordinates scales",
    "depth_to_space": "input block order",
    "space_to_depth": "input block order",
    "normalise": "name input epsilon over",
    "reshape": "input output",
    "join": "list axis joined",
    "transpose": "input axes",
    "outputs": "list count",
}

ACTIVATIONS = ["none", "relu", "relu6", "leaky_relu", "sigmoid", "hard_sigmoid", "hard_swish", "silu", "tanh", "elu", "gelu"]
ACTIVATIONS += ["gelu_tanh", "clip", "softplus", "exp", "sqrt"]

# How many numbers follow.
NUMBERS = {"leaky_relu": 1, "hard_sigmoid": 2, "elu": 1, "clip": 2}


def check(condition, message):
    """Stops with `message` unless `condition` holds."""
    if not condition:
        raise ValueError(message)


# ---- Fields: `read` is read_model.py's decoder -----------------------------------------------------------------------


def finite(read):
    """A number, which must be finite."""
    number = read.f32()
    check(math.isfinite(number), "a number of the program is not finite")
    return number


def boolean(read):
    """One byte, 0 or 1."""
    byte = read.take(1)[0]
    check(byte < 2, "a truth value is neither 0 nor 1")
    return byte == 1


def activation(read):
    """Name and numbers of an activation."""
    name = read.choice(*ACTIVATIONS)
    numbers = [finite(read) for _ in range(NUMBERS.get(name, 0))]
    check(name != "clip" or numbers[0] <= numbers[1], "a clip has its largest value below its least")
    return name, numbers


def with_number(read, variants, which, number):
    """One of `variants`, and the number that follows the one called `which`."""
    name = read.choice(*variants)
    return name, number(read) if name == which else None


def reduction(read):
    return read.choice("largest", "mean", "sum")


READ = {
    "name": lambda read: read.string(),
    "slope": lambda read: read.optional(read.string),
    "out": lambda read: read.u32(),
    "groups": lambda read: read.u32(),
    "joined": lambda read: read.u32(),
    "count": lambda read: read.u32(),
    "block": lambda read: read.u16(),
    "epsilon": finite,
    "window": lambda read: read.window(general=True),
    "dilation": lambda read: read.array(2, read.u16),
    "counted": lambda read: read.array(4, read.u16),
    "transposed": lambda read: read.optional(lambda: read.array(2, read.u16)),
    "residual": lambda read: read.optional(read.u16),
    "activation": activation,
    "reduction": reduction,
    "reduced": lambda read: read.array(3, lambda: boolean(read)),
    "arithmetic": lambda read: read.choice(np.add, np.subtract, np.multiply, np.divide),
    "log": boolean,
    "output": lambda read: tuple(read.array(3, read.u32)),
    "start": lambda read: read.array(3, read.u32),
    "step": lambda read: read.array(3, read.u32),
    "before": lambda read: read.array(3, read.u32),
    "after": lambda read: read.array(3, read.u32),
    "mode": lambda read: with_number(read, ["constant", "reflect", "edge"], "constant", finite),
    "size": lambda read: tuple(read.array(2, read.u32)),
    "mode_of_resize": lambda read: with_number(
        read, ["nearest", "linear"], "nearest", lambda read: read.choice("down", "up", "floor", "ceil")
    ),
    "coordinates": lambda read: read.choice("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"),
    "scales": lambda read: read.array(2, lambda: np.float32(finite(read))),
    "order": lambda read: read.choice("block first", "channel first"),
    "over": lambda read: with_number(read, ["channels", "plane", "all", "groups"], "groups", lambda read: read.u32()),
    "axis": lambda read: read.choice(0, 1, 2),
    "axes": lambda read: read.array(3, lambda: read.choice(0, 1, 2)),
}


def read_fields(read, op):
    """Reads the fields of `op`, whose kind is known, into it."""
    for field in FIELDS[op.kind].split():
        if field == "input":
            op.inputs = [read.u16()]
        elif field == "both":
            op.inputs = read.array(2, read.u16)
        elif field == "list":
            op.inputs = read.array(read.u32(), read.u16)
        elif field == "weights":
            read.weights(op)
        else:
            setattr(op, field, READ[field](read))


# ---- Shapes ------------------------------------------------------------------------------------------------------------


def out_size(op, height, width):
    """Rows and columns of a convolution's or a pooling's result."""
    top, left, bottom, right = op.window.padding
    sizes = []
    for size, before, after, axis in ((height, top, bottom, 0), (width, left, right, 1)):
        kernel, stride, dilation = op.window.kernel[axis], op.window.stride[axis], op.dilation[axis]
        reach = (kernel - 1) * dilation + 1
        check(min(kernel, dilation) > 0, "a window has kernel or dilation 0")
        if getattr(op, "transposed", None) is not None:
            check(op.transposed[axis] < stride, "an output padding is not smaller than its stride")
            sizes.append((size - 1) * stride + reach - before - after + op.transposed[axis])
        else:
            check(reach <= size + before + after, "a window is larger than its padded input")
            sizes.append((size + before + after - reach) // stride + 1)
    return tuple(sizes)


def output_shape(op, shapes):
    """Shape of the result over inputs of `shapes`."""
    (channels, height, width), kind = shapes[0], op.kind
    groups = op.over[1] or 1 if kind == "normalise" else getattr(op, "groups", 1)
    check(groups > 0 and channels % groups == 0, f"groups of a {kind} do not divide the channels")
    if kind == "general_conv":
        check(op.out % groups == 0, "groups do not divide the output channels")
        check(op.weights == "dense" or (op.weights, groups, op.transposed) == ("pair", 1, None), "weights not dense")
        return op.out, *out_size(op, height, width)
    if kind == "general_pool":
        check(op.reduction != "sum", "a pooling of sums")
        check(all(c <= p for c, p in zip(op.counted, op.window.padding)), "more padding counted than there is")
        return channels, *out_size(op, height, width)
    if kind == "reduce":
        check(any(op.reduced), "a reduction along no axis")
        return tuple(1 if along else size for along, size in zip(op.reduced, shapes[0]))
    if kind == "binary":
        for a, b, size in zip(*shapes, op.output):
            check((a == b or 1 in (a, b)) and max(a, b) == size, "arithmetic of two shapes that do not go together")
        return op.output
    if kind == "slice":
        for start, step, size, length in zip(op.start, op.step, op.output, shapes[0]):
            check(step > 0 and size > 0 and start + step * (size - 1) < length, "a slice beyond its input")
        return op.output
    if kind == "pad":
        largest = [max(pair) for pair in zip(op.before, op.after)]
        check(op.mode[0] != "reflect" or all(p < s for p, s in zip(largest, shapes[0])), "too much is mirrored")
        return tuple(map(sum, zip(op.before, shapes[0], op.after)))
    if kind == "resize":
        check(min(op.scales) > 0, "a scale is not above 0")
        return channels, *op.size
    if kind == "depth_to_space":
        check(op.block > 0 and channels % op.block**2 == 0, "blocks do not divide the channels")
        return channels // op.block**2, height * op.block, width * op.block
    if kind == "space_to_depth":
        check(op.block > 0 and height % op.block == width % op.block == 0, "blocks do not divide the planes")
        return channels * op.block**2, height // op.block, width // op.block
    if kind == "reshape":
        check(math.prod(op.output) == math.prod(shapes[0]), "a reshape to another number of values")
        return op.output
    if kind == "join":
        others = [shape[: op.axis] + shape[op.axis + 1 :] for shape in shapes]
        check(all(other == others[0] for other in others), "values joined have other sizes")
        check(sum(shape[op.axis] for shape in shapes) == op.joined, "values joined have another size together")
        return *shapes[0][: op.axis], op.joined, *shapes[0][op.axis + 1 :]
    if kind == "outputs":
        check(len(shapes) > 1 and len(set(op.inputs)) == len(op.inputs), "outputs that are not several")
        check(sum(map(math.prod, shapes)) == op.count, "outputs of another number of values")
        return op.count, 1, 1
    if kind == "transpose":
        check(sorted(op.axes) == [0, 1, 2], "a transpose has an axis twice")
        return tuple(shapes[0][axis] for axis in op.axes)
    check(kind != "activate" or op.slope is None or op.activation[0] == "none", "a slope and an activation")
    check(kind != "normalise" or op.epsilon > 0, "an epsilon is not above 0")
    return shapes[0]


def tensors(op, channels):
    """Names and shapes of the tensors of an operation that has other ones than a convolution; None for the others."""
    if op.kind in ("affine", "normalise"):
        return op.name, {"scale": [channels], "bias": [channels]}
    if op.kind == "activate":
        return op.slope, {"slope": [channels]} if op.slope is not None else {}
    return None


# ---- Results -----------------------------------------------------------------------------------------------------------


def patches(x, op, outside):
    """All positions of a dilated window on a padded value: [channels, rows, columns, kernel height, kernel width]."""
    (top, left, bottom, right), (down, across) = op.window.padding, op.window.stride
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right)), constant_values=outside)
    reach = [(kernel - 1) * dilation + 1 for kernel, dilation in zip(op.window.kernel, op.dilation)]
    views = sliding_window_view(padded, reach, axis=(1, 2))
    return views[:, ::down, ::across, :: op.dilation[0], :: op.dilation[1]]


def spread(op, weight, x):
    """A transposed convolution of one group."""
    (_, height, width), (sy, sx), (dy, dx) = x.shape, op.window.stride, op.dilation
    rows, columns = out_size(op, height, width)
    top, left = op.window.padding[:2]
    kh, kw = op.window.kernel
    down, across = (height - 1) * sy + (kh - 1) * dy + 1, (width - 1) * sx + (kw - 1) * dx + 1
    whole = np.zeros((len(weight), max(down, top + rows), max(across, left + columns)))
    for i in range(kh):
        for j in range(kw):
            at = slice(i * dy, i * dy + (height - 1) * sy + 1, sy), slice(j * dx, j * dx + (width - 1) * sx + 1, sx)
            whole[:, at[0], at[1]] += np.tensordot(weight[:, :, i, j], x, 1)
    return whole[:, top : top + rows, left : left + columns]


def general_conv(op, weights, x):
    """Each group of channels by itself."""
    filters, parts = np.split(weights[0], op.groups), np.split(x, op.groups)
    if op.transposed is None:
        out = [np.tensordot(w, patches(part, op, 0), ([1, 2, 3], [0, 3, 4])) for w, part in zip(filters, parts)]
    else:
        out = [spread(op, w, part) for w, part in zip(filters, parts)]
    out = np.concatenate(out)
    if op.weights == "pair":
        out = np.tensordot(weights[1][:, :, 0, 0], out, 1)
    return out + weights[-1][:, None, None]


def general_pool(op, weights, x):
    """The largest of the taps inside, or their sum over the number of those that count."""
    if op.reduction == "largest":
        return np.maximum(patches(x, op, -np.inf).max(axis=(3, 4)), -65504)
    top, left, bottom, right = op.counted
    ones = np.pad(np.ones_like(x[:1]), ((0, 0), (top, bottom), (left, right)), constant_values=1)
    rest = [p - c for p, c in zip(op.window.padding, op.counted)]
    ones = np.pad(ones, ((0, 0), (rest[0], rest[2]), (rest[1], rest[3])))
    unpadded = type(op)(dilation=op.dilation, window=type(op)(**vars(op.window) | {"padding": [0] * 4}))
    count = patches(ones, unpadded, 0).sum(axis=(3, 4))
    return patches(x, op, 0).sum(axis=(3, 4)) / np.maximum(count, 1)


def reduce(op, weights, x):
    function = {"largest": np.max, "mean": np.mean, "sum": np.sum}[op.reduction]
    return function(x, axis=tuple(axis for axis in range(3) if op.reduced[axis]), keepdims=True)


def affine(op, weights, x):
    scale, bias = (values[:, None, None] for values in weights)
    return scale * x + bias


def activate(op, weights, x):
    return np.where(x >= 0, x, weights[0][:, None, None] * x) if weights else x


def softmax(op, weights, x):
    shifted = x - x.max(axis=0)
    logarithm = shifted - np.log(np.exp(shifted).sum(axis=0))
    return logarithm if op.log else np.exp(logarithm)


def cut(op, weights, x):
    return x[tuple(slice(a, a + (n - 1) * by + 1, by) for a, by, n in zip(op.start, op.step, op.output))]


def shuffle(op, weights, x):
    return x.reshape(op.groups, -1, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)


def pad(op, weights, x):
    widths, (mode, constant) = list(zip(op.before, op.after)), op.mode
    if mode == "constant":
        return np.pad(x, widths, constant_values=float(np.float16(np.clip(constant, -65504, 65504))))
    return np.pad(x, widths, mode=mode)


def positions(op, length, resized, scale):
    """Where the pixels of a result lie along an axis, in f32."""
    i, half = np.arange(resized, dtype=np.float32), np.float32(0.5)
    if op.coordinates == "align_corners":
        return i * np.float32(length - 1) / np.float32(resized - 1) if resized > 1 else i
    if op.coordinates == "asymmetric":
        return i / scale
    return i if op.coordinates == "pytorch_half_pixel" and resized == 1 else (i + half) / scale - half


def resize(op, weights, x):
    for axis in (1, 2):
        length = x.shape[axis]
        at = positions(op, length, op.size[axis - 1], op.scales[axis - 1])
        kind, rounding = op.mode_of_resize
        if kind == "nearest":
            half = np.float32(0.5)
            functions = {"down": lambda x: np.ceil(x - half), "up": lambda x: np.floor(x + half)}
            at = (functions | {"floor": np.floor, "ceil": np.ceil})[rounding](at)
            x = x.take(np.clip(at, 0, length - 1).astype(int), axis)
        else:
            at = np.clip(at, 0, length - 1).astype(np.float64)
            low = np.floor(at).astype(int)
            part = (at - low).reshape([-1 if other == axis else 1 for other in range(3)])
            x = x.take(low, axis) * (1 - part) + x.take(np.minimum(low + 1, length - 1), axis) * part
    return x


def depth_to_space(op, weights, x):
    (channels, height, width), block = x.shape, op.block
    depth = channels // block**2
    first = op.order == "block first"
    parts = x.reshape(*((block, block, depth) if first else (depth, block, block)), height, width)
    parts = parts.transpose(2, 3, 0, 4, 1) if first else parts.transpose(0, 3, 1, 4, 2)
    return parts.reshape(depth, height * block, width * block)


def space_to_depth(op, weights, x):
    (channels, height, width), block = x.shape, op.block
    parts = x.reshape(channels, height // block, block, width // block, block)
    parts = parts.transpose(2, 4, 0, 1, 3) if op.order == "block first" else parts.transpose(0, 2, 4, 1, 3)
    return parts.reshape(-1, height // block, width // block)


def normalise(op, weights, x):
    over, groups = op.over
    shape, axes = {
        "channels": (x.shape, 0),
        "plane": (x.shape, (1, 2)),
        "all": ((1, -1), 1),
        "groups": ((groups, -1), 1),
    }[over]
    values = x.reshape(shape)
    values = values - values.mean(axis=axes, keepdims=True)
    values = values / np.sqrt((values**2).mean(axis=axes, keepdims=True) + op.epsilon)
    return affine(op, weights, values.reshape(x.shape))


COMPUTE = {
    "general_conv": general_conv,
    "general_pool": general_pool,
    "reduce": reduce,
    "binary": lambda op, weights, a, b: op.arithmetic(a, b),
    "affine": affine,
    "activate": activate,
    "softmax": softmax,
    "slice": cut,
    "shuffle": shuffle,
    "pad": pad,
    "resize": resize,
    "depth_to_space": depth_to_space,
    "space_to_depth": space_to_depth,
    "normalise": normalise,
    "reshape": lambda op, weights, x: x.reshape(op.output),
    "join": lambda op, weights, *parts: np.concatenate(parts, axis=op.axis),
    "transpose": lambda op, weights, x: x.transpose(op.axes),
    "outputs": lambda op, weights, *parts: np.concatenate([part.reshape(-1, 1, 1) for part in parts]),
}


def power(x):
    """e^x, which may stop at e^88."""
    return np.exp(np.minimum(x, 88))


def activated(activation, x):
    """What `activation` makes of x."""
    name, numbers = activation
    if name in ("hard_sigmoid", "hard_swish"):
        alpha, beta = numbers or (1 / 6, 0.5)
        return np.clip(alpha * x + beta, 0, 1) * (x if name == "hard_swish" else 1)
    sigmoid = 1 / (1 + power(-x))
    return {
        "none": lambda: x,
        "relu": lambda: np.maximum(x, 0),
        "relu6": lambda: np.clip(x, 0, 6),
        "leaky_relu": lambda: np.where(x >= 0, x, numbers[0] * x),
        "sigmoid": lambda: sigmoid,
        "silu": lambda: x * sigmoid,
        "tanh": lambda: np.tanh(x),
        "elu": lambda: np.where(x >= 0, x, numbers[0] * np.expm1(np.minimum(x, 0))),
        "gelu": lambda: x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
        "gelu_tanh": lambda: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        "clip": lambda: np.maximum(numbers[0], np.minimum(numbers[1], x)),
        "softplus": lambda: np.logaddexp(0, x),
        "exp": lambda: power(x),
        "sqrt": lambda: np.sqrt(x),
    }[name]()
