//! The wire: every message and service of Mezzo, generated from the `.proto` files of this crate,
//! with the rules that generated code does not keep by itself.
//!
//! * [`v1`]: the Mesos v1 messages, number for number, in package `mezzo.v1`, and our services.
//! * [`module`]: what crosses the module boundary.
//! * [`state`]: what a master or an agent keeps on disk.
//! * [`required`]: a missing required field is an error that names its path, never a default.
//! * [`json`]: the JSON that Mesos writes and reads.
//!
//! **Invariant:** `mezzo.v1` and its packages hold no field or enum value that Mesos v1 does not
//! have; our additions live in messages and packages of their own. `tests/wire.rs` holds this.

mod codec;
pub mod json;
pub mod required;

/// The encoded `FileDescriptorSet` of all files of this crate, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/mezzo.fds"));

/// Includes the generated code of one package.
macro_rules! package {
    ($name:literal) => {
        include!(concat!(env!("OUT_DIR"), "/", $name, ".rs"));
    };
}

/// Package `mezzo.v1`: the vocabulary that masters, agents, frameworks and executors share.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::restriction,
    reason = "generated"
)]
pub mod v1 {
    package!("mezzo.v1");

    /// The operator API of an agent.
    pub mod agent {
        package!("mezzo.v1.agent");
    }
    /// What an allocator remembers of inverse offers.
    pub mod allocator {
        package!("mezzo.v1.allocator");
    }
    /// The executor API.
    pub mod executor {
        package!("mezzo.v1.executor");
    }
    /// The link between agent and master.
    pub mod link {
        package!("mezzo.v1.link");
    }
    /// Maintenance windows.
    pub mod maintenance {
        package!("mezzo.v1.maintenance");
    }
    /// The operator API of a master.
    pub mod master {
        package!("mezzo.v1.master");
    }
    /// Quota.
    pub mod quota {
        package!("mezzo.v1.quota");
    }
    /// Resource providers.
    pub mod resource_provider {
        package!("mezzo.v1.resource_provider");
    }
    /// The scheduler API.
    pub mod scheduler {
        package!("mezzo.v1.scheduler");
    }
}

/// What crosses the module boundary.
pub mod module {
    /// Package `mezzo.module.v1`.
    #[allow(
        missing_docs,
        unreachable_pub,
        unused_qualifications,
        clippy::all,
        clippy::restriction,
        reason = "generated"
    )]
    pub mod v1 {
        package!("mezzo.module.v1");
    }
}

/// What is kept on disk.
pub mod state {
    /// Package `mezzo.state.v1`.
    #[allow(
        missing_docs,
        unreachable_pub,
        unused_qualifications,
        clippy::all,
        clippy::restriction,
        reason = "generated"
    )]
    pub mod v1 {
        package!("mezzo.state.v1");
    }
}
