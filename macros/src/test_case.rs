//! `#[test]`: a function becomes an entry in the table of a test program.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Error, Expr, ExprLit, ItemFn, Lit, LitStr, Meta, Result, parse::Parser};

use crate::{program, signature};

/// The longest time limit, in milliseconds: a day, as `cargo vm run` has it.
const MAX_TIMEOUT_MS: f64 = 86_400_000.0;

/// What an entry describes besides the name, as `key=value` in the form of `dormir_abi::test_table`.
#[derive(Default)]
struct Fields(Vec<String>);

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let mut fields = Fields::default();
    fields.read_options(arguments)?;
    let mut function: ItemFn = syn::parse2(item)?;
    signature::check("test", &function.sig)?;
    signature::check_spawner("test", &function.sig)?;
    let attributes = std::mem::take(&mut function.attrs);
    for attribute in attributes {
        if !fields.read_attribute(&attribute)? {
            function.attrs.push(attribute);
        }
    }
    let name = &function.sig.ident;
    let program = if function.sig.asyncness.is_some() {
        program::as_task(&function, &quote!(::dormir_guest::exit))
    } else {
        quote!(#function)
    };
    // A test that is left out, by an attribute of its own, has no entry either.
    let conditions = function
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"));
    // `!` has no exit code, and becomes any type.
    let code = if signature::returns_never_itself(&function.sig) {
        quote!(#name())
    } else {
        quote!(::dormir_guest::Termination::exit_code(#name()))
    };
    let fields = fields.0;
    Ok(quote! {
        #[cfg(test)]
        #program

        #[cfg(test)]
        #(#conditions)*
        const _: () = {
            const DESCRIPTION: &str = ::core::concat!(
                "name=", ::core::module_path!(), "::", ::core::stringify!(#name), "\0",
                #(#fields, "\0",)*
            );
            #[used]
            #[unsafe(link_section = "dormir_tests")]
            static ENTRY: ::dormir_guest::__private::TestEntry<{ DESCRIPTION.len() }> =
                ::dormir_guest::__private::TestEntry::new(DESCRIPTION, || #code);
        };
    })
}

impl Fields {
    /// Reads the attribute's own options.
    fn read_options(&mut self, arguments: TokenStream) -> Result<()> {
        let parser = syn::meta::parser(|option| {
            if !option.path.is_ident("timeout") {
                return Err(option
                    .error("#[test] has one option, `timeout`, in seconds, as in `timeout = 5`"));
            }
            let value: Lit = option.value()?.parse()?;
            let seconds: f64 = match &value {
                Lit::Int(number) => number.base10_parse()?,
                Lit::Float(number) => number.base10_parse()?,
                other => return Err(Error::new_spanned(other, OTHER_TIMEOUT)),
            };
            let milliseconds = (seconds * 1000.0).ceil();
            if !(1.0..=MAX_TIMEOUT_MS).contains(&milliseconds) {
                return Err(Error::new_spanned(value, OTHER_TIMEOUT));
            }
            self.0.push(format!("timeout_ms={milliseconds}"));
            Ok(())
        });
        parser.parse2(arguments)
    }

    /// Reads an attribute of the function; returns whether it is one about tests.
    fn read_attribute(&mut self, attribute: &Attribute) -> Result<bool> {
        if attribute.path().is_ident("ignore") {
            match &attribute.meta {
                Meta::Path(_) => self.0.push("ignore=".into()),
                Meta::NameValue(reason) => {
                    let reason = text(&reason.value)?;
                    self.0.push(format!("ignore={}", checked(&reason)?));
                }
                Meta::List(list) => {
                    return Err(Error::new_spanned(
                        list,
                        "write `#[ignore]`, or `#[ignore = \"reason\"]`",
                    ));
                }
            }
            return Ok(true);
        }
        if attribute.path().is_ident("should_panic") {
            let mut expected = None;
            match &attribute.meta {
                Meta::Path(_) => {}
                Meta::NameValue(value) => expected = Some(text(&value.value)?),
                Meta::List(list) => list.parse_nested_meta(|option| {
                    if !option.path.is_ident("expected") {
                        return Err(option.error("write `#[should_panic(expected = \"text\")]`"));
                    }
                    expected = Some(option.value()?.parse()?);
                    Ok(())
                })?,
            }
            let expected = expected.as_ref().map_or(Ok(String::new()), checked)?;
            self.0.push(format!("should_panic={expected}"));
            return Ok(true);
        }
        Ok(false)
    }
}

const OTHER_TIMEOUT: &str =
    "the time limit is a number of seconds, up to 86400, as in `timeout = 5` or `timeout = 0.5`";

fn text(value: &Expr) -> Result<LitStr> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Ok(text.clone()),
        other => Err(Error::new_spanned(other, "write a text in quotation marks")),
    }
}

/// NUL separates the fields.
fn checked(text: &LitStr) -> Result<String> {
    if text.value().contains('\0') {
        return Err(Error::new_spanned(
            text,
            "the text cannot contain a NUL character",
        ));
    }
    Ok(text.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(arguments: TokenStream, item: TokenStream) -> Result<String> {
        expand(arguments, item).map(|tokens| tokens.to_string())
    }

    #[test]
    fn attributes_and_options_are_in_the_entry() {
        let item = quote! {
            #[ignore = "slow"]
            #[allow(unused)]
            #[should_panic(expected = "no")]
            fn f() {}
        };
        let text = expanded(quote!(timeout = 1.5), item).expect("a test");
        for part in [
            "ignore=slow",
            "should_panic=no",
            "timeout_ms=1500",
            "allow (unused)",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("# [ignore"), "{text}");
    }

    #[test]
    fn a_test_that_is_left_out_has_no_entry() {
        let text = expanded(
            quote!(),
            quote!(
                #[cfg(feature = "x")]
                async fn f() {}
            ),
        );
        let text = text.expect("a test");
        assert_eq!(text.matches("feature = \"x\"").count(), 2, "{text}");
    }

    #[test]
    fn wrong_forms_are_refused_in_a_sentence() {
        let plain = quote!(
            fn f() {}
        );
        for (arguments, item, sentence) in [
            (quote!(timeout = 0), plain.clone(), "a number of seconds"),
            (
                quote!(timeout = 86401),
                plain.clone(),
                "a number of seconds",
            ),
            (
                quote!(timeout = "5 s"),
                plain.clone(),
                "a number of seconds",
            ),
            (quote!(limit = 5), plain, "one option, `timeout`"),
            (
                quote!(),
                quote!(
                    fn f(n: u32) {}
                ),
                "only an `async fn`",
            ),
            (
                quote!(),
                quote!(
                    async fn f(s: Spawner, n: u32) {}
                ),
                "one argument at most",
            ),
            (
                quote!(),
                quote!(
                    fn f<T>() {}
                ),
                "generic parameters",
            ),
            (
                quote!(),
                quote!(
                    #[ignore(slow)]
                    fn f() {}
                ),
                "`#[ignore = ",
            ),
            (
                quote!(),
                quote!(
                    #[should_panic(text = "x")]
                    fn f() {}
                ),
                "expected = ",
            ),
            (
                quote!(),
                quote!(
                    #[should_panic(expected = "\0")]
                    fn f() {}
                ),
                "NUL",
            ),
        ] {
            let error = expanded(arguments, item.clone()).expect_err("it is refused");
            assert!(error.to_string().contains(sentence), "{item}: {error}");
        }
    }
}
