//! The memory allocator of the whole program, libraries in C and C++ included: mimalloc.
//!
//! The OCR engine and pdfium allocate millions of small blocks a page. With mimalloc the engine takes a tenth less time than
//! with glibc's allocator, whose tuning (`GLIBC_TUNABLES`) does not help.
//!
//! In a child, an allocation that fails ends the process. Libraries in C look at a null from `malloc` and carry on as they
//! think best. pdfium, when it cannot have the memory for a scan's picture, leaves the picture out: the page comes out
//! white, is taken for blank, and a document full of text would be indexed as an empty one. Under a memory limit that must
//! never happen, so the failure is made loud here, where every allocation comes by. The parent reads what is said and
//! calls it `out_of_memory`. In the parent nothing is armed.
//!
//! The functions below stand before those of the C library for the whole program: all that glibc's manual lists under
//! "Replacing malloc", so that no block comes from one allocator and goes to the other.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use libmimalloc_sys::{
    mi_calloc, mi_free, mi_malloc, mi_malloc_aligned, mi_option_set, mi_option_t, mi_option_use_numa_nodes, mi_realloc,
    mi_usable_size,
};

/// What is said on stderr before the end; [`crate::pool::verdict`] looks for it.
pub const LAST_WORDS: &str = "out of memory: an allocation failed\n";

/// For the environment of a child: how much address space the allocator takes at once (by default a gigabyte, all that a
/// child may have), and how many milliseconds pass before the system has unused memory back (tenfold where a whole arena is
/// looked through): a page takes what the page before has freed.
pub const ENVIRONMENT_OF_A_CHILD: [(&str, &str); 2] =
    [("MIMALLOC_ARENA_RESERVE", "64MiB"), ("MIMALLOC_PURGE_DELAY", "3000")];

/// `mi_option_purge_delay`: in mimalloc.h it stands before this one, whose number the crate tells.
const PURGE_DELAY: mi_option_t = mi_option_use_numa_nodes - 1;

/// `valloc` and `pvalloc` align to this. Larger than a page of memory on some processors, which does no harm.
const PAGE_BYTES: usize = 65_536;

static IS_ARMED: AtomicBool = AtomicBool::new(false);

/// The linker did not put our functions before the C library's.
#[derive(Debug, thiserror::Error)]
#[error("this program was linked such that libraries allocate memory behind its back")]
pub struct NotInForce;

/// Memory that is free goes back to the system at once, for a process that lives long and rests often: the daemon.
pub fn give_back_at_once() {
    // SAFETY: the option is one of the allocator's.
    unsafe { mi_option_set(PURGE_DELAY, 0) };
}

/// From now on an allocation that fails ends this process.
pub fn arm() -> Result<(), NotInForce> {
    // SAFETY: the name is a C string; the answer is only compared.
    let used_by_libraries = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"malloc".as_ptr()) };
    if used_by_libraries != malloc as *mut c_void {
        return Err(NotInForce);
    }
    IS_ARMED.store(true, Ordering::Relaxed);
    Ok(())
}

/// `size` is `None` where it overflows: such a request is nonsense in a file, not a want of memory, and the
/// library's own handling of it is the right one. So it is for sizes that no process can have.
fn checked(memory: *mut c_void, size: Option<usize>) -> *mut c_void {
    if memory.is_null() { refused(size) } else { memory }
}

