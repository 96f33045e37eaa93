//! Guests that are not this library's.

use proptest::prelude::*;

use super::*;
use crate::Limits;

/// What is no message ends the connection, with a sentence, and the guest sees its end.
#[test]
fn each_wrong_message_has_its_sentence() {
    let too_long = (MAX_MESSAGE as u32 + 1).to_le_bytes();
    let unsound = [&frame::prefix(5)[..], b"bytes"].concat();
    for (bytes, stays, expected) in [
        (&too_long[..], true, "more than 43008 bytes"),
        (&unsound, true, "no message"),
        (&frame::prefix(0), true, "no message"),
        (&unsound[..3], false, "within a message"),
        (&unsound[..8], false, "within a message"),
    ] {
        let (end, _) = serve(echo(), |mut socket| {
            socket.set_read_timeout(Some(LIMIT)).expect("it has one");
            socket.write_all(bytes).expect("the host reads");
            if stays {
                assert!(matches!(socket.read(&mut [0; 9]), Ok(0)));
            }
        });
        let sentence = end.expect_err("it is wrong").to_string();
        assert!(sentence.contains(expected), "{sentence}");
    }
}

/// A guest that sends and never reads fills the connection, not the host.
#[test]
fn a_guest_that_does_not_read_waits() {
    let host = echo().with_limits(Limits::new().with_bytes(100_000));
    let (end, bytes) = serve(host, |mut socket| {
        let timeout = Duration::from_millis(300);
        socket.set_write_timeout(Some(timeout)).expect("it has one");
        let (mut calls, mut link) = (Calls::new(), Link::new());
        for _ in 0..50 {
            let _ = calls.call("echo", &[7; 700]);
        }
        let batch = link.batch(&mut calls, false);
        let mut sent = 0;
        while socket.write_all(&batch).is_ok() {
            sent += 1;
            assert!(sent < 1000, "the host holds all of it");
        }
    });
    assert!(matches!(end, Ok(()) | Err(ServeError::Cut)), "{end:?}");
    assert_eq!(bytes, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever comes, in pieces of any length: it ends, and holds nothing afterwards.
    #[test]
    fn any_bytes_end_it(
        pieces in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..60),
                // Sound batches, and others with one wrong byte.
                (0_usize..200, any::<u8>(), 1_u64..4).prop_map(|(at, byte, number)| {
                    let (mut calls, mut link) = (Calls::new(), Link::new());
                    let mut batch = Vec::new();
                    for _ in 0..number {
                        let _ = calls.call("echo", b"some bytes");
                        batch = link.batch(&mut calls, false);
                    }
                    if let Some(wrong) = batch.get_mut(at) {
                        *wrong = byte;
                    }
                    batch
                }),
            ],
            0..8,
        ),
    ) {
        let (_, bytes) = serve(echo(), |mut socket| {
            for piece in pieces {
                // It may have ended.
                let _ = socket.write_all(&piece);
            }
        });
        prop_assert_eq!(bytes, 0);
    }
}
