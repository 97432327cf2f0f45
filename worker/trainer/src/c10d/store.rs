//! The key-value store where the ranks of one attempt meet (c10d's TCPStore).

use std::ffi::CString;
use std::ptr;
use std::time::{Duration, Instant};

use super::{CommError, ffi};

/// Between two looks at the store while ranks are called.
const POLL: Duration = Duration::from_millis(20);

/// Where the store is and who opens it.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// `MASTER_ADDR`.
    pub host: String,
    /// `MASTER_PORT`.
    pub port: u16,
    /// Whether this process serves the store (rank 0) or only connects.
    pub is_host: bool,
    /// How many ranks will come; the host waits for them all.
    pub world: u32,
    /// Bounds the wait for the others, and every later wait.
    pub timeout: Duration,
    /// Put before every key. New for each attempt and generation, so that nothing that an earlier
    /// start left behind is ever read.
    pub prefix: String,
}

/// An open store. Dropping the host's ends it for everyone.
#[derive(Debug)]
pub struct Store {
    raw: *mut ffi::RawStore,
}

impl Store {
    /// Opens or joins the store and waits until all ranks are there.
    ///
    /// # Errors
    /// [`CommError::Timeout`] when some rank does not come, [`CommError::Torch`] when the port is taken.
    pub fn open(options: &StoreOptions) -> Result<Self, CommError> {
        let during = "the rendezvous on the store";
        let host = c_string(&options.host, during)?;
        let prefix = c_string(&options.prefix, during)?;
        let world = usize::try_from(options.world).unwrap_or(usize::MAX);
        let mut raw = ptr::null_mut();
        // SAFETY: the strings outlive the call, which copies them; `raw` is written only on success.
        let code = unsafe {
            ffi::yard_store_open(
                host.as_ptr(),
                options.port,
                i32::from(options.is_host),
                world,
                millis(options.timeout),
                prefix.as_ptr(),
                &raw mut raw,
            )
        };
        ffi::check(code, during)?;
        Ok(Self { raw })
    }

    /// Sets a key.
    ///
    /// # Errors
    /// When the host is gone.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), CommError> {
        let key = c_string(key, "a write to the store")?;
        // SAFETY: `self.raw` is a live store; key and value outlive the call, which copies them.
        let code =
            unsafe { ffi::yard_store_set(self.raw, key.as_ptr(), value.as_ptr(), value.len()) };
        ffi::check(code, "a write to the store")
    }

    /// Whether a key is set now.
    ///
    /// # Errors
    /// When the host is gone.
    pub fn contains(&self, key: &str) -> Result<bool, CommError> {
        let key = c_string(key, "a read of the store")?;
        let mut present = 0;
        // SAFETY: `self.raw` is a live store; the key outlives the call; `present` is a valid target.
        let code = unsafe { ffi::yard_store_check(self.raw, key.as_ptr(), &raw mut present) };
        ffi::check(code, "a read of the store")?;
        Ok(present != 0)
    }

    /// Who is gone, asked after a collective failed: every rank that is left says so here, and those
    /// that have not are the lost ones. A store that no longer answers means that its host, rank 0,
    /// is.
    ///
    /// `certain` means that somebody is lost (a connection broke, rather than a time limit), so the
    /// roll is done as soon as a single rank is missing; else it takes `patience`.
    pub fn missing_ranks(
        &self,
        me: u32,
        world: u32,
        certain: bool,
        patience: Duration,
    ) -> Vec<u32> {
        let deadline = Instant::now() + patience;
        let others: Vec<u32> = (0..world).filter(|rank| *rank != me).collect();
        let called = self.set(&format!("alive/{me}"), b"1").and_then(|()| {
            self.absent("alive", others.clone(), deadline, |absent| certain && absent <= 1)
        });
        let Ok(missing) = called else { return vec![0] };
        if me == 0 {
            // The store lives in this process: the others must have read it before it ends.
            let left = others.into_iter().filter(|rank| !missing.contains(rank)).collect();
            drop(self.absent("told", left, deadline, |_| false));
        } else {
            drop(self.set(&format!("told/{me}"), b"1"));
        }
        missing
    }

    /// Those of `ranks` without a key `<word>/<rank>`, once there are few enough, or at `deadline`.
    fn absent(
        &self,
        word: &str,
        mut ranks: Vec<u32>,
        deadline: Instant,
        few_enough: impl Fn(usize) -> bool,
    ) -> Result<Vec<u32>, CommError> {
        loop {
            let mut absent = Vec::new();
            for rank in ranks {
                if !self.contains(&format!("{word}/{rank}"))? {
                    absent.push(rank);
                }
            }
            if absent.is_empty() || few_enough(absent.len()) || Instant::now() >= deadline {
                return Ok(absent);
            }
            ranks = absent;
            std::thread::sleep(POLL);
        }
    }

    pub(super) fn raw(&self) -> *mut ffi::RawStore {
        self.raw
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: made by `yard_store_open`, freed once.
        unsafe { ffi::yard_store_free(self.raw) }
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn c_string(text: &str, during: &'static str) -> Result<CString, CommError> {
    CString::new(text)
        .map_err(|_| CommError::Torch { during, text: format!("{text:?} holds a zero byte") })
}
