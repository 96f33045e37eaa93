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

#[dormir_guest::test]
#[ignore = "it fails"]
#[should_panic]
fn does_not_panic() {}

#[dormir_guest::test]
#[ignore = "it fails"]
fn exits() {
    dormir_guest::exit(3);
}
