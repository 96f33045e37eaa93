//! Reports how a guest ended.
//!
//! The harness passes a nonce to this program, which the guest cannot know, since it is not in the
//! guest's memory. It distinguishes these records from the guest's output on the same standard
//! output. A record carries all 32 bits of an exit code, where an exit status keeps eight.

use std::{env, error::Error};

use dormir_abi::{
    exit,
    record::{MARK, Record},
};
use hyperlight_host::HyperlightError;

use crate::NOT_RUN;

/// The environment variable with the nonce.
const NONCE: &str = "DORMIR_NONCE";

/// The longest panic message that is reported in full, in bytes.
const LONGEST: usize = 980;

/// The message of Hyperlight's host instead of one of more than 1,024 bytes.
const OVERFLOWED: &str = "Guest abort buffer overflowed";

/// Reports how a guest ended, with an exit code or an error. Returns this program's status.
pub(crate) fn tell(ended: Result<i32, Box<dyn Error>>) -> u8 {
    let nonce = env::var(NONCE).ok();
    let say = |record: Record<'_>| {
        // Without a nonce, as when started by hand, the record is text.
        let beginning = match &nonce {
            Some(nonce) => format!("{}{nonce} ", char::from(MARK)),
            None => String::new(),
        };
        println!("{beginning}{record}");
    };
    match ended {
        Ok(code) => say(Record::Exit(code)),
        Err(error) => match error.downcast_ref() {
            Some(HyperlightError::GuestAborted(_, message)) => {
                say(Record::Panic(&one_line(message)));
                say(Record::Exit(exit::PANIC.into()));
            }
            _ => {
                eprintln!("{error}");
                return NOT_RUN;
            }
        },
    }
    0
}

/// Shortens a message to fit into a record.
fn one_line(message: &str) -> String {
    if message == OVERFLOWED {
        return "its message is longer than the 1,024 bytes that Hyperlight's host accepts, which \
             then drops it: shorten it"
            .into();
    }
    let end = message.floor_char_boundary(LONGEST);
    let rest = if end < message.len() { "..." } else { "" };
    format!("{}{rest}", message[..end].replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_and_fits() {
        assert_eq!(one_line("one\ntwo"), "one two");
        assert!(one_line(OVERFLOWED).contains("shorten"));
        for length in [LONGEST - 1, LONGEST, LONGEST + 1] {
            let line = one_line(&"é".repeat(length));
            assert!(line.ends_with("é..."), "{line}");
            assert!(line.len() <= LONGEST + 3);
        }
        assert_eq!(one_line(&"x".repeat(LONGEST)), "x".repeat(LONGEST));
    }
}
