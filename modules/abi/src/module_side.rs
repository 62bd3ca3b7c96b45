//! What runs inside a module's library: the author's type behind the boundary, fenced.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::thread;

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RResult, RSlice, RStr};
use mezzo_module_api::v1::CreateModuleRequest;
use mezzo_module_api::{
    Allocator, Code, Completion, Hook, Host, HostProcess, HostServices, Instance, Isolator, Level,
    ModuleError, Parameters,
};
use prost::Message;

use crate::boundary::{CompletionBox, CreateResult, HostBox, Module, Module_TO};
use crate::fence::{caught, error_to_abi, fenced, from_abi, panicked, to_abi};

/// Makes an allocator for the host; called by the macro's expansion.
pub fn create_allocator<T, F>(
    host: HostBox,
    request: RSlice<'_, u8>,
    constructor: F,
) -> CreateResult
where
    T: Allocator + 'static,
    F: FnOnce(Host, Parameters) -> Result<T, ModuleError>,
{
    create(host, request, |host, parameters| {
        Ok(Instance::Allocator(Arc::new(constructor(host, parameters)?)))
    })
}

/// Makes an isolator for the host; called by the macro's expansion.
pub fn create_isolator<T, F>(host: HostBox, request: RSlice<'_, u8>, constructor: F) -> CreateResult
where
    T: Isolator + 'static,
    F: FnOnce(Host, Parameters) -> Result<T, ModuleError>,
{
    create(host, request, |host, parameters| {
        Ok(Instance::Isolator(Arc::new(constructor(host, parameters)?)))
    })
}

/// Makes a hook for the host; called by the macro's expansion.
pub fn create_hook<T, F>(host: HostBox, request: RSlice<'_, u8>, constructor: F) -> CreateResult
where
    T: Hook + 'static,
    F: FnOnce(Host, Parameters) -> Result<T, ModuleError>,
{
    create(host, request, |host, parameters| {
        Ok(Instance::Hook(Arc::new(constructor(host, parameters)?)))
    })
}

fn create(
    host: HostBox,
    request: RSlice<'_, u8>,
    constructor: impl FnOnce(Host, Parameters) -> Result<Instance, ModuleError>,
) -> CreateResult {
    let made = fenced(|| {
        let request = CreateModuleRequest::decode(request.as_slice()).map_err(|error| {
            ModuleError::invalid(format!("the request to make a module cannot be decoded: {error}"))
        })?;
        let host = Host::new(RemoteHost { host }, HostProcess::from(&request));
        let instance = constructor(host.clone(), Parameters::new(request.parameters))?;
        Ok(Fenced { instance: ManuallyDrop::new(instance), host })
    });
    match made {
        Ok(module) => RResult::ROk(Module_TO::from_value(module, TD_Opaque)),
        Err(error) => RResult::RErr(error_to_abi(error)),
    }
}

/// The author's module behind the boundary.
struct Fenced {
    instance: ManuallyDrop<Instance>,
    /// Told of a panic that no call can return.
    host: Host,
}

impl Module for Fenced {
    fn call(&self, method: u32, request: RSlice<'_, u8>) -> crate::boundary::AbiResult {
        to_abi(fenced(|| self.instance.call(method, request.as_slice())))
    }

    fn start(&self, method: u32, request: RSlice<'_, u8>, done: CompletionBox) {
        let answer = Arc::new(done);
        let (some, none) = (Arc::clone(&answer), Arc::clone(&answer));
        let starter = thread::current().id();
        // A completion that is dropped fails, and says so while a panic unwinds. Of a panic in here more is known below.
        let given = move |result: Result<Vec<u8>, ModuleError>| {
            if result.is_err() && thread::panicking() {
                if thread::current().id() != starter {
                    some.complete(to_abi(Err(panicked("the thread that was to answer"))));
                }
                return;
            }
            some.complete(to_abi(result));
        };
        // `never` is told as `Cancelled`: the host then forgets the call.
        let never = move || {
            let error = ModuleError::new(Code::Cancelled, "there will be no answer");
            none.complete(to_abi(Err(error)));
        };
        let done = Completion::with_never(given, never);
        if let Some(text) = caught(|| self.instance.start(method, request.as_slice(), done)) {
            answer.complete(to_abi(Err(panicked(&text))));
        }
    }
}

impl Drop for Fenced {
    #[allow(unsafe_code, reason = "the one way to put a fence around a field's drop")]
    fn drop(&mut self) {
        let panic = caught(|| {
            // SAFETY: dropped here, once, and never touched again: `self` is going away.
            unsafe { ManuallyDrop::drop(&mut self.instance) };
        });
        if let Some(text) = panic {
            self.host.error(format!("{}{text} (in its drop)", crate::PANIC_PREFIX));
        }
    }
}

/// The host, seen from inside a module.
struct RemoteHost {
    host: HostBox,
}

impl HostServices for RemoteHost {
    fn log(&self, level: Level, message: &str) {
        self.host.log(level as u32, RStr::from_str(message));
    }

    fn count(&self, counter: &str, delta: u64) {
        self.host.count(RStr::from_str(counter), delta);
    }

    fn call(&self, service: u32, request: &[u8]) -> Result<Vec<u8>, ModuleError> {
        from_abi(self.host.call(service, RSlice::from_slice(request)))
    }
}
