//! Large pages for large blocks of memory.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, which asks for large pages (2 MB rather than 4 KB on x86-64) under blocks of 4 MB and
/// more: a network's weights, files and images. The first touch of a page costs the system about a quarter of a
/// microsecond, which is most of the time of opening a large network. Linux only; elsewhere, and where the system
/// has no such pages to give, it is the system's allocator.
///
/// For programs that hold networks:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: bantam_kernels::LargePages = bantam_kernels::LargePages;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct LargePages;

/// Smallest block that is asked for: it has one whole page of 2 MB wherever it begins.
const LARGE: usize = 4 << 20;

/// Asks for large pages under a block, as far as it fills them: what is around it stays as it is.
#[cfg(target_os = "linux")]
#[inline]
fn advise(block: *mut u8, size: usize) {
    use rustix::mm::{Advice, madvise};

    const PAGE: usize = 2 << 20;
    if size < LARGE || block.is_null() {
        return;
    }
    let start = (block as usize).next_multiple_of(PAGE);
    let end = (block as usize).saturating_add(size) / PAGE * PAGE;
    let (address, length) = (
        block.wrapping_add(start - block as usize),
        end.saturating_sub(start),
    );
    // SAFETY: the range is within a block that the caller has just been given. The advice changes how its
    // pages are backed and nothing of what is in them; a refusal is no loss.
    let _ = unsafe { madvise(address.cast(), length, Advice::LinuxHugepage) };
}

#[cfg(not(target_os = "linux"))]
fn advise(_: *mut u8, _: usize) {}

// SAFETY: blocks are those of the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        let block = unsafe { System.alloc(layout) };
        advise(block, layout.size());
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        let block = unsafe { System.alloc_zeroed(layout) };
        advise(block, layout.size());
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract.
        let block = unsafe { System.realloc(block, layout, size) };
        advise(block, size);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(block, layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks around the sizes at which pages are asked for hold what is written to them, also when they grow
    /// and shrink, and begin as zeros where that was asked for.
    #[test]
    fn blocks_hold_what_is_written() {
        for size in [1, 4096, LARGE - 1, LARGE, LARGE + 1, 3 * LARGE + 77] {
            for align in [1, 64, 4096] {
                let layout = Layout::from_size_align(size, align).unwrap();
                let mark = |i: usize| (i / 4096 % 251) as u8 + 1;
                // SAFETY: sizes are not zero; each block is given back with its layout, and is only read and
                // written within its size.
                unsafe {
                    let zeros = LargePages.alloc_zeroed(layout);
                    assert!(!zeros.is_null() && (zeros as usize).is_multiple_of(align));
                    assert!((0..size).step_by(1021).all(|i| *zeros.add(i) == 0));
                    LargePages.dealloc(zeros, layout);
                    let mut block = LargePages.alloc(layout);
                    (0..size)
                        .step_by(4096)
                        .for_each(|i| *block.add(i) = mark(i));
                    let mut last = layout;
                    for new in [2 * size + LARGE, size] {
                        block = LargePages.realloc(block, last, new);
                        assert!(!block.is_null() && (block as usize).is_multiple_of(align));
                        last = Layout::from_size_align(new, align).unwrap();
                        let kept = |i: usize| *block.add(i) == mark(i);
                        assert!((0..size).step_by(4096).all(kept), "{size} {align}");
                    }
                    LargePages.dealloc(block, last);
                }
            }
        }
    }
}
