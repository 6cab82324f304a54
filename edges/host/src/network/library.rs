//! `libnftables`, opened at run time: rulesets as text in, listings as JSON out (libnftables(3)).

use super::namespace::Inside;
use super::nftables::Nftables;
use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::io;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The library's file, by the one version of its interface that there is.
const FILE: &str = "libnftables.so.1";

/// Longest text that is run: a ruleset of 155 tenants is a tenth of it.
pub(super) const TEXT_MAX: usize = 4 * 1_024 * 1_024;

/// Longest output that is taken.
pub(super) const OUTPUT_MAX: usize = 16 * 1_024 * 1_024;

/// Longest complaint that is passed on.
const COMPLAINT_MAX: usize = 2_000;

/// Output as JSON, and every protocol, priority, symbol and time as a number: the same on every host, whatever its
/// `/etc` says (`NFT_CTX_OUTPUT_..`).
const JSON: c_uint = 1 << 4;
const NUMERIC: c_uint = 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10;

/// Says why a text was not run.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The library cannot be opened.
    #[error("`{FILE}` cannot be opened: install the nftables library (Debian, Ubuntu: `libnftables1`): {0}")]
    LibraryAbsent(String),
    /// The library gave nothing to work with.
    #[error("`{FILE}` does not start")]
    LibraryFailed,
    /// The text is longer than is taken, or holds a NUL.
    #[error("the text is longer than {TEXT_MAX} bytes or holds a NUL")]
    Malformed,
    /// The output is longer than is taken.
    #[error("the output is longer than {OUTPUT_MAX} bytes")]
    OutputTooLong,
    /// The kernel does not answer about nftables, or the library not in its own language.
    #[error("nftables cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The library or the kernel refuses the text. Nothing of it was done.
    #[error("nftables refuses: {0}")]
    Refused(String),
}

/// nftables in the namespace that this thread stands in. A table that one makes with `flags owner` lasts as long as
/// this value, and nobody else can change it.
#[derive(Debug)]
pub struct Nft<'inside> {
    context: NonNull<c_void>,
    functions: &'static Functions,
    /// The kernel's own word, where the library's is not to be had.
    pub(super) kernel: Nftables<'inside>,
}

/// The library's functions that are used. Their signatures are those of `nftables/libnftables.h`.
#[derive(Debug)]
struct Functions {
    new: unsafe extern "C" fn(flags: u32) -> *mut c_void,
    free: unsafe extern "C" fn(context: *mut c_void),
    buffer_output: unsafe extern "C" fn(context: *mut c_void) -> c_int,
    buffer_error: unsafe extern "C" fn(context: *mut c_void) -> c_int,
    output: unsafe extern "C" fn(context: *mut c_void) -> *const c_char,
    error: unsafe extern "C" fn(context: *mut c_void) -> *const c_char,
    set_flags: unsafe extern "C" fn(context: *mut c_void, flags: c_uint),
    run: unsafe extern "C" fn(context: *mut c_void, text: *const c_char) -> c_int,
}

impl<'inside> Nft<'inside> {
    /// Starts the library in the namespace.
    ///
    /// # Errors
    /// When the library is not installed or does not start.
    pub fn open(inside: &'inside Inside) -> Result<Self, NftError> {
        let kernel = Nftables::open(inside)?;
        let functions = functions()?;
        let _alone = alone();
        #[expect(unsafe_code, reason = "the library is C")]
        // SAFETY: the function takes flags, of which 0 is one, and gives a context or null.
        let context = NonNull::new(unsafe { (functions.new)(0) }).ok_or(NftError::LibraryFailed)?;
        let nft = Self { context, functions, kernel };
        #[expect(unsafe_code, reason = "the library is C")]
        // SAFETY: the context is live: it was made above and is freed by `drop` alone. Nobody else uses the library
        // now. Both functions only switch the context to its own memory.
        let failed = unsafe {
            (functions.buffer_output)(context.as_ptr()) != 0
                || (functions.buffer_error)(context.as_ptr()) != 0
        };
        if failed { Err(NftError::LibraryFailed) } else { Ok(nft) }
    }

