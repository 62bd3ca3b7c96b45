//! Hooks `environment` and `labels`: decorate tasks and executors.
