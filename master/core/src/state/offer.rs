//! An offer: resources of one agent, for one framework, under one role.

use mezzo_model::{AgentId, FrameworkId, OfferId, Resources, Role};

/// An offer that may still be used. What ends it takes it out of the books first.
#[derive(Debug, Clone)]
pub struct Offer {
    /// `<master id>-O<n>`.
    pub id: OfferId,
    /// To whom.
    pub framework: FrameworkId,
    /// Of which agent.
    pub agent: AgentId,
    /// Under which role.
    pub role: Role,
    /// What, allocated to the role.
    pub resources: Resources,
}
