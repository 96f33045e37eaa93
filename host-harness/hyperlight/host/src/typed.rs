//! Async functions whose arguments and results have types.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use dormir_hyperlight_protocol::typed::{self, NamedType, Schema};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Host, functions::Functions};

/// A function for [`Host::typed_function`]: an async function, or a closure that returns a future,
/// with at most six arguments.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an async function with types",
    label = "not an async function with types",
    note = "write `async fn name(argument: Type, ...) -> Result<T, E>`, or a closure \
            `|argument: Type, ...| async move {{ ... }}`, with at most six arguments",
    note = "each argument implements `serde::de::DeserializeOwned` and `postcard_schema::Schema`; \
            `T` and `E` implement `serde::Serialize` and `postcard_schema::Schema`; the function \
            is `Send`, `Sync` and `'static`, and its future `Send`"
)]
pub trait TypedFunction<Arguments>: Send + Sync + 'static {
    /// Its result.
    type Output: Serialize + Schema;
    /// Its future.
    type Future: Future<Output = Self::Output> + Send + 'static;
    /// The types of its arguments.
    #[doc(hidden)]
    const ARGUMENTS: &'static [&'static NamedType];

    /// Calls it with arguments that a guest sent.
    #[doc(hidden)]
    fn call(&self, arguments: &[u8]) -> Result<Self::Future, String>;
}

macro_rules! typed_functions {
    ($(($($argument:ident $Argument:ident),*))*) => {$(
        impl<F, R, T, E, $($Argument),*> TypedFunction<($($Argument,)*)> for F
        where
            F: Fn($($Argument),*) -> R + Send + Sync + 'static,
            R: Future<Output = Result<T, E>> + Send + 'static,
            T: Serialize + Schema,
            E: Serialize + Schema,
            $($Argument: DeserializeOwned + Schema,)*
        {
            type Output = Result<T, E>;
            type Future = R;
            const ARGUMENTS: &'static [&'static NamedType] = &[$($Argument::SCHEMA),*];

            fn call(&self, arguments: &[u8]) -> Result<R, String> {
                let ($($argument,)*): ($($Argument,)*) = typed::read(arguments)?;
                Ok(self($($argument),*))
            }
        }
    )*};
}

typed_functions! {
    ()
    (a A)
    (a A, b B)
    (a A, b B, c C)
    (a A, b B, c C, d D)
    (a A, b B, c C, d D, e E1)
    (a A, b B, c C, d D, e E1, f F1)
}

impl Host {
    /// Adds an async function with types, which the guest declares by `dormir::host_functions!`
    /// with the same name and the same types. Arguments and results go in postcard's form; what
    /// [`async_function`](Self::async_function) says of futures and panics holds here too.
    ///
    /// A hash of the types' structure is part of the name that a guest's call has: the names of
    /// types, fields and variants, in their order. If it differs, the function is not called, and
    /// the guest's call ends with `CallError::Mismatch`, which has both signatures.
    /// [`check_guest`](Self::check_guest) finds that before the guest runs.
    ///
    /// # Panics
    ///
    /// If the name has more than 238 bytes; or if a type has a sequence whose elements take no
    /// bytes, such as `Vec<()>`: a guest could send one that takes years to read.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir_hyperlight_host::Host;
    /// use postcard_schema::Schema;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Deserialize, Schema)]
    /// struct Url {
    ///     host: String,
    ///     path: String,
    /// }
    ///
    /// #[derive(Serialize, Schema)]
    /// enum FetchError {
    ///     NotFound,
    /// }
    ///
    /// async fn fetch(url: Url) -> Result<Vec<u8>, FetchError> {
    ///     match url.path.as_str() {
    ///         "/" => Ok(url.host.into_bytes()),
    ///         _ => Err(FetchError::NotFound),
    ///     }
    /// }
    ///
    /// let host = Host::new()
    ///     .typed_function("fetch", fetch)
    ///     .typed_function("length", |url: Url| async move { Ok::<_, ()>(url.path.len() as u64) });
    /// ```
    #[must_use]
    pub fn typed_function<Arguments, F>(self, name: &str, function: F) -> Self
    where
        F: TypedFunction<Arguments>,
    {
        let signature = typed::signature(name, F::ARGUMENTS, F::Output::SCHEMA);
        let key = typed::key(name, &signature);
        self.async_function(typed::asking_name(name), move |_| {
            let signature = signature.clone();
            async { Ok::<_, Infallible>(signature.into_bytes()) }
        })
        .async_function(key, move |arguments| {
            let call = function.call(&arguments);
            async { typed::write(&call?.await) }
        })
    }

    /// Checks the functions that a guest declares by `dormir::host_functions!`, in `file`: the
    /// bytes of its ELF file. Functions that it declares but cannot call are not in the file.
    ///
    /// # Errors
    ///
    /// This host lacks some of them, or has them with other types. The error tells sixteen of them
    /// at most.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use dormir_hyperlight_host::Host;
    /// use hyperlight_host::SandboxBuilder;
    ///
    /// let host = Host::new()
    ///     .typed_function("double", |number: u64| async move { Ok::<_, ()>(2 * number) });
    /// host.check_guest(&std::fs::read("guest")?)?;
    /// let mut sandbox = SandboxBuilder::from_file("guest").build()?;
    /// host.register(&mut sandbox)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check_guest(&self, file: &[u8]) -> Result<(), DeclarationError> {
        let functions = &self.state().functions;
        let mut differences = Vec::new();
        let mut not_told = 0;
        for (name, signature) in typed::declarations(file) {
            if functions.call(&typed::key(name, signature), &[]).is_some() {
                continue;
            }
            if differences.len() == MOST_TOLD {
                not_told += 1;
                continue;
            }
            let declared = shown(signature);
            differences.push(match signature_of(functions, name) {
                Some(ours) => typed::difference(&declared, &ours),
                None => format!("the guest declares `{declared}`, which the host lacks"),
            });
        }
        if not_told > 0 {
            differences.push(format!("and {not_told} more"));
        }
        match differences.is_empty() {
            true => Ok(()),
            false => Err(DeclarationError { differences }),
        }
    }
}

/// How many differences an error tells. The file is not trusted, and may have any number.
const MOST_TOLD: usize = 16;

/// How many characters of a signature it tells.
const MOST_SHOWN: usize = 1000;

/// Returns what a guest's file says so that a terminal shows it and does not obey it.
fn shown(signature: &str) -> String {
    let mut escaped = signature.escape_debug();
    let mut shown: String = escaped.by_ref().take(MOST_SHOWN).collect();
    if escaped.next().is_some() {
        shown.push_str("...");
    }
    shown
}

/// Returns the signature of the function `name`, as a guest would ask for it.
fn signature_of(functions: &Functions, name: &str) -> Option<String> {
    let call = functions.call(&typed::asking_name(name), &[])?;
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(signature)) => String::from_utf8(signature).ok(),
        _ => None,
    }
}

/// The guest declares functions that the host lacks, or has with other types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclarationError {
    differences: Vec<String>,
}

impl fmt::Display for DeclarationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "guest and host disagree on host functions: {}; add them by `Host::typed_function`, \
             and build both sides with the same types",
            self.differences.join("; ")
        )
    }
}

impl std::error::Error for DeclarationError {}

#[cfg(test)]
mod tests;
