//! A library that offers nothing: of a revision that is refused before anybody asks what it offers.

#[allow(
    warnings,
    unsafe_code,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "what abi_stable's derives write"
)]
mod boundary {
    include!(concat!(env!("OUT_DIR"), "/boundary.rs"));
}

use abi_stable::library::LibHeader;
use abi_stable::std_types::RVec;
use boundary::{LibRoot, ModuleDecl, RootResult};

extern "C" fn modules() -> RVec<ModuleDecl> {
    RVec::new()
}

extern "C" fn root() -> RootResult {
    boundary::root(|| LibRoot { modules })
}

#[allow(
    unsafe_code,
    non_upper_case_globals,
    missing_docs,
    reason = "the symbol that a host looks for"
)]
#[unsafe(no_mangle)]
pub static _1as_0lib_1header_0root_bmodule_bloader: LibHeader = boundary::header(root);
