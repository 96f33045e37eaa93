//! Platforms: where a program's clock, alarm and idle policy come from.

#[cfg(all(target_arch = "x86_64", target_os = "none", feature = "bare"))]
pub mod bare;
#[cfg(not(target_os = "none"))]
pub mod host;
// Its pure parts are tested on the host.
#[cfg(any(
    test,
    all(target_arch = "x86_64", target_os = "none", feature = "hyperlight")
))]
pub mod hyperlight;
