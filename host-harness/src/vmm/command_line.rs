//! The command line of a guest.

use dormir_abi::{
    record::{NONCE_ARGUMENT, Nonce},
    serial,
};
use rustix::rand::{GetRandomFlags, getrandom};

use super::error::RunError;

/// A guest's command line, and the nonce in it.
#[derive(Debug)]
pub(super) struct GuestCommandLine {
    /// The start of each of its records. A foreign guest has no records.
    pub(super) nonce: Option<Nonce>,
    pub(super) text: String,
}

impl GuestCommandLine {
    /// Makes the command line of a guest with records, or of a foreign one.
    /// With `has_input` the former is told how its input comes.
    pub(super) fn new(
        has_records: bool,
        has_input: bool,
        arguments: &str,
    ) -> Result<Self, RunError> {
        if !has_records {
            return Ok(Self {
                nonce: None,
                text: arguments.to_owned(),
            });
        }
        let nonce = new_nonce()?;
        let mut text = format!("{NONCE_ARGUMENT}{nonce}");
        let of_input = if has_input { serial::ARGUMENT } else { "" };
        for words in [of_input, arguments] {
            if !words.is_empty() {
                text.push(' ');
                text.push_str(words);
            }
        }
        Ok(Self {
            nonce: Some(nonce),
            text,
        })
    }
}

/// Makes a new random nonce.
pub(crate) fn new_nonce() -> Result<Nonce, RunError> {
    let mut bits = [0; 8];
    getrandom(&mut bits, GetRandomFlags::empty()).map_err(|errno| RunError::Resource {
        what: "a random number",
        cause: errno.into(),
    })?;
    Ok(Nonce::new(u64::from_ne_bytes(bits)))
}
