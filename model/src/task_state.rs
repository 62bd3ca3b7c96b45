//! The states of a task and the ways between them.
//!
//! ```text
//!  STAGING ──> STARTING ──> RUNNING ──> KILLING          agent lost:   any of these ──> UNREACHABLE
//!     │            │           │           │             agent back:   UNREACHABLE ──> what it was
//!     └────────────┴───────────┴───────────┴──> FINISHED FAILED KILLED ERROR LOST DROPPED GONE GONE_BY_OPERATOR
//! ```
//!
//! A state may be reported again (health changes come as another RUNNING), may be skipped, and
//! never goes backwards. Terminal states have no way out. UNKNOWN is an answer to a question, not
//! a state that a task is ever in.
//!
//! **Invariant:** a terminal state is final, so a terminal update can be acted on once and for all.

use std::fmt;

use mezzo_proto::v1;

use crate::InvalidField;

/// The state of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskState {
    /// Accepted by the master; not yet heard of from an executor.
    Staging,
    /// The executor prepares it.
    Starting,
    /// It runs.
    Running,
    /// It is being killed.
    Killing,
    /// Its agent cannot be reached; it may still run.
    Unreachable,
    /// Nobody knows it. Only ever an answer to reconciliation.
    Unknown,
    /// It ended well.
    Finished,
    /// It ended badly.
    Failed,
    /// It was killed on purpose.
    Killed,
    /// Its description is invalid or not permitted.
    Error,
    /// It is lost; what frameworks hear that do not know the finer words.
    Lost,
    /// It never ran; another try may succeed.
    Dropped,
    /// It ran and is surely dead.
    Gone,
    /// An operator said that its agent will not come back.
    GoneByOperator,
}

use TaskState::{
    Dropped, Error, Failed, Finished, Gone, GoneByOperator, Killed, Killing, Lost, Running,
    Staging, Starting, Unknown, Unreachable,
};

impl TaskState {
    /// All states.
    pub const ALL: [Self; 14] = [
        Staging,
        Starting,
        Running,
        Killing,
        Unreachable,
        Unknown,
        Finished,
        Failed,
        Killed,
        Error,
        Lost,
        Dropped,
        Gone,
        GoneByOperator,
    ];

