//! Tests that fail, one for each way: all are ignored, and the runner's own tests run them.
#![no_std]
#![no_main]

use dormir_guest::println;

dormir_guest::test_main!();

#[dormir_guest::test]
#[ignore = "it fails"]
fn panics() {
    println!("before the panic");
    panic!("no such number");
}

#[dormir_guest::test]
#[ignore = "it fails"]
fn returns_an_error() -> Result<(), &'static str> {
    Err("it went wrong")
}

#[dormir_guest::test(timeout = 3)]
#[ignore = "it fails"]
async fn hangs() {
    core::future::pending().await
}

#[dormir_guest::test]
#[ignore = "it fails"]
#[should_panic(expected = "other words")]
fn panics_with_other_words() {
    panic!("these words");
}

/// The name of the task and the file have the word, but the message does not.
#[dormir_guest::test]
#[ignore = "it fails"]
#[should_panic(expected = "failing")]
async fn panics_in_a_place_with_the_word() {
    panic!("these words");
}

#[dormir_guest::test]
#[ignore = "it fails"]
#[should_panic(expected = "the end")]
fn panics_at_length() {
    panic!("{:>1000} the end", 1);
}

#[dormir_guest::test]
#[ignore = "it fails"]
#[should_panic]
fn does_not_panic() {}

#[dormir_guest::test]
#[ignore = "it fails"]
fn exits() {
    dormir_guest::exit(3);
}
