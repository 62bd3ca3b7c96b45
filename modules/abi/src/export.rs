//! `export_module!`: from an author's types to a library that a host can load.

/// Exports the modules of this library: their kind, name, description and constructor.
///
/// ```text
/// export_module! {
///     isolator "example/licences" ("hands out licences") = Licences::new;
///     hook "example/labels" ("labels tasks") = Labels::new;
/// }
/// ```
///
/// A constructor is a `fn(Host, Parameters) -> Result<T, ModuleError>`. Use the macro once per library, whose crate type is
/// `cdylib`; version and author come from its `Cargo.toml`.
#[macro_export]
macro_rules! export_module {
    ($($kind:ident $name:literal ($description:literal) = $constructor:expr;)+) => {
        #[cfg(panic = "abort")]
        compile_error!("a module must be built with panic = \"unwind\": a panic in it would end its host");

        const _: () = {
            use $crate::private::{CreateResult, HostBox, LibRoot, ModuleDecl, RSlice, RStr, RVec, RootResult};

            extern "C" fn modules() -> RVec<ModuleDecl> {
                RVec::from(::std::vec![$({
                    extern "C" fn create(host: HostBox, request: RSlice<'_, u8>) -> CreateResult {
                        $crate::__create!($kind)(host, request, $constructor)
                    }
                    ModuleDecl {
                        kind: $crate::__kind!($kind),
                        name: RStr::from_str($name),
                        version: RStr::from_str(env!("CARGO_PKG_VERSION")),
                        author: RStr::from_str(env!("CARGO_PKG_AUTHORS")),
                        description: RStr::from_str($description),
                        api: 1,
                        create,
                    }
                }),+])
            }

            extern "C" fn root() -> RootResult {
                $crate::private::root(|| LibRoot { modules })
            }

            /// The one symbol of the library; the name is the one that abi_stable looks for.
            #[allow(unsafe_code, non_upper_case_globals, reason = "an exported symbol")]
            #[unsafe(no_mangle)]
            pub static _1as_0lib_1header_0root_bmodule_bloader: $crate::private::LibHeader = $crate::private::header(root);
        };
    };
}

/// The constructor's adapter of a kind.
#[doc(hidden)]
#[macro_export]
macro_rules! __create {
    (allocator) => {
        $crate::private::create_allocator
    };
    (isolator) => {
        $crate::private::create_isolator
    };
    (hook) => {
        $crate::private::create_hook
    };
    ($other:ident) => {
        compile_error!(concat!(
            "unknown kind of module `",
            stringify!($other),
            "`, expected `allocator`, `isolator` or `hook`"
        ))
    };
}

/// The number of a kind.
#[doc(hidden)]
#[macro_export]
macro_rules! __kind {
    (allocator) => {
        1
    };
    (isolator) => {
        2
    };
    (hook) => {
        3
    };
    ($other:ident) => {
        0
    };
}
