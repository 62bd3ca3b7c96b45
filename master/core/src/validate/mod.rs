//! What may come in: each check says which field is wrong, what it holds and what was expected.

pub(crate) mod framework;
pub(crate) mod task;
