//! The micro-kernel of a convolution and its walk over a few images.
//!
//! Feature maps are channels-last. Vector lanes hold output channels; one input value is broadcast against them, so
//! stride, padding and odd widths cost nothing but a different address. A convolution in a padded image is a few
//! *runs*: the taps of one kernel row and all their channels are contiguous in memory.

// Tiles are indexed by their constants, which is what unrolls them into registers.
#![allow(unsafe_code, clippy::needless_range_loop)]

use super::isa::{Isa, Kind};
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{LANES, Lanes, Portable, whole};

/// Distances between the things that a sweep visits, in values.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pitch {
    /// From one pixel to the next one in its row.
    pub pixel: usize,
    /// From one row to the next.
    pub row: usize,
    /// From one image to the next.
    pub image: usize,
}

impl Pitch {
    /// Values from the first pixel of the first image to the last one's of `images` images of `rows` × `cols`.
    pub(super) fn extent(&self, images: usize, rows: usize, cols: usize) -> usize {
        (images - 1) * self.image + (rows - 1) * self.row + (cols - 1) * self.pixel
    }
}

/// One pass of a kernel over padded images.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    /// Runs of a window (kernel rows).
    pub runs: usize,
    /// Values of one run (kernel columns × channels).
    pub run_len: usize,
    /// Distance between the runs of a window.
    pub run_pitch: usize,
    /// Rows and columns of the windows, which are the result's pixels.
    pub rows: usize,
    pub cols: usize,
    /// Distances between windows in the padded input.
    pub input: Pitch,
    /// Distances between pixels of the result (or of its gradient).
    pub output: Pitch,
    /// Channels n of the result.
    pub channels: usize,
}

impl Sweep {
    /// Values of the packed weights: groups × runs × run_len × lanes of the group.
    pub(super) fn packed_len(&self) -> usize {
        self.runs * self.run_len * whole(self.channels)
    }

    /// Values that a walk over the padded input of `images` images reaches.
    pub(super) fn input_extent(&self, images: usize) -> usize {
        self.input.extent(images, self.rows, self.cols) + (self.runs - 1) * self.run_pitch + self.run_len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0 || self.cols == 0 || self.runs == 0 || self.run_len == 0 || self.channels == 0
    }
}

/// Vectors across of each group of output channels: groups of [`Lanes::ACROSS`], then a narrower last one.
/// Yields (first channel, vectors).
pub(super) fn groups(isa: Isa, channels: usize) -> impl Iterator<Item = (usize, usize)> {
    let across = match isa.kind() {
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => Avx512::ACROSS,
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => Avx2::ACROSS,
        Kind::Portable => Portable::ACROSS,
    };
    let vectors = whole(channels) / LANES;
    (0..vectors).step_by(across).map(move |first| (first * LANES, across.min(vectors - first)))
}

