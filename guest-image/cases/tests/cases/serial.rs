//! Tests of the serial line, whose transmitter is connected to its own receiver.

use alloc::vec::Vec;
use core::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use dormir::{block_on, idle::Halt, platform::bare, time::Timer};
use dormir_guest::serial::{self, OpenError, SerialReader, SerialWriter};
use embedded_io_async::{Read, Write};
use futures_util::future::join;
use x86_64::instructions::port::Port;

/// The modem control register, and its bit that connects the UART with itself (16550 data sheet).
const MODEM_CONTROL: u16 = 0x3fc;
const LOOP: u8 = 1 << 4;
const FIFO: usize = 16;

fn open_loop() -> (SerialReader, SerialWriter) {
    let halves = serial::open().expect("there is a serial line");
    let mut control = Port::<u8>::new(MODEM_CONTROL);
    // SAFETY: the register is the UART's, and only tells where its data goes.
    let value = unsafe { control.read() };
    // SAFETY: as above.
    unsafe { control.write(value | LOOP) };
    halves
}

/// Reads exactly as many bytes.
async fn read(reader: &mut SerialReader, length: usize) -> Vec<u8> {
    let mut bytes = alloc::vec![0; length];
    reader
        .read_exact(&mut bytes)
        .await
        .expect("it does not end");
    bytes
}

/// Both halves sleep, and are woken.
#[dormir_guest::test]
fn what_is_sent_comes_back() {
    let (mut reader, mut writer) = open_loop();
    let before = bare::unclaimed_interrupts();
    for round in 0..20_u8 {
        let sent: Vec<u8> = (0..FIFO as u8).map(|byte| byte ^ round).collect();
        let received = block_on(
            async {
                let send = async {
                    // The reader sleeps by then.
                    Timer::after(Duration::from_micros(100)).await;
                    writer.write_all(&sent).await.expect("it cannot fail");
                    writer.flush().await.expect("it cannot fail");
                };
                join(read(&mut reader, FIFO), send).await.0
            },
            Halt,
        );
        assert_eq!(received, sent);
    }
    assert_eq!(reader.overruns(), 0);
    drop((reader, writer));
    assert_eq!(bare::unclaimed_interrupts(), before);
}

/// A read takes what there is, and no more than it has room for.
#[dormir_guest::test]
fn a_read_takes_what_there_is() {
    let (mut reader, mut writer) = open_loop();
    let mut cx = Context::from_waker(Waker::noop());
    let mut buffer = [0; 4];
    assert_eq!(pin!(reader.read(&mut [])).poll(&mut cx), Poll::Ready(Ok(0)));
    // Dropped while it waits.
    assert!(pin!(reader.read(&mut buffer)).poll(&mut cx).is_pending());
    assert_eq!(pin!(writer.write(&[])).poll(&mut cx), Poll::Ready(Ok(0)));
    let received = block_on(
        async {
            writer.write_all(b"abcdef").await.expect("it cannot fail");
            let mut received = Vec::new();
            while received.len() < 6 {
                let Ok(length) = reader.read(&mut buffer).await;
                assert!(length > 0);
                received.extend_from_slice(&buffer[..length]);
            }
            received
        },
        Halt,
    );
    assert_eq!(received, b"abcdef");
}

/// Bytes that the FIFO has no room for are lost, and counted. (That of the harness's own VMM has
/// none to lose, since its transmitter waits.)
#[dormir_guest::test]
fn overruns_are_counted() {
    let (mut reader, mut writer) = open_loop();
    let received = block_on(
        async {
            writer.write_all(&[1; 200]).await.expect("it cannot fail");
            let mut buffer = [0; 256];
            let Ok(length) = reader.read(&mut buffer).await;
            length
        },
        Halt,
    );
    assert!(received <= 64);
    assert!(received < 64 || reader.overruns() == 0);
    assert!(received >= 64 || reader.overruns() > 0);
}

/// A write that waits, and is polled no more, keeps no input from the reader.
#[dormir_guest::test]
fn a_half_that_is_not_polled_hides_nothing() {
    let (mut reader, mut writer) = open_loop();
    let received = block_on(
        async {
            let mut flush = pin!(async {
                writer.write_all(b"ab").await.expect("it cannot fail");
                writer.flush().await.expect("it cannot fail");
            });
            let mut cx = Context::from_waker(Waker::noop());
            let _ = flush.as_mut().poll(&mut cx);
            read(&mut reader, 2).await
        },
        Halt,
    );
    assert_eq!(received, b"ab");
}

/// The line can be opened once, until both halves are dropped.
#[dormir_guest::test]
fn it_is_opened_once() {
    let (reader, writer) = open_loop();
    assert_eq!(serial::open().err(), Some(OpenError::AlreadyOpen));
    drop(reader);
    assert_eq!(serial::open().err(), Some(OpenError::AlreadyOpen));
    drop(writer);
    let (mut reader, mut writer) = open_loop();
    let received = block_on(
        async {
            writer.write_all(b"again").await.expect("it cannot fail");
            read(&mut reader, 5).await
        },
        Halt,
    );
    assert_eq!(received, b"again");
}
