//! The numbers of methods are a part of the boundary: none may ever change. And the module's side of the table against the
//! host's side, without a boundary between them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use mezzo_module_api::v1::{
    AgentPostFetchRequest, AgentPrelaunchRequest, AgentPrelaunchResponse, IsolateRequest,
    IsolateResponse, WatchRequest, WatchResponse,
};
use mezzo_module_api::{
    AllocatorMethod, Code, Completion, Hook, HookMethod, Instance, Isolator, IsolatorMethod, Kind,
    ModuleError, Remote, Transport,
};

#[test]
fn the_numbers_of_methods_are_frozen() {
    let numbers = [
        AllocatorMethod::ALL
            .iter()
            .map(|method| format!("{method}={}", method.number()))
            .collect::<Vec<_>>()
            .join(" "),
        IsolatorMethod::ALL
            .iter()
            .map(|method| format!("{method}={}", method.number()))
            .collect::<Vec<_>>()
            .join(" "),
        HookMethod::ALL
            .iter()
            .map(|method| format!("{method}={}", method.number()))
            .collect::<Vec<_>>()
            .join(" "),
    ];
    let expected = [
        "initialize=1 observe=2 allocate=3",
        "capabilities=1 recover=2 prepare=3 isolate=4 update=6 usage=7 status=8 cleanup=9 watch=5",
        "master_launch_task_resources=1 master_launch_task_labels=2 master_agent_lost=3 agent_resources=4 agent_attributes=5 \
         agent_run_task_labels=6 agent_executor_environment=7 agent_prelaunch=8 agent_prelaunch_docker=9 agent_post_fetch=10 \
         agent_task_status=11 agent_remove_executor=12",
    ];
    assert_eq!(numbers, expected);
    assert_eq!([Kind::Allocator, Kind::Isolator, Kind::Hook].map(Kind::number), [1, 2, 3]);
    assert_eq!(
        (0..9).filter_map(Kind::from_number).map(Kind::number).collect::<Vec<_>>(),
        [1, 2, 3]
    );
}

/// The two sides of the table, back to back.
struct Linked(Instance);

impl Transport for Linked {
    fn call(&self, method: u32, request: &[u8]) -> Result<Vec<u8>, ModuleError> {
        self.0.call(method, request)
    }

    fn start(&self, method: u32, request: &[u8], done: Completion<Vec<u8>>) {
        self.0.start(method, request, done);
    }
}

#[derive(Default)]
struct Recorder {
    pids: Mutex<Vec<u64>>,
}

impl Isolator for Recorder {
    fn isolate(&self, request: IsolateRequest) -> Result<IsolateResponse, ModuleError> {
        self.pids.lock().unwrap().push(request.pid());
        Ok(IsolateResponse::default())
    }

    fn watch(&self, request: WatchRequest, done: Completion<WatchResponse>) {
        match request.container_id {
            Some(_) => done.complete(Ok(WatchResponse::default())),
            None => done.complete(Err(ModuleError::invalid("watch whom?"))),
        }
    }
}

struct Refuser;

impl Hook for Refuser {
    fn agent_prelaunch(
        &self,
        _: AgentPrelaunchRequest,
    ) -> Result<AgentPrelaunchResponse, ModuleError> {
        Err(ModuleError::new(Code::PermissionDenied, "no"))
    }
}

#[test]
fn a_typed_call_arrives_as_itself() {
    let recorder = Arc::new(Recorder::default());
    let remote = Remote::new(Linked(Instance::Isolator(recorder.clone())));
    remote.isolate(IsolateRequest { container_id: None, pid: Some(77) }).unwrap();
    assert_eq!(*recorder.pids.lock().unwrap(), [77]);

    let (sender, receiver) = mpsc::channel();
    let done = || {
        let sender = sender.clone();
        Completion::new(move |result: Result<WatchResponse, ModuleError>| {
            sender.send(result).unwrap()
        })
    };
    remote.watch(WatchRequest { container_id: Some(Default::default()) }, done());
    assert_eq!(receiver.recv().unwrap(), Ok(WatchResponse::default()));
    remote.watch(WatchRequest::default(), done());
    assert_eq!(receiver.recv().unwrap().unwrap_err().message, "watch whom?");
}

#[test]
fn a_module_of_an_older_table_leaves_things_as_they_are() {
    // A hook has no calls of an isolator's numbers: as an old module that lacks a new method.
    let remote = Remote::new(Linked(Instance::Hook(Arc::new(Refuser))));
    assert_eq!(remote.agent_post_fetch(AgentPostFetchRequest::default()), Ok(Default::default()));
    assert_eq!(
        remote.agent_prelaunch(AgentPrelaunchRequest::default()).unwrap_err().code,
        Code::PermissionDenied
    );
    let (sender, receiver) = mpsc::channel();
    let done = Completion::new(move |result: Result<WatchResponse, ModuleError>| {
        sender.send(result).unwrap()
    });
    remote.watch(WatchRequest::default(), done);
    assert!(receiver.recv().is_err(), "never answered, and no error");
}

#[test]
fn numbers_and_bytes_that_make_no_sense_are_errors() {
    let instance = Instance::Isolator(Arc::new(Recorder::default()));
    assert_eq!(instance.call(4711, &[]).unwrap_err().code, Code::Unimplemented);
    assert_eq!(
        instance.call(IsolatorMethod::Watch.number(), &[]).unwrap_err().code,
        Code::Unimplemented
    );
    let error = instance.call(IsolatorMethod::Prepare.number(), &[0xff; 9]).unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
    assert!(error.message.starts_with("the request of `prepare` cannot be decoded: "), "{error}");
}