    /// Runs `text`, all of it or nothing.
    ///
    /// # Errors
    /// When the text is too long, or the library or the kernel refuses it.
    pub fn run(&mut self, text: &str) -> Result<(), NftError> {
        self.run_with(text, NUMERIC).map(|_| ())
    }

    /// Runs a command that lists, and gives the JSON of libnftables-json(5). Never one that lists tables: see
    /// [`Nft::list`].
    pub(super) fn ask(&mut self, command: &str) -> Result<String, NftError> {
        self.run_with(command, NUMERIC | JSON)
    }

    fn run_with(&mut self, text: &str, flags: c_uint) -> Result<String, NftError> {
        if text.len() > TEXT_MAX {
            return Err(NftError::Malformed);
        }
        let text = CString::new(text).map_err(|_| NftError::Malformed)?;
        let (context, functions) = (self.context.as_ptr(), self.functions);
        let _alone = alone();
        #[expect(unsafe_code, reason = "the library is C")]
        // SAFETY: the context is live and borrowed for this call alone, the text ends with a NUL and outlives the
        // call, nobody else uses the library now, and this thread stands in the context's namespace (`Nft` cannot
        // leave it). The buffers stay as they are until the context is used again; they are copied before that.
        let (done, output, complaint) = unsafe {
            (functions.set_flags)(context, flags);
            let done = (functions.run)(context, text.as_ptr());
            (done, copied((functions.output)(context)), copied((functions.error)(context)))
        };
        if done != 0 {
            let complaint = complaint.unwrap_or_default();
            return Err(NftError::Refused(complaint.chars().take(COMPLAINT_MAX).collect()));
        }
        output.ok_or(NftError::OutputTooLong)
    }
}

impl Drop for Nft<'_> {
    fn drop(&mut self) {
        let _alone = alone();
        #[expect(unsafe_code, reason = "the library is C")]
        // SAFETY: the context is live, it is freed once, here, and nobody else uses the library now.
        unsafe {
            (self.functions.free)(self.context.as_ptr());
        }
    }
}

/// A copy of a text of the library; none if it is longer than is taken.
#[expect(unsafe_code, reason = "the library is C")]
unsafe fn copied(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return Some(String::new());
    }
    // SAFETY: the caller passes a text of the library, which ends with a NUL and stays while it is read here.
    let text = unsafe { CStr::from_ptr(text) };
    (text.count_bytes() <= OUTPUT_MAX).then(|| text.to_string_lossy().into_owned())
}

/// The library has state of its own beside its contexts: one thread at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the library once, for as long as the process lives.
fn functions() -> Result<&'static Functions, NftError> {
    static FUNCTIONS: OnceLock<Result<Functions, String>> = OnceLock::new();
    let opened = FUNCTIONS.get_or_init(|| load().map_err(|error| error.to_string()));
    opened.as_ref().map_err(|error| NftError::LibraryAbsent(error.clone()))
}

fn load() -> Result<Functions, libloading::Error> {
    #[expect(unsafe_code, reason = "opening a library runs its code")]
    // SAFETY: the library is the system's own, found where the loader looks; its start-up code only prepares itself.
    // It is never closed, so the functions stay. Their types are those of its header, which its version (1) fixes.
    unsafe {
        let library: &'static Library = Box::leak(Box::new(Library::new(FILE)?));
        Ok(Functions {
            new: *library.get(b"nft_ctx_new\0")?,
            free: *library.get(b"nft_ctx_free\0")?,
            buffer_output: *library.get(b"nft_ctx_buffer_output\0")?,
            buffer_error: *library.get(b"nft_ctx_buffer_error\0")?,
            output: *library.get(b"nft_ctx_get_output_buffer\0")?,
            error: *library.get(b"nft_ctx_get_error_buffer\0")?,
            set_flags: *library.get(b"nft_ctx_output_set_flags\0")?,
            run: *library.get(b"nft_run_cmd_from_buffer\0")?,
        })
    }
}
