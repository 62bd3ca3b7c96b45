//! Allocator `hierarchical`: dominant-resource fairness over a tree of roles.
//!
//! Every agent's whole remainder is offered to one framework: roles in the order of their shares down the tree
//! ([`roles`](crate::roles)), in each role frameworks in the order of theirs ([`share`](crate::share)), the first that may use it,
//! understands it and has not refused it ([`filters`](crate::filters)). What an offer holds counts as used, so who sits on offers
//! sinks in the order.
//!
//! The orders are kept sorted all the time, an agent on which nothing has changed since it was last looked at is not
//! looked at again, and forgetting a framework's filters is one increment.
//!
//! Not in it: quota, offer constraints, inverse offers and the random sorters. Events and options that ask for them are
//! refused as unimplemented, so that nobody believes to have what he has not.
//!
//! It takes no parameters: what an operator chooses comes with `initialize`.

mod agents;
mod filters;
mod frameworks;
mod observe;
mod options;
mod random;
mod roles;
mod run;
mod share;
mod state;

use std::sync::{Mutex, MutexGuard, PoisonError};

use mezzo_module_abi::export_module;
use mezzo_module_api::v1::{
    AllocateRequest, AllocateResponse, InitializeAllocatorRequest, InitializeAllocatorResponse,
    ObserveRequest, ObserveResponse,
};
use mezzo_module_api::{Allocator, Host, ModuleError, Parameters};

use crate::options::Options;
use crate::state::State;

/// The allocator.
#[derive(Debug)]
pub struct Hierarchical {
    state: Mutex<State>,
}

impl Hierarchical {
    /// The allocator, with the default options until it is initialised.
    ///
    /// # Errors
    /// When there is a parameter: it has none.
    pub fn new(_host: Host, parameters: Parameters) -> Result<Self, ModuleError> {
        parameters.allow_only(&[])?;
        Ok(Self { state: Mutex::new(State::new(Options::default())) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // After a panic the books may be behind by one event; the core checks every proposal against its own.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Allocator for Hierarchical {
    fn initialize(
        &self,
        request: InitializeAllocatorRequest,
    ) -> Result<InitializeAllocatorResponse, ModuleError> {
        *self.state() = State::new(Options::new(&request)?);
        Ok(InitializeAllocatorResponse::default())
    }

    fn observe(&self, request: ObserveRequest) -> Result<ObserveResponse, ModuleError> {
        Ok(self.state().observe(request))
    }

    fn allocate(&self, request: AllocateRequest) -> Result<AllocateResponse, ModuleError> {
        Ok(self.state().allocate(&request))
    }
}

export_module! {
    allocator "hierarchical" ("dominant-resource fairness over a tree of roles") = Hierarchical::new;
}
