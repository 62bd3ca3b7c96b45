//! The isolator: what keeps one container from harming others, and what is measured about it.

use crate::v1::{
    CleanupRequest, CleanupResponse, IsolateRequest, IsolateResponse, IsolatorCapabilitiesRequest,
    IsolatorCapabilitiesResponse, PrepareRequest, PrepareResponse, RecoverRequest, RecoverResponse,
    StatusRequest, StatusResponse, UpdateRequest, UpdateResponse, UsageRequest, UsageResponse,
    WatchRequest, WatchResponse,
};
use crate::{Completion, ModuleError};

/// Isolates containers. Lives in the agent.
///
/// The life of a container: [`prepare`](Isolator::prepare) → its first process is made and waits →
/// [`watch`](Isolator::watch) → [`isolate`](Isolator::isolate) → it runs; [`update`](Isolator::update),
/// [`usage`](Isolator::usage) and [`status`](Isolator::status) come at any time → it ends →
/// [`cleanup`](Isolator::cleanup). Isolators prepare in the order of `--isolation` and clean up in reverse.
///
/// Calls come from any blocking thread, for different containers at the same time. For one container `prepare`, `isolate`
/// and `cleanup` never overlap; `update`, `usage` and `status` may overlap with anything. A call that takes longer than
/// the agent's watchdog allows is told to the operator; it holds up its own container and no other.
///
/// Every method has a default that does nothing, so an isolator writes only what it is about. An answer of
/// [`Code::Unimplemented`](crate::Code::Unimplemented) is the same as the default.
///
/// `docs/module-spec.md` has the same rules as numbered sentences; `mezzo-module-testkit` tests each.
pub trait Isolator: Send + Sync {
    /// Which containers it can handle.
    ///
    /// * **When:** once, before anything else. The answer holds for the life of the process: always give the same.
    /// * **Blocking:** must not.
    /// * **Without it:** neither nested nor standalone containers; the isolator is not called for those. (This version of the
    ///   agent has no such containers at all: a launch of one is refused. It asks and writes the answer to its log.)
    ///
    /// # Errors
    /// End the start of the agent.
    fn capabilities(
        &self,
        request: IsolatorCapabilitiesRequest,
    ) -> Result<IsolatorCapabilitiesResponse, ModuleError> {
        let _ = request;
        Ok(IsolatorCapabilitiesResponse::default())
    }

    /// The containers that an earlier life of the agent left: those that live on are `states`; all others are `orphans`, which
    /// are cleaned up right after: those that ended while there was no agent, and those that nobody wants any more.
    ///
    /// * **When:** once per life of the agent, after `capabilities` and before the first `prepare`; also when there are none.
    /// * **Thread:** no other call overlaps with it.
    /// * **Blocking:** may; the agent's recovery waits.
    /// * **What may come:** containers that this isolator has never prepared (it was not in `--isolation` then), and
    ///   containers whose traces are gone (the machine was started again, somebody removed the cgroup). Neither is an error.
    /// * **After it:** `watch` comes for every container that lives on, then `update`, `usage` and the rest as if this
    ///   instance had prepared it. `prepare` and `isolate` do not come again.
    ///
    /// # Errors
    /// End the start of the agent: what cannot be recovered cannot be isolated.
    fn recover(&self, request: RecoverRequest) -> Result<RecoverResponse, ModuleError> {
        let _ = request;
        Ok(RecoverResponse::default())
    }

    /// A container is about to start: make what it needs and say what its launch needs.
    ///
    /// * **When:** once per container, one isolator after the other in the order of `--isolation`. An id is not used again
    ///   before its `cleanup` has come back.
    /// * **Blocking:** may; this container's launch waits.
    /// * **What may come without what:** a container may have no resource that this isolator is about. `cleanup` follows even
    ///   if `isolate` never comes.
    /// * **Answer:** merged with those of the other isolators by the rules at
    ///   [`ContainerLaunchInfo`](crate::v1::ContainerLaunchInfo): lists are joined, in an environment the later variable wins,
    ///   and two isolators that both set the working directory, capabilities, rlimits or terminal fail the launch.
    ///
    /// # Errors
    /// End the launch, the task fails with the error's message; `cleanup` follows for every isolator, this one too.
    fn prepare(&self, request: PrepareRequest) -> Result<PrepareResponse, ModuleError> {
        let _ = request;
        Ok(PrepareResponse::default())
    }

