//! Async functions of the host that are declared with their types.

use dormir_hyperlight_protocol::typed;
use serde::{Serialize, de::DeserializeOwned};

pub use dormir_hyperlight_protocol::signed_name;

use super::{CallError, call};

/// What a function of [`host_functions!`](crate::host_functions) does.
pub async fn call_declared<T, E>(name: &str, arguments: &impl Serialize) -> Result<T, E>
where
    Result<T, E>: DeserializeOwned,
    E: From<CallError>,
{
    let argument = typed::write(arguments).map_err(CallError::Host)?;
    let bytes = call(name, &argument).await?;
    typed::read(&bytes).map_err(CallError::Host)?
}

/// Declares async functions of the host with their types, so that a call reads `fetch(url).await?`.
/// Each returns a `Result` whose error can be made from a
/// [`CallError`](crate::hyperlight::CallError), for calls that do not reach their end.
///
/// The host declares the same functions by `dormir_hyperlight_host::host_functions!`, with types
/// that are written in the same words, and registers them by `Host::declared_function`. If they
/// differ, the call ends with [`CallError::Host`](crate::hyperlight::CallError::Host), whose
/// message says so.
///
/// Arguments and results are `serde`'s. They go in postcard's form.
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// # extern crate alloc;
/// use alloc::string::String;
/// use dormir::hyperlight::{self, CallError};
/// use hyperlight_guest::error::HyperlightGuestError;
///
/// // Usually in a crate that guest and host share.
/// #[derive(serde::Serialize, serde::Deserialize)]
/// enum LengthError {
///     NoPage,
///     NotCalled,
/// }
///
/// impl From<CallError> for LengthError {
///     fn from(_: CallError) -> Self {
///         Self::NotCalled
///     }
/// }
///
/// dormir::host_functions! {
///     /// The length of a page.
///     async fn length(url: String) -> Result<u64, LengthError>;
/// }
///
/// // With `#[guest_function]`.
/// fn length_of(url: String) -> Result<u64, HyperlightGuestError> {
///     let length = hyperlight::block_on(length(url))?;
///     Ok(length.unwrap_or(0))
/// }
/// ```
#[macro_export]
macro_rules! host_functions {
    ($(
        $(#[$about:meta])*
        $vis:vis async fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $output:ty;
    )*) => {$(
        $(#[$about])*
        $vis async fn $name($($argument: $type),*) -> $output {
            const NAME: &str = $crate::hyperlight::signed_name!($name, ($($type),*), $output);
            $crate::hyperlight::call_declared(NAME, &($($argument,)*)).await
        }
    )*};
}
