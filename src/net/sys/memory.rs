//! Memory that may not be there.

use std::alloc::{self, Layout};

/// `size` zero bytes, more than none; `None` without memory. As with `vec![0; size]`, pages that
/// nothing is written to take no memory. The standard library has no such call that may fail.
pub(crate) fn zeroed(size: usize) -> Option<Vec<u8>> {
    let layout = Layout::array::<u8>(size).ok().filter(|_| size > 0)?;
    // SAFETY: the size is not zero. The memory is from the allocator and of the layout that a
    // vector of this capacity has, and all of it is initialized.
    unsafe {
        let bytes = alloc::alloc_zeroed(layout);
        (!bytes.is_null()).then(|| Vec::from_raw_parts(bytes, size, size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroed_memory_is_zero_and_too_much_of_it_is_an_answer() {
        assert_eq!(zeroed(100_000), Some(vec![0; 100_000]));
        assert_eq!(zeroed(0), None);
        assert_eq!(zeroed(isize::MAX as usize), None);
        assert_eq!(zeroed(usize::MAX), None);
    }
}
