//! From offers to tasks: describe what to run ([`Task`]), find room for it ([`Packing`]).
//!
//! Resources are taken out of an offer piece by piece, each piece with everything that the offer
//! says about it (role, reservations, allocation), so what is launched is always part of what was
//! offered, in either resource format. Resources reserved for the role go first, since nobody else
//! can use them; revocable ones, persistent volumes, shared volumes and disks of their own are left
//! alone.

mod packing;
mod pick;
mod task;

pub use self::packing::{Packing, Placed};
pub use self::pick::ports_of;
pub use self::task::Task;
