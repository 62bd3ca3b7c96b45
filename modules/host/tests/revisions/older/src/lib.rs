//! A library as it was built against the first release: the boundary of 1.0.0, a handful of messages with the fields of
//! then, two calls. Written down by hand from what a module must do (`docs/module-spec.md`), with nothing of today's tree.

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
use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RResult, RSlice, RStr, RVec};
use boundary::{
    AbiError, AbiResult, CompletionBox, CreateResult, HostBox, LibRoot, Module, Module_TO,
    ModuleDecl, RootResult,
};
use prost::Message;

const ISOLATOR: u32 = 2;
const PREPARE: u32 = 3;
const CLEANUP: u32 = 9;
const INVALID_ARGUMENT: i32 = 3;
const UNIMPLEMENTED: i32 = 12;

/// `PrepareRequest` and `CleanupRequest`, of which it knows the first field.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, optional, tag = "1")]
    container_id: Option<ContainerId>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerId {
    #[prost(string, tag = "1")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct PrepareResponse {
    #[prost(message, optional, tag = "1")]
    launch_info: Option<LaunchInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct LaunchInfo {
    #[prost(string, optional, tag = "6")]
    working_directory: Option<String>,
}

struct Older {
    host: HostBox,
}

impl Module for Older {
    fn call(&self, method: u32, request: RSlice<'_, u8>) -> AbiResult {
        let request = match Request::decode(request.as_slice()) {
            Ok(request) => request,
            Err(error) => return failed(INVALID_ARGUMENT, &error.to_string()),
        };
        let id = request.container_id.unwrap_or_default().value;
        match method {
            PREPARE => {
                self.host.count(RStr::from_str("prepared"), 1);
                let working_directory = Some(format!("/of/{id}"));
                let launch_info = Some(LaunchInfo { working_directory });
                RResult::ROk(RVec::from(PrepareResponse { launch_info }.encode_to_vec()))
            }
            CLEANUP => RResult::ROk(RVec::new()),
            _ => failed(UNIMPLEMENTED, "not in this release"),
        }
    }

    fn start(&self, _: u32, _: RSlice<'_, u8>, done: CompletionBox) {
        done.complete(failed(UNIMPLEMENTED, "not in this release"));
    }
}

fn failed(code: i32, message: &str) -> AbiResult {
    RResult::RErr(AbiError { code, message: message.into() })
}

extern "C" fn create(host: HostBox, _: RSlice<'_, u8>) -> CreateResult {
    RResult::ROk(Module_TO::from_value(Older { host }, TD_Opaque))
}

extern "C" fn modules() -> RVec<ModuleDecl> {
    RVec::from(vec![ModuleDecl {
        kind: ISOLATOR,
        name: RStr::from_str("revision/older"),
        version: RStr::from_str("0.0.1"),
        author: RStr::from_str("An early bird"),
        description: RStr::from_str("knows what there was at the beginning"),
        api: 1,
        create,
    }])
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
