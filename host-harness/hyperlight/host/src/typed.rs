//! Async functions that are declared with their types.

use std::future::Future;

use dormir_hyperlight_protocol::typed;
use serde::{Serialize, de::DeserializeOwned};

use crate::Host;

/// A function that [`host_functions!`](crate::host_functions) declares.
pub trait Declared {
    /// Its arguments, as a tuple.
    type Arguments: DeserializeOwned + Send;
    /// Its result.
    type Output: Serialize + Send;
    /// Its name, with a hash of its types.
    const NAME: &'static str;
}

impl Host {
    /// Adds a function that the guest declares too, by `dormir::host_functions!`. If the types of
    /// the two declarations differ, the guest's call ends with an error that says so.
    ///
    /// # Examples
    ///
    /// ```
    /// use dormir_hyperlight_host::Host;
    ///
    /// dormir_hyperlight_host::host_functions! {
    ///     /// The length of a page.
    ///     async fn length(url: String, pages: u32) -> Result<u64, String>;
    /// }
    ///
    /// let host = Host::new().declared_function::<length, _, _>(|(url, pages)| async move {
    ///     Ok(url.len() as u64 * u64::from(pages))
    /// });
    /// ```
    #[must_use]
    pub fn declared_function<D, F, R>(self, function: F) -> Self
    where
        D: Declared,
        F: Fn(D::Arguments) -> R + Send + Sync + 'static,
        R: Future<Output = D::Output> + Send + 'static,
    {
        self.async_function(D::NAME, move |bytes| {
            let call = typed::read(&bytes).map(&function);
            async move {
                let output = call?.await;
                typed::write(&output)
            }
        })
    }
}

/// Declares async functions with their types, each as a type that names it for
/// [`Host::declared_function`]. The guest declares the same ones by `dormir::host_functions!`, with
/// types that are written in the same words.
///
/// Arguments and results are `serde`'s, and their types usually come from a crate that both sides
/// use. A change inside such a type is not noticed: give it another name.
#[macro_export]
macro_rules! host_functions {
    ($(
        $(#[$about:meta])*
        $vis:vis async fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $output:ty;
    )*) => {$(
        $(#[$about])*
        #[allow(non_camel_case_types, missing_debug_implementations)]
        $vis enum $name {}

        impl $crate::Declared for $name {
            type Arguments = ($($type,)*);
            type Output = $output;
            const NAME: &'static str = $crate::signed_name!($name, ($($type),*), $output);
        }
    )*};
}
