//! The flags of isolators. Each is handed on to the modules that know it, as a parameter of the same name; one that is not
//! given leaves the module at its own default.

use clap::Args;
use mezzo_runtime::config::DurationArg;

/// What isolators are told by flags.
#[derive(Clone, Debug, Default, Args)]
pub struct IsolationFlags {
    /// The cgroup below which those of containers are made.
    #[arg(long, default_value = "mezzo")]
    pub cgroups_root: String,
    /// Where cgroups are mounted; detected unless given.
    #[arg(long, value_name = "DIR")]
    pub cgroups_hierarchy: Option<String>,
    /// Make the request for cpus a hard limit.
    #[arg(long)]
    pub cgroups_enable_cfs: bool,
    /// Limit memory and swap together (cgroup version 1 only).
    #[arg(long)]
    pub cgroups_limit_swap: bool,
    /// How long the processes of a container may take to die when they are killed, and its cgroups to go; 1mins unless given.
    #[arg(long)]
    pub cgroups_destroy_timeout: Option<DurationArg>,
    /// Count processes and threads in the statistics of cgroups/cpu.
    #[arg(long)]
    pub cgroups_cpu_enable_pids_and_tids_count: bool,
    /// Give containers with revocable cpus a low priority; true unless given.
    #[arg(long)]
    pub revocable_cpu_low_priority: Option<bool>,
    /// Most processes and threads of a container that does not say (cgroups/pids); without limit unless given.
    #[arg(long)]
    pub pids_max: Option<u64>,
    /// Devices that containers may use beside the usual ones, as JSON (cgroups/devices).
    #[arg(long)]
    pub allowed_devices: Option<String>,
    /// The upper half of the class ids of containers, as 0x0001 (cgroups/net_cls).
    #[arg(long)]
    pub cgroups_net_cls_primary_handle: Option<String>,
    /// The lower halves that may be given to containers, as 0x0001,0x00ff (cgroups/net_cls).
    #[arg(long)]
    pub cgroups_net_cls_secondary_handles: Option<String>,
    /// Events to count for each container, separated by commas (cgroups/perf_event).
    #[arg(long)]
    pub perf_events: Option<String>,
    /// Between two samples of perf_events; 1mins unless given.
    #[arg(long, value_parser = DurationArg::positive)]
    pub perf_interval: Option<DurationArg>,
    /// How long one sample of perf_events takes; 10secs unless given.
    #[arg(long, value_parser = DurationArg::positive)]
    pub perf_duration: Option<DurationArg>,
    /// Between two measurements of a container's disk use (disk/du, disk/xfs); 15secs unless given.
    #[arg(long, value_parser = DurationArg::positive)]
    pub container_disk_watch_interval: Option<DurationArg>,
    /// End containers that use more disk than they asked for (disk/du, disk/xfs).
    #[arg(long)]
    pub enforce_container_disk_quota: bool,
    /// Between two looks for project ids that are free again (disk/xfs); 1mins unless given.
    #[arg(long, value_parser = DurationArg::positive)]
    pub disk_watch_interval: Option<DurationArg>,
    /// Project ids that may be given to sandboxes, as [5000-10000] (disk/xfs).
    #[arg(long)]
    pub xfs_project_range: Option<String>,
    /// End containers over their quota instead of failing their writes (disk/xfs).
    #[arg(long)]
    pub xfs_kill_containers: bool,
    /// How far over its quota a container gets before writes fail, when it is to be ended for it, as 10MB (disk/xfs).
    #[arg(long)]
    pub xfs_quota_headroom: Option<String>,
    /// End containers that listen on ports they do not have (network/ports).
    #[arg(long)]
    pub enforce_container_ports: bool,
    /// Between two looks at the ports of containers (network/ports); 30secs unless given.
    #[arg(long, value_parser = DurationArg::positive)]
    pub container_ports_watch_interval: Option<DurationArg>,
    /// Look only at ports that this agent offers (network/ports).
    #[arg(long)]
    pub check_agent_port_range_only: bool,
    /// Look only at these ports, as [1024-65535] (network/ports).
    #[arg(long)]
    pub container_ports_isolated_range: Option<String>,
}
