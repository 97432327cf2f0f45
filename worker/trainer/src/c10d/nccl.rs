//! The half of libtorch that needs a GPU, loaded at run time. NCCL's unit of the bridge is a shared
//! library inside this program; opening it brings in libtorch's CUDA libraries. Without a CUDA
//! driver nothing of this is touched, so a CPU rank starts fast and needs no CUDA installation.

use std::ffi::{CStr, CString, c_char, c_void};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr;
use std::sync::OnceLock;

use super::{CommError, Store, ffi};

const LIBRARY: &[u8] = include_bytes!(env!("YARD_NCCL_LIBRARY"));

type BackendFn =
    unsafe extern "C" fn(*mut ffi::RawStore, i32, i32, i64, *mut *mut ffi::RawBackend) -> i32;
type ErrorFn = unsafe extern "C" fn() -> *const c_char;

#[derive(Clone, Copy)]
struct Library {
    backend: BackendFn,
    last_error: ErrorFn,
}

/// Whether the program was built with NCCL's headers at hand.
pub fn nccl_built() -> bool {
    !LIBRARY.is_empty()
}

/// Whether this machine has a CUDA driver at all.
pub fn cuda_driver_present() -> bool {
    // SAFETY: opens the driver's library by its public name; its initialisers are those that every
    // CUDA program runs, and it is left open for libtorch to find.
    let handle =
        unsafe { libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL) };
    !handle.is_null()
}

/// Brings in libtorch's CUDA half. Must come before the first question to libtorch about CUDA,
/// whose «no» is remembered.
///
/// # Errors
/// [`CommError::NoCuda`] with the loader's words.
pub fn load_cuda() -> Result<(), CommError> {
    library().map(|_| ())
}

/// Makes the NCCL backend of a group.
pub(super) fn backend(
    store: &Store,
    rank: i32,
    size: i32,
    timeout_ms: i64,
) -> Result<*mut ffi::RawBackend, CommError> {
    let library = library()?;
    let mut raw = ptr::null_mut();
    // SAFETY: the function comes from our own library, built from the same headers; the store is
    // live and `raw` is written only on success.
    let code = unsafe { (library.backend)(store.raw(), rank, size, timeout_ms, &raw mut raw) };
    if code == 0 {
        return Ok(raw);
    }
    // SAFETY: the library's thread-local text of the call that just failed, copied at once.
    let text = unsafe { CStr::from_ptr((library.last_error)()) }.to_string_lossy().into_owned();
    Err(CommError::from_text("joining the process group over NCCL", &text))
}

fn library() -> Result<Library, CommError> {
    static LOADED: OnceLock<Result<Library, String>> = OnceLock::new();
    LOADED.get_or_init(open).clone().map_err(CommError::NoCuda)
}

fn open() -> Result<Library, String> {
    if !nccl_built() {
        return Err("this yard-train was built without NCCL: install the NVIDIA headers (`make setup`) and build again".to_owned());
    }
    let file =
        in_memory().map_err(|e| format!("could not unpack the NCCL library in memory: {e}"))?;
    let path =
        CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(|e| e.to_string())?;
    // SAFETY: a library that this build made, linked against the libtorch that is loaded; global, so
    // that libtorch's own CUDA libraries see each other's symbols.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if handle.is_null() {
        return Err(format!("could not load libtorch's CUDA libraries: {}", loader_error()));
    }
    let backend = symbol(handle, c"yard_nccl_backend")?;
    let last_error = symbol(handle, c"yard_nccl_last_error")?;
    // SAFETY: the symbols are functions of exactly these signatures in `bridge/nccl.cpp`, and the
    // library is never closed.
    Ok(unsafe {
        Library {
            backend: std::mem::transmute::<*mut c_void, BackendFn>(backend),
            last_error: std::mem::transmute::<*mut c_void, ErrorFn>(last_error),
        }
    })
}

fn in_memory() -> std::io::Result<File> {
    // SAFETY: a plain system call; the descriptor it returns is owned by the `File` alone.
    let mut file = unsafe {
        let fd = libc::memfd_create(c"libyard_nccl.so".as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        File::from_raw_fd(fd)
    };
    file.write_all(LIBRARY)?;
    Ok(file)
}

fn symbol(handle: *mut c_void, name: &CStr) -> Result<*mut c_void, String> {
    // SAFETY: `handle` is an open library and the name is null-terminated.
    let address = unsafe { libc::dlsym(handle, name.as_ptr()) };
    if address.is_null() { Err(loader_error()) } else { Ok(address) }
}

fn loader_error() -> String {
    // SAFETY: `dlerror` gives a null-terminated text or null, copied before the next call.
    unsafe {
        let text = libc::dlerror();
        if text.is_null() {
            "no reason given".to_owned()
        } else {
            CStr::from_ptr(text).to_string_lossy().into_owned()
        }
    }
}
