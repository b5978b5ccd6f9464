//! Memory whose end is the end of its allocation, so that reading beyond it is seen.

/// Bytes at a multiple of 16: the sanitizer's allocator gives no other addresses.
pub struct Aligned(Box<[u8]>);

impl Aligned {
    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Aligned {
        Aligned(bytes.into())
    }

    /// Zeros.
    pub fn zeroed(length: usize) -> Aligned {
        Aligned(vec![0; length].into_boxed_slice())
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
