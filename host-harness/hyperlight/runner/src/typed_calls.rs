//! Cases of async functions that are declared with their types.

use dormir_hyperlight_host::{Host, host_functions};
use serde::{Deserialize, Serialize};

use crate::{
    Case,
    sandbox::{Check, SandboxGuest, check},
};

pub(crate) const CASES: &[Case] = &[("typed-calls", typed_calls)];

/// Why there are no words. The guest has the same type.
#[derive(Debug, Serialize, Deserialize)]
enum WordsError {
    None,
    NotCalled(String),
}

host_functions! {
    async fn joined(words: Vec<String>, times: u32) -> Result<String, WordsError>;
    async fn disagreed(number: u32) -> Result<(), WordsError>;
}

fn typed_calls(guest: &SandboxGuest) -> Check {
    let host = Host::new()
        .declared_function::<joined, _, _>(|(words, times)| async move {
            if words.is_empty() {
                return Err(WordsError::None);
            }
            Ok(vec![words.join("-"); times as usize].join(" "))
        })
        .declared_function::<disagreed, _, _>(|_| async { Ok(()) });
    let (mut sandbox, _host) = guest.sandbox_of(host)?;
    for (text, times, expected) in [("a bc", 2_u64, "Ok(\"a-bc a-bc\")"), ("", 1, "Err(None)")] {
        let result: String = sandbox.call("typed_call", (text.to_owned(), times))?;
        check(result == expected, || format!("`{text}` gave {result}"))?;
    }
    let results: String = sandbox.call("mistyped_calls", ())?;
    let words = [
        "`disagreed` with other types",
        "no async function of that name",
    ];
    let missing = words.iter().find(|word| !results.contains(*word));
    check(missing.is_none(), || format!("no {missing:?} in {results}"))
}
