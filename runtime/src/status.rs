//! One way to answer a failed call: a closed set of codes, a sentence, and details that a program can read.
//!
//! `ErrorCode` maps to gRPC; the details are google.rpc `ErrorInfo` (machine-readable reason) and `BadRequest` (which
//! field, which value, what was expected), so that any gRPC tool can show them.

use std::collections::HashMap;
use std::fmt;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain written into every `ErrorInfo`.
const DOMAIN: &str = "mezzo";

/// Longest rendering of a refused value in a message; the rest is cut, so that an error never echoes megabytes.
const MAX_SHOWN_VALUE: usize = 120;

/// Why a call failed, from the caller's point of view. Closed: every kind of failure is one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The request is wrong by itself; sending it again cannot help.
    InvalidArgument,
    /// A number or position lies outside what exists.
    OutOfRange,
    /// What the request names does not exist.
    NotFound,
    /// What the request wants to create exists.
    AlreadyExists,
    /// The request is fine, the present state does not allow it.
    FailedPrecondition,
    /// Somebody else was faster; reading again and retrying may help.
    Aborted,
    /// Nobody is known to have sent this.
    Unauthenticated,
    /// The caller is known, and may not do this.
    PermissionDenied,
    /// A limit (size, rate, count, quota) is reached.
    ResourceExhausted,
    /// Not now: starting, stopping, not the leader, connection lost. Retry later.
    Unavailable,
    /// The time the caller gave is over.
    DeadlineExceeded,
    /// This build does not do that.
    Unimplemented,
    /// Our fault.
    Internal,
}

impl ErrorCode {
    /// The gRPC code.
    #[must_use]
    pub fn grpc(self) -> Code {
        match self {
            Self::InvalidArgument => Code::InvalidArgument,
            Self::OutOfRange => Code::OutOfRange,
            Self::NotFound => Code::NotFound,
            Self::AlreadyExists => Code::AlreadyExists,
            Self::FailedPrecondition => Code::FailedPrecondition,
            Self::Aborted => Code::Aborted,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::PermissionDenied => Code::PermissionDenied,
            Self::ResourceExhausted => Code::ResourceExhausted,
            Self::Unavailable => Code::Unavailable,
            Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::Unimplemented => Code::Unimplemented,
            Self::Internal => Code::Internal,
        }
    }

    /// The HTTP status that says the same.
    #[must_use]
    pub fn http(self) -> http::StatusCode {
        use http::StatusCode;
        match self {
            Self::InvalidArgument | Self::OutOfRange => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::AlreadyExists | Self::FailedPrecondition | Self::Aborted => StatusCode::CONFLICT,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The name in capitals, as in the gRPC documentation; the reason in `ErrorInfo` unless a better one is given.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::Unavailable => "UNAVAILABLE",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
        }
    }
}

/// The HTTP status that says the same as a gRPC code that came from anywhere.
#[must_use]
pub fn http_of(code: Code) -> http::StatusCode {
    let known = match code {
        Code::Ok => return http::StatusCode::OK,
        Code::InvalidArgument => ErrorCode::InvalidArgument,
        Code::OutOfRange => ErrorCode::OutOfRange,
        Code::NotFound => ErrorCode::NotFound,
        Code::AlreadyExists => ErrorCode::AlreadyExists,
        Code::FailedPrecondition => ErrorCode::FailedPrecondition,
        Code::Aborted => ErrorCode::Aborted,
        Code::Unauthenticated => ErrorCode::Unauthenticated,
        Code::PermissionDenied => ErrorCode::PermissionDenied,
        Code::ResourceExhausted => ErrorCode::ResourceExhausted,
        Code::Unavailable | Code::Cancelled => ErrorCode::Unavailable,
        Code::DeadlineExceeded => ErrorCode::DeadlineExceeded,
        Code::Unimplemented => ErrorCode::Unimplemented,
        Code::Internal | Code::Unknown | Code::DataLoss => ErrorCode::Internal,
    };
    known.http()
}

