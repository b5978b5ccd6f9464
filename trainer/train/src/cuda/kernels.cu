/* Kernels of the device engine. Feature maps are channels-first with the batch inside: [c, batch, h, w], so that a
 * convolution is one product of matrices and a channel's values are one run of `length` = batch*h*w floats.
 *
 * The file is C as well as CUDA: tests compile it with a C compiler and `emulate.h`, which runs a block's threads as
 * coroutines. So: no templates, no atomics, no warp intrinsics. Nothing here depends on the order of blocks: results
 * are the same on every run.
 *
 * A kernel takes one structure by value; `parameters.rs` has the same structures. `x` blocks cover elements, `y` blocks
 * channels (or rows of a matrix); both loop, so any grid gives the whole result. Reductions need THREADS threads. */

#ifdef __CUDACC__
#define DEVICE static __device__ __forceinline__
#define SHARED __shared__
#define KERNEL(name, type) extern "C" __global__ void name(const struct type p)
#define BLOCK_KERNEL(name, type) KERNEL(name, type)
#else
#include "emulate.h"
#endif

#define THREADS 256
#define GROUP 16

typedef unsigned long long Long;

/* A window over planes; `rows`, `columns`: of a plane. */
struct Geometry {
    unsigned channels, batch;
    unsigned rows, columns, out_rows, out_columns;
    unsigned kernel_rows, kernel_columns, stride_rows, stride_columns, top, left;
};

struct Unfold { const float *from; float *to; struct Geometry g; unsigned add; };
struct Depthwise { const float *x; const float *weight; const float *slope; float *to; struct Geometry g; unsigned add; };
struct Pooling { const float *x; const float *slope; float *to; struct Geometry g; unsigned average; unsigned add; };
struct Shortcut { const float *from; float *to; struct Geometry g; unsigned out_channels, before; unsigned add; };
struct Moments {
    const float *y; float *partial; float *mean; float *inverse; float *running_mean; float *running_variance;
    unsigned channels, length, splits, count; float momentum, epsilon;
};
struct Normalise {
    const float *y; const float *mean; const float *inverse; const float *gamma; const float *beta;
    const float *residual; float *z; unsigned channels, length, activation;
};
struct Slopes {
    const float *slope; const float *z; const float *y; const float *mean; const float *inverse; const float *gamma;
    float *partial; float *gamma_slope; float *beta_slope; const float *tilt; const float *shift;
    float *y_slope; float *residual_slope;
    unsigned channels, length, splits, count, activation, add;
};
struct Sum { const float *a; const float *b; float *to; unsigned length, activation; };
struct Mean { const float *from; float *to; unsigned length, pixels, add; };
struct Entropy {
    const float *logits; const unsigned *labels; float *slope; double *totals; unsigned batch, classes;
};
struct Slot { float *weight; const float *slope; float *velocity; Long length; };
struct Descent { const struct Slot *slots; unsigned tensors; float rate, momentum, decay; };

#define FOR_ELEMENTS(i, count) \
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < (count); i += gridDim.x * blockDim.x)
#define FOR_ROWS(row, count) for (unsigned row = blockIdx.y; row < (count); row += gridDim.y)

DEVICE float activate(float x, unsigned activation) {
    if (activation == 0) return x;
    /* Written so that NaN stays NaN. */
    x = x < 0.0f ? 0.0f : x;
    return activation == 2 && x > 6.0f ? 6.0f : x;
}

/* The slope before an activation whose result was z. */
DEVICE float before(float slope, float z, unsigned activation) {
    if (activation == 0) return slope;
    return z <= 0.0f || (activation == 2 && z >= 6.0f) ? 0.0f : slope;
}

/* Sum over a block of THREADS threads; the result is thread 0's. */
DEVICE double block_sum(double value) {
    SHARED double sums[THREADS];
    unsigned thread = threadIdx.x;
    __syncthreads(); /* the last call's reads are over */
    sums[thread] = value;
    __syncthreads();
    if (thread < GROUP) {
        value = 0.0;
        for (unsigned i = thread; i < THREADS; i += GROUP) value += sums[i];
        sums[thread] = value;
    }
    __syncthreads();
    if (thread == 0)
        for (unsigned i = 1; i < GROUP; ++i) value += sums[i];
    return value;
}

