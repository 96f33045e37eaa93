//! Exit codes, and how they pass through the exit port.
//!
//! QEMU's `isa-debug-exit` ends QEMU with the status `2 * value + 1`, and QEMU itself may end with
//! 0 or 1 for other reasons: a triple fault under `-no-reboot` ends it with 0. So code 0 is sent as
//! the value [`PASS_VALUE`], and only the status 33 is a pass.
//!
//! A status has eight bits, so QEMU keeps the low seven bits of a value: 0x90, which stands for no
//! code, looks like 0x10 there. A guest that writes records reports its code in one before it
//! writes to the port ([`Record::Exit`](crate::record::Record::Exit)), and under QEMU it has ended
//! itself only if it did so. Of a foreign guest's value only the low seven bits are known there.
//! Values from [`to_port_value`] have no more.

/// The guest succeeded.
pub const SUCCESS: u8 = 0;

/// The guest's machine could not be set up: for example a timer is missing, or there is too little
/// memory.
pub const SETUP_FAILED: u8 = 78;

/// The guest ended by a Rust panic; its record says where.
pub const PANIC: u8 = 101;

/// The guest ended by a processor exception, such as a page fault; its record says which.
pub const EXCEPTION: u8 = 102;

/// The guest's watchdog ended it; its record says which task did not yield.
pub const STALLED: u8 = 103;

/// The highest exit code that fits through the exit port.
pub const MAX: u8 = 0x7f - PASS_VALUE as u8;

/// The value that [`SUCCESS`] is sent as.
pub const PASS_VALUE: u32 = 0x10;

/// Returns the value that a guest writes to [`port::EXIT`](crate::port::EXIT) to end with `code`.
///
/// Codes above [`MAX`] do not fit and are sent as [`MAX`].
#[must_use]
pub const fn to_port_value(code: u8) -> u32 {
    let code = if code > MAX { MAX } else { code };
    PASS_VALUE + code as u32
}

/// Returns the exit code for which `value` at the exit port stands; `None` if it stands for no
/// code.
#[must_use]
pub const fn from_port_value(value: u32) -> Option<u8> {
    if value < PASS_VALUE || value > PASS_VALUE + MAX as u32 {
        return None;
    }
    Some((value - PASS_VALUE) as u8)
}

/// Returns the guest's exit code from QEMU's exit status; `None` if QEMU ended for another reason.
#[must_use]
pub const fn from_qemu_status(status: i32) -> Option<u8> {
    if status < 0 || status & 1 == 0 {
        return None;
    }
    from_port_value((status >> 1) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_way_through_qemu() {
        for code in 0..=MAX {
            let status = (to_port_value(code) * 2 + 1) as i32;
            assert!(status < 256, "an exit status has eight bits");
            assert_eq!(from_qemu_status(status), Some(code));
        }
    }

    #[test]
    fn thirty_three_is_the_only_pass() {
        for status in 0..256 {
            assert_eq!(from_qemu_status(status) == Some(SUCCESS), status == 33);
        }
    }

    #[test]
    fn of_all_32_bits_only_those_of_a_code_are_one() {
        let corners = (0..32).flat_map(|bit| {
            let high = 1_u32 << bit;
            [high - 1, high, high + 1, high | PASS_VALUE, !high]
        });
        for value in corners.chain([u32::MAX]) {
            let is_code = (PASS_VALUE..=0x7f).contains(&value);
            let code = is_code.then(|| (value - PASS_VALUE) as u8);
            assert_eq!(from_port_value(value), code, "{value:#x}");
            let status = value.cast_signed();
            let is_status = (0x21..=0xff).contains(&status) && status & 1 == 1;
            assert_eq!(from_qemu_status(status).is_some(), is_status, "{status:#x}");
        }
    }

    #[test]
    fn a_code_that_does_not_fit_is_still_a_failure() {
        assert_eq!(from_port_value(to_port_value(255)), Some(MAX));
    }
}
