//! The marks when they mean something. A run of the simulation is one thread, so they are too.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

thread_local! {
    static PLANTED: Cell<Option<&'static str>> = const { Cell::new(None) };
    static REACHED: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Plants one fault in this thread's runs from now on, or none.
pub fn plant(fault: Option<&'static str>) {
    PLANTED.set(fault);
}

/// Whether this fault is planted in this thread's run.
#[must_use]
pub fn planted(fault: &'static str) -> bool {
    PLANTED.get() == Some(fault)
}

/// Notes that a branch was reached.
pub fn reached(branch: &'static str) {
    REACHED.with_borrow_mut(|reached| {
        let count = reached.entry(branch).or_default();
        *count = count.saturating_add(1);
    });
}

/// How often each branch was reached in this thread since this was last asked.
#[must_use]
pub fn take_reached() -> BTreeMap<&'static str, u64> {
    REACHED.take()
}