/* ---- Windows ---- */

/* from [c, batch, h, w] to [c*kh*kw, batch*oh*ow]: what lies under each tap, 0 outside. */
KERNEL(unfold, Unfold) {
    const unsigned taps = p.g.kernel_rows * p.g.kernel_columns, pixels = p.g.out_rows * p.g.out_columns;
    const unsigned count = p.g.batch * pixels;
    FOR_ROWS(row, p.g.channels * taps) {
        const unsigned channel = row / taps, tap = row % taps;
        const int down = (int)(tap / p.g.kernel_columns) - (int)p.g.top;
        const int right = (int)(tap % p.g.kernel_columns) - (int)p.g.left;
        const float *planes = p.from + (Long)channel * p.g.batch * p.g.rows * p.g.columns;
        FOR_ELEMENTS(i, count) {
            const unsigned image = i / pixels, pixel = i % pixels;
            const int y = (int)(pixel / p.g.out_columns * p.g.stride_rows) + down;
            const int x = (int)(pixel % p.g.out_columns * p.g.stride_columns) + right;
            float value = 0.0f;
            if (y >= 0 && y < (int)p.g.rows && x >= 0 && x < (int)p.g.columns)
                value = planes[((Long)image * p.g.rows + y) * p.g.columns + x];
            p.to[(Long)row * count + i] = value;
        }
    }
}

/* The transpose of `unfold`: to [c, batch, h, w] is the sum of all taps that saw the pixel. */
KERNEL(fold, Unfold) {
    const unsigned taps = p.g.kernel_rows * p.g.kernel_columns, pixels = p.g.out_rows * p.g.out_columns;
    const unsigned plane = p.g.rows * p.g.columns, count = p.g.batch * pixels;
    FOR_ROWS(channel, p.g.channels) {
        FOR_ELEMENTS(i, p.g.batch * plane) {
            const unsigned image = i / plane, y = i % plane / p.g.columns, x = i % p.g.columns;
            float sum = 0.0f;
            for (unsigned r = 0; r < p.g.kernel_rows; ++r) {
                const int at_row = (int)(y + p.g.top) - (int)r;
                if (at_row < 0 || at_row % (int)p.g.stride_rows) continue;
                const unsigned out_row = (unsigned)at_row / p.g.stride_rows;
                if (out_row >= p.g.out_rows) continue;
                for (unsigned s = 0; s < p.g.kernel_columns; ++s) {
                    const int at_column = (int)(x + p.g.left) - (int)s;
                    if (at_column < 0 || at_column % (int)p.g.stride_columns) continue;
                    const unsigned out_column = (unsigned)at_column / p.g.stride_columns;
                    if (out_column >= p.g.out_columns) continue;
                    const Long row = (Long)channel * taps + r * p.g.kernel_columns + s;
                    sum += p.from[row * count + image * pixels + out_row * p.g.out_columns + out_column];
                }
            }
            const Long at = (Long)channel * p.g.batch * plane + i;
            p.to[at] = p.add ? p.to[at] + sum : sum;
        }
    }
}

/* Depthwise convolution of x with weight [c, kh, kw]. */
KERNEL(depthwise, Depthwise) {
    const unsigned taps = p.g.kernel_rows * p.g.kernel_columns, pixels = p.g.out_rows * p.g.out_columns;
    const unsigned count = p.g.batch * pixels;
    FOR_ROWS(channel, p.g.channels) {
        const float *weight = p.weight + (Long)channel * taps;
        FOR_ELEMENTS(i, count) {
            const unsigned image = i / pixels, pixel = i % pixels;
            const int y = (int)(pixel / p.g.out_columns * p.g.stride_rows) - (int)p.g.top;
            const int x = (int)(pixel % p.g.out_columns * p.g.stride_columns) - (int)p.g.left;
            const float *plane = p.x + ((Long)channel * p.g.batch + image) * p.g.rows * p.g.columns;
            float sum = 0.0f;
            for (int r = 0; r < (int)p.g.kernel_rows; ++r)
                for (int s = 0; s < (int)p.g.kernel_columns; ++s)
                    if (y + r >= 0 && y + r < (int)p.g.rows && x + s >= 0 && x + s < (int)p.g.columns)
                        sum += weight[r * (int)p.g.kernel_columns + s] * plane[(y + r) * (int)p.g.columns + x + s];
            p.to[(Long)channel * count + i] = sum;
        }
    }
}

