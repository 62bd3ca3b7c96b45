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
/// All calls come from one thread, one at a time, in the order of the events.
///
/// # When the core asks
///
/// Every `allocation_interval` over all agents, and soon after each of these events, over the agents named: a framework is
/// added while active, activated, or revives (all agents); an agent is added, really changes its total, attributes or
/// capabilities, or its unavailability (that agent); resources are recovered (that agent). Requests that come while a run
/// waits are merged into it.
pub trait Allocator: Send + Sync {
    /// The first call, once, with the flags that matter to an allocator.
    ///
    /// An error ends the start of the master.
    ///
    /// # Errors
    /// When an option cannot be honoured: an operator should not get another fairness than the one asked for.
    fn initialize(
        &self,
        request: InitializeAllocatorRequest,
    ) -> Result<InitializeAllocatorResponse, ModuleError>;

    /// Things that happened, in order. Not idempotent; each event comes once.
    ///
    /// An event the allocator cannot take is named in the response and has no effect; the others are applied all the same.
    /// Events may name keys that are gone (a race with a removal): they are ignored, not refused.
    ///
    /// May not block: the core's next allocation waits for it.
    ///
    /// # Errors
    /// When the batch as a whole cannot be understood. The core logs and counts it, and goes on; its own books stay right.
    fn observe(&self, request: ObserveRequest) -> Result<ObserveResponse, ModuleError>;

    /// What to offer now. Every proposal counts as allocated until a `Recovered` event gives it back.
    ///
    /// Never proposes more than an agent has left, nothing that is reserved to others, nothing to a framework that is
    /// inactive, not subscribed to the role or suppressed in it, and nothing that a filter hides. The core checks all of
    /// this again: a wrong proposal is dropped, counted, and given back.
    ///
    /// May not block. May take a few milliseconds.
    ///
    /// # Errors
    /// Logged and counted; there are no new offers in this run.
    fn allocate(&self, request: AllocateRequest) -> Result<AllocateResponse, ModuleError>;
}
