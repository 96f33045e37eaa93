//! Async functions of the host that are declared with their types.

use dormir_hyperlight_protocol::typed::{self, Declaration};
use serde::{Serialize, de::DeserializeOwned};
use std_alloc::{format, string::String};

pub use dormir_hyperlight_protocol::declaration;

use super::{CallError, HostCall, call};

/// Queues a call of a declared function.
pub fn begin(declaration: Declaration, arguments: &impl Serialize) -> Result<HostCall, CallError> {
    match typed::write(arguments) {
        Ok(argument) => Ok(call(declaration.key, &argument)),
        Err(error) => Err(mismatch(declaration, "an argument", &error)),
    }
}

/// Awaits a call that was begun.
pub async fn end<T, E>(declaration: Declaration, call: Result<HostCall, CallError>) -> Result<T, E>
where
    Result<T, E>: DeserializeOwned,
    E: From<CallError>,
{
    match call?.await {
        Ok(bytes) => {
            typed::read(&bytes).map_err(|error| mismatch(declaration, "the result", &error))?
        }
        Err(CallError::Unknown) => Err(why_unknown(declaration).await.into()),
        Err(error) => Err(error.into()),
    }
}

fn mismatch(declaration: Declaration, what: &str, error: &str) -> CallError {
    let signature = declaration.signature();
    CallError::Mismatch(format!("{what} of `{signature}`: {error}"))
}

/// Returns why the host does not know a function: it may have one of this name with other types.
async fn why_unknown(declaration: Declaration) -> CallError {
    match call(&typed::asking_name(declaration.name), &[]).await {
        Ok(signature) => CallError::Mismatch(typed::difference(
            declaration.signature(),
            &String::from_utf8_lossy(&signature),
        )),
        Err(_) => CallError::Unknown,
    }
}

/// Declares async functions of the host with their types, so that a call reads `fetch(url).await?`.
/// Each returns a `Result` whose error can be made from a
/// [`CallError`](crate::host_calls::CallError), for calls that do not reach their end. As with
/// [`call`](crate::host_calls::call), the call is queued at once, before it is awaited, and ends
/// when its future is dropped.
///
/// The host adds functions of the same names and types by `Host::typed_function`. If they differ,
/// the function is not called, and the call ends with
/// [`CallError::Mismatch`](crate::host_calls::CallError::Mismatch), which has both signatures. The
/// host's `Host::check_guest` finds that before the guest runs.
///
/// Arguments implement `serde::Serialize`, results `serde::de::DeserializeOwned`, and both
/// `postcard_schema::Schema`. They go in postcard's form. Arguments may be borrowed: `&str` is the
/// same as the host's `String`, `&[T]` as `Vec<T>`. A name has at most 238 bytes.
///
/// # Examples
///
/// ```no_run
/// # use dormir_guest as _;
/// # extern crate alloc;
/// use alloc::string::String;
/// use dormir::hyperlight::{self, CallError};
/// use hyperlight_guest::error::HyperlightGuestError;
/// use postcard_schema::Schema;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Schema)]
/// struct Url {
///     host: String,
///     path: String,
/// }
///
/// #[derive(Deserialize, Schema)]
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
///     async fn length(url: Url) -> Result<u64, LengthError>;
/// }
///
/// // With `#[guest_function]`.
/// fn length_of(host: String) -> Result<u64, HyperlightGuestError> {
///     let url = Url { host, path: String::from("/") };
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
        $vis fn $name(
            $($argument: $type),*
        ) -> impl ::core::future::Future<Output = $output> + use<> {
            let declaration = $crate::host_calls::declaration!($name, ($($type),*), $output);
            let call = $crate::host_calls::begin(declaration, &($($argument,)*));
            $crate::host_calls::end(declaration, call)
        }
    )*};
}