/* Gradient of a depthwise convolution's input. */
KERNEL(depthwise_input, Depthwise) {
    const unsigned taps = p.g.kernel_rows * p.g.kernel_columns, pixels = p.g.out_rows * p.g.out_columns;
    const unsigned plane = p.g.rows * p.g.columns;
    FOR_ROWS(channel, p.g.channels) {
        const float *weight = p.weight + (Long)channel * taps;
        FOR_ELEMENTS(i, p.g.batch * plane) {
            const unsigned image = i / plane, y = i % plane / p.g.columns, x = i % p.g.columns;
            const float *slope = p.slope + ((Long)channel * p.g.batch + image) * pixels;
            float sum = 0.0f;
            for (unsigned r = 0; r < p.g.kernel_rows; ++r) {
                const int at_row = (int)(y + p.g.top) - (int)r;
                if (at_row < 0 || at_row % (int)p.g.stride_rows) continue;
                const unsigned out_row = (unsigned)at_row / p.g.stride_rows;
                if (out_row >= p.g.out_rows) continue;
                for (unsigned s = 0; s < p.g.kernel_columns; ++s) {
                    const int at_column = (int)(x + p.g.left) - (int)s;
                    if (at_column < 0 || at_column % (int)p.g.stride_columns) continue;
                    const unsigned out_column = (unsigned)at_column / p.g.stride_columns;
                    if (out_column >= p.g.out_columns) continue;
                    sum += weight[r * p.g.kernel_columns + s] * slope[out_row * p.g.out_columns + out_column];
                }
            }
            const Long at = (Long)channel * p.g.batch * plane + i;
            p.to[at] = p.add ? p.to[at] + sum : sum;
        }
    }
}

/* Gradient of a depthwise convolution's weight; one block a tap (x) and channel (y). */
BLOCK_KERNEL(depthwise_weight, Depthwise) {
    const unsigned taps = p.g.kernel_rows * p.g.kernel_columns, pixels = p.g.out_rows * p.g.out_columns;
    const unsigned count = p.g.batch * pixels;
    FOR_ROWS(channel, p.g.channels) {
        for (unsigned tap = blockIdx.x; tap < taps; tap += gridDim.x) {
            const int down = (int)(tap / p.g.kernel_columns) - (int)p.g.top;
            const int right = (int)(tap % p.g.kernel_columns) - (int)p.g.left;
            const float *planes = p.x + (Long)channel * p.g.batch * p.g.rows * p.g.columns;
            const float *slope = p.slope + (Long)channel * count;
            float sum = 0.0f;
            for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
                const unsigned image = i / pixels, pixel = i % pixels;
                const int y = (int)(pixel / p.g.out_columns * p.g.stride_rows) + down;
                const int x = (int)(pixel % p.g.out_columns * p.g.stride_columns) + right;
                if (y >= 0 && y < (int)p.g.rows && x >= 0 && x < (int)p.g.columns)
                    sum += slope[i] * planes[((Long)image * p.g.rows + y) * p.g.columns + x];
            }
            const double total = block_sum(sum);
            if (threadIdx.x == 0) p.to[(Long)channel * taps + tap] = (float)total;
        }
    }
}

/* The window of out pixel (row, column), cut to the image: rows y[0]..y[1], columns x[0]..x[1]. */
DEVICE void cut(const struct Geometry *g, unsigned row, unsigned column, int y[2], int x[2]) {
    y[0] = (int)(row * g->stride_rows) - (int)g->top;
    x[0] = (int)(column * g->stride_columns) - (int)g->left;
    y[1] = y[0] + (int)g->kernel_rows;
    x[1] = x[0] + (int)g->kernel_columns;
    y[0] = y[0] < 0 ? 0 : y[0];
    x[0] = x[0] < 0 ? 0 : x[0];
    y[1] = y[1] > (int)g->rows ? (int)g->rows : y[1];
    x[1] = x[1] > (int)g->columns ? (int)g->columns : x[1];
}

