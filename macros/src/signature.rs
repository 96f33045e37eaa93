//! What the attributes require of a function's signature.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{
    Attribute, Error, FnArg, Lifetime, Result, ReturnType, Safety, Signature, Type, TypeImplTrait,
    TypeReference, spanned::Spanned, visit::Visit,
};

/// Refuses what no function with one of the attributes can have.
pub(crate) fn check(attribute: &str, signature: &Signature) -> Result<()> {
    let refuse = |what: &dyn Spanned, sentence: &str| {
        Err(Error::new(
            what.span(),
            format!("#[{attribute}]: {sentence}"),
        ))
    };
    if let Some(parameter) = signature.generics.params.first() {
        return refuse(
            parameter,
            "the function cannot have generic parameters, since its memory has one fixed size: \
             write a function for each type, or put the value behind a `&'static dyn Trait`",
        );
    }
    if let Some(clause) = &signature.generics.where_clause {
        return refuse(
            clause,
            "without generic parameters there is nothing for `where`: remove it",
        );
    }
    if let Some(constness) = &signature.constness {
        return refuse(
            constness,
            "the function cannot be `const`: remove that word",
        );
    }
    if !matches!(signature.safety, Safety::Default) {
        return refuse(
            &signature.fn_token,
            "the function cannot be `unsafe`, since safe code calls it: use `unsafe` inside it",
        );
    }
    if let Some(abi) = &signature.abi {
        return refuse(
            abi,
            "the function has Rust's calling convention: remove `extern`",
        );
    }
    if let Some(variadic) = &signature.variadic {
        return refuse(
            variadic,
            "the function cannot have a variable number of arguments",
        );
    }
    if let ReturnType::Type(_, returned) = &signature.output {
        let mut found = Found::default();
        found.visit_type(returned);
        if let Some(found) = found.impl_trait {
            return refuse(
                &found,
                "the function must return a type with a name, not `impl Trait`",
            );
        }
    }
    Ok(())
}

/// Refuses arguments other than one spawner, which only an `async fn` may take.
pub(crate) fn check_spawner(attribute: &str, signature: &Signature) -> Result<()> {
    let allowed = usize::from(signature.asyncness.is_some());
    match signature.inputs.iter().nth(allowed) {
        Some(argument) if allowed == 0 => Err(Error::new(
            argument.span(),
            format!(
                "#[{attribute}]: only an `async fn` takes an argument, a \
                 `dormir::executor::Spawner`"
            ),
        )),
        Some(argument) => Err(Error::new(
            argument.span(),
            format!(
                "#[{attribute}]: the function takes one argument at most, a \
                 `dormir::executor::Spawner`"
            ),
        )),
        None => Ok(()),
    }
}

/// Refuses types that a static pool cannot hold.
pub(crate) fn check_arguments(signature: &Signature) -> Result<()> {
    for argument in &signature.inputs {
        let FnArg::Typed(argument) = argument else {
            return Err(Error::new(
                argument.span(),
                "#[task]: a task is a function, not a method: pass the value as an argument with a \
                 name and a type",
            ));
        };
        let is_cfg = |attribute: &&Attribute| attribute.path().is_ident("cfg");
        if let Some(attribute) = argument.attrs.iter().find(is_cfg) {
            return Err(Error::new(
                attribute.span(),
                "#[task]: an argument cannot depend on `cfg`: write two functions, and `cfg` at \
                 each",
            ));
        }
        let mut found = Found::default();
        found.visit_type(&argument.ty);
        if let Some(found) = found.impl_trait {
            return Err(Error::new(
                found.span(),
                "#[task]: an argument cannot be `impl Trait`, since the pool has one fixed size: \
                 name the type, or pass a `&'static dyn Trait`",
            ));
        }
        if let Some(place) = found.borrow {
            return Err(Error::new(
                place,
                "#[task]: a task can outlive its caller, so it cannot borrow from it: write \
                 `'static` as the lifetime, or pass the value itself",
            ));
        }
    }
    Ok(())
}

/// What a type contains that has no place in a static pool.
#[derive(Default)]
struct Found {
    impl_trait: Option<TypeImplTrait>,
    borrow: Option<Span>,
}

impl<'ast> Visit<'ast> for Found {
    fn visit_type_impl_trait(&mut self, found: &'ast TypeImplTrait) {
        self.impl_trait.get_or_insert_with(|| found.clone());
    }

    fn visit_type_reference(&mut self, found: &'ast TypeReference) {
        if found.lifetime.is_none() {
            self.borrow.get_or_insert_with(|| found.span());
        }
        syn::visit::visit_type_reference(self, found);
    }

    fn visit_lifetime(&mut self, found: &'ast Lifetime) {
        if found.ident == "_" {
            self.borrow.get_or_insert_with(|| found.span());
        }
    }

    // The borrows in a function's type are those of its callers.
    fn visit_type_fn_ptr(&mut self, _: &'ast syn::TypeFnPtr) {}

    fn visit_parenthesized_generic_arguments(
        &mut self,
        _: &'ast syn::ParenthesizedGenericArguments,
    ) {
    }
}

/// Returns whether the function's output is `!`.
pub(crate) fn never_returns(signature: &Signature) -> bool {
    matches!(&signature.output, ReturnType::Type(_, output) if matches!(**output, Type::Never(_)))
}

/// Returns whether a call of the function itself does not return: its output is `!`, without a
/// future around it.
pub(crate) fn returns_never_itself(signature: &Signature) -> bool {
    signature.asyncness.is_none() && never_returns(signature)
}

/// Returns the output of a task, as a type that every stable compiler takes: in place of `!` an
/// enum without values.
pub(crate) fn output(signature: &Signature) -> TokenStream {
    match &signature.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(..) if never_returns(signature) => {
            quote!(::core::convert::Infallible)
        }
        ReturnType::Type(_, output) => quote!(#output),
    }
}
