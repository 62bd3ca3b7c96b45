//! Keeps a panic on the side it happened on: one that reaches the boundary would end the process.

use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use abi_stable::std_types::{RResult, RVec};
use mezzo_module_api::{Code, ModuleError};

use crate::boundary::{AbiError, AbiResult};

/// Runs `f`; a panic becomes an error that begins with [`crate::PANIC_PREFIX`].
pub(crate) fn fenced<T>(f: impl FnOnce() -> Result<T, ModuleError>) -> Result<T, ModuleError> {
    // Unwind safety: a module is called again after a panic, as its contract says; its locks are poisoned where it matters.
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => result,
        Err(payload) => Err(panicked(&panic_text(payload))),
    }
}

/// Runs `f` where nobody takes an answer; what its panic said, if it panicked.
pub(crate) fn caught(f: impl FnOnce()) -> Option<String> {
    catch_unwind(AssertUnwindSafe(f)).err().map(panic_text)
}

/// The error of a call that panicked.
pub(crate) fn panicked(what: &str) -> ModuleError {
    ModuleError::new(Code::Internal, format!("{}{what}", crate::PANIC_PREFIX))
}

/// What a panic said. Payloads that are no text are leaked: to drop one could panic again.
fn panic_text(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => match payload.downcast::<&'static str>() {
            Ok(text) => (*text).to_owned(),
            Err(payload) => {
                std::mem::forget(payload);
                "(no text)".to_owned()
            }
        },
    }
}

pub(crate) fn to_abi(result: Result<Vec<u8>, ModuleError>) -> AbiResult {
    match result {
        Ok(bytes) => RResult::ROk(RVec::from(bytes)),
        Err(error) => RResult::RErr(error_to_abi(error)),
    }
}

pub(crate) fn from_abi(result: AbiResult) -> Result<Vec<u8>, ModuleError> {
    match result {
        // To decode it would take several times as much again.
        RResult::ROk(bytes) if bytes.len() > crate::LARGEST_ANSWER => Err(ModuleError::new(
            Code::ResourceExhausted,
            format!(
                "an answer of {} bytes, expected at most {}",
                bytes.len(),
                crate::LARGEST_ANSWER
            ),
        )),
        RResult::ROk(bytes) => Ok(Vec::from(bytes)),
        RResult::RErr(error) => Err(error_from_abi(error)),
    }
}

pub(crate) fn error_to_abi(error: ModuleError) -> AbiError {
    AbiError { code: error.code.number(), message: error.message.into() }
}

pub(crate) fn error_from_abi(error: AbiError) -> ModuleError {
    ModuleError::new(Code::from_number(error.code), text(error.message.as_bytes()).into_owned())
}

/// Text from the other side. That it is UTF-8 is a promise of its type, which the other side made.
pub(crate) fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