/* Index in the plane of the largest value of a window, the first of equals; a NaN wins. */
DEVICE unsigned largest(const float *plane, const struct Geometry *g, const int y[2], const int x[2]) {
    unsigned best = (unsigned)(y[0] * (int)g->columns + x[0]);
    for (int r = y[0]; r < y[1]; ++r)
        for (int s = x[0]; s < x[1]; ++s) {
            const unsigned at = (unsigned)(r * (int)g->columns + s);
            if (plane[at] > plane[best] || (plane[at] != plane[at] && plane[best] == plane[best])) best = at;
        }
    return best;
}

/* Largest value, or mean of those inside the image, of each window of x. */
KERNEL(pool, Pooling) {
    const unsigned pixels = p.g.out_rows * p.g.out_columns, count = p.g.batch * pixels;
    FOR_ROWS(channel, p.g.channels) {
        FOR_ELEMENTS(i, count) {
            const unsigned image = i / pixels, pixel = i % pixels;
            const float *plane = p.x + ((Long)channel * p.g.batch + image) * p.g.rows * p.g.columns;
            int y[2], x[2];
            float value = 0.0f;
            cut(&p.g, pixel / p.g.out_columns, pixel % p.g.out_columns, y, x);
            /* A window that lies in the padding alone gives 0. */
            if (y[0] < y[1] && x[0] < x[1]) {
                if (p.average) {
                    for (int r = y[0]; r < y[1]; ++r)
                        for (int s = x[0]; s < x[1]; ++s) value += plane[r * (int)p.g.columns + s];
                    value /= (float)((y[1] - y[0]) * (x[1] - x[0]));
                } else {
                    value = plane[largest(plane, &p.g, y, x)];
                }
            }
            p.to[(Long)channel * count + i] = value;
        }
    }
}

/* Gradient of a pooling's input: each window that holds the pixel gives its share (mean) or all (its largest). */
KERNEL(pool_input, Pooling) {
    const unsigned pixels = p.g.out_rows * p.g.out_columns, plane_size = p.g.rows * p.g.columns;
    FOR_ROWS(channel, p.g.channels) {
        FOR_ELEMENTS(i, p.g.batch * plane_size) {
            const unsigned image = i / plane_size, at = i % plane_size;
            const unsigned row = at / p.g.columns, column = at % p.g.columns;
            const float *plane = p.x + ((Long)channel * p.g.batch + image) * plane_size;
            const float *slope = p.slope + ((Long)channel * p.g.batch + image) * pixels;
            /* Windows that start at or above the pixel and reach it. */
            const unsigned last_row = (row + p.g.top) / p.g.stride_rows;
            const unsigned last_column = (column + p.g.left) / p.g.stride_columns;
            float sum = 0.0f;
            for (unsigned r = 0; r <= last_row && r < p.g.out_rows; ++r) {
                if (r * p.g.stride_rows + p.g.kernel_rows <= row + p.g.top) {
                    /* Too far up: go on at the first that reaches the pixel. */
                    r = (row + p.g.top - p.g.kernel_rows) / p.g.stride_rows;
                    continue;
                }
                for (unsigned s = 0; s <= last_column && s < p.g.out_columns; ++s) {
                    if (s * p.g.stride_columns + p.g.kernel_columns <= column + p.g.left) {
                        s = (column + p.g.left - p.g.kernel_columns) / p.g.stride_columns;
                        continue;
                    }
                    int y[2], x[2];
                    cut(&p.g, r, s, y, x);
                    const float given = slope[r * p.g.out_columns + s];
                    if (p.average) sum += given / (float)((y[1] - y[0]) * (x[1] - x[0]));
                    else if (largest(plane, &p.g, y, x) == at) sum += given;
                }
            }
            const Long to = (Long)channel * p.g.batch * plane_size + i;
            p.to[to] = p.add ? p.to[to] + sum : sum;
        }
    }
}

