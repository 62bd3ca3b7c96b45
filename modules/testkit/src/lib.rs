//! The contract of modules as tests: every MUST of `docs/module-spec.md`, run against any allocator, isolator or hook,
//! linked in or loaded from its library.
//!
//! In the tests of a module, a `#[test]` for each MUST:
//!
//! ```no_run
//! use mezzo_module_testkit::{Subject, isolator_tests};
//!
//! isolator_tests!(Subject::built("my_isolator", "example/mine").parameter("pool", "a,b"));
//! ```
//!
//! Or all of them as one report:
//!
//! ```no_run
//! # use mezzo_module_testkit::{Subject, isolator};
//! # let subject = Subject::built("my_isolator", "example/mine");
//! let report = isolator::conformance(&subject);
//! assert!(report.passed(), "{report}");
//! ```
//!
//! | file | what is in it |
//! |---|---|
//! | `subject.rs`, `made.rs` | the module under test, and an instance of it |
//! | `report.rs`, `suite.rs` | a MUST, what came of it, lists of them |
//! | `general.rs` | what holds for every kind |
//! | `isolator/` | containers with real processes, led through their lives |
//! | `allocator/` | a cluster with books of its own, told to the allocator, which every proposal is checked against |
//! | `hook/` | a request of each sort, and what an answer may hold |
//!
//! A container of the isolators' suite is a real `sleep`, which is ended and waited for. What a module takes for itself
//! (cgroups, files) can be looked at when it is gone: [`Subject::afterwards`].

pub mod allocator;
pub mod general;
pub mod hook;
pub mod isolator;
mod made;
mod report;
mod subject;
mod suite;

pub use report::{Failure, Line, Must, Report, Verdict, prove};
pub use subject::Subject;

/// All suites.
const ALL: &[&[Must]] = &[general::MUSTS, allocator::MUSTS, isolator::MUSTS, hook::MUSTS];

/// What the guide shows compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/writing-modules.md")]
struct Guide;

#[cfg(test)]
mod tests;
