//! The edges: what comes in over gRPC becomes a command, what goes out is read from a queue.

pub(crate) mod link;
pub(crate) mod operator;
pub(crate) mod scheduler;
mod stream;
mod unavailable;

use mezzo_master_core::Rejection;
use mezzo_runtime::status::{ErrorCode, Failure};
use tonic::Status;

/// Messages larger than this are refused. Executors may carry a lot of data.
pub(crate) const MAX_MESSAGE: usize = 64 << 20;

/// A refusal of the core as an answer of the call.
fn status(rejection: Rejection) -> Status {
    use mezzo_master_core::Code;
    let code = match rejection.code {
        Code::InvalidArgument => ErrorCode::InvalidArgument,
        Code::NotFound => ErrorCode::NotFound,
        Code::FailedPrecondition => ErrorCode::FailedPrecondition,
        Code::Unimplemented => ErrorCode::Unimplemented,
        Code::PermissionDenied => ErrorCode::PermissionDenied,
    };
    match rejection.message.split_once(": ") {
        Some((field, what)) if !field.contains(' ') => {
            Failure::new(code, rejection.message.clone()).with(field, what).into_status()
        }
        _ => Failure::new(code, rejection.message).into_status(),
    }
}