    /// The container's first process exists and waits: put it under control.
    ///
    /// * **When:** once, after a good `prepare` and after `watch`; all isolators at the same time.
    /// * **Blocking:** may, but the process waits to be let go.
    /// * **What may come:** a pid whose process has ended meanwhile. `isolate` may then succeed or fail; `cleanup` follows.
    ///
    /// # Errors
    /// End the launch; `cleanup` follows.
    fn isolate(&self, request: IsolateRequest) -> Result<IsolateResponse, ModuleError> {
        let _ = request;
        Ok(IsolateResponse::default())
    }

    /// Watch the container: complete `done` when it has to end, with the reason.
    ///
    /// * **When:** once per container, between `prepare` and `isolate`, or right after `recover`.
    /// * **Blocking:** must not: keep `done` and come back.
    /// * **Answer:** at most one, from any thread, at any time. The container is then destroyed and its task fails with the
    ///   reason and message of the limitation. Call [`Completion::never`] when there is nothing to watch for, when the
    ///   container is not known, and at its `cleanup`.
    ///
    /// # Errors
    /// A failed completion, and one that is dropped, ends the container as well: it is no longer watched over.
    fn watch(&self, request: WatchRequest, done: Completion<WatchResponse>) {
        let _ = request;
        done.never();
    }

    /// The container's requests and limits are these now.
    ///
    /// * **When:** any number of times between `prepare` (or `recover`) and `cleanup`; may overlap with any other call.
    /// * **Again:** idempotent; always the whole of requests and limits, not a difference.
    /// * **Blocking:** may.
    /// * **What may come:** a container that this isolator does not know (it ended meanwhile): not an error.
    ///
    /// # Errors
    /// Told to whoever asked for the change; the container goes on with what it had.
    fn update(&self, request: UpdateRequest) -> Result<UpdateResponse, ModuleError> {
        let _ = request;
        Ok(UpdateResponse::default())
    }

    /// What the container uses.
    ///
    /// * **When:** often, and for many containers one after the other; may overlap with any other call.
    /// * **Blocking:** may read files, should not take more than a few milliseconds: others wait.
    /// * **What may come:** a container that is not known: [`Code::NotFound`](crate::Code::NotFound), or nothing at all from
    ///   an isolator that measures nothing. Never numbers.
    /// * **Answer:** only what this isolator knows; the host merges, and sets `timestamp`.
    ///
    /// # Errors
    /// This isolator's part of the statistics is left out.
    fn usage(&self, request: UsageRequest) -> Result<UsageResponse, ModuleError> {
        let _ = request;
        Ok(UsageResponse::default())
    }

    /// What the container looks like from outside (network, control group). Everything as for [`usage`](Isolator::usage).
    ///
    /// # Errors
    /// This isolator's part of the status is left out.
    fn status(&self, request: StatusRequest) -> Result<StatusResponse, ModuleError> {
        let _ = request;
        Ok(StatusResponse::default())
    }

    /// The container has ended: remove every trace.
    ///
    /// * **When:** once its processes are gone, one isolator after the other, in reverse order of `--isolation`.
    /// * **Again:** idempotent.
    /// * **Blocking:** may; `prepare` of the same id waits.
    /// * **What may come without what:** comes also without `prepare`, after a failed one, for orphans, and for containers
    ///   this isolator never heard of. None of that is an error.
    /// * **After it:** the container's watch has ended (with [`Completion::never`], unless it was answered), and the id is as
    ///   unknown as it was before `prepare`.
    ///
    /// # Errors
    /// Logged and counted; the other isolators clean up all the same, and the container counts as not cleanly destroyed.
    fn cleanup(&self, request: CleanupRequest) -> Result<CleanupResponse, ModuleError> {
        let _ = request;
        Ok(CleanupResponse::default())
    }
}
