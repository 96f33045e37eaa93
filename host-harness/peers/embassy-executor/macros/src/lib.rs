//! The attribute `task` of the package that stands in for `embassy-executor`.

use proc_macro::TokenStream;
use quote::{format_ident, quote};
use syn::{Error, FnArg, ItemFn, Pat, parse_macro_input};

/// Makes a function that returns a task, to be spawned, of an `async fn` or of a function that
/// returns a future. Its arguments, such as `pool_size`, have no effect.
#[proc_macro_attribute]
pub fn task(_: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    expand(function)
        .unwrap_or_else(Error::into_compile_error)
        .into()
}

fn expand(mut function: ItemFn) -> Result<proc_macro2::TokenStream, Error> {
    let (visibility, name) = (function.vis.clone(), function.sig.ident.clone());
    let mut inputs = function.sig.inputs.clone();
    let mut arguments = Vec::new();
    for input in &mut inputs {
        let FnArg::Typed(input) = input else {
            return Err(Error::new_spanned(input, "a task has no `self`"));
        };
        let Pat::Ident(argument) = &mut *input.pat else {
            return Err(Error::new_spanned(input, "an argument of a task is a name"));
        };
        argument.mutability = None;
        // One that is configured away is not passed on either.
        let attributes = &input.attrs;
        arguments.push(quote!(#(#attributes)* #argument));
    }
    // A task may spawn itself, by its own name.
    let future = format_ident!("__{name}_future");
    function.sig.ident = future.clone();
    Ok(quote! {
        #visibility fn #name(
            #inputs
        ) -> ::core::result::Result<::embassy_executor::SpawnToken, ::embassy_executor::SpawnError>
        {
            #function
            ::core::result::Result::Ok(::embassy_executor::SpawnToken::new(async move {
                #future(#(#arguments),*).await;
            }))
        }
    })
}
