//! The scratch of a thin half that goes by tiles.

/// Its parts.
pub(super) struct Parts<'a> {
    /// The rank-r values.
    pub middle: &'a mut [f32],
    /// Sums of products; then expanded sums.
    pub sums: &'a mut [f32],
    /// Transformed pixels; then weights of the expanding half.
    pub pixels: &'a mut [f32],
    /// Transformed weights.
    pub weights: &'a mut [f32],
    /// One channel, widened.
    pub patch: &'a mut [f32],
}

impl<'a> Parts<'a> {
    /// Splits the caller's scratch into parts of these sizes, in f32; `None` where it is too small, which the fit rules out.
    pub fn split(scratch: &'a mut [f32], [middle, sums, pixels, weights, patch]: [usize; 5]) -> Option<Self> {
        let (middle, rest) = scratch.split_at_mut_checked(middle)?;
        let (sums, rest) = rest.split_at_mut_checked(sums)?;
        let (pixels, rest) = rest.split_at_mut_checked(pixels)?;
        let (weights, rest) = rest.split_at_mut_checked(weights)?;
        Some(Parts { middle, sums, pixels, weights, patch: rest.get_mut(..patch)? })
    }
}
