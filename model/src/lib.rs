//! The vocabulary of a cluster, with its rules: ids, resources and their algebra, roles, quota,
//! attributes, the states of tasks, capabilities.
//!
//! Messages ([`mezzo_proto`]) stop at the edge of a process; behind it everything speaks in these
//! types. What exists here is valid: an amount is a number above nothing, ranges do not overlap, a
//! role keeps the syntax of roles. Conversions from messages check, and answer [`InvalidField`]
//! with the place, the value and what was expected.
//!
//! ```
//! use mezzo_model::{Resources, Role};
//!
//! let agent = Resources::parse("cpus:2;mem:1024;ports:[31000-32000]", &Role::star())?;
//! let task = Resources::parse("cpus:0.5;mem:64", &Role::star())?;
//! let rest = agent.checked_sub(&task).ok_or("the task does not fit")?;
//! assert_eq!(rest.to_string(), "cpus:1.5;mem:960;ports:[31000-32000]");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Invariant:** nothing here panics, whatever a message or a flag says, and nothing here knows
//! of time, threads or the network.

mod attributes;
mod capability;
mod container_id;
mod id;
mod invalid;
mod labels;
mod quantities;
mod quota;
mod ranges;
mod resource;
mod resources;
mod role;
mod scalar;
mod set;
mod task_state;
mod value;

pub use attributes::{Attributes, ParseAttributesError};
pub use capability::{
    AgentCapabilities, AgentCapability, FrameworkCapabilities, FrameworkCapability,
};
pub use container_id::{ContainerId, DEEPEST_CONTAINER};
pub use id::{
    AgentId, ExecutorId, FrameworkId, InvalidId, LONGEST_ID, MasterId, OfferId, OperationId,
    ResourceProviderId, TaskId,
};
pub use invalid::InvalidField;
pub use labels::Labels;
pub use quantities::{MinAllocatable, ParseQuantitiesError, Quantities};
pub use quota::{Limit, Limits, Quota};
pub use ranges::{Range, Ranges, RangesError};
pub use resource::{
    Disk, DiskSource, DiskSourceKind, Format, Persistence, Reservation, ReservationKind, Resource,
    ResourceName, Terms,
};
pub use resources::{
    Conversion, ConversionError, MixedResources, ParseResourcesError, ParsedResources, Resources,
};
pub use role::{InvalidRole, Role};
pub use scalar::{Scalar, ScalarError};
pub use set::{DuplicateItem, Set};
pub use task_state::TaskState;
pub use value::{Value, ValueError};
