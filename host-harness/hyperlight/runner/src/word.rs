//! What is said of a guest's end.
//!
//! The harness that starts this program gives it a nonce, which the guest cannot know: it is no part of the guest's
//! memory. By that it tells what is said here from what the guest prints on the same standard output. All 32 bits
//! of an exit code go that way, of which a status would keep eight.

use std::{env, error::Error};

use dormir_abi::{
    exit,
    record::{MARK, Record},
};
use hyperlight_host::HyperlightError;

use crate::NOT_RUN;

/// The environment variable with the nonce.
const NONCE: &str = "DORMIR_NONCE";

/// The longest message of a panic that is told whole, in bytes.
const LONGEST: usize = 980;

/// What Hyperlight's host says in place of a message of more than 1,024 bytes.
const OVERFLOWED: &str = "Guest abort buffer overflowed";

/// Tells how a guest ended that returned an exit code or did not. Returns this program's status.
pub(crate) fn tell(ended: Result<i32, Box<dyn Error>>) -> u8 {
    let nonce = env::var(NONCE).ok();
    let say = |record: Record<'_>| {
        // Who starts this program by hand sees it as text.
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

/// A message as it fits into a record.
fn one_line(message: &str) -> String {
    if message == OVERFLOWED {
        return "its message is longer than the 1,024 bytes that Hyperlight's host takes, which then drops it \
                whole: shorten it"
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