#[cold]
fn refused(size: Option<usize>) -> *mut c_void {
    let could_be_had = size.is_some_and(|size| size != 0 && isize::try_from(size).is_ok());
    if could_be_had && IS_ARMED.load(Ordering::Relaxed) {
        // SAFETY: the words are there and as long as said; neither call allocates.
        unsafe {
            libc::write(libc::STDERR_FILENO, LAST_WORDS.as_ptr().cast(), LAST_WORDS.len());
            libc::abort();
        }
    }
    ptr::null_mut()
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    // SAFETY: passed on as it came.
    checked(unsafe { mi_malloc(size) }, Some(size))
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    // SAFETY: passed on as it came.
    checked(unsafe { mi_calloc(count, size) }, count.checked_mul(size))
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(memory: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: passed on as it came.
    checked(unsafe { mi_realloc(memory, size) }, Some(size))
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn reallocarray(memory: *mut c_void, count: usize, size: usize) -> *mut c_void {
    match count.checked_mul(size) {
        // SAFETY: passed on as it came.
        Some(bytes) => unsafe { realloc(memory, bytes) },
        None => ptr::null_mut(),
    }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn free(memory: *mut c_void) {
    // SAFETY: passed on as it came.
    unsafe { mi_free(memory) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc_usable_size(memory: *const c_void) -> usize {
    // SAFETY: passed on as it came.
    unsafe { mi_usable_size(memory) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memalign(alignment: usize, size: usize) -> *mut c_void {
    // SAFETY: passed on as it came.
    checked(unsafe { mi_malloc_aligned(size, alignment) }, Some(size))
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
    // SAFETY: in the C library the two are one function.
    unsafe { memalign(alignment, size) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn valloc(size: usize) -> *mut c_void {
    // SAFETY: the alignment is a power of two.
    unsafe { memalign(PAGE_BYTES, size) }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvalloc(size: usize) -> *mut c_void {
    match size.checked_next_multiple_of(PAGE_BYTES) {
        // SAFETY: the alignment is a power of two.
        Some(size) => unsafe { memalign(PAGE_BYTES, size) },
        None => ptr::null_mut(),
    }
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_memalign(memory: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
    if !alignment.is_power_of_two() || !alignment.is_multiple_of(size_of::<*mut c_void>()) {
        return libc::EINVAL;
    }
    // SAFETY: the alignment is one that the allocator takes.
    let allocated = unsafe { memalign(alignment, size) };
    if allocated.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller says where the pointer goes.
    unsafe { *memory = allocated };
    0
}

#[cfg(test)]
mod tests {
    use std::ffi::{CStr, CString};
    use std::hint::black_box;

    use super::*;

    #[test]
    fn blocks_of_the_c_library_are_ours_too() {
        let text = CString::new("道路橋").expect("no zero in it");
        // SAFETY: the copy is freed once, after it was looked at.
        unsafe {
            let copy = libc::strdup(text.as_ptr());
            assert!(libmimalloc_sys::mi_is_in_heap_region(copy.cast()), "strdup allocates with our malloc");
            assert_eq!(CStr::from_ptr(copy), text.as_c_str());
            free(copy.cast());
        }
    }

    #[test]
    fn every_way_to_allocate_gives_aligned_memory_that_can_be_freed() {
        for alignment in [16_usize, 64, 4096] {
            for size in [1_usize, 24, 5_000, 3_000_000] {
                let mut block = ptr::null_mut();
                // SAFETY: each block is freed once; the writes stay inside of it.
                unsafe {
                    assert_eq!(posix_memalign(&mut block, alignment, size), 0);
                    for block in [block, memalign(alignment, size), valloc(size), pvalloc(size)] {
                        assert!(block.addr().is_multiple_of(alignment) && malloc_usable_size(block) >= size);
                        block.cast::<u8>().write_bytes(0xA5, size);
                        let grown = realloc(block, size * 2);
                        assert_eq!(*grown.cast::<u8>().add(size - 1), 0xA5);
                        free(grown);
                    }
                }
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let mut block = ptr::null_mut();
        // SAFETY: nothing is allocated.
        unsafe {
            assert_eq!(posix_memalign(&mut block, 24, 8), libc::EINVAL);
            let too_large = usize::MAX / 2 + 1;
            for block in [
                malloc(too_large),
                pvalloc(usize::MAX),
                calloc(too_large, 2),
                reallocarray(ptr::null_mut(), too_large, 2),
            ] {
                // A block that nobody looks at is one that a compiler need not ask for.
                assert!(black_box(block).is_null());
            }
        }
    }
}
