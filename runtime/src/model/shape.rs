//! Shapes of feature maps and of sliding windows.

use serde::{Deserialize, Serialize};

use super::general::Axis;

/// Shape of one feature map (batch 1): channels × height × width, stored in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Channels c (or the number of features, with height = width = 1).
    pub channels: u32,
    /// Rows h.
    pub height: u32,
    /// Columns w.
    pub width: u32,
}

impl Shape {
    /// A feature map of `channels` planes of `height` × `width`.
    pub const fn new(channels: u32, height: u32, width: u32) -> Self {
        Self { channels, height, width }
    }

    /// A vector of `features` values.
    pub const fn vector(features: u32) -> Self {
        Self::new(features, 1, 1)
    }

    /// That of sizes c, h and w.
    pub const fn of([channels, height, width]: [u32; 3]) -> Self {
        Self { channels, height, width }
    }

    /// The sizes c, h and w.
    pub const fn axes(&self) -> [u32; 3] {
        [self.channels, self.height, self.width]
    }

    /// The size along an axis.
    pub fn size(&self, axis: Axis) -> u32 {
        match axis {
            Axis::Channel => self.channels,
            Axis::Height => self.height,
            Axis::Width => self.width,
        }
    }

    /// Number of values, or `None` where it is zero or does not fit 31 bits.
    pub fn len_checked(&self) -> Option<usize> {
        let n = self.channels.checked_mul(self.height)?.checked_mul(self.width)?;
        if n == 0 || n > i32::MAX as u32 { None } else { Some(n as usize) }
    }

    /// Number of values of a shape that was checked before (0 where it was not).
    pub fn len(&self) -> usize {
        self.len_checked().unwrap_or(0)
    }

    /// True where an axis is zero (or the product does not fit 31 bits).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Pixels of one plane, h·w.
    pub fn pixels(&self) -> usize {
        if self.is_empty() { 0 } else { (self.height * self.width) as usize }
    }
}

impl core::fmt::Display for Shape {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}×{}×{}", self.channels, self.height, self.width)
    }
}

/// A sliding window of a convolution or a pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Kernel height and width.
    pub kernel: [u16; 2],
    /// Stride down and across.
    pub stride: [u16; 2],
    /// Zero padding: top, left, bottom, right.
    pub padding: [u16; 4],
}

impl Window {
    /// Square kernel `k`, the same stride on both axes, `padding` on all four sides.
    pub const fn square(k: u16, stride: u16, padding: u16) -> Self {
        Self { kernel: [k, k], stride: [stride, stride], padding: [padding; 4] }
    }

    /// Height and width of the output over an input of `height` × `width`:
    /// floor((size + padding − kernel) / stride) + 1 on each axis.
    /// `None` where a stride or kernel is zero or the kernel exceeds the padded input.
    pub fn output(&self, height: u32, width: u32) -> Option<(u32, u32)> {
        let axis = |size: u32, before: u16, after: u16, kernel: u16, stride: u16| {
            let padded = size.checked_add(u32::from(before))?.checked_add(u32::from(after))?;
            if kernel == 0 || stride == 0 {
                return None;
            }
            Some(padded.checked_sub(u32::from(kernel))? / u32::from(stride) + 1)
        };
        let [top, left, bottom, right] = self.padding;
        Some((
            axis(height, top, bottom, self.kernel[0], self.stride[0])?,
            axis(width, left, right, self.kernel[1], self.stride[1])?,
        ))
    }

    /// Taps of the kernel, kh·kw.
    pub fn taps(&self) -> u32 {
        u32::from(self.kernel[0]) * u32::from(self.kernel[1])
    }
}
