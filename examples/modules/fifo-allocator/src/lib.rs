//! Allocator `example/fifo`: first come, first served.
//!
//! Whoever subscribed first is offered everything first, under each of its roles; the next one sees what the first has refused or
//! may not have. No shares, no weights: a batch queue as it was in the old days, and an allocator of four hundred lines.
//!
//! It is complete in what it does (filters, suppressing and reviving, reservations, capabilities, the whitelist, hold-off) and
//! says so where it does nothing: quota, offer constraints, inverse offers and other sorters than the default are
//! refused as unimplemented. Weights are taken and mean nothing.
//!
//! `books.rs` has what is known, `events.rs` how it changes, `offers.rs` what is offered.

mod books;
mod events;
mod offers;

use std::sync::{Mutex, MutexGuard, PoisonError};

use mezzo_module_abi::export_module;
use mezzo_module_api::v1::{
    AllocateRequest, AllocateResponse, InitializeAllocatorRequest, InitializeAllocatorResponse,
    ObserveRequest, ObserveResponse,
};
use mezzo_module_api::{Allocator, Host, ModuleError, Parameters};

use crate::books::Books;

/// First come, first served.
#[derive(Debug)]
pub struct Fifo {
    host: Host,
    books: Mutex<Books>,
}

impl Fifo {
    /// The allocator. It has no parameters.
    ///
    /// # Errors
    /// When there is one.
    pub fn new(host: Host, parameters: Parameters) -> Result<Self, ModuleError> {
        parameters.allow_only(&[])?;
        Ok(Self { host, books: Mutex::default() })
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // After a panic the books may be behind by one event. The core checks every proposal, so it is better to go on.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Allocator for Fifo {
    fn initialize(
        &self,
        request: InitializeAllocatorRequest,
    ) -> Result<InitializeAllocatorResponse, ModuleError> {
        *self.books() = Books::new(&request)?;
        self.host.info("first come, first served: shares and weights are not looked at");
        Ok(InitializeAllocatorResponse::default())
    }

    fn observe(&self, request: ObserveRequest) -> Result<ObserveResponse, ModuleError> {
        let response = self.books().observe(request);
        for refused in &response.refused {
            self.host.debug(format!("refused an event: {}", refused.message()));
        }
        Ok(response)
    }

    fn allocate(&self, request: AllocateRequest) -> Result<AllocateResponse, ModuleError> {
        let response = self.books().allocate(&request);
        self.host.count("proposals", response.proposals.len() as u64);
        Ok(response)
    }
}

export_module! {
    allocator "example/fifo" ("first come, first served") = Fifo::new;
}