/* Every stride-th pixel of each axis, between zero channels. */
KERNEL(shortcut, Shortcut) {
    const unsigned pixels = p.g.out_rows * p.g.out_columns, count = p.g.batch * pixels;
    FOR_ROWS(channel, p.out_channels) {
        const unsigned from = channel - p.before; /* wraps where there is none */
        FOR_ELEMENTS(i, count) {
            const unsigned image = i / pixels, y = i % pixels / p.g.out_columns * p.g.stride_rows;
            const unsigned x = i % p.g.out_columns * p.g.stride_columns;
            float value = 0.0f;
            if (from < p.g.channels)
                value = p.from[(((Long)from * p.g.batch + image) * p.g.rows + y) * p.g.columns + x];
            p.to[(Long)channel * count + i] = value;
        }
    }
}

/* Gradient of the shortcut's input. */
KERNEL(shortcut_input, Shortcut) {
    const unsigned plane = p.g.rows * p.g.columns;
    FOR_ROWS(channel, p.g.channels) {
        FOR_ELEMENTS(i, p.g.batch * plane) {
            const unsigned image = i / plane, y = i % plane / p.g.columns, x = i % p.g.columns;
            float value = 0.0f;
            if (y % p.g.stride_rows == 0 && x % p.g.stride_columns == 0) {
                const Long from = (Long)(channel + p.before) * p.g.batch + image;
                value = p.from[(from * p.g.out_rows + y / p.g.stride_rows) * p.g.out_columns + x / p.g.stride_columns];
            }
            const Long at = (Long)channel * p.g.batch * plane + i;
            p.to[at] = p.add ? p.to[at] + value : value;
        }
    }
}

/* ---- Normalisation, residual, activation ---- */

/* Sums of a channel's values and of their squares, both about its first value, over one of `splits` parts. */
BLOCK_KERNEL(moments, Moments) {
    const unsigned part = (p.length + p.splits - 1) / p.splits;
    FOR_ROWS(channel, p.channels) {
        for (unsigned split = blockIdx.x; split < p.splits; split += gridDim.x) {
            const float *y = p.y + (Long)channel * p.length;
            const float pivot = y[0];
            const unsigned begin = split * part, end = begin + part < p.length ? begin + part : p.length;
            float sum = 0.0f, squares = 0.0f;
            for (unsigned i = begin + threadIdx.x; i < end; i += blockDim.x) {
                const float value = y[i] - pivot;
                sum += value;
                squares += value * value;
            }
            const double sums = block_sum(sum), all_squares = block_sum(squares);
            if (threadIdx.x == 0) {
                p.partial[2 * (channel * p.splits + split)] = (float)sums;
                p.partial[2 * (channel * p.splits + split) + 1] = (float)all_squares;
            }
        }
    }
}

struct Moment { double mean, spread; };

/* Mean of a channel's values here, and the sum of their squares about it, from the parts. */
DEVICE struct Moment moment(struct Moments p, unsigned channel) {
    const float *partial = p.partial + 2 * (Long)channel * p.splits;
    double sum = 0.0, squares = 0.0;
    for (unsigned split = 0; split < p.splits; ++split) {
        sum += partial[2 * split];
        squares += partial[2 * split + 1];
    }
    const double spread = squares - sum * sum / p.length;
    struct Moment found;
    found.mean = sum / p.length + p.y[(Long)channel * p.length];
    found.spread = spread < 0.0 ? 0.0 : spread;
    return found;
}

/* Takes over a channel's statistics over all processes, and moves the running ones towards them. */
DEVICE void take_moment(struct Moments p, unsigned channel, struct Moment found) {
    const double count = p.count, variance = found.spread / count, momentum = p.momentum;
    const double unbiased = found.spread / (count > 1.0 ? count - 1.0 : 1.0);
    p.mean[channel] = (float)found.mean;
    p.inverse[channel] = (float)(1.0 / sqrt(variance + p.epsilon));
    p.running_mean[channel] = (float)((1.0 - momentum) * p.running_mean[channel] + momentum * found.mean);
    p.running_variance[channel] = (float)((1.0 - momentum) * p.running_variance[channel] + momentum * unbiased);
}

