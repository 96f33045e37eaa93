//! A function's signature as text: its name, and the structure of its types.
//!
//! The text has the names of types, fields and variants, in their order. Containers are written by
//! what they contain, so `Vec<u8>` and `&[u8]`, or `String` and `&str`, are the same. Guests make
//! it in constants, hosts when they add a function.

use postcard_schema::schema::{
    DataModelType, DataModelVariant, NamedType, NamedValue, NamedVariant,
};

use super::LONGEST_NAME;

/// Writes the signature to `bytes`, as far as these go. Returns the length of all of it.
///
/// # Panics
///
/// If the name is too long, or if a sequence has elements without bytes.
pub(super) const fn write_signature(
    bytes: &mut [u8],
    name: &str,
    arguments: &[&NamedType],
    output: &NamedType,
) -> usize {
    assert!(
        name.len() <= LONGEST_NAME,
        "the name of a host function with types has at most 238 bytes"
    );
    let mut text = Text { bytes, length: 0 };
    text.push(name);
    text.list("(", arguments, ")");
    text.push(" -> ");
    text.named(output);
    text.length
}

/// Text that is written to `bytes` as far as these go; `length` counts all of it.
struct Text<'a> {
    bytes: &'a mut [u8],
    length: usize,
}

impl Text<'_> {
    const fn push(&mut self, text: &str) {
        let text = text.as_bytes();
        let mut at = 0;
        while at < text.len() {
            if self.length < self.bytes.len() {
                self.bytes[self.length] = text[at];
            }
            self.length += 1;
            at += 1;
        }
    }

    const fn number(&mut self, number: usize) {
        if number >= 10 {
            self.number(number / 10);
        }
        let (_, digits) = "0123456789".split_at(number % 10);
        self.push(digits.split_at(1).0);
    }

    const fn separate(&mut self, at: usize) {
        if at > 0 {
            self.push(", ");
        }
    }

    const fn named(&mut self, named: &NamedType) {
        match named.ty {
            DataModelType::Bool => self.push("bool"),
            DataModelType::I8 => self.push("i8"),
            DataModelType::U8 => self.push("u8"),
            DataModelType::I16 => self.push("i16"),
            DataModelType::I32 => self.push("i32"),
            DataModelType::I64 => self.push("i64"),
            DataModelType::I128 => self.push("i128"),
            DataModelType::U16 => self.push("u16"),
            DataModelType::U32 => self.push("u32"),
            DataModelType::U64 => self.push("u64"),
            DataModelType::U128 => self.push("u128"),
            DataModelType::Usize => self.push("usize"),
            DataModelType::Isize => self.push("isize"),
            DataModelType::F32 => self.push("f32"),
            DataModelType::F64 => self.push("f64"),
            DataModelType::Char => self.push("char"),
            DataModelType::String => self.push("String"),
            DataModelType::ByteArray => self.push("bytes"),
            DataModelType::Unit => self.push("()"),
            DataModelType::Schema => self.push("schema"),
            DataModelType::Option(inner) => {
                self.push("Option<");
                self.named(inner);
                self.push(">");
            }
            DataModelType::Seq(element) => {
                assert_takes_bytes(!is_empty(element));
                self.push("[");
                self.named(element);
                self.push("]");
            }
            DataModelType::Map { key, val } => {
                assert_takes_bytes(!(is_empty(key) && is_empty(val)));
                self.push("[");
                self.named(key);
                self.push(" => ");
                self.named(val);
                self.push("]");
            }
            DataModelType::Tuple(types) if is(named, "[T; N]") => {
                self.push("[");
                if let [first, ..] = types {
                    self.named(first);
                }
                self.push("; ");
                self.number(types.len());
                self.push("]");
            }
            DataModelType::Tuple(types) => self.list("(", types, ")"),
            DataModelType::UnitStruct => self.push(named.name),
            DataModelType::NewtypeStruct(inner) => {
                self.push(named.name);
                self.list("(", &[inner], ")");
            }
            DataModelType::TupleStruct(types) => {
                self.push(named.name);
                self.list("(", types, ")");
            }
            DataModelType::Struct(fields) => {
                self.push(named.name);
                self.fields(fields);
            }
            DataModelType::Enum(
                [
                    NamedVariant {
                        ty: DataModelVariant::TupleVariant([ok]),
                        ..
                    },
                    NamedVariant {
                        ty: DataModelVariant::TupleVariant([error]),
                        ..
                    },
                ],
            ) if is(named, "Result<T, E>") => {
                self.push("Result");
                self.list("<", &[ok, error], ">");
            }
            DataModelType::Enum(variants) => {
                self.push(named.name);
                self.variants(variants);
            }
        }
    }

    const fn list(&mut self, begin: &str, types: &[&NamedType], end: &str) {
        self.push(begin);
        let mut at = 0;
        while at < types.len() {
            self.separate(at);
            self.named(types[at]);
            at += 1;
        }
        self.push(end);
    }

    const fn fields(&mut self, fields: &[&NamedValue]) {
        self.push(" { ");
        let mut at = 0;
        while at < fields.len() {
            self.separate(at);
            self.push(fields[at].name);
            self.push(": ");
            self.named(fields[at].ty);
            at += 1;
        }
        self.push(" }");
    }

    const fn variants(&mut self, variants: &[&NamedVariant]) {
        self.push(" { ");
        let mut at = 0;
        while at < variants.len() {
            self.separate(at);
            self.push(variants[at].name);
            match variants[at].ty {
                DataModelVariant::UnitVariant => {}
                DataModelVariant::NewtypeVariant(inner) => self.list("(", &[inner], ")"),
                DataModelVariant::TupleVariant(types) => self.list("(", types, ")"),
                DataModelVariant::StructVariant(fields) => self.fields(fields),
            }
            at += 1;
        }
        self.push(" }");
    }
}

/// Returns whether a type has this name. Arrays are tuples, and `Result` is an enum, whose names no
/// type of a program can have.
const fn is(named: &NamedType, name: &str) -> bool {
    let (one, other) = (named.name.as_bytes(), name.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// A few bytes could announce a sequence that takes years to read.
const fn assert_takes_bytes(takes_bytes: bool) {
    assert!(
        takes_bytes,
        "a host function's types have a sequence whose elements take no bytes, which has no end: \
         send their number"
    );
}

/// Returns whether values of this type take no bytes.
const fn is_empty(named: &NamedType) -> bool {
    match named.ty {
        DataModelType::Unit | DataModelType::UnitStruct => true,
        DataModelType::NewtypeStruct(inner) => is_empty(inner),
        DataModelType::Tuple(types) | DataModelType::TupleStruct(types) => {
            let mut at = 0;
            while at < types.len() && is_empty(types[at]) {
                at += 1;
            }
            at == types.len()
        }
        DataModelType::Struct(fields) => {
            let mut at = 0;
            while at < fields.len() && is_empty(fields[at].ty) {
                at += 1;
            }
            at == fields.len()
        }
        _ => false,
    }
}
