//! The numbers of the methods, and how each gets from typed values to bytes and back.
//!
//! One table per kind, from which both sides are made: what a module does with a number and bytes ([`crate::Instance`]), and
//! what a host does with a typed call ([`crate::Remote`]). A number is never used again for something else.

use std::fmt;

use prost::Message;

use crate::completion::Outcome;
use crate::v1::*;
use crate::{Allocator, Code, Completion, Hook, Isolator, ModuleError, Remote, Transport};

macro_rules! table {
    (
        $(#[$doc:meta])*
        $enum:ident for $trait:ident;
        calls { $($number:literal $variant:ident = $method:ident($request:ident) -> $response:ident or $fallback:ident;)* }
        starts { $($start_number:literal $start_variant:ident = $start_method:ident($start_request:ident) -> $start_response:ident;)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $enum {
            $(#[doc = concat!("`", stringify!($method), "`")] $variant = $number,)*
            $(#[doc = concat!("`", stringify!($start_method), "`")] $start_variant = $start_number,)*
        }

        impl $enum {
            /// All methods of the kind.
            pub const ALL: &[Self] = &[$(Self::$variant,)* $(Self::$start_variant,)*];

            /// The method of this number, if there is one.
            pub fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    $($start_number => Some(Self::$start_variant),)*
                    _ => None,
                }
            }

            /// Its number at the boundary.
            pub fn number(self) -> u32 {
                self as u32
            }

            /// Its name in the trait.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($method),)*
                    $(Self::$start_variant => stringify!($start_method),)*
                }
            }

            /// The module's side of a call.
            pub(crate) fn call(module: &dyn $trait, number: u32, request: &[u8]) -> Result<Vec<u8>, ModuleError> {
                match Self::from_number(number) {
                    $(Some(Self::$variant) => {
                        let request = decode::<$request>(request, stringify!($method))?;
                        module.$method(request).map(|response| response.encode_to_vec())
                    })*
                    _ => Err(ModuleError::unimplemented(format_args!("call {number}"))),
                }
            }

            /// The module's side of a call that may be answered later.
            #[allow(unused_variables, reason = "not every kind has such calls")]
            pub(crate) fn start(module: &dyn $trait, number: u32, request: &[u8], done: Completion<Vec<u8>>) {
                match Self::from_number(number) {
                    $(Some(Self::$start_variant) => match decode::<$start_request>(request, stringify!($start_method)) {
                        Ok(request) => module.$start_method(request, encoding::<$start_response>(done)),
                        Err(error) => done.complete(Err(error)),
                    })*
                    _ => done.complete(Err(ModuleError::unimplemented(format_args!("start {number}")))),
                }
            }
        }

        impl fmt::Display for $enum {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl<T: Transport> $trait for Remote<T> {
            $(fn $method(&self, request: $request) -> Result<$response, ModuleError> {
                let answer = self.transport().call($enum::$variant.number(), &request.encode_to_vec());
                fallback!($fallback, answer.and_then(|bytes| decode_answer::<$response>(&bytes, stringify!($method))))
            })*
            $(fn $start_method(&self, request: $start_request, done: Completion<$start_response>) {
                let done = decoding(done, stringify!($start_method));
                self.transport().start($enum::$start_variant.number(), &request.encode_to_vec(), done);
            })*
        }
    };
}

/// What a host does when a module does not know the call.
macro_rules! fallback {
    (unchanged, $answer:expr) => {
        match $answer {
            Err(error) if error.code == Code::Unimplemented => Ok(Default::default()),
            answer => answer,
        }
    };
    (error, $answer:expr) => {
        $answer
    };
}

table! {
    /// The methods of an [`Allocator`].
    AllocatorMethod for Allocator;
    calls {
        1 Initialize = initialize(InitializeAllocatorRequest) -> InitializeAllocatorResponse or error;
        2 Observe = observe(ObserveRequest) -> ObserveResponse or error;
        3 Allocate = allocate(AllocateRequest) -> AllocateResponse or error;
    }
    starts {}
}

table! {
    /// The methods of an [`Isolator`].
    IsolatorMethod for Isolator;
    calls {
        1 Capabilities = capabilities(IsolatorCapabilitiesRequest) -> IsolatorCapabilitiesResponse or unchanged;
        2 Recover = recover(RecoverRequest) -> RecoverResponse or unchanged;
        3 Prepare = prepare(PrepareRequest) -> PrepareResponse or unchanged;
        4 Isolate = isolate(IsolateRequest) -> IsolateResponse or unchanged;
        6 Update = update(UpdateRequest) -> UpdateResponse or unchanged;
        7 Usage = usage(UsageRequest) -> UsageResponse or unchanged;
        8 Status = status(StatusRequest) -> StatusResponse or unchanged;
        9 Cleanup = cleanup(CleanupRequest) -> CleanupResponse or unchanged;
    }
    starts {
        5 Watch = watch(WatchRequest) -> WatchResponse;
    }
}

table! {
    /// The methods of a [`Hook`].
    HookMethod for Hook;
    calls {
        1 MasterLaunchTaskResources
            = master_launch_task_resources(MasterLaunchTaskResourcesRequest) -> MasterLaunchTaskResourcesResponse or unchanged;
        2 MasterLaunchTaskLabels
            = master_launch_task_labels(MasterLaunchTaskLabelsRequest) -> MasterLaunchTaskLabelsResponse or unchanged;
        3 MasterAgentLost = master_agent_lost(MasterAgentLostRequest) -> MasterAgentLostResponse or unchanged;
        4 AgentResources = agent_resources(AgentResourcesRequest) -> AgentResourcesResponse or unchanged;
        5 AgentAttributes = agent_attributes(AgentAttributesRequest) -> AgentAttributesResponse or unchanged;
        6 AgentRunTaskLabels = agent_run_task_labels(AgentRunTaskLabelsRequest) -> AgentRunTaskLabelsResponse or unchanged;
        7 AgentExecutorEnvironment
            = agent_executor_environment(AgentExecutorEnvironmentRequest) -> AgentExecutorEnvironmentResponse or unchanged;
        8 AgentPrelaunch = agent_prelaunch(AgentPrelaunchRequest) -> AgentPrelaunchResponse or unchanged;
        9 AgentPrelaunchDocker
            = agent_prelaunch_docker(AgentPrelaunchDockerRequest) -> AgentPrelaunchDockerResponse or unchanged;
        10 AgentPostFetch = agent_post_fetch(AgentPostFetchRequest) -> AgentPostFetchResponse or unchanged;
        11 AgentTaskStatus = agent_task_status(AgentTaskStatusRequest) -> AgentTaskStatusResponse or unchanged;
        12 AgentRemoveExecutor
            = agent_remove_executor(AgentRemoveExecutorRequest) -> AgentRemoveExecutorResponse or unchanged;
    }
    starts {}
}

fn decode<M: Message + Default>(bytes: &[u8], method: &str) -> Result<M, ModuleError> {
    M::decode(bytes).map_err(|error| {
        ModuleError::invalid(format!("the request of `{method}` cannot be decoded: {error}"))
    })
}

fn decode_answer<M: Message + Default>(bytes: &[u8], method: &str) -> Result<M, ModuleError> {
    M::decode(bytes).map_err(|error| {
        ModuleError::new(
            Code::DataLoss,
            format!("the module's answer to `{method}` cannot be decoded: {error}"),
        )
    })
}

/// The module's side: a typed completion that hands on bytes.
fn encoding<M: Message + 'static>(done: Completion<Vec<u8>>) -> Completion<M> {
    Completion::from_outcome(move |outcome| {
        done.end(match outcome {
            Outcome::Done(result) => {
                Outcome::Done(result.map(|message: M| message.encode_to_vec()))
            }
            Outcome::Never => Outcome::Never,
        });
    })
}

/// The host's side: a completion of bytes that hands on a typed answer. A module that does not know the call never answers.
fn decoding<M: Message + Default + 'static>(
    done: Completion<M>,
    method: &'static str,
) -> Completion<Vec<u8>> {
    Completion::from_outcome(move |outcome| {
        done.end(match outcome {
            Outcome::Done(Err(error))
                if matches!(error.code, Code::Unimplemented | Code::Cancelled) =>
            {
                Outcome::Never
            }
            Outcome::Done(result) => {
                Outcome::Done(result.and_then(|bytes: Vec<u8>| decode_answer(&bytes, method)))
            }
            Outcome::Never => Outcome::Never,
        });
    })
}
