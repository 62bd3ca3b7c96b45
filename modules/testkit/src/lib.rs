//! The contract of modules as tests that run against any of them.
