//! `tasks!`: functions whose futures lie in static pools.

/// Makes functions whose futures lie in a static pool, to be
/// [spawned](crate::executor::Spawner::spawn) without a heap.
///
/// `async fn name(args) -> Output, pool = N { .. }` becomes a function that returns a
/// [`Task`](crate::executor::Task). `N` of these tasks can exist at once; `N` is a number, a
/// constant, or an expression in parentheses. Without `async`, the body returns a future: `fn
/// name(args) -> SomeFuture, pool = N { .. }`.
///
/// Arguments are plain names (without `mut`), of types without generic parameters; futures must be
/// `'static`. Attributes and visibility apply to the function.
///
/// The attribute `#[dormir::task]` (feature `macros`) does the same for one `async fn`, whose
/// arguments may be patterns.
///
/// In the pool, a task takes the size of its future (or of its output, if that is larger) and 32
/// bytes. In the executor it takes 17 bytes; 8 more with the feature `metrics`, and a timer's node
/// more with `embassy-time`.
///
/// # Examples
///
/// ```
/// use core::future::{Ready, ready};
///
/// dormir::tasks! {
///     /// Adds.
///     pub async fn add(a: u32, b: u32) -> u32, pool = 4 { a + b }
///
///     fn four() -> Ready<u32>, pool = 1 { ready(4) }
/// }
/// # let _ = (add(1, 2), four());
/// ```
#[macro_export]
macro_rules! tasks {
    () => {};
    (
        $(#[$attribute:meta])*
        $vis:vis async fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $output:ty)?,
            pool = $count:tt $body:block
        $($rest:tt)*
    ) => {
        $(#[$attribute])*
        $vis fn $name($($arg: $ty),*) -> $crate::executor::Task<
            impl ::core::future::Future<Output = $crate::tasks!(@output $($output)?)> + use<>
        > {
            async fn dormir_task_body($($arg: $ty),*) $(-> $output)? $body
            $crate::tasks!(@pooled $name, dormir_task_body, [$($arg: $ty),*], $count)
        }
        $crate::tasks! { $($rest)* }
    };
    (
        $(#[$attribute:meta])*
        $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) -> $future:ty,
            pool = $count:tt $body:block
        $($rest:tt)*
    ) => {
        $(#[$attribute])*
        $vis fn $name($($arg: $ty),*) -> $crate::executor::Task<$future> {
            fn dormir_task_body($($arg: $ty),*) -> $future $body
            $crate::tasks!(@pooled $name, dormir_task_body, [$($arg: $ty),*], $count)
        }
        $crate::tasks! { $($rest)* }
    };
    (
        $(#[$attribute:meta])*
        $vis:vis async fn $name:ident $($other:tt)*
    ) => {
        $crate::tasks! { @not_understood $name, "async fn", "Output" }
    };
    (
        $(#[$attribute:meta])*
        $vis:vis fn $name:ident $($other:tt)*
    ) => {
        $crate::tasks! { @not_understood $name, "fn", "Future" }
    };
    (@not_understood $name:ident, $function:literal, $result:literal) => {
        ::core::compile_error!(::core::concat!(
            "`", ::core::stringify!($name), "` does not have the form that `tasks!` takes: `",
            $function, " ", ::core::stringify!($name), "(argument: Type) -> ", $result,
            ", pool = 4 { .. }`. ",
            "An argument is a plain name: instead of `mut n: u32` write `n: u32`, and \
             `let mut n = n;` in the body. There are no generic parameters. A pool's size of more \
             than one token needs parentheses."
        ));
    };
    (@output) => { () };
    (@output $output:ty) => { $output };
    (@pooled $name:ident, $body:ident, [$($arg:ident: $ty:ty),*], $count:tt) => {{
        use $crate::executor as dormir_executor;
        // Items are not hygienic, so these names must not occur in an argument's type or in
        // `$count`.
        const DORMIR_TASK_SIZE: usize =
            dormir_executor::cell_size(&|| $body($(dormir_executor::never_made::<$ty>()),*));
        const DORMIR_TASK_ALIGN: usize =
            dormir_executor::cell_align(&|| $body($(dormir_executor::never_made::<$ty>()),*));
        const DORMIR_TASK_COUNT: usize = {
            let count: usize = $count;
            ::core::assert!(
                count != 0,
                ::core::concat!(
                    "the pool of `",
                    ::core::stringify!($name),
                    "` has no room for a task: write `pool = 1`, or the number of tasks that can \
                     exist at once"
                )
            );
            count
        };
        static DORMIR_TASK_POOL: dormir_executor::Pool<
            { DORMIR_TASK_SIZE * DORMIR_TASK_COUNT },
            DORMIR_TASK_ALIGN,
        > = dormir_executor::Pool::new();
        // SAFETY: the pool is used for this vtable only.
        static DORMIR_TASK_VTABLE: dormir_executor::TaskVTable = unsafe {
            dormir_executor::TaskVTable::pooled(
                &|| $body($(dormir_executor::never_made::<$ty>()),*),
                &DORMIR_TASK_POOL,
                || ::core::concat!(::core::module_path!(), "::", ::core::stringify!($name)),
            )
        };
        // SAFETY: the vtable was made for the futures of this function.
        unsafe { dormir_executor::Task::new(&DORMIR_TASK_VTABLE, $body($($arg),*)) }
    }};
}
