//! Memory that begins with a cache line.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, on most processors; a vector that lies in two takes two loads.
const LINE_BYTES: usize = 64;

/// Values in one piece of memory that begins with a cache line.
#[derive(Debug)]
pub struct Aligned<T> {
    data: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// `len` values of zero.
    pub fn zeros(len: usize) -> Aligned<T> {
        let data = vec![T::default(); len + LINE_BYTES / size_of::<T>()];
        // Without the room in front (which `align_offset` may refuse to tell) it is slower, not
        // wrong.
        let start = data.as_ptr().align_offset(LINE_BYTES);
        let start = start.min(data.len() - len);
        Aligned { data, start, len }
    }
}

impl<T> Default for Aligned<T> {
    /// No values, and no memory.
    fn default() -> Self {
        Aligned {
            data: Vec::new(),
            start: 0,
            len: 0,
        }
    }
}

impl<T: Copy + Default> Clone for Aligned<T> {
    fn clone(&self) -> Self {
        let mut copy = Aligned::zeros(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.data[self.start..][..self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.data[self.start..][..self.len]
    }
}
