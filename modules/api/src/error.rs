//! The one error of every module call: a code that machines read and a sentence that people read.

use std::fmt;

/// Why a call of a module failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct ModuleError {
    /// What kind of failure it is; decides what the host does.
    pub code: Code,
    /// What happened, with the names and values that matter.
    pub message: String,
}

impl ModuleError {
    /// An error of this kind.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The module does not do this: the host does what it would do without the module.
    pub fn unimplemented(what: impl fmt::Display) -> Self {
        Self::new(Code::Unimplemented, format!("{what} is not implemented by this module"))
    }

    /// A value in the request or a parameter is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// Something the request names does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// The module itself, or what it stands on, is broken.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }
}

/// The answer of a module that need not do what it was asked: one that does not ([`Code::Unimplemented`]) is as good as one
/// that has nothing to say.
///
/// # Errors
/// Every other error.
pub fn if_implemented<T>(answer: Result<T, ModuleError>) -> Result<Option<T>, ModuleError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.code == Code::Unimplemented => Ok(None),
        Err(error) => Err(error),
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// The codes of gRPC, with their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* $name = $number,)* }

        impl Code {
            /// The code of this number; a number that is none is `Unknown`.
            pub fn from_number(number: i32) -> Self {
                match number { $($number => Self::$name,)* _ => Self::Unknown }
            }

            /// Its number in gRPC.
            pub fn number(self) -> i32 {
                self as i32
            }
        }

        impl fmt::Display for Code {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $text,)* })
            }
        }
    };
}

codes! {
    /// Whoever asked does not want the answer any more.
    Cancelled = 1, "cancelled";
    /// Nothing better is known.
    Unknown = 2, "unknown error";
    /// The request is wrong in itself.
    InvalidArgument = 3, "invalid argument";
    /// It took too long.
    DeadlineExceeded = 4, "deadline exceeded";
    /// What the request names does not exist.
    NotFound = 5, "not found";
    /// What the request wants to make exists.
    AlreadyExists = 6, "already exists";
    /// Not allowed.
    PermissionDenied = 7, "permission denied";
    /// Something has run out.
    ResourceExhausted = 8, "resource exhausted";
    /// Not in this state.
    FailedPrecondition = 9, "failed precondition";
    /// Ended half-way.
    Aborted = 10, "aborted";
    /// Past the end.
    OutOfRange = 11, "out of range";
    /// The module does not do this.
    Unimplemented = 12, "unimplemented";
    /// The module is broken; a panic is told so.
    Internal = 13, "internal error";
    /// Not now; may work later.
    Unavailable = 14, "unavailable";
    /// Data is gone or unreadable.
    DataLoss = 15, "data loss";
    /// Who is asking is not known.
    Unauthenticated = 16, "unauthenticated";
}
