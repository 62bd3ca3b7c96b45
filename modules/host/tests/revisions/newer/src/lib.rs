//! A library as somebody builds it in years to come: the same boundary, messages with fields that this host does not know,
//! methods, services and a kind that it has never heard of. And, where the boundary lets it, one that keeps no contract.
//!
//! Written against the boundary by hand: today's crates could not send what is not in them.

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
use abi_stable::std_types::{RResult, RSlice, RStr, RString, RVec};
use boundary::{
    AbiError, AbiResult, CompletionBox, CreateResult, HostBox, LibRoot, Module, Module_TO,
    ModuleDecl, RootResult,
};

const ISOLATOR: u32 = 2;
const PREPARE: u32 = 3;
const ISOLATE: u32 = 4;
const UPDATE: u32 = 6;
const USAGE: u32 = 7;
const UNIMPLEMENTED: i32 = 12;
/// A service that hosts have by then.
const SERVICE: u32 = 77;

/// Field 100, which `PrepareResponse` has by then: a string. Then field 1, the launch info, with field 99 in it and the
/// working directory as ever.
const PREPARED: &[u8] = b"\xa2\x06\x05later\x0a\x10\x98\x06\x01\x32\x0b/from/newer";

struct Newer {
    host: HostBox,
}

impl Module for Newer {
    fn call(&self, method: u32, _: RSlice<'_, u8>) -> AbiResult {
        match method {
            PREPARE => RResult::ROk(RVec::from(PREPARED.to_vec())),
            // It has been renumbered for good: by then hosts ask for 14.
            _ => failed(UNIMPLEMENTED, "asked for in another way by now"),
        }
    }

    fn start(&self, _: u32, _: RSlice<'_, u8>, done: CompletionBox) {
        // What it asks for is not there yet; it does without.
        if let RResult::RErr(error) = self.host.call(SERVICE, RSlice::EMPTY) {
            let name = format!("service_error_{}", error.code);
            self.host.count(RStr::from_str(&name), 1);
        }
        done.complete(failed(UNIMPLEMENTED, "asked for in another way by now"));
    }
}

/// Does what `export_module!` would not let it do.
struct Wild {
    host: HostBox,
}

impl Module for Wild {
    fn call(&self, method: u32, _: RSlice<'_, u8>) -> AbiResult {
        match method {
            PREPARE => RResult::ROk(RVec::from(vec![0xff; 1000])),
            ISOLATE => RResult::RErr(AbiError { code: -5, message: no_text() }),
            UPDATE => RResult::ROk(RVec::from(vec![0; 300 << 20])),
            USAGE => {
                let name = no_text();
                self.host.count(name.as_rstr(), 1);
                self.host.log(99, name.as_rstr());
                RResult::ROk(RVec::new())
            }
            _ => RResult::ROk(RVec::new()),
        }
    }

    /// Answers garbage, and then all sorts of things.
    fn start(&self, _: u32, _: RSlice<'_, u8>, done: CompletionBox) {
        done.complete(RResult::ROk(RVec::from(vec![0xff; 1000])));
        done.complete(RResult::ROk(RVec::new()));
        done.complete(failed(1, "never mind"));
    }
}

#[allow(unsafe_code, reason = "nothing else makes a text that is none")]
fn no_text() -> RString {
    let bytes = RVec::from(vec![b'a', 0xff, b'b']);
    // SAFETY: none, and that is what it is for: the host has to live with a string that is no UTF-8. Nothing here reads it.
    unsafe { RString::from_utf8_unchecked(bytes) }
}

fn failed(code: i32, message: &str) -> AbiResult {
    RResult::RErr(AbiError { code, message: message.into() })
}

extern "C" fn newer(host: HostBox, _: RSlice<'_, u8>) -> CreateResult {
    RResult::ROk(Module_TO::from_value(Newer { host }, TD_Opaque))
}

extern "C" fn wild(host: HostBox, _: RSlice<'_, u8>) -> CreateResult {
    RResult::ROk(Module_TO::from_value(Wild { host }, TD_Opaque))
}

extern "C" fn modules() -> RVec<ModuleDecl> {
    let declare = |kind, name, create| ModuleDecl {
        kind,
        name: RStr::from_str(name),
        version: RStr::from_str("9.0.0"),
        author: RStr::from_str("A grandchild"),
        description: RStr::from_str("knows more than its host"),
        api: 2,
        create,
    };
    RVec::from(vec![
        declare(ISOLATOR, "revision/newer", newer),
        declare(9, "revision/of-a-kind-to-come", newer),
        declare(ISOLATOR, "revision/twin", newer),
        declare(ISOLATOR, "revision/twin", newer),
        declare(ISOLATOR, "revision/wild", wild),
    ])
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
