//! `#[main]`: a function becomes the program of a guest.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::{Error, FnArg, ItemFn, Result, Visibility};

use crate::signature;

/// The crate `dormir`, as `dormir-guest` has it: for these attributes a program need not name it.
pub(crate) fn dormir() -> TokenStream {
    quote!(::dormir_guest::__private::dormir)
}

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(
            arguments,
            "#[main] has no options; what the guest is given are the words of its command line, \
             `dormir_guest::args`",
        ));
    }
    let function: ItemFn = syn::parse2(item)?;
    signature::check("main", &function.sig)?;
    signature::check_spawner("main", &function.sig)?;
    let name = &function.sig.ident;
    let program = if function.sig.asyncness.is_some() {
        as_task(&function, &quote!(::core::convert::identity))
    } else {
        quote!(#function)
    };
    let entry = if signature::returns_never_itself(&function.sig) {
        // `!` has no exit code, and becomes any type.
        quote! {
            fn dormir_guest_never_returns() -> u8 {
                #name()
            }
            ::dormir_guest::entry!(dormir_guest_never_returns);
        }
    } else {
        quote!(::dormir_guest::entry!(#name);)
    };
    Ok(quote! {
        #program

        const _: () = {
            #entry
        };
    })
}

/// Makes a function `fn() -> u8` of an `async fn`, which it runs as a task. The task passes the
/// exit code to the function `finish`, and returns what that returns.
pub(crate) fn as_task(function: &ItemFn, finish: &TokenStream) -> TokenStream {
    let (visibility, name) = (&function.vis, &function.sig.ident);
    // On the outer function are those that tell whether it exists; all others are the inner one's.
    let (outer, inner): (Vec<_>, Vec<_>) = function
        .attrs
        .iter()
        .partition(|attribute| attribute.path().is_ident("cfg"));
    let inner = ItemFn {
        attrs: inner.into_iter().cloned().collect(),
        vis: Visibility::Inherited,
        ..function.clone()
    };
    let spawner = function
        .sig
        .inputs
        .iter()
        .find_map(|argument| match argument {
            FnArg::Typed(argument) => Some(&argument.ty),
            FnArg::Receiver(_) => None,
        });
    // Names of this macro's own, which may be the program's too.
    let [passed, inner_name] =
        ["spawner", "inner"].map(|name| Ident::new(name, Span::mixed_site()));
    let (argument, make, call) = match spawner {
        Some(ty) => (
            quote!(#passed: #ty),
            quote!(#name),
            quote!(#inner_name(#passed)),
        ),
        None => (quote!(), quote!(|_| #name()), quote!(#inner_name())),
    };
    let code = if signature::never_returns(&function.sig) {
        quote!(#call.await)
    } else {
        quote!(#finish(::dormir_guest::Termination::exit_code(#call.await)))
    };
    let dormir = dormir();
    quote! {
        #(#outer)*
        #visibility fn #name() -> u8 {
            #dormir::tasks! {
                async fn #name(#argument) -> u8, pool = 1 {
                    // The function is in a block of its own: there it does not hide the argument.
                    let #inner_name = {
                        #inner
                        #name
                    };
                    #code
                }
            }
            ::dormir_guest::__private::run_task(#make)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_functions_are_refused_in_a_sentence() {
        for (arguments, item, sentence) in [
            (
                quote!(flavor = "x"),
                quote!(
                    fn main() {}
                ),
                "no options",
            ),
            (
                quote!(),
                quote!(
                    fn main(n: u32) {}
                ),
                "only an `async fn`",
            ),
            (
                quote!(),
                quote!(
                    async fn main(s: Spawner, n: u32) {}
                ),
                "one argument at most",
            ),
            (
                quote!(),
                quote!(
                    async fn main<T>(s: T) {}
                ),
                "generic parameters",
            ),
            (
                quote!(),
                quote!(
                    fn main() -> impl Termination {}
                ),
                "a type with a name",
            ),
            (
                quote!(),
                quote!(
                    struct Main;
                ),
                "expected `fn`",
            ),
        ] {
            let error = expand(arguments, item.clone()).expect_err("it is refused");
            assert!(error.to_string().contains(sentence), "{item}: {error}");
        }
    }

    #[test]
    fn a_spawner_is_passed_if_it_is_asked_for() {
        for (item, part) in [
            (
                quote!(
                    async fn main() {}
                ),
                "| _ | main ()",
            ),
            (
                quote!(
                    async fn main(s: Spawner) {}
                ),
                "run_task (main)",
            ),
        ] {
            let text = expand(quote!(), item).expect("a program").to_string();
            assert!(text.contains(part), "{text}");
        }
    }
}
