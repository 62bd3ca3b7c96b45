//! mezzo-runtime: what any of the processes needs and none of them should write twice.
pub mod clock;
pub mod config;
pub mod shutdown;
pub mod status;
pub mod task;
