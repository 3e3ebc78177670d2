//! Functions of the loaded library that the bindings do not have.

use std::ffi::{CStr, CString, c_void};
use std::path::Path;

/// The loaded library, which is never unloaded.
pub(super) struct Symbols(*mut c_void);

impl Symbols {
    /// `None` when nothing was loaded from there.
    pub(super) fn of(library: &Path) -> Option<Symbols> {
        let path = CString::new(library.to_str()?).ok()?;
        // SAFETY: plain call; the flag forbids to load anything.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
        (!handle.is_null()).then_some(Symbols(handle))
    }

    /// The function of this name; `None` when the library lacks it.
    pub(super) fn find(&self, name: &CStr) -> Option<*mut c_void> {
        // SAFETY: the handle is open, the name ends with a zero.
        let found = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        (!found.is_null()).then_some(found)
    }
}
