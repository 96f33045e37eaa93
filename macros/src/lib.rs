//! The attributes of `dormir` and `dormir-guest`, which re-export them behind their feature
//! `macros`.

mod program;
mod signature;
mod task;
mod test_case;

use proc_macro::TokenStream;
use quote::quote;

/// Makes an `async fn` a function that returns a [`Task`], whose future lies in a static pool.
///
/// `pool_size` is the number of these tasks that can exist at once; 1 if it is left out. It is a
/// number, a constant, or any other constant expression.
///
/// Arguments may be patterns, `mut` ones too. They must own what they hold, or borrow it for
/// `'static`. There are no generic parameters and no `impl Trait`: a static pool has one size.
///
/// Without the feature `macros` and its dependencies, `dormir::tasks!` makes such functions.
///
/// [`Task`]: https://docs.rs/dormir/latest/dormir/executor/struct.Task.html
#[proc_macro_attribute]
pub fn task(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let dormir = quote!(::dormir);
    finish(task::expand(&dormir, arguments.into(), item.into()))
}

/// Makes an `async fn` a function that returns a task, as `#[dormir::task]` does, with the same
/// `pool_size`. The package need not depend on `dormir` itself.
#[proc_macro_attribute]
pub fn guest_task(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let dormir = program::dormir();
    finish(task::expand(&dormir, arguments.into(), item.into()))
}

/// Makes a function the program of a guest, as `dormir_guest::entry!` does.
///
/// A function without `async` takes no arguments. An `async fn` may take a `Spawner`; it runs as
/// the first task of an executor of 64 tasks, and the guest ends when no task is left. The exit
/// code is what the function returns, which is any `dormir_guest::Termination`.
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    finish(program::expand(arguments.into(), item.into()))
}

/// Makes a function a test, which is run in a VM of its own.
///
/// The program is a test target with `harness = false`, and has `dormir_guest::test_main!();` at
/// its top. An `async fn` may take a `Spawner` of an executor of 64 tasks; the test ends when the
/// function returns, whatever tasks are left.
///
/// The test passes if the function returns, and not with an error. Beside this attribute there may
/// be `#[ignore]`, `#[ignore = "reason"]`, `#[should_panic]` and
/// `#[should_panic(expected = "part of the message")]`. `timeout = 5` sets the time limit in
/// seconds, the boot included; without it the runner's limit applies.
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    finish(test_case::expand(arguments.into(), item.into()))
}

/// Turns an error into one of the compiler's, at its place in the source.
fn finish(expanded: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    expanded
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}
