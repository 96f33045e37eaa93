//! Functions that both sides declare with their types.
//!
//! A function's signature is text: its name, and the structure of its types. A hash of it is part of
//! the name that a call has in a batch, so a guest and a host that were built with different types
//! never take one's bytes for the other's. Arguments go as a tuple, results as the whole `Result`,
//! both in postcard's form.

mod declaration;
mod signature;

use alloc::{format, string::String, vec::Vec};

pub use postcard_schema::{Schema, schema::NamedType};
use serde::{Serialize, de::DeserializeOwned};

pub use declaration::{
    Declaration, LONGEST_NAME, declarations, key, plain_name, record, record_len, signature,
    write_key,
};

/// Returns the name of the function that returns the host's signature of `name`.
#[must_use]
pub fn asking_name(name: &str) -> String {
    format!("{name}#")
}

/// Returns the sentence for a function whose signatures differ.
#[must_use]
pub fn difference(guest: &str, host: &str) -> String {
    format!("the guest declares `{guest}`, the host `{host}`")
}

/// Writes a value.
///
/// # Errors
///
/// A sentence, if its type cannot be written.
pub fn write(value: &impl Serialize) -> Result<Vec<u8>, String> {
    postcard::to_allocvec(value).map_err(|error| format!("the value cannot be written: {error}"))
}

/// Reads a value, which takes all the bytes.
///
/// # Errors
///
/// A sentence, if the bytes are not those of such a value.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err("the value ends before its bytes do".into()),
        Err(error) => Err(format!("the value cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests;
