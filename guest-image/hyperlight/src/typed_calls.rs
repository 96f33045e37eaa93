//! Calls of async functions that are declared with their types.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use dormir::hyperlight::{self, CallError};
use hyperlight_guest::error::HyperlightGuestError;
use hyperlight_guest_bin::guest_function;
use serde::{Deserialize, Serialize};

/// Why there are no words. The host has the same type.
#[derive(Debug, Serialize, Deserialize)]
enum WordsError {
    None,
    NotCalled(String),
}

impl From<CallError> for WordsError {
    fn from(error: CallError) -> Self {
        Self::NotCalled(error.to_string())
    }
}

dormir::host_functions! {
    /// Joins words, so often.
    async fn joined(words: Vec<String>, times: u32) -> Result<String, WordsError>;
    /// The host declares it with another type.
    async fn disagreed(number: u64) -> Result<(), WordsError>;
    /// The host does not declare it.
    async fn undeclared() -> Result<(), WordsError>;
}

/// Joins the words of `text`. Returns the result, as text.
#[guest_function]
fn typed_call(text: String, times: u64) -> Result<String, HyperlightGuestError> {
    let words = text.split(' ').filter(|word| !word.is_empty());
    let words: Vec<_> = words.map(String::from).collect();
    let result = hyperlight::block_on(joined(words, times as u32))?;
    Ok(format!("{result:?}"))
}

/// Makes the calls on whose types the host does not agree. Returns the results, as text.
#[guest_function]
fn mistyped_calls() -> Result<String, HyperlightGuestError> {
    let results = hyperlight::block_on(async { (disagreed(7).await, undeclared().await) })?;
    Ok(format!("{results:?}"))
}
