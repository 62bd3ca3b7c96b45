//! What is frozen: the types whose layout a host and a module share.
//!
//! **Nothing in this file may change** without a new major version of the crate: a field, a method or an order that differs
//! makes every module built before it unloadable.

#![allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    unused_qualifications,
    non_camel_case_types,
    non_local_definitions,
    clippy::undocumented_unsafe_blocks,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "what abi_stable's derives write: public items, unsafe blocks, names of its own"
)]

use abi_stable::StableAbi;
use abi_stable::library::{CheckTypeLayout, LibHeader, RootModule, RootModuleResult};
use abi_stable::package_version_strings;
use abi_stable::sabi_trait;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RBox, RResult, RSlice, RStr, RString, RVec};

/// An error at the boundary: a gRPC code and a sentence.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct AbiError {
    pub code: i32,
    pub message: RString,
}

pub type AbiResult = RResult<RVec<u8>, AbiError>;
pub type CreateResult = RResult<ModuleBox, AbiError>;
pub type RootResult = RootModuleResult;

/// A module of any kind.
#[sabi_trait]
pub trait Module: Send + Sync + 'static {
    /// Answered at once.
    fn call(&self, method: u32, request: RSlice<'_, u8>) -> AbiResult;

    /// Answered later, or never.
    #[sabi(last_prefix_field)]
    fn start(&self, method: u32, request: RSlice<'_, u8>, done: CompletionBox);
}

/// Where the answer to `start` goes.
#[sabi_trait]
pub trait Completion: Send + Sync + 'static {
    /// The first call counts.
    #[sabi(last_prefix_field)]
    fn complete(&self, result: AbiResult);
}

/// What a host does for a module.
#[sabi_trait]
pub trait HostServices: Send + Sync + 'static {
    fn log(&self, level: u32, message: RStr<'_>);
    fn count(&self, counter: RStr<'_>, delta: u64);

    /// For everything that comes later.
    #[sabi(last_prefix_field)]
    fn call(&self, service: u32, request: RSlice<'_, u8>) -> AbiResult;
}

pub type ModuleBox = Module_TO<RBox<()>>;
pub type CompletionBox = Completion_TO<RBox<()>>;
pub type HostBox = HostServices_TO<RBox<()>>;

/// One module that a library offers.
#[repr(C)]
#[derive(StableAbi)]
pub struct ModuleDecl {
    /// The number of its kind.
    pub kind: u32,
    pub name: RStr<'static>,
    pub version: RStr<'static>,
    pub author: RStr<'static>,
    pub description: RStr<'static>,
    /// The revision of the messages it was built with.
    /// (Told to an operator; an unknown field or method is never an error, so it decides nothing.)
    pub api: u32,
    /// Makes one, from an encoded `CreateModuleRequest`.
    pub create: extern "C" fn(host: HostBox, request: RSlice<'_, u8>) -> CreateResult,
}

/// The root of a library.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = LibRoot_Ref)))]
#[sabi(missing_field(panic))]
pub struct LibRoot {
    /// What it offers.
    #[sabi(last_prefix_field)]
    pub modules: extern "C" fn() -> RVec<ModuleDecl>,
}

impl RootModule for LibRoot_Ref {
    abi_stable::declare_root_module_statics! {LibRoot_Ref}
    const BASE_NAME: &'static str = "mezzo_module";
    const NAME: &'static str = "mezzo_module";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// The header that a library exports.
pub const fn header(constructor: extern "C" fn() -> RootResult) -> LibHeader {
    // SAFETY: `root` below is the only constructor the macro hands in, and it makes a `LibRoot_Ref`.
    unsafe { LibHeader::from_constructor::<LibRoot_Ref>(constructor, CheckTypeLayout::Yes) }
}

/// Makes the root of a library out of its list.
pub fn root(make: fn() -> LibRoot) -> RootResult {
    use abi_stable::prefix_type::PrefixTypeTrait;

    // The loader wants a function pointer without a capture, so the list travels in a static.
    static MAKE: std::sync::OnceLock<fn() -> LibRoot> = std::sync::OnceLock::new();
    let _ = MAKE.set(make);
    abi_stable::library::__call_root_module_loader(|| -> LibRoot_Ref {
        let modules =
            MAKE.get().map_or(none as extern "C" fn() -> RVec<ModuleDecl>, |make| make().modules);
        LibRoot { modules }.leak_into_prefix()
    })
}

extern "C" fn none() -> RVec<ModuleDecl> {
    RVec::new()
}
