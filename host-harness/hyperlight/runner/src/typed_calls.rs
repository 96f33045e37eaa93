//! Cases of async functions that are declared with their types.

use std::{collections::BTreeMap, convert::Infallible};

use dormir_hyperlight_host::Host;
use postcard_schema::Schema;
use serde::{Deserialize, Serialize};

use crate::{
    Case,
    sandbox::{Check, SandboxGuest, check},
};

pub(crate) const CASES: &[Case] = &[
    ("typed-calls", typed_calls),
    ("typed-calls-differ", typed_calls_differ),
    ("typed-calls-checked", typed_calls_checked),
];

/// Why there are no words. The guest has the same type.
#[derive(Serialize, Schema)]
#[allow(dead_code)]
enum WordsError {
    None,
    NotCalled(String),
}

/// The guest has it with other fields.
#[derive(Deserialize, Schema)]
#[allow(dead_code)]
struct Page {
    number: u32,
    text: String,
}

#[derive(Serialize, Schema)]
struct CallFailed {
    why: String,
}

type Lengths = BTreeMap<String, Vec<Option<u32>>>;

async fn joined(words: Vec<String>, times: u32) -> Result<String, WordsError> {
    if words.is_empty() {
        return Err(WordsError::None);
    }
    Ok(vec![words.join("-"); times as usize].join(" "))
}

async fn lengths(mut lengths: Lengths, text: String) -> Result<Lengths, CallFailed> {
    let words = text.split(' ').map(|word| u32::try_from(word.len()).ok());
    let words = words.filter(|length| *length != Some(0)).chain([None]);
    lengths.insert(text.clone(), words.collect());
    Ok(lengths)
}

fn host() -> Host {
    Host::new()
        .typed_function("joined", joined)
        .typed_function("lengths", lengths)
        .typed_function("yield", || async { Ok::<(), CallFailed>(()) })
        .typed_function("large", |_: Vec<u8>| async { Ok::<(), CallFailed>(()) })
}

fn typed_calls(guest: &SandboxGuest) -> Check {
    let (mut sandbox, _host) = guest.sandbox_of(host())?;
    for (text, times, expected) in [("a bc", 2_u64, "Ok(\"a-bc a-bc\")"), ("", 1, "Err(None)")] {
        let result: String = sandbox.call("typed_call", (text.to_owned(), times))?;
        check(result == expected, || format!("`{text}` gave {result}"))?;
    }
    let result: String = sandbox.call("typed_containers", ())?;
    let expected = "Ok({\"\": [None], \"one three\": [Some(3), Some(5), None]})";
    check(result == expected, || result)
}

fn typed_calls_differ(guest: &SandboxGuest) -> Check {
    // As a hostile host would send them: a length that lies, a part, one byte more, and none.
    let results = [
        &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f][..],
        &[0, 1, 7],
        &[0, 0, 0],
        &[],
    ];
    let unreadable = "unreadable(u8) -> Result<[[u64; 4]], CallFailed { why: String }>";
    let key = dormir_hyperlight_protocol::typed::key("unreadable", unreadable);
    let host = host()
        .typed_function("changed", |_: Page| async { Ok::<(), CallFailed>(()) })
        .async_function(key, move |kind| async move {
            Ok::<_, Infallible>(results[usize::from(kind[0])].to_vec())
        });
    // One argument is large.
    let builder = guest.builder().heap_size(1 << 20).scratch_size(2 << 20);
    let mut sandbox = builder.build()?;
    host.register(&mut sandbox)?;
    let failures: String = sandbox.call("mistyped_calls", ())?;
    let lines: Vec<_> = failures.lines().collect();
    let result = format!("the result of `{unreadable}`: the value ");
    let begins = [
        "the guest declares `changed(Page { number: u64, text: String }) -> Result<(), \
         CallFailed { why: String }>`, the host `changed(Page { number: u32, text: String }) -> ",
        "the host has no async function of that name",
        "the argument or the result of the host call is too large",
        &result,
        &result,
        &result,
        &result,
    ];
    let is_right = |(line, begin): (&&str, &&str)| line.starts_with(begin);
    let are_right = lines.len() == begins.len() && lines.iter().zip(&begins).all(is_right);
    check(are_right, || failures)
}

/// The guest's file tells what it declares.
fn typed_calls_checked(guest: &SandboxGuest) -> Check {
    let file = guest.file()?;
    let error = match host().check_guest(&file) {
        Ok(()) => return Err("no difference was found".into()),
        Err(error) => error.to_string(),
    };
    let found = ["changed", "absent", "unreadable"].map(|name| {
        let declared = format!("the guest declares `{name}(");
        error.matches(&declared).count()
    });
    check(
        found == [1; 3] && error.matches("declares").count() == 3,
        || error,
    )
}
