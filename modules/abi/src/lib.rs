//! The binary boundary between Mezzo and its modules, and [`export_module!`].
//!
//! A module is a dynamic library with one exported symbol, the root, which lists what the library offers. Across the boundary
//! go a method's number and bytes, nothing else, so the boundary never has to change: what grows are the messages of
//! `mezzo.module.v1`. This crate has a version of its own (1.0.0), because the layout check compares it; it moves only when
//! the boundary breaks. It is the only crate that names `abi_stable`.
//!
//! An author sees the traits of `mezzo-module-api` and this macro:
//!
//! ```
//! use mezzo_module_abi::export_module;
//! use mezzo_module_api::{Host, Isolator, ModuleError, Parameters};
//!
//! struct Nothing;
//! impl Isolator for Nothing {}
//!
//! fn nothing(_host: Host, parameters: Parameters) -> Result<Nothing, ModuleError> {
//!     parameters.allow_only(&[])?;
//!     Ok(Nothing)
//! }
//!
//! export_module! {
//!     isolator "example/nothing" ("isolates nothing") = nothing;
//! }
//! ```
//!
//! The macro fences every entry: a panic in a constructor, a call or a drop becomes an error of that call. (A library built
//! with `panic = "abort"` is refused at compile time: nothing could fence it.)

mod boundary;
mod export;
mod fence;
mod host_side;
mod module_side;

pub use host_side::{Declared, LARGEST_ANSWER, Library, OpenError, PANIC_PREFIX};

/// What the expansion of [`export_module!`] names; not for anybody else.
#[doc(hidden)]
pub mod private {
    pub use crate::boundary::{
        CreateResult, HostBox, LibRoot, ModuleDecl, RootResult, header, root,
    };
    pub use crate::module_side::{create_allocator, create_hook, create_isolator};
    pub use abi_stable::library::LibHeader;
    pub use abi_stable::std_types::{RSlice, RStr, RVec};
}
