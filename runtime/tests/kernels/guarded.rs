//! Buffers that show a write outside.

/// Elements on each side of a buffer.
const GUARD: usize = 64;

/// A buffer between two guards.
pub struct Guarded<T> {
    pub all: Vec<T>,
    mark: T,
}

impl<T: Copy + PartialEq + std::fmt::Debug> Guarded<T> {
    pub fn new(values: &[T], mark: T) -> Self {
        let guard = [mark; GUARD];
        Self { all: [&guard[..], values, &guard[..]].concat(), mark }
    }

    pub fn values(&mut self) -> &mut [T] {
        let end = self.all.len() - GUARD;
        &mut self.all[GUARD..end]
    }

    /// The values, after a look at the guards.
    pub fn checked(&self) -> &[T] {
        let end = self.all.len() - GUARD;
        assert!(self.all[..GUARD].iter().all(|x| *x == self.mark), "written before the buffer");
        assert!(self.all[end..].iter().all(|x| *x == self.mark), "written behind the buffer");
        &self.all[GUARD..end]
    }
}
