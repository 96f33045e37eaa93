use std::{
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};

use super::*;
use crate::{MAX_NAME, declaration};
use proptest::prelude::*;

/// Two versions of the same types, whose words are the same.
mod old {
    #[derive(postcard_schema::Schema)]
    #[allow(dead_code)]
    pub(super) struct Page {
        id: u32,
        text: super::String,
    }
}

mod new {
    #[derive(postcard_schema::Schema)]
    #[allow(dead_code)]
    pub(super) struct Page {
        id: u32,
        words: super::Vec<super::String>,
    }
}

macro_rules! signature_of {
    ($($type:ty),*) => {
        signature("f", &[$(<$type>::SCHEMA),*], <()>::SCHEMA)
    };
}

#[test]
fn a_changed_field_changes_the_name() {
    let old = declaration!(fetch, (u32), Result<old::Page, ()>);
    let new = declaration!(fetch, (u32), Result<new::Page, ()>);
    assert_ne!(old.key, new.key);
    assert_eq!(old.name, "fetch");
    assert_eq!(
        old.signature(),
        "fetch(u32) -> Result<Page { id: u32, text: String }, ()>"
    );
    assert_eq!(
        difference(old.signature(), new.signature()),
        "the guest declares `fetch(u32) -> Result<Page { id: u32, text: String }, ()>`, \
         the host `fetch(u32) -> Result<Page { id: u32, words: [String] }, ()>`"
    );
}

#[test]
fn both_sides_make_the_same_name() {
    let declared = declaration!(fetch, (&str, [u8; 3]), Result<Vec<u64>, String>);
    let arguments = [String::SCHEMA, <[u8; 3]>::SCHEMA];
    let signature = signature("fetch", &arguments, Result::<Vec<u64>, String>::SCHEMA);
    assert_eq!(declared.signature(), signature);
    assert_eq!(declared.key, key("fetch", &signature));
    assert_eq!(declared.key.len(), "fetch#0123456789abcdef".len());
}

#[test]
fn text_tells_structures_apart() {
    #[derive(Schema)]
    #[allow(dead_code)]
    struct Inner {
        a: u8,
    }
    mod moved {
        #[derive(postcard_schema::Schema)]
        #[allow(dead_code)]
        pub(super) struct Inner {
            a: u8,
            b: u8,
        }
    }
    #[derive(Schema)]
    #[allow(dead_code)]
    struct Outer<T> {
        inner: Option<T>,
    }
    #[derive(Schema)]
    #[allow(dead_code)]
    enum Kind {
        None,
        One(u8),
        Two(u8, u16),
        Named { left: i8, right: char },
    }
    #[derive(Schema)]
    #[allow(dead_code)]
    struct Pair(f32, bool);
    #[derive(Schema)]
    struct Nothing;

    let all = [
        (signature_of!(), "f() -> ()"),
        (signature_of!(u8, u8), "f(u8, u8) -> ()"),
        // As one argument.
        (signature_of!((u8, u8)), "f((u8, u8)) -> ()"),
        (signature_of!(((u8, u8), u8)), "f(((u8, u8), u8)) -> ()"),
        (signature_of!(((u8, u8, u8),)), "f(((u8, u8, u8))) -> ()"),
        (
            signature_of!(Outer<Inner>, u8),
            "f(Outer { inner: Option<Inner { a: u8 }> }, u8) -> ()",
        ),
        // A hash of the parts alone does not tell it from the one before.
        (
            signature_of!(Outer<moved::Inner>),
            "f(Outer { inner: Option<Inner { a: u8, b: u8 }> }) -> ()",
        ),
        (
            signature_of!(Kind),
            "f(Kind { None, One(u8), Two(u8, u16), Named { left: i8, right: char } }) -> ()",
        ),
        (
            signature_of!(Pair, Nothing),
            "f(Pair(f32, bool), Nothing) -> ()",
        ),
        (
            signature_of!(BTreeMap<String, Vec<Option<u64>>>),
            "f([String => [Option<u64>]]) -> ()",
        ),
        (
            signature_of!([u16; 120], [(); 0]),
            "f([u16; 120], [; 0]) -> ()",
        ),
    ];
    for (at, (text, expected)) in all.iter().enumerate() {
        assert_eq!(text, expected);
        assert!(all[..at].iter().all(|(other, _)| other != text));
    }
}

#[test]
fn owned_and_borrowed_types_are_the_same() {
    assert_eq!(signature_of!(&str, &[u8]), signature_of!(String, Vec<u8>));
    assert_eq!(
        signature_of!(std::boxed::Box<u8>, std::borrow::Cow<'static, str>),
        signature_of!(u8, String)
    );
}

#[test]
fn raw_and_longest_names() {
    let raw = declaration!(r#move, (u8), ());
    assert_eq!((raw.name, raw.signature()), ("move", "move(u8) -> ()"));
    assert!(raw.key.starts_with("move#"));
    let name = "n".repeat(LONGEST_NAME);
    let text = signature(&name, &[], <()>::SCHEMA);
    assert_eq!(key(&name, &text).len(), MAX_NAME);
}

#[test]
#[should_panic(expected = "at most 238 bytes")]
fn longer_names_are_refused() {
    let _ = signature(&"n".repeat(LONGEST_NAME + 1), &[], <()>::SCHEMA);
}

#[test]
#[should_panic(expected = "take no bytes")]
fn sequences_without_bytes_are_refused() {
    let _ = signature_of!(Option<Vec<((), [(); 2])>>);
}

#[test]
fn a_file_tells_its_declarations() {
    let one = declaration!(one, (u8), ());
    let other = declaration!(other, (), Result<String, ()>);
    let file = [
        &b"some code\0"[..],
        one.record,
        // A mark without a signature, and one at the end.
        b"\0dormir host function\0\xff\0",
        other.record,
        b"\0dormir host function\0",
    ];
    let found: Vec<_> = declarations(&file.concat())
        .map(|(name, signature)| (name.to_string(), signature.to_string()))
        .collect();
    let expected = [one, other].map(|declared| {
        let signature = declared.signature().to_string();
        (declared.name.to_string(), signature)
    });
    assert_eq!(found, expected);
}

#[test]
fn lengths_that_lie_take_no_memory() {
    // A sequence of 2^63 elements, and the bytes of three.
    let bytes = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3,
    ];
    assert!(read::<Vec<u64>>(&bytes).is_err());
    assert!(read::<Vec<[u8; 32]>>(&bytes).is_err());
    assert!(read::<String>(&bytes).is_err());
    assert!(read::<BTreeMap<u8, u8>>(&bytes).is_err());
    // A length of more than 64 bits, and one that is cut off.
    assert!(read::<Vec<u8>>(&[0xff; 11]).is_err());
    assert!(read::<Vec<u8>>(&[0xff]).is_err());
}

type Value = Result<(u32, String, Option<Vec<u8>>, BTreeMap<u8, i64>), (u8, String)>;

proptest! {
    #[test]
    fn values_are_read_as_they_were_written(value: Value) {
        let bytes = write(&value).expect("it can be written");
        prop_assert_eq!(read::<Value>(&bytes), Ok(value));
        let longer = [&bytes[..], &[0]].concat();
        prop_assert!(read::<Value>(&longer).is_err());
        for end in 0..bytes.len() {
            prop_assert!(read::<Value>(&bytes[..end]).is_err());
        }
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes: Vec<u8>, mark: bool) {
        let _ = read::<Value>(&bytes);
        let begin: &[u8] = if mark { b"\0dormir host function\0" } else { b"" };
        declarations(&[begin, &bytes].concat()).for_each(drop);
    }
}
