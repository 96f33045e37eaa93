//! Tests of the variance of public types: conversions that must not compile, each with a twin that
//! does compile, which shows that nothing else in it is wrong. (`tests/layout.rs` tests auto
//! traits.)
//!
//! A [`Task`](super::Task) points to functions that were made for one type of future. So it must be
//! invariant in that type, and so must each type that contains one.
//!
//! # A task's future
//!
//! `Future` may be implemented, with different outputs, for two types of which one is a subtype of
//! the other:
//!
//! ```compile_fail
//! # #![allow(coherence_leak_check)]
//! # use core::{future::Future, marker::PhantomData, pin::Pin, task::{Context, Poll}};
//! # use dormir::executor::Task;
//! # struct Either<T>(PhantomData<T>);
//! # type Any = for<'a> fn(&'a ());
//! # type Static = fn(&'static ());
//! # impl Future for Either<Any> {
//! #     type Output = usize;
//! #     fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<usize> { Poll::Ready(1) }
//! # }
//! # impl Future for Either<Static> {
//! #     type Output = String;
//! #     fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<String> { Poll::Pending }
//! # }
//! dormir::tasks! { fn made() -> Either<Any>, pool = 1 { Either(PhantomData) } }
//!
//! let task: Task<Either<Static>> = made();
//! ```
//!
//! ```
//! # #![allow(coherence_leak_check)]
//! # use core::{future::Future, marker::PhantomData, pin::Pin, task::{Context, Poll}};
//! # use dormir::executor::Task;
//! # struct Either<T>(PhantomData<T>);
//! # type Any = for<'a> fn(&'a ());
//! # type Static = fn(&'static ());
//! # impl Future for Either<Any> {
//! #     type Output = usize;
//! #     fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<usize> { Poll::Ready(1) }
//! # }
//! # impl Future for Either<Static> {
//! #     type Output = String;
//! #     fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<String> { Poll::Pending }
//! # }
//! dormir::tasks! { fn made() -> Either<Any>, pool = 1 { Either(PhantomData) } }
//!
//! let task: Task<Either<Any>> = made();
//! // The future itself is converted: its functions go with its type.
//! let future: Either<Static> = task.into_future();
//! ```
//!
//! # A task, and an error that contains one, in either direction
//!
//! ```compile_fail
//! # use dormir::executor::Task;
//! fn shorten<'a>(it: Task<&'static u8>) -> Task<&'a u8> { it }
//! ```
//!
//! ```compile_fail
//! # use dormir::executor::Task;
//! fn lengthen(it: Task<fn(&'static u8)>) -> Task<fn(&u8)> { it }
//! ```
//!
//! ```compile_fail
//! # use dormir::executor::SpawnError;
//! fn shorten<'a>(it: SpawnError<&'static u8>) -> SpawnError<&'a u8> { it }
//! ```
//!
//! ```
//! # use dormir::executor::{SpawnError, Task};
//! fn task<'a>(it: Task<&'static u8>) -> Task<&'static u8> { it }
//! fn error<'a>(it: SpawnError<&'static u8>) -> SpawnError<&'static u8> { it }
//! ```
//!
//! # A handle
//!
//! A handle is covariant in its output, as a box is.
//!
//! ```
//! # use dormir::executor::JoinHandle;
//! fn shorten<'a>(it: JoinHandle<&'static u8>) -> JoinHandle<&'a u8> { it }
//! ```
//!
//! ```compile_fail
//! # use dormir::executor::JoinHandle;
//! fn lengthen<'a>(it: JoinHandle<&'a u8>) -> JoinHandle<&'static u8> { it }
//! ```
//!
//! # The future of an event
//!
//! ```
//! # use dormir::event::Wait;
//! fn shorten<'a>(it: Wait<'static>) -> Wait<'a> { it }
//! ```
//!
//! ```compile_fail
//! # use dormir::event::Wait;
//! fn lengthen<'a>(it: Wait<'a>) -> Wait<'static> { it }
//! ```
