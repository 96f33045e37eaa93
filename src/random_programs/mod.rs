//! Random programs of tasks, and a reference that says what they may do.
//!
//! A [`Program`](program::Program) is decoded from words, which follow from a seed. [`run`] makes
//! tasks of it. These note whatever they do and see ([`Note`]), as it happens, and the
//! [`Reference`] checks each note: it predicts what each operation returns, which task may be
//! polled next and which must be, what is dropped, and for which deadline the loop waits. It knows
//! nothing of this library but what its documentation promises.
//!
//! The same files run on the host, where time is virtual and predicted exactly, and in guests
//! (`guest-image/random-programs`), where it is bounded.
//!
//! [`Note`]: note::Note
//! [`Reference`]: reference::Reference

extern crate alloc;

mod actor;
mod leaf;
mod note;
mod program;
mod reference;
mod run;
mod slots;
mod world;

pub(crate) use note::Note;
pub(crate) use program::words;
pub(crate) use run::{run, spread};
pub(crate) use world::Machine;