/// The result's pixels of `images` images: `y[pixel, n] = (y[pixel, n]) + Σ weights[tap, n] · x[pixel + tap]`, with the old value where
/// `accumulate` is set. `weights` are packed as `[group][run][run_len][lanes of the group]`.
///
/// # Panics
/// Where a slice is shorter than the sweep's extent.
pub(super) fn correlate(
    isa: Isa,
    sweep: &Sweep,
    images: usize,
    x: &[f32],
    weights: &[f32],
    y: &mut [f32],
    accumulate: bool,
) {
    if sweep.is_empty() || images == 0 {
        return;
    }
    assert!(x.len() >= sweep.input_extent(images), "padded input is too short for the sweep");
    let extent = sweep.output.extent(images, sweep.rows, sweep.cols) + sweep.channels;
    assert!(y.len() >= extent, "result is too short for the sweep");
    assert!(weights.len() >= sweep.packed_len(), "packed weights are too short for the sweep");
    let (x, weights, y) = (x.as_ptr(), weights.as_ptr(), y.as_mut_ptr());
    // SAFETY: the extents were just checked against the slices; the kind was detected on this machine.
    unsafe {
        match isa.kind() {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => correlate_avx512(sweep, images, x, weights, y, accumulate),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => correlate_avx2(sweep, images, x, weights, y, accumulate),
            Kind::Portable => correlate_with::<Portable>(sweep, images, x, weights, y, accumulate),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2,fma")]
unsafe fn correlate_avx512(
    s: &Sweep,
    images: usize,
    x: *const f32,
    w: *const f32,
    y: *mut f32,
    accumulate: bool,
) {
    // SAFETY: the caller's contract, passed on.
    unsafe { correlate_with::<Avx512>(s, images, x, w, y, accumulate) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn correlate_avx2(
    s: &Sweep,
    images: usize,
    x: *const f32,
    w: *const f32,
    y: *mut f32,
    accumulate: bool,
) {
    // SAFETY: the caller's contract, passed on.
    unsafe { correlate_with::<Avx2>(s, images, x, w, y, accumulate) }
}

/// Splits `total` into the fewest parts of at most `most`, as even as can be; yields (start, length).
#[inline(always)]
pub(super) fn even_parts(total: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let parts = total.div_ceil(most);
    (0..parts).map(move |part| {
        let start = part * total / parts;
        (start, (part + 1) * total / parts - start)
    })
}

/// Calls the instance of a tile whose constant equals a run-time number between 1 and `most`.
macro_rules! instance {
    ($n:expr, $most:expr, $tile:ident, $lanes:ident, $across:literal, $args:tt, [$($count:literal)*]) => {
        match $n {
            $($count if $count <= $most => $tile::<$lanes, $count, $across> $args,)*
            _ => unreachable!("no tile is larger than its limit"),
        }
    };
}
pub(super) use instance;

/// Where the pixels of a tile begin, in the padded input and in the result.
#[derive(Clone, Copy)]
struct Pixel {
    x: usize,
    y: usize,
}

/// Walks over the pixels of all images in order.
struct Walk<'a> {
    s: &'a Sweep,
    at: Pixel,
    row: Pixel,
    image: Pixel,
    /// Columns and rows left, this one among them.
    cols: usize,
    rows: usize,
}

impl<'a> Walk<'a> {
    #[inline(always)]
    fn new(s: &'a Sweep) -> Self {
        let start = Pixel { x: 0, y: 0 };
        Walk { s, at: start, row: start, image: start, cols: s.cols, rows: s.rows }
    }

    #[inline(always)]
    fn next(&mut self) -> Pixel {
        let (now, s) = (self.at, self.s);
        let step = |from: Pixel, x: usize, y: usize| Pixel { x: from.x + x, y: from.y + y };
        self.cols -= 1;
        if self.cols > 0 {
            self.at = step(now, s.input.pixel, s.output.pixel);
        } else {
            self.cols = s.cols;
            self.rows -= 1;
            if self.rows > 0 {
                self.row = step(self.row, s.input.row, s.output.row);
            } else {
                self.rows = s.rows;
                self.image = step(self.image, s.input.image, s.output.image);
                self.row = self.image;
            }
            self.at = self.row;
        }
        now
    }
}

/// Most pixels of a tile on any instruction set.
const MOST_PIXELS: usize = 12;

/// [`correlate`] on one instruction set. The weights of a group of channels stay in the caches while all images pass.
///
/// # Safety
/// The machine has the instructions of `L`, and the pointers are valid for the extents of the sweep.
#[inline(always)]
unsafe fn correlate_with<L: Lanes>(
    s: &Sweep,
    images: usize,
    x: *const f32,
    w: *const f32,
    y: *mut f32,
    accumulate: bool,
) {
    let taps = s.runs * s.run_len;
    let vectors = whole(s.channels) / LANES;
    let mut first = 0;
    while first < vectors {
        let across = L::ACROSS.min(vectors - first);
        let lanes = s.channels - first * LANES;
        let mut walk = Walk::new(s);
        let mut pixels = [Pixel { x: 0, y: 0 }; MOST_PIXELS];
        // SAFETY: offsets stay within the extents, by the caller's contract.
        unsafe {
            let w = w.add(first * LANES * taps);
            let y = y.add(first * LANES);
            for (_, count) in even_parts(images * s.rows * s.cols, L::PIXELS[across - 1]) {
                for pixel in &mut pixels[..count] {
                    *pixel = walk.next();
                }
                let args = Tile { s, x, w, y, pixels: &pixels, lanes, accumulate };
                if across == 1 {
                    instance!(count, L::PIXELS[0], pixel_tile, L, 1, (args), [1 2 3 4 5 6 7 8 9 10 11 12]);
                } else {
                    instance!(count, L::PIXELS[1], pixel_tile, L, 2, (args), [1 2 3 4 5 6 7 8 9 10 11 12]);
                }
            }
        }
        first += across;
    }
}

/// Operands of one tile of pixels: pointers to the padded input, the group's weights and its first channel in the
/// result; `lanes` is the number of channels from there to the last.
struct Tile<'a> {
    s: &'a Sweep,
    x: *const f32,
    w: *const f32,
    y: *mut f32,
    pixels: &'a [Pixel; MOST_PIXELS],
    lanes: usize,
    accumulate: bool,
}

/// `P` pixels times `V` vectors of output channels, all in registers.
#[inline(always)]
unsafe fn pixel_tile<L: Lanes, const P: usize, const V: usize>(t: Tile) {
    let s = t.s;
    // SAFETY: the caller's contract: every offset is one that the sweep visits.
    unsafe {
        // The loops that load and store are kept small enough to be unrolled early: only then are the sums held in
        // registers alone. The last vector may have fewer channels than lanes.
        let last = t.lanes.min(V * LANES) - (V - 1) * LANES;
        let mut acc = [[L::zero(); V]; P];
        if t.accumulate && last == LANES {
            for p in 0..P {
                for v in 0..V {
                    acc[p][v] = L::load(t.y.add(t.pixels[p].y + v * LANES).cast_const());
                }
            }
        } else if t.accumulate {
            for p in 0..P {
                for v in 0..V {
                    let count = if v + 1 == V { last } else { LANES };
                    acc[p][v] = L::load_some(t.y.add(t.pixels[p].y + v * LANES).cast_const(), count);
                }
            }
        }
        let mut w = t.w;
        for run in 0..s.runs {
            let mut pixel = [t.x; P];
            for p in 0..P {
                pixel[p] = t.x.add(run * s.run_pitch + t.pixels[p].x);
            }
            for k in 0..s.run_len {
                let mut weights = [L::zero(); V];
                for v in 0..V {
                    weights[v] = L::load(w.add(v * LANES));
                }
                w = w.add(V * LANES);
                for p in 0..P {
                    let value = L::splat(pixel[p].add(k));
                    for v in 0..V {
                        acc[p][v] = L::fma(value, weights[v], acc[p][v]);
                    }
                }
            }
        }
        if last == LANES {
            for p in 0..P {
                for v in 0..V {
                    L::store(t.y.add(t.pixels[p].y + v * LANES), acc[p][v]);
                }
            }
        } else {
            for p in 0..P {
                for v in 0..V {
                    let count = if v + 1 == V { last } else { LANES };
                    L::store_some(t.y.add(t.pixels[p].y + v * LANES), acc[p][v], count);
                }
            }
        }
    }
}
