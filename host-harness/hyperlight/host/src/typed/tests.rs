use super::*;
use dormir_hyperlight_protocol::declaration;
use proptest::{collection::vec, prelude::*};
use std::collections::BTreeMap;

type Map = BTreeMap<String, Vec<Option<u8>>>;

/// Polls the function once, as a runtime does.
fn call(host: &Host, key: &str, arguments: &[u8]) -> Option<Result<Vec<u8>, String>> {
    let future = host.state().functions.call(key, arguments)?;
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => panic!("these functions do not wait"),
    }
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    typed::write(value).expect("it can be written")
}

fn host() -> Host {
    async fn nothing() -> Result<(), String> {
        Err("there is nothing".into())
    }
    Host::new()
        .typed_function("nothing", nothing)
        .typed_function("length", |text: String| async move {
            Ok::<_, ()>(text.len() as u64)
        })
        .typed_function("merge", |mut map: Map, other: Map| async move {
            map.extend(other);
            Ok::<_, ()>(map)
        })
        .typed_function(
            "sum",
            |a: u8, b: u16, c: u32, d: u64, e: i8, f: (u8, bool)| async move {
                let sum = u64::from(a) + u64::from(b) + u64::from(c) + d + u64::from(f.0);
                Ok::<_, ()>(sum.wrapping_add_signed(e.into()))
            },
        )
}

#[test]
fn functions_have_none_to_six_arguments() {
    let host = host();
    let nothing = declaration!(nothing, (), Result<(), String>);
    let error = Err::<(), _>("there is nothing".to_owned());
    assert_eq!(call(&host, nothing.key, &[]), Some(Ok(bytes(&error))));

    let length = declaration!(length, (&str), Result<u64, ()>);
    let result = call(&host, length.key, &bytes(&("four",)));
    assert_eq!(result, Some(Ok(bytes(&Ok::<_, ()>(4_u64)))));

    let merge = declaration!(merge, (Map, Map), Result<Map, ()>);
    let one = Map::from([("one".to_owned(), vec![None, Some(1)])]);
    let other = Map::from([("other".to_owned(), vec![])]);
    let both: Map = one.clone().into_iter().chain(other.clone()).collect();
    let result = call(&host, merge.key, &bytes(&(one, other)));
    assert_eq!(result, Some(Ok(bytes(&Ok::<_, ()>(both)))));

    let sum = declaration!(sum, (u8, u16, u32, u64, i8, (u8, bool)), Result<u64, ()>);
    let arguments = (1_u8, 2_u16, 3_u32, 4_u64, -5_i8, (6_u8, true));
    let result = call(&host, sum.key, &bytes(&arguments));
    assert_eq!(result, Some(Ok(bytes(&Ok::<_, ()>(11_u64)))));
}

#[test]
fn a_guest_may_send_any_bytes() {
    let host = host();
    let length = declaration!(length, (String), Result<u64, ()>);
    // No bytes, one too many, a length that lies, and no UTF-8.
    let wrong: [&[u8]; 4] = [&[], &[1, b'a', 0], &[0xff, 0xff, 0xff, 0x7f], &[1, 0xff]];
    for arguments in wrong {
        let result = call(&host, length.key, arguments).expect("it is the key");
        result.expect_err("these are no arguments");
    }
}

#[test]
fn other_types_are_another_function() {
    let host = host();
    let other = declaration!(length, (u64), Result<u64, ()>);
    assert_eq!(call(&host, other.key, &[4]), None);
    let signature = call(&host, &typed::asking_name("length"), &[]);
    assert_eq!(
        signature,
        Some(Ok(b"length(String) -> Result<u64, ()>".to_vec()))
    );
    assert_eq!(call(&host, "length", &[]), None);
}

#[test]
fn a_guest_is_checked_before_it_runs() {
    let host = host();
    let right = declaration!(length, (String), Result<u64, ()>);
    assert_eq!(host.check_guest(right.record), Ok(()));
    assert_eq!(host.check_guest(b"a guest without declarations"), Ok(()));

    let other = declaration!(length, (u64), Result<u64, ()>);
    let absent = declaration!(absent, (), Result<(), ()>);
    let file = [right.record, other.record, absent.record].concat();
    let error = host.check_guest(&file).expect_err("two are wrong");
    let expected = [
        "the guest declares `length(u64) -> Result<u64, ()>`, the host `length(String) -> \
         Result<u64, ()>`",
        "the guest declares `absent() -> Result<(), ()>`, which the host lacks",
    ];
    assert_eq!(error.differences, expected);
    let both = host.typed_function("length", |number: u64| async move { Ok::<_, ()>(number) });
    let file = [right.record, other.record].concat();
    assert_eq!(
        both.check_guest(&file),
        Ok(()),
        "a host may have several versions"
    );
}

/// Makes a file with declarations of any text.
fn file_of(signatures: &[String]) -> Vec<u8> {
    let records = signatures.iter();
    let records = records.map(|signature| format!("\0dormir host function\0{signature}\0"));
    records.collect::<String>().into_bytes()
}

proptest! {
    #[test]
    fn whatever_a_file_declares_is_told_in_short_and_obeyed_by_no_terminal(
        signatures in vec(r"(length|[a-z\x1b]{0,3})\(?\PC{0,3}[\x00-\x1f\u{202e}]{0,3}\)?", 0..50),
        long in 0..20_000_usize,
    ) {
        let mut file = file_of(&signatures);
        file.extend(file_of(&[format!("f({})", "\u{7}".repeat(long))]));
        let error = host().check_guest(&file).expect_err("one is wrong");
        let told = error.to_string();
        prop_assert!(!told.contains(|c: char| c.is_control() || c == '\u{202e}'), "{}", told);
        prop_assert!(told.len() <= 100_000, "{}", told.len());
    }
}

#[test]
fn how_many_differences_are_not_told_is_told() {
    let signatures: Vec<_> = (0..20).map(|number| format!("absent{number}()")).collect();
    let error = host()
        .check_guest(&file_of(&signatures))
        .expect_err("all are wrong");
    assert_eq!(error.differences.len(), 17);
    assert!(
        error.to_string().contains("; and 4 more; add them"),
        "{error}"
    );
}
