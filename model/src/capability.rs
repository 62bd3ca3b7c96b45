//! What a framework or an agent says it understands; a set that fits in a word.
//!
//! Capabilities that this version does not know are dropped, as Mesos does, so that a newer
//! framework can talk to an older master.

use std::fmt;

use mezzo_proto::v1;

macro_rules! capabilities {
    (
        $(#[$set_doc:meta])* $set:ident of $(#[$doc:meta])* $name:ident, $wire:path, $message:path;
        $($(#[$variant_doc:meta])* $variant:ident,)*
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name on the wire.
            pub fn as_str(self) -> &'static str {
                self.to_proto().as_str_name()
            }

            /// The value on the wire.
            pub fn to_proto(self) -> $wire {
                // A type alias, because a path fragment cannot be extended by a variant.
                type Wire = $wire;
                match self { $(Self::$variant => Wire::$variant,)* }
            }

            /// Reads the value on the wire; nothing if it is unset or unknown here.
            pub fn from_proto(number: Option<i32>) -> Option<Self> {
                type Wire = $wire;
                match Wire::try_from(number?).ok()? {
                    $(Wire::$variant => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        $(#[$set_doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        pub struct $set(u32);

        impl $set {
            /// None of them.
            pub const NONE: Self = Self(0);

            /// All that this version knows.
            pub fn all() -> Self {
                $name::ALL.iter().copied().collect()
            }

            /// Whether the capability is in the set.
            pub const fn has(self, capability: $name) -> bool {
                self.0 & (1 << capability as u32) != 0
            }

            /// The set with this capability as well.
            #[must_use]
            pub const fn with(self, capability: $name) -> Self {
                Self(self.0 | (1 << capability as u32))
            }

            /// The capabilities in the set.
            pub fn iter(self) -> impl Iterator<Item = $name> {
                $name::ALL.iter().copied().filter(move |capability| self.has(*capability))
            }

            /// Reads the list on the wire.
            pub fn from_proto(wire: &[$message]) -> Self {
                wire.iter().filter_map(|one| $name::from_proto(one.r#type)).collect()
            }

            /// The list on the wire.
            pub fn to_proto(self) -> Vec<$message> {
                type Message = $message;
                self.iter().map(|one| Message { r#type: Some(one.to_proto() as i32) }).collect()
            }
        }

        impl FromIterator<$name> for $set {
            fn from_iter<I: IntoIterator<Item = $name>>(capabilities: I) -> Self {
                capabilities.into_iter().fold(Self::NONE, Self::with)
            }
        }

        impl fmt::Debug for $set {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_set().entries(self.iter()).finish()
            }
        }
    };
}

capabilities! {
    /// What a framework understands.
    FrameworkCapabilities of
    /// Something that a framework can understand.
    FrameworkCapability, v1::framework_info::capability::Type, v1::framework_info::Capability;
    /// Resources that may be taken back at any time.
    RevocableResources,
    /// The state TASK_KILLING.
    TaskKillingState,
    /// Agents with GPUs.
    GpuResources,
    /// Persistent volumes that several tasks use at once.
    SharedResources,
    /// The finer states of tasks that are not there: UNREACHABLE, DROPPED, GONE …
    PartitionAware,
    /// Several roles.
    MultiRole,
    /// Reservations on top of reservations.
    ReservationRefinement,
    /// Agents in other regions.
    RegionAware,
}

capabilities! {
    /// What an agent can do.
    AgentCapabilities of
    /// Something that an agent can do.
    AgentCapability, v1::agent_info::capability::Type, v1::agent_info::Capability;
    /// Frameworks with several roles.
    MultiRole,
    /// Roles below roles.
    HierarchicalRole,
    /// Reservations on top of reservations.
    ReservationRefinement,
    /// Resource providers.
    ResourceProvider,
    /// Volumes that grow and shrink.
    ResizeVolume,
    /// Feedback on operations on its own resources.
    AgentOperationFeedback,
    /// Draining.
    AgentDraining,
    /// Limits apart from requests.
    TaskResourceLimits,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_go_to_the_wire_and_back() {
        let all = FrameworkCapabilities::all();
        assert_eq!(FrameworkCapabilities::from_proto(&all.to_proto()), all);
        let agent = AgentCapabilities::NONE.with(AgentCapability::MultiRole);
        assert_eq!(AgentCapabilities::from_proto(&agent.to_proto()), agent);
        assert!(
            agent.has(AgentCapability::MultiRole) && !agent.has(AgentCapability::AgentDraining)
        );
    }

    #[test]
    fn unknown_and_unset_capabilities_are_dropped() {
        let wire = [None, Some(0), Some(99), Some(5)]
            .map(|r#type| v1::framework_info::Capability { r#type });
        let set = FrameworkCapabilities::from_proto(&wire);
        assert_eq!(format!("{set:?}"), "{PartitionAware}");
        assert_eq!(FrameworkCapability::PartitionAware.to_string(), "PARTITION_AWARE");
    }
}
