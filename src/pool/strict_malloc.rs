//! In a child, an allocation that fails ends the process.
//!
//! Libraries in C look at a null from `malloc` and carry on as they think best. pdfium, when it cannot have the
//! memory for a scan's picture, leaves the picture out: the page comes out white, is taken for blank, and a document
//! full of text would be indexed as an empty one. Under a memory limit that must never happen, so the failure is made
//! loud here, where every library's allocation comes by. The parent reads what is said and calls it `out_of_memory`.
//!
//! The functions below stand before those of the C library for the whole program, as a replacement allocator's do.
//! They pass everything on; the memory is glibc's, and so is `free`. In the parent nothing is armed and nothing
//! changes.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

/// What is said on stderr before the end; [`crate::pool::verdict`] looks for it.
pub const LAST_WORDS: &str = "out of memory: an allocation failed\n";

static IS_ARMED: AtomicBool = AtomicBool::new(false);

/// The linker did not put our functions before the C library's.
#[derive(Debug, thiserror::Error)]
#[error("this program was linked such that libraries allocate memory behind its back")]
pub struct NotInForce;

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

unsafe extern "C" {
    fn __libc_malloc(size: usize) -> *mut c_void;
    fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
    fn __libc_realloc(memory: *mut c_void, size: usize) -> *mut c_void;
    fn __libc_memalign(alignment: usize, size: usize) -> *mut c_void;
}

/// `size` is `None` where it overflows: such a request is nonsense in a file, not a want of memory, and the
/// library's own handling of it is the right one. So it is for sizes that no process can have.
fn checked(memory: *mut c_void, size: Option<usize>) -> *mut c_void {
    let could_be_had = size.is_some_and(|size| size != 0 && isize::try_from(size).is_ok());
    if memory.is_null() && could_be_had && IS_ARMED.load(Ordering::Relaxed) {
        // SAFETY: the words are there and as long as said; neither call allocates.
        unsafe {
            libc::write(libc::STDERR_FILENO, LAST_WORDS.as_ptr().cast(), LAST_WORDS.len());
            libc::abort();
        }
    }
    memory
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
    // SAFETY: passed on as it came.
    checked(unsafe { __libc_malloc(size) }, Some(size))
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    // SAFETY: passed on as it came.
    checked(unsafe { __libc_calloc(count, size) }, count.checked_mul(size))
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn realloc(memory: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: passed on as it came.
    checked(unsafe { __libc_realloc(memory, size) }, Some(size))
}

/// # Safety
/// As the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memalign(alignment: usize, size: usize) -> *mut c_void {
    // SAFETY: passed on as it came.
    checked(unsafe { __libc_memalign(alignment, size) }, Some(size))
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
pub unsafe extern "C" fn posix_memalign(memory: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
    if !alignment.is_power_of_two() || !alignment.is_multiple_of(size_of::<*mut c_void>()) {
        return libc::EINVAL;
    }
    // SAFETY: the alignment is one that the C library takes.
    let allocated = unsafe { memalign(alignment, size) };
    if allocated.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller says where the pointer goes.
    unsafe { *memory = allocated };
    0
}
