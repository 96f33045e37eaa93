//! Documents as text for a terminal, and what changed between two of them.

pub(crate) mod compare;
pub(crate) mod counts;
pub(crate) mod hyperlight;
pub(crate) mod io;
pub(crate) mod latency;
pub(crate) mod names;
pub(crate) mod numbers;
