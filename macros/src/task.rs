//! `#[task]`: an `async fn` becomes a call of `dormir::tasks!`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::{Error, Expr, FnArg, ItemFn, Pat, Result, parse::Parser, parse_quote};

use crate::signature;

/// Makes the call; `dormir` is the path of that crate.
pub(crate) fn expand(
    dormir: &TokenStream,
    arguments: TokenStream,
    item: TokenStream,
) -> Result<TokenStream> {
    let pool_size = pool_size(arguments)?;
    let function: ItemFn = syn::parse2(item)?;
    if function.sig.asyncness.is_none() {
        return Err(Error::new_spanned(
            function.sig.fn_token,
            "#[task]: a task is an `async fn`: add `async`",
        ));
    }
    signature::check("task", &function.sig)?;
    signature::check_arguments(&function.sig)?;
    let (attributes, visibility) = (&function.attrs, &function.vis);
    let (name, block) = (&function.sig.ident, &function.block);
    let output = signature::output(&function.sig);
    let mut arguments = Vec::new();
    let mut patterns = Vec::new();
    for (index, argument) in function.sig.inputs.iter().enumerate() {
        let FnArg::Typed(argument) = argument else {
            continue;
        };
        let (attributes, pattern, ty) = (&argument.attrs, &argument.pat, &argument.ty);
        if attributes.is_empty()
            && let Pat::Ident(plain) = &**pattern
            && plain.by_ref.is_none()
            && plain.mutability.is_none()
            && plain.subpat.is_none()
        {
            arguments.push(quote!(#pattern: #ty));
        } else {
            // Not a name of the program's, which may be that of another argument.
            let argument = Ident::new(&format!("argument_{index}"), Span::mixed_site());
            arguments.push(quote!(#argument: #ty));
            patterns.push(quote!(#(#attributes)* let #pattern = #argument;));
        }
    }
    Ok(quote! {
        #dormir::tasks! {
            #(#attributes)*
            #visibility async fn #name(#(#arguments),*) -> #output, pool = (#pool_size) {
                #(#patterns)*
                #block
            }
        }
    })
}

/// Reads `pool_size = EXPRESSION`, or nothing.
fn pool_size(arguments: TokenStream) -> Result<Expr> {
    let mut size: Expr = parse_quote!(1);
    let parser = syn::meta::parser(|option| {
        if !option.path.is_ident("pool_size") {
            return Err(option.error("#[task] has one option, `pool_size`, as in `pool_size = 4`"));
        }
        size = option.value()?.parse()?;
        Ok(())
    });
    parser.parse2(arguments)?;
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(arguments: TokenStream, item: TokenStream) -> String {
        expand(&quote!(::dormir), arguments, item)
            .expect_err("it is refused")
            .to_string()
    }

    fn expanded(arguments: TokenStream, item: TokenStream) -> String {
        let expanded =
            expand(&quote!(::dormir), arguments, item).unwrap_or_else(|error| panic!("{error}"));
        expanded.to_string()
    }

    #[test]
    fn what_a_static_pool_cannot_hold_is_refused_in_a_sentence() {
        for (item, sentence) in [
            (
                quote!(
                    fn f() {}
                ),
                "add `async`",
            ),
            (
                quote!(
                    async fn f<T>(x: T) {}
                ),
                "cannot have generic parameters",
            ),
            (
                quote!(
                    async fn f<'a>(x: &'a u8) {}
                ),
                "cannot have generic parameters",
            ),
            (
                quote!(
                    async fn f<const N: usize>() {}
                ),
                "cannot have generic parameters",
            ),
            (
                quote!(
                    async fn f()
                    where
                        u8: Copy,
                    {
                    }
                ),
                "nothing for `where`",
            ),
            (
                quote!(
                    async fn f(x: impl Fn()) {}
                ),
                "cannot be `impl Trait`",
            ),
            (
                quote!(
                    async fn f(x: Option<(u8, impl Fn())>) {}
                ),
                "cannot be `impl Trait`",
            ),
            (
                quote!(
                    async fn f(x: &u8) {}
                ),
                "cannot borrow",
            ),
            (
                quote!(
                    async fn f(x: Option<&mut u8>) {}
                ),
                "cannot borrow",
            ),
            (
                quote!(
                    async fn f(x: Reader<'_>) {}
                ),
                "`'static` as the lifetime",
            ),
            (
                quote!(
                    async fn f(x: &'_ u8) {}
                ),
                "`'static` as the lifetime",
            ),
            (
                quote!(
                    async fn f(#[cfg(feature = "x")] x: u8) {}
                ),
                "cannot depend on `cfg`",
            ),
            (
                quote!(
                    async fn f(&self) {}
                ),
                "not a method",
            ),
            (
                quote!(
                    async fn f() -> impl Fn() {
                        || ()
                    }
                ),
                "a type with a name",
            ),
            (
                quote!(
                    async unsafe fn f() {}
                ),
                "cannot be `unsafe`",
            ),
            (
                quote!(
                    async extern "C" fn f() {}
                ),
                "remove `extern`",
            ),
        ] {
            let error = refused(quote!(), item.clone());
            assert!(error.contains(sentence), "{item}: {error}");
        }
    }

    #[test]
    fn a_wrong_option_is_refused() {
        for (arguments, part) in [
            (quote!(pool = 4), "`pool_size = 4`"),
            (quote!(pool_size), "expected `=`"),
            (quote!(4), "expected"),
        ] {
            let error = refused(
                arguments.clone(),
                quote!(
                    async fn f() {}
                ),
            );
            assert!(error.contains(part), "{arguments}: {error}");
        }
    }

    #[test]
    fn arguments_may_be_patterns() {
        let item = quote!(
            async fn f(mut n: u32, (a, b): (u8, u8), _: &'static str) {}
        );
        let text = expanded(quote!(pool_size = 2 + 2), item);
        for part in [
            "pool = (2 + 2)",
            "let mut n = argument_0",
            "let (a , b) = argument_1",
            "let _ = argument_2",
            "argument_2 : & 'static str",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn an_arguments_attributes_are_kept() {
        let item = quote!(
            async fn f(#[allow(unused_variables)] n: u32, #[expect(unused_mut)] mut m: u32) {}
        );
        let text = expanded(quote!(), item);
        for part in [
            "# [allow (unused_variables)] let n = argument_0",
            "# [expect (unused_mut)] let mut m = argument_1",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_borrow_in_a_functions_type_is_no_borrow_of_the_caller() {
        let item = quote!(
            async fn f(
                call: fn(Reader<'_>) -> &u8,
                also: &'static dyn Fn(&u8),
                r: Reader<'static>,
            ) {
            }
        );
        assert!(expanded(quote!(), item).contains("pool = (1)"));
    }

    #[test]
    fn never_is_a_type_without_values() {
        let text = expanded(
            quote!(),
            quote!(
                async fn f() -> ! {
                    loop {}
                }
            ),
        );
        assert!(text.contains("convert :: Infallible"), "{text}");
    }
}
