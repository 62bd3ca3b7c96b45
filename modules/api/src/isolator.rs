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
/// and `cleanup` never overlap; `update`, `usage` and `status` may overlap with anything.
///
/// Every method has a default that does nothing, so an isolator writes only what it is about.
pub trait Isolator: Send + Sync {
    /// Which containers it can handle. Asked once, before anything else; must not block.
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

    /// The containers that an earlier life of the agent left: those that live on, and orphans, which are cleaned up right
    /// after. Once, before the first `prepare`; may block.
    ///
    /// A container whose traces are gone (its cgroup was removed) is not an error.
    ///
    /// # Errors
    /// End the start of the agent: what cannot be recovered cannot be isolated.
    fn recover(&self, request: RecoverRequest) -> Result<RecoverResponse, ModuleError> {
        let _ = request;
        Ok(RecoverResponse::default())
    }

    /// A container is about to start: make what it needs and say what its launch needs. Once per container; may block.
    ///
    /// # Errors
    /// End the launch; `cleanup` follows for every isolator, this one too.
    fn prepare(&self, request: PrepareRequest) -> Result<PrepareResponse, ModuleError> {
        let _ = request;
        Ok(PrepareResponse::default())
    }

    /// The container's first process exists and waits: put it under control. Once, after a good `prepare`; isolators do it
    /// in parallel; may block, but the container waits.
    ///
    /// # Errors
    /// End the launch.
    fn isolate(&self, request: IsolateRequest) -> Result<IsolateResponse, ModuleError> {
        let _ = request;
        Ok(IsolateResponse::default())
    }

    /// Watch the container: complete `done` when it has to end, with the reason. Once per container, before `isolate` or
    /// right after `recover`; must not block. `done` can be completed from any thread, at any time; the container is then
    /// destroyed. When the container is cleaned up before that, call [`Completion::never`].
    ///
    /// A failed completion ends the container as well: it is no longer watched over.
    fn watch(&self, request: WatchRequest, done: Completion<WatchResponse>) {
        let _ = request;
        done.never();
    }

    /// The container's requests and limits are these now. Any number of times; may come for a container that this isolator
    /// does not know (it ended meanwhile), which is not an error. Idempotent. May block.
    ///
    /// # Errors
    /// Told to whoever asked for the change; the container goes on.
    fn update(&self, request: UpdateRequest) -> Result<UpdateResponse, ModuleError> {
        let _ = request;
        Ok(UpdateResponse::default())
    }

    /// What the container uses. Often, from a thread that others wait for: may read files, should not take more than a few
    /// milliseconds.
    ///
    /// # Errors
    /// This isolator's part of the statistics is left out.
    fn usage(&self, request: UsageRequest) -> Result<UsageResponse, ModuleError> {
        let _ = request;
        Ok(UsageResponse::default())
    }

    /// What the container looks like from outside (network, control group). As `usage`.
    ///
    /// # Errors
    /// This isolator's part of the status is left out.
    fn status(&self, request: StatusRequest) -> Result<StatusResponse, ModuleError> {
        let _ = request;
        Ok(StatusResponse::default())
    }

    /// The container has ended: remove every trace. Idempotent; comes also without `prepare`, after a failed one, for
    /// orphans and for containers this isolator never heard of. May block.
    ///
    /// # Errors
    /// Logged and counted; the other isolators clean up all the same, and the container counts as not cleanly destroyed.
    fn cleanup(&self, request: CleanupRequest) -> Result<CleanupResponse, ModuleError> {
        let _ = request;
        Ok(CleanupResponse::default())
    }
}