/* Mean and 1 / standard deviation of each channel from the parts; moves the running statistics towards them. */
KERNEL(finish_moments, Moments) {
    FOR_ELEMENTS(channel, p.channels) take_moment(p, channel, moment(p, channel));
}

/* This process's part of each channel's mean. */
KERNEL(share_mean, Moments) {
    FOR_ELEMENTS(channel, p.channels) {
        p.mean[channel] = (float)(moment(p, channel).mean * p.length / p.count);
    }
}

/* This process's part of the sum of squares about the mean of all processes, instead of 1 / standard deviation. */
KERNEL(share_spread, Moments) {
    FOR_ELEMENTS(channel, p.channels) {
        const struct Moment own = moment(p, channel);
        const double off = own.mean - p.mean[channel];
        p.inverse[channel] = (float)(own.spread + off * off * p.length);
    }
}

/* As finish_moments, from the mean of all processes and the sum of squares about it. */
KERNEL(finish_shares, Moments) {
    FOR_ELEMENTS(channel, p.channels) {
        struct Moment found;
        found.mean = p.mean[channel];
        found.spread = p.inverse[channel];
        take_moment(p, channel, found);
    }
}

/* 1 / standard deviation of each channel from the running variance. */
KERNEL(running_inverse, Moments) {
    FOR_ELEMENTS(channel, p.channels) {
        p.inverse[channel] = (float)(1.0 / sqrt((double)p.running_variance[channel] + p.epsilon));
    }
}

/* z = act((y - mean) * inverse * gamma + beta + residual). Without `mean`: act(y + beta + residual). z may be y. */
KERNEL(normalise, Normalise) {
    FOR_ROWS(channel, p.channels) {
        const float scale = p.mean ? p.inverse[channel] * p.gamma[channel] : 1.0f;
        const float mean = p.mean ? p.mean[channel] : 0.0f, shift = p.beta[channel];
        FOR_ELEMENTS(i, p.length) {
            const Long at = (Long)channel * p.length + i;
            float value = (p.y[at] - mean) * scale + shift;
            if (p.residual) value += p.residual[at];
            p.z[at] = activate(value, p.activation);
        }
    }
}

/* Sums of the slope before the activation, and of it times the normalised value, over one of `splits` parts. */
BLOCK_KERNEL(slope_sums, Slopes) {
    const unsigned part = (p.length + p.splits - 1) / p.splits;
    FOR_ROWS(channel, p.channels) {
        for (unsigned split = blockIdx.x; split < p.splits; split += gridDim.x) {
            const float mean = p.mean ? p.mean[channel] : 0.0f, inverse = p.mean ? p.inverse[channel] : 0.0f;
            const unsigned begin = split * part, end = begin + part < p.length ? begin + part : p.length;
            float sum = 0.0f, product = 0.0f;
            for (unsigned i = begin + threadIdx.x; i < end; i += blockDim.x) {
                const Long at = (Long)channel * p.length + i;
                const float slope = before(p.slope[at], p.z[at], p.activation);
                sum += slope;
                if (p.mean) product += slope * (p.y[at] - mean) * inverse;
            }
            const double sums = block_sum(sum), products = block_sum(product);
            if (threadIdx.x == 0) {
                p.partial[2 * (channel * p.splits + split)] = (float)sums;
                p.partial[2 * (channel * p.splits + split) + 1] = (float)products;
            }
        }
    }
}

/* Gradients of beta and (where there is one) gamma from the parts. */
KERNEL(finish_slopes, Slopes) {
    FOR_ELEMENTS(channel, p.channels) {
        const float *partial = p.partial + 2 * (Long)channel * p.splits;
        double sum = 0.0, product = 0.0;
        for (unsigned split = 0; split < p.splits; ++split) {
            sum += partial[2 * split];
            product += partial[2 * split + 1];
        }
        p.beta_slope[channel] = (float)sum;
        if (p.gamma_slope) p.gamma_slope[channel] = (float)product;
    }
}

/* Gradients of y (may lie on the slope) and of the residual, where there is one. `shift` and `tilt` are the gradients
   of beta and gamma by the `count` values of all processes. */
