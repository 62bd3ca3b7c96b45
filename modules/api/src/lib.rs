//! What a module of Mezzo is: one small trait per kind ([`Allocator`], [`Isolator`], [`Hook`]), and the contract between a
//! module and its host, written at each method.
//!
//! # The contract, for every kind
//!
//! * **Threads.** A module is called from the host's blocking threads, any of them, and unless its trait says otherwise from
//!   several at a time. A module keeps its state behind its own locks.
//! * **Blocking.** A call may take as long as a file or a system call takes; it must not wait for something that happens
//!   later. What happens later is told through a [`Completion`].
//! * **Errors.** An error is a [`ModuleError`]: a code and a sentence. What the host does then is written at each method.
//!   [`Code::Unimplemented`] always means "do what you would do without me": this is how an old module lives in a newer host.
//! * **Panics** end the call with [`Code::Internal`] and are counted; the module stays loaded and is called again. A module
//!   that locks should expect a poisoned lock after its own panic.
//! * **Time and randomness** of an allocator come from the host (see [`Allocator`]), so that a run can be repeated.
//!
//! The requests and responses are messages of `mezzo.module.v1` (re-exported as [`v1`]), made of the messages that frameworks
//! know too (re-exported as [`types`]); a field or a method more does not break anybody. What these messages mean, checked and
//! with an algebra of resources, is re-exported as [`model`]: a module needs no other crate of ours. The same table of
//! methods (`table.rs`) serves the module's side ([`Instance::call`]) and the host's side ([`Remote`]), so the two cannot drift
//! apart.

mod allocator;
mod completion;
mod duration;
mod error;
mod hook;
mod host;
mod instance;
mod isolator;
mod limit;
mod parameters;
mod remote;
mod table;

pub use allocator::Allocator;
pub use completion::Completion;
pub use error::{Code, ModuleError, if_implemented};
pub use hook::Hook;
pub use host::{Host, HostProcess, HostServices, Level};
pub use instance::{Instance, Kind};
pub use isolator::Isolator;
pub use limit::{LimitWatch, container_name, megabytes_to_bytes};
pub use mezzo_model as model;
pub use mezzo_proto::module::v1;
pub use mezzo_proto::v1 as types;
pub use mezzo_proto::v1::Parameter;
pub use parameters::Parameters;
pub use remote::{Remote, Transport};
pub use table::{AllocatorMethod, HookMethod, IsolatorMethod};