    /// Whether nothing can follow.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Finished | Failed | Killed | Error | Lost | Dropped | Gone | GoneByOperator)
    }

    /// Whether the resources of a task in this state are free for others: terminal, or on an agent
    /// that cannot be reached (and so not counted on).
    pub const fn frees_resources(self) -> bool {
        self.is_terminal() || matches!(self, Unreachable)
    }

    /// Whether a task in this state is one of those that an agent works on.
    pub const fn is_live(self) -> bool {
        matches!(self, Staging | Starting | Running | Killing)
    }

    /// Whether an update from this state to `next` makes sense.
    pub const fn can_become(self, next: Self) -> bool {
        match (self, next) {
            // Terminal is final; and nothing becomes unknown.
            (from, _) if from.is_terminal() => false,
            (_, Unknown) => false,
            (_, to) if to.is_terminal() => true,
            (_, Unreachable) => true,
            // The agent is back, or somebody knows after all: whatever it says.
            (Unreachable | Unknown, _) => true,
            (from, to) => from.progress() <= to.progress(),
        }
    }

    /// How far a live task has come.
    const fn progress(self) -> u8 {
        match self {
            Staging => 0,
            Starting => 1,
            Running => 2,
            _ => 3,
        }
    }

    /// The state as a framework is told it. One without PARTITION_AWARE knows only LOST for all
    /// the ways of not being there.
    #[must_use]
    pub const fn for_framework(self, partition_aware: bool) -> Self {
        match self {
            Dropped | Unreachable | Gone | GoneByOperator | Unknown if !partition_aware => Lost,
            state => state,
        }
    }

    /// Whether an executor may report this state. The others are the master's and agent's to say.
    pub const fn from_executor(self) -> bool {
        matches!(
            self,
            Starting
                | Running
                | Killing
                | Finished
                | Failed
                | Killed
                | Error
                | Lost
                | Dropped
                | Gone
        )
    }

    /// The name on the wire, as in `TASK_RUNNING`.
    pub fn as_str(self) -> &'static str {
        v1::TaskState::from(self).as_str_name()
    }

    /// Reads the name on the wire.
    pub fn parse(name: &str) -> Option<Self> {
        v1::TaskState::from_str_name(name).map(Self::from)
    }

    /// Reads the number on the wire; `path` names the field that holds it.
    pub fn from_proto(path: &str, number: i32) -> Result<Self, InvalidField> {
        v1::TaskState::try_from(number)
            .map(Self::from)
            .map_err(|_| InvalidField::new(path, number, "a task state (0 to 13)"))
    }

    /// The number on the wire.
    pub fn to_proto(self) -> i32 {
        v1::TaskState::from(self) as i32
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

macro_rules! same_on_the_wire {
    ($($ours:ident = $wire:ident,)*) => {
        impl From<v1::TaskState> for TaskState {
            fn from(wire: v1::TaskState) -> Self {
                match wire { $(v1::TaskState::$wire => $ours,)* }
            }
        }

        impl From<TaskState> for v1::TaskState {
            fn from(state: TaskState) -> Self {
                match state { $($ours => Self::$wire,)* }
            }
        }
    };
}

same_on_the_wire! {
    Staging = TaskStaging,
    Starting = TaskStarting,
    Running = TaskRunning,
    Killing = TaskKilling,
    Unreachable = TaskUnreachable,
    Unknown = TaskUnknown,
    Finished = TaskFinished,
    Failed = TaskFailed,
    Killed = TaskKilled,
    Error = TaskError,
    Lost = TaskLost,
    Dropped = TaskDropped,
    Gone = TaskGone,
    GoneByOperator = TaskGoneByOperator,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row for each state: the states that may follow, in the order of `ALL`.
    #[test]
    fn every_pair_of_states_is_in_the_table() {
        const NEXT: [(TaskState, &str); 14] = [
            //                 Stg Str Run Kil Unr Unk  Fin Fai Kld Err Los Drp Gon GBO
            (Staging, "yes yes yes yes yes no  yes yes yes yes yes yes yes yes"),
            (Starting, "no  yes yes yes yes no  yes yes yes yes yes yes yes yes"),
            (Running, "no  no  yes yes yes no  yes yes yes yes yes yes yes yes"),
            (Killing, "no  no  no  yes yes no  yes yes yes yes yes yes yes yes"),
            (Unreachable, "yes yes yes yes yes no  yes yes yes yes yes yes yes yes"),
            (Unknown, "yes yes yes yes yes no  yes yes yes yes yes yes yes yes"),
            (Finished, "no  no  no  no  no  no  no  no  no  no  no  no  no  no "),
            (Failed, "no  no  no  no  no  no  no  no  no  no  no  no  no  no "),
            (Killed, "no  no  no  no  no  no  no  no  no  no  no  no  no  no "),
            (Error, "no  no  no  no  no  no  no  no  no  no  no  no  no  no "),
            (Lost, "no  no  no  no  no  no  no  no  no  no  no  no  no  no "),
            (Dropped, "no  no  no  no  no  no  no  no  no  no  no  no  no  no "),
            (Gone, "no  no  no  no  no  no  no  no  no  no  no  no  no  no "),
            (GoneByOperator, "no  no  no  no  no  no  no  no  no  no  no  no  no  no "),
        ];
        for (from, row) in NEXT {
            let may: Vec<_> = row.split_whitespace().map(|word| word == "yes").collect();
            assert_eq!(may.len(), TaskState::ALL.len());
            for (to, may) in TaskState::ALL.into_iter().zip(may) {
                assert_eq!(from.can_become(to), may, "{from} -> {to}");
            }
        }
    }

    #[test]
    fn a_framework_that_is_not_partition_aware_hears_only_lost() {
        for state in TaskState::ALL {
            assert_eq!(state.for_framework(true), state);
            let finer = matches!(state, Dropped | Unreachable | Gone | GoneByOperator | Unknown);
            assert_eq!(state.for_framework(false) == Lost, finer || state == Lost, "{state}");
        }
    }

    #[test]
    fn names_and_numbers_are_those_of_the_wire() {
        for state in TaskState::ALL {
            assert_eq!(TaskState::parse(state.as_str()), Some(state));
            assert_eq!(TaskState::from_proto("state", state.to_proto()), Ok(state));
        }
        assert_eq!(Running.to_string(), "TASK_RUNNING");
        assert_eq!(
            TaskState::from_proto("status.state", 99).map_err(|e| e.to_string()),
            Err("status.state: expected a task state (0 to 13), found 99".to_owned())
        );
    }
}