KERNEL(slopes, Slopes) {
    FOR_ROWS(channel, p.channels) {
        const float count = (float)p.count;
        const float mean = p.mean ? p.mean[channel] : 0.0f, inverse = p.mean ? p.inverse[channel] : 0.0f;
        const float scale = p.mean ? p.gamma[channel] * inverse : 1.0f;
        const float shift = p.mean ? p.shift[channel] / count : 0.0f;
        const float tilt = p.mean ? p.tilt[channel] / count : 0.0f;
        FOR_ELEMENTS(i, p.length) {
            const Long at = (Long)channel * p.length + i;
            const float slope = before(p.slope[at], p.z[at], p.activation);
            if (p.residual_slope) p.residual_slope[at] = p.add ? p.residual_slope[at] + slope : slope;
            float value = slope - shift;
            if (p.mean) value -= (p.y[at] - mean) * inverse * tilt;
            p.y_slope[at] = scale * value;
        }
    }
}

/* ---- Elementwise ---- */

/* to = act(a + b). */
KERNEL(add, Sum) {
    FOR_ELEMENTS(i, p.length) p.to[i] = activate(p.a[i] + p.b[i], p.activation);
}

/* Slope a before an activation whose result was b. */
KERNEL(add_input, Sum) {
    FOR_ELEMENTS(i, p.length) p.to[i] = before(p.a[i], p.b[i], p.activation);
}

/* Means of runs of `pixels` values. */
KERNEL(mean, Mean) {
    FOR_ELEMENTS(i, p.length) {
        const float *from = p.from + (Long)i * p.pixels;
        float sum = 0.0f;
        for (unsigned pixel = 0; pixel < p.pixels; ++pixel) sum += from[pixel];
        p.to[i] = sum / (float)p.pixels;
    }
}

/* Gradient of `mean`'s input of `length` values. */
KERNEL(mean_input, Mean) {
    FOR_ELEMENTS(i, p.length) {
        const float value = p.from[i / p.pixels] / (float)p.pixels;
        p.to[i] = p.add ? p.to[i] + value : value;
    }
}

/* ---- Loss and optimiser ---- */

/* One block. Gradient of the batch's mean softmax cross-entropy by logits [batch, classes]; adds the sum of the images'
 * losses and the number of right answers to `totals`. */
BLOCK_KERNEL(cross_entropy, Entropy) {
    double loss = 0.0, right = 0.0;
    for (unsigned image = threadIdx.x; image < p.batch; image += blockDim.x) {
        const float *logits = p.logits + (Long)image * p.classes;
        float *slope = p.slope + (Long)image * p.classes;
        const unsigned label = p.labels[image];
        unsigned best = 0;
        for (unsigned class_ = 1; class_ < p.classes; ++class_)
            if (logits[class_] > logits[best]) best = class_;
        float most = logits[best], total = 0.0f;
        for (unsigned class_ = 0; class_ < p.classes; ++class_) total += expf(logits[class_] - most);
        loss += log((double)total) - (double)(logits[label] - most);
        right += best == label;
        for (unsigned class_ = 0; class_ < p.classes; ++class_) {
            const float target = class_ == label ? 1.0f : 0.0f;
            slope[class_] = (expf(logits[class_] - most) / total - target) / (float)p.batch;
        }
    }
    loss = block_sum(loss);
    right = block_sum(right);
    if (threadIdx.x == 0) {
        p.totals[0] += loss;
        p.totals[1] += right;
    }
}

/* v = momentum*v + (slope + decay*w), w = w - rate*v, of all tensors at once. */
KERNEL(descend, Descent) {
    FOR_ROWS(tensor, p.tensors) {
        const struct Slot slot = p.slots[tensor];
        for (Long i = blockIdx.x * blockDim.x + threadIdx.x; i < slot.length; i += gridDim.x * blockDim.x) {
            const float weight = slot.weight[i];
            const float velocity = p.momentum * slot.velocity[i] + (slot.slope[i] + p.decay * weight);
            slot.velocity[i] = velocity;
            slot.weight[i] = weight - p.rate * velocity;
        }
    }
}
