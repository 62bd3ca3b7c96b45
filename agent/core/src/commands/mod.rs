//! One file for each command.

pub(crate) mod acknowledge;
pub(crate) mod container;
pub(crate) mod deliver;
pub(crate) mod executor;
pub(crate) mod framework_message;
pub(crate) mod kill_task;
pub(crate) mod leave;
pub(crate) mod link;
pub(crate) mod recovered;
pub(crate) mod registered;
pub(crate) mod run_task;
pub(crate) mod shutdown_executor;
pub(crate) mod shutdown_framework;
pub(crate) mod tick;
pub(crate) mod update_framework;
