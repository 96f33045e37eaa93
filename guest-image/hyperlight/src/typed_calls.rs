//! Calls of async functions that are declared with their types.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};
use dormir::hyperlight::{self, CallError};
use hyperlight_guest::error::HyperlightGuestError;
use hyperlight_guest_bin::guest_function;
use postcard_schema::Schema;
use serde::{Deserialize, Serialize};

/// Why there are no words. The host has the same type.
#[derive(Debug, Deserialize, Schema)]
enum WordsError {
    None,
    NotCalled(#[expect(dead_code, reason = "only printed")] String),
}

impl From<CallError> for WordsError {
    fn from(error: CallError) -> Self {
        Self::NotCalled(error.to_string())
    }
}

/// The host's has another field.
#[derive(Serialize, Schema)]
struct Page {
    number: u64,
    text: String,
}

type Lengths = BTreeMap<String, Vec<Option<u32>>>;

dormir::host_functions! {
    /// Joins words, so often. The host's are owned.
    async fn joined(words: &[&str], times: u32) -> Result<String, WordsError>;
    /// Returns the lengths with those of a new text.
    async fn lengths(lengths: Lengths, text: &str) -> Result<Lengths, CallFailed>;
    /// Takes nothing, and has a raw name.
    async fn r#yield() -> Result<(), CallFailed>;
    /// The host has the name, and a type of the same name with other fields.
    async fn changed(page: Page) -> Result<(), CallFailed>;
    /// The host does not have it.
    async fn absent() -> Result<(), CallFailed>;
    /// The host returns bytes that are no such result.
    async fn unreadable(kind: u8) -> Result<Vec<[u64; 4]>, CallFailed>;
    /// Its argument is too large for a batch.
    async fn large(bytes: Vec<u8>) -> Result<(), CallFailed>;
}

/// A call did not reach its end.
#[derive(Debug, Deserialize, Schema)]
struct CallFailed {
    why: String,
}

impl From<CallError> for CallFailed {
    fn from(error: CallError) -> Self {
        let why = error.to_string();
        Self { why }
    }
}

/// Joins the words of `text`. Returns the result, as text.
#[guest_function]
fn typed_call(text: String, times: u64) -> Result<String, HyperlightGuestError> {
    let words: Vec<_> = text.split(' ').filter(|word| !word.is_empty()).collect();
    let result = hyperlight::block_on(joined(&words, times as u32))?;
    Ok(format!("{result:?}"))
}

/// Calls functions with containers and with nothing. Returns the results, as text.
#[guest_function]
fn typed_containers() -> Result<String, HyperlightGuestError> {
    let lengths = hyperlight::block_on(async {
        // Both are in flight.
        let (yielded, lengths) = (r#yield(), lengths(Lengths::new(), "one three"));
        yielded.await?;
        self::lengths(lengths.await?, "").await
    })?;
    Ok(format!("{lengths:?}"))
}

/// Makes calls that cannot succeed. Returns what each ended with, a line for each.
#[guest_function]
fn mistyped_calls() -> Result<String, HyperlightGuestError> {
    let page = Page {
        number: 7,
        text: String::from("seven"),
    };
    let failures = hyperlight::block_on(async {
        let mut failures = vec![
            changed(page).await.err(),
            absent().await.err(),
            large(vec![0; 43_000]).await.err(),
        ];
        for kind in 0..4 {
            failures.push(unreadable(kind).await.err());
        }
        failures
    })?;
    let lines = failures.into_iter().map(|failure| match failure {
        Some(CallFailed { why }) => why,
        None => String::from("no failure"),
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}
