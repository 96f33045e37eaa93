//! Functions that both sides declare with their types.
//!
//! Each side declares `async fn name(argument: Type, ...) -> Result<T, E>` by a macro of its own
//! crate. The name that goes to the host has a hash of the declaration's types, so that a guest and
//! a host that were built with different declarations do not take one's bytes for the other's.
//! Arguments go as a tuple, results as the whole `Result`, both in postcard's form.

use alloc::{string::String, vec::Vec};

use serde::{Serialize, de::DeserializeOwned};

/// Separates name and hash.
const SEPARATOR: u8 = b'#';

/// The length of what is added to a name.
pub const ADDED: usize = 1 + 16;

/// Returns the name with the hash of `signature`; `N` is the name's length and [`ADDED`].
///
/// The hash is FNV-1a, over what is not white space: it tells mistakes apart, not attacks.
#[must_use]
pub const fn signed_name<const N: usize>(name: &str, signature: &str) -> [u8; N] {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let signature = signature.as_bytes();
    let mut at = 0;
    while at < signature.len() {
        if !signature[at].is_ascii_whitespace() {
            hash = (hash ^ signature[at] as u64).wrapping_mul(0x0100_0000_01b3);
        }
        at += 1;
    }
    let name = name.as_bytes();
    let mut signed = [SEPARATOR; N];
    let mut at = 0;
    while at < name.len() {
        signed[at] = name[at];
        at += 1;
    }
    let mut digit = 0;
    while digit < 16 {
        signed[name.len() + 1 + digit] =
            b"0123456789abcdef"[(hash >> (60 - 4 * digit) & 0xf) as usize];
        digit += 1;
    }
    signed
}

/// Returns a name without its hash; `None` if it has none.
#[must_use]
pub fn unsigned_name(name: &str) -> Option<&str> {
    name.split_once(char::from(SEPARATOR)).map(|(name, _)| name)
}

/// Writes a value.
///
/// # Errors
///
/// A sentence, if its type cannot be written.
pub fn write(value: &impl Serialize) -> Result<Vec<u8>, String> {
    postcard::to_allocvec(value)
        .map_err(|error| alloc::format!("the value cannot be written: {error}"))
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
        Err(error) => Err(alloc::format!("the value cannot be read: {error}")),
    }
}

/// The constant of a declaration that is its name with its hash.
#[doc(hidden)]
#[macro_export]
macro_rules! signed_name {
    ($name:ident, ($($type:ty),*), $output:ty) => {{
        const NAME: &str = stringify!($name);
        const SIGNED: [u8; NAME.len() + $crate::typed::ADDED] = $crate::typed::signed_name(
            NAME,
            concat!("(", $(stringify!($type), ",",)* ")->", stringify!($output)),
        );
        match ::core::str::from_utf8(&SIGNED) {
            Ok(name) => name,
            Err(_) => panic!("a name is text"),
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: &str = signed_name!(fetch, (u32, Vec<u8>), Result<String, ()>);
    const SPACED: &str = signed_name!(fetch, (u32, Vec< u8 >), Result<String,()>);
    const OTHER: &str = signed_name!(fetch, (u64, Vec<u8>), Result<String, ()>);

    #[test]
    fn a_name_tells_its_types() {
        assert_eq!(ONE.len(), "fetch".len() + ADDED);
        assert_eq!(unsigned_name(ONE), Some("fetch"));
        assert_eq!(unsigned_name("fetch"), None);
        assert_eq!(ONE, SPACED);
        assert_ne!(ONE, OTHER);
    }

    proptest! {
        #[test]
        fn values_are_read_as_they_were_written(value: (u32, String, Option<Vec<u8>>)) {
            let bytes = write(&value).expect("it can be written");
            prop_assert_eq!(read::<(u32, String, Option<Vec<u8>>)>(&bytes), Ok(value));
            let longer = [&bytes[..], &[0]].concat();
            prop_assert!(read::<(u32, String, Option<Vec<u8>>)>(&longer).is_err());
        }

        #[test]
        fn no_bytes_cause_a_panic(bytes: Vec<u8>) {
            let _ = read::<(u32, String, Option<Vec<u8>>)>(&bytes);
        }
    }
}
