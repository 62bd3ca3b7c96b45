//! The allocator: who is offered what.

use crate::ModuleError;
use crate::v1::{
    AllocateRequest, AllocateResponse, InitializeAllocatorRequest, InitializeAllocatorResponse,
    ObserveRequest, ObserveResponse,
};

/// Decides which resources are offered to which framework. Lives in the master, on a thread of its own.
///
/// An allocator is a state machine: it is told what happened ([`observe`](Allocator::observe)) and asked what to offer
/// ([`allocate`](Allocator::allocate)). It reads no clock, starts no thread and draws no random number of its own: time and
/// the seed come from the core, so the same calls give the same proposals.
///
/// All calls come one at a time, in the order of the events, as a rule from one thread.
///
/// # When the core asks
///
/// Every `allocation_interval` over all agents, and soon after each of these events, over the agents named: a framework is
/// added while active, activated, or revives (all agents); an agent is added, really changes its total, attributes or
/// capabilities, or its unavailability (that agent); resources are recovered (that agent). Requests that come while a run
/// waits are merged into it.
///
/// # What an allocator may leave out
///
/// Quota, offer constraints, inverse offers, and sorters of other names: an allocator without one of these **refuses** the
/// event, the option or the wishes that ask for it with [`Code::Unimplemented`](crate::Code::Unimplemented), naming it, so
/// that nobody believes to have what he has not. Weights and `ResourcesRequested` may be accepted and not heeded.
///
/// Resources have an algebra of their own, [`model::Resources`](crate::model::Resources): what is free, what a role may use,
/// what a framework understands and what a filter hides are each one call of it.
///
/// `docs/module-spec.md` has the same rules as numbered sentences; `mezzo-module-testkit` tests each.
pub trait Allocator: Send + Sync {
    /// The first call, with the flags that matter to an allocator.
    ///
    /// * **When:** once, before anything else.
    /// * **Blocking:** may, shortly.
    ///
    /// # Errors
    /// End the start of the master. Give one when an option cannot be honoured: an operator should not get another fairness
    /// than the one asked for.
    fn initialize(
        &self,
        request: InitializeAllocatorRequest,
    ) -> Result<InitializeAllocatorResponse, ModuleError>;

    /// Things that happened, in order.
    ///
    /// * **When:** in batches, before every `allocate` that they matter to.
    /// * **Again:** not idempotent; each event comes once.
    /// * **Blocking:** must not: the core's next allocation waits for it.
    /// * **What may come without what:** events may name agents and frameworks that are gone (a race with a removal): they
    ///   are ignored, not refused. Holdings on an agent may come before their framework, or with it.
    /// * **Refused events:** an event is applied whole or not at all. One that cannot be taken is named in the response by
    ///   its position, with a code, and has no effect; the others are applied all the same. An event with none of its fields
    ///   set is one that this build does not know: `Unimplemented`.
    ///
    /// # Errors
    /// When the batch as a whole cannot be understood. The core logs and counts it, and goes on; its own books stay right.
    fn observe(&self, request: ObserveRequest) -> Result<ObserveResponse, ModuleError>;

    /// What to offer now. Every proposal counts as allocated until a `Recovered` event gives it back.
    ///
    /// * **When:** see above. Once per run, not per agent.
    /// * **Blocking:** must not. May take a few milliseconds; the master serves everybody else meanwhile.
    /// * **Answer:** never more than an agent has left, nothing that is reserved to others, nothing to a framework that is
    ///   inactive, not subscribed to the role or suppressed in it, nothing that a filter hides, nothing that the framework
    ///   does not understand, nothing while a `HoldOff` pauses, and no empty proposal. The core checks its part of this
    ///   again: a wrong proposal is dropped, counted, and given back by `Recovered`.
    /// * **`next_filter_expiry_nanos`:** whenever a filter is waiting, so that the core asks again at that time.
    ///
    /// # Errors
    /// Logged and counted; there are no new offers in this run.
    fn allocate(&self, request: AllocateRequest) -> Result<AllocateResponse, ModuleError>;
}
