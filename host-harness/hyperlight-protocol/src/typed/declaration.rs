//! What a guest declares: the function's name with a hash of its signature, and the signature as a
//! record, which a host finds in the guest's file.

use alloc::{format, string::String, vec};

use postcard_schema::schema::NamedType;

use super::signature::write_signature;
use crate::MAX_NAME;

/// Begins a declaration in a guest's file. It ends with a zero byte.
const MARK: &[u8] = b"\0dormir host function\0";

/// The length of what is added to a name: `#` and the hash.
const ADDED: usize = 1 + 16;

/// The longest name of a function with types, in bytes.
pub const LONGEST_NAME: usize = MAX_NAME - ADDED;

/// A function that the guest declares.
#[derive(Clone, Copy, Debug)]
pub struct Declaration {
    /// The name without the hash.
    pub name: &'static str,
    /// The name with the hash.
    pub key: &'static str,
    /// The mark, the signature, and a zero byte.
    pub record: &'static [u8],
}

impl Declaration {
    /// Returns the signature.
    #[must_use]
    pub fn signature(&self) -> &'static str {
        let text = self.record.get(MARK.len()..self.record.len() - 1);
        text.and_then(|text| core::str::from_utf8(text).ok())
            .unwrap_or(self.name)
    }
}

/// Declares a function: a [`Declaration`], whose record is in the guest's file if the guest can
/// call it.
#[doc(hidden)]
#[macro_export]
macro_rules! declaration {
    ($name:ident, ($($type:ty),*), $output:ty) => {{
        use $crate::typed as __typed;
        const NAME: &str = __typed::plain_name(stringify!($name));
        const ARGUMENTS: &[&__typed::NamedType] =
            &[$(<$type as __typed::Schema>::SCHEMA),*];
        const OUTPUT: &__typed::NamedType = <$output as __typed::Schema>::SCHEMA;
        const LENGTH: usize = __typed::record_len(NAME, ARGUMENTS, OUTPUT);
        const BYTES: [u8; LENGTH] = __typed::record(NAME, ARGUMENTS, OUTPUT);
        const KEY: [u8; NAME.len() + 17] = __typed::write_key(NAME, &BYTES);
        #[used]
        static RECORD: [u8; LENGTH] = BYTES;
        __typed::Declaration {
            name: NAME,
            key: const {
                match ::core::str::from_utf8(&KEY) {
                    Ok(key) => key,
                    Err(_) => panic!("a name is text"),
                }
            },
            record: &RECORD,
        }
    }};
}

/// Returns a name as it is written in a declaration, without the `r#` of a raw identifier.
#[must_use]
pub const fn plain_name(name: &'static str) -> &'static str {
    match name.as_bytes() {
        [b'r', b'#', ..] => name.split_at(2).1,
        _ => name,
    }
}

/// Returns the length of a declaration's record.
#[must_use]
pub const fn record_len(name: &str, arguments: &[&NamedType], output: &NamedType) -> usize {
    MARK.len() + write_signature(&mut [], name, arguments, output) + 1
}

/// Returns a declaration's record.
#[must_use]
pub const fn record<const N: usize>(
    name: &str,
    arguments: &[&NamedType],
    output: &NamedType,
) -> [u8; N] {
    let mut record = [0; N];
    let (mark, rest) = record.split_at_mut(MARK.len());
    mark.copy_from_slice(MARK);
    write_signature(rest, name, arguments, output);
    record
}

/// Returns a name with its hash, for a record.
#[must_use]
pub const fn write_key<const N: usize>(name: &str, record: &[u8]) -> [u8; N] {
    let (_, signature) = record.split_at(MARK.len());
    let (signature, _) = signature.split_at(signature.len() - 1);
    let hash = hash(signature);
    let mut key = [b'#'; N];
    let (before, after) = key.split_at_mut(name.len());
    before.copy_from_slice(name.as_bytes());
    let mut digit = 0;
    while digit < 16 {
        after[1 + digit] = b"0123456789abcdef"[(hash >> (60 - 4 * digit) & 0xf) as usize];
        digit += 1;
    }
    key
}

/// Returns a function's signature.
///
/// # Panics
///
/// If its name is too long, or if a sequence has elements without bytes.
#[must_use]
pub fn signature(name: &str, arguments: &[&NamedType], output: &NamedType) -> String {
    let mut bytes = vec![0; write_signature(&mut [], name, arguments, output)];
    write_signature(&mut bytes, name, arguments, output);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns a name with the hash of its signature.
#[must_use]
pub fn key(name: &str, signature: &str) -> String {
    format!("{name}#{:016x}", hash(signature.as_bytes()))
}

/// Returns the names and signatures of the functions that a guest's file declares.
pub fn declarations(file: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = file;
    core::iter::from_fn(move || {
        loop {
            let at = rest.windows(MARK.len()).position(|bytes| bytes == MARK)?;
            rest = &rest[at + MARK.len()..];
            let signature = rest.split(|byte| *byte == 0).next()?;
            let signature = core::str::from_utf8(signature).ok();
            let name = signature.and_then(|text| Some((text.split_once('(')?.0, text)));
            if name.is_some() {
                return name;
            }
        }
    })
}

/// FNV-1a, which tells mistakes apart, not attacks.
const fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}