/// A failure being described. Ends with [`Failure::into_status`] or `.into()`.
#[derive(Clone, Debug)]
pub struct Failure {
    code: ErrorCode,
    message: String,
    reason: Option<String>,
    metadata: HashMap<String, String>,
    fields: Vec<(String, String)>,
}

impl Failure {
    /// A failure with a sentence for people.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            reason: None,
            metadata: HashMap::new(),
            fields: Vec::new(),
        }
    }

    /// The usual one: a field of the request holds what it may not hold.
    #[must_use]
    pub fn invalid(
        field: impl Into<String>,
        value: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> Self {
        let field = field.into();
        let sentence = refusal(&value, &expected);
        Self::new(ErrorCode::InvalidArgument, format!("{field}: {sentence}"))
            .with_violation(field, sentence)
    }

    /// What the request names does not exist.
    #[must_use]
    pub fn not_found(what: impl fmt::Display, name: impl fmt::Display) -> Self {
        Self::new(ErrorCode::NotFound, format!("no {what} {}", shown(&name)))
    }

    /// Adds one more field that is wrong (it appears in the details, the message stays).
    #[must_use]
    pub fn field(
        self,
        field: impl Into<String>,
        value: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> Self {
        let sentence = refusal(&value, &expected);
        self.with_violation(field.into(), sentence)
    }

    /// A word for programs, in capitals with underscores, instead of the name of the code.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// One more fact for programs.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl fmt::Display) -> Self {
        self.metadata.insert(key.into(), value.to_string());
        self
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The answer of the call.
    #[must_use]
    pub fn into_status(self) -> Status {
        let reason = self.reason.unwrap_or_else(|| self.code.name().to_owned());
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, DOMAIN, self.metadata);
        for (field, description) in self.fields {
            details.add_bad_request_violation(field, description);
        }
        Status::with_error_details(self.code.grpc(), self.message, details)
    }

    fn with_violation(mut self, field: String, description: String) -> Self {
        self.fields.push((field, description));
        self
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        failure.into_status()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

fn refusal(value: &dyn fmt::Display, expected: &dyn fmt::Display) -> String {
    format!("got {}, expected {expected}", shown(value))
}

/// The value in quotes, control characters escaped, cut when long.
fn shown(value: &dyn fmt::Display) -> String {
    let text = value.to_string();
    if text.len() <= MAX_SHOWN_VALUE {
        return format!("{text:?}");
    }
    let cut: String = text.chars().take(MAX_SHOWN_VALUE).collect();
    format!("{cut:?}… ({} bytes)", text.len())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_field_is_named_with_value_and_expectation() {
        let status = Failure::invalid("task.resources[0].scalar", -1.5, "a number >= 0")
            .reason("NEGATIVE")
            .with("index", 0)
            .into_status();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(
            status.message(),
            "task.resources[0].scalar: got \"-1.5\", expected a number >= 0"
        );
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("NEGATIVE", "mezzo"));
        assert_eq!(info.metadata["index"], "0");
        let violation = &details.bad_request().unwrap().field_violations[0];
        assert_eq!(violation.field, "task.resources[0].scalar");
    }

    #[test]
    fn a_huge_value_is_cut() {
        let failure = Failure::invalid("label", "x".repeat(5 << 20), "at most 64 KiB");
        assert!(failure.message().len() < 300, "{}", failure.message());
        assert!(failure.message().contains("(5242880 bytes)"));
    }

    #[test]
    fn control_characters_are_escaped() {
        let failure = Failure::not_found("thing", "a\nb");
        assert_eq!(failure.message(), "no thing \"a\\nb\"");
    }

    #[test]
    fn every_code_has_an_http_twin() {
        for number in 0..=16 {
            let code = Code::from_i32(number);
            assert_eq!(http_of(code).is_success(), code == Code::Ok);
        }
    }
}
