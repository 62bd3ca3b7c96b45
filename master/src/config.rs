//! The flags of a master. Names and meanings are those of Mesos.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;
use mezzo_proto::module::v1::InitializeAllocatorRequest;
use mezzo_proto::v1::offer_filters::ResourceQuantities;
use mezzo_proto::v1::value::Scalar;
use mezzo_runtime::config::DurationArg;
use mezzo_runtime::telemetry::TelemetryFlags;

/// Offers the resources of a cluster to frameworks.
#[derive(Debug, Clone, Parser)]
#[command(name = "mezzo-master", version)]
pub struct Flags {
    /// Address to bind.
    #[arg(long, default_value = "127.0.0.1")]
    pub ip: IpAddr,
    /// Port to bind; 0 takes a free one.
    #[arg(long, default_value_t = 5050)]
    pub port: u16,
    /// Name reported to the cluster; the bound address unless given.
    #[arg(long)]
    pub hostname: Option<String>,
    /// Name of the cluster, for people.
    #[arg(long)]
    pub cluster: Option<String>,
    /// Directory for the registry.
    #[arg(long)]
    pub work_dir: PathBuf,
    /// Where the registry is kept: on disk, or in memory for tests.
    #[arg(long, default_value = "replicated_log", value_parser = ["replicated_log", "in_memory"])]
    pub registry: String,
    /// Module libraries: JSON, or a file of it.
    #[arg(long)]
    pub modules: Option<String>,
    /// Directory of module manifests, read in alphabetical order.
    #[arg(long)]
    pub modules_dir: Option<PathBuf>,
    /// Hooks, in order, separated by commas.
    #[arg(long)]
    pub hooks: Option<String>,
    /// A call into a module that takes longer is reported; a hook that does is passed over.
    #[arg(long, default_value = "10secs", value_parser = DurationArg::positive)]
    pub module_watchdog: DurationArg,
    /// The allocator: a module's name.
    #[arg(long, default_value = "hierarchical")]
    pub allocator: String,
    /// Between periodic allocations. Events lead to one at once.
    #[arg(long, default_value = "1secs", value_parser = DurationArg::positive)]
    pub allocation_interval: DurationArg,
    /// The smallest offers: sets apart by `|`, of which one must be reached.
    #[arg(
        long,
        default_value = "cpus:0.01|mem:32",
        value_parser = |text: &str| smallest_offers(text).map(|_| text.to_owned())
    )]
    pub min_allocatable_resources: String,
    /// How roles are put in order.
    #[arg(long, default_value = "drf", value_parser = ["drf"])]
    pub role_sorter: String,
    /// How the frameworks of a role are put in order.
    #[arg(long, default_value = "drf", value_parser = ["drf"])]
    pub framework_sorter: String,
    /// Resources that do not count for fairness, separated by commas.
    #[arg(long)]
    pub fair_sharing_excluded_resource_names: Option<String>,
    /// Offers held longer are rescinded; never unless given.
    #[arg(long, value_parser = DurationArg::positive)]
    pub offer_timeout: Option<DurationArg>,
    /// Between pings of an agent.
    #[arg(long, default_value = "15secs", value_parser = DurationArg::positive)]
    pub agent_ping_timeout: DurationArg,
    /// Pings in a row without an answer until an agent is unreachable.
    #[arg(long, default_value_t = 5, value_parser = one_or_more)]
    pub max_agent_ping_timeouts: u32,
    /// How long agents have to come back after a master started.
    #[arg(long, default_value = "10mins")]
    pub agent_reregister_timeout: DurationArg,
    /// Between heartbeats to frameworks and watchers.
    #[arg(long, default_value = "15secs", value_parser = DurationArg::positive)]
    pub heartbeat_interval: DurationArg,
    /// Completed frameworks to remember.
    #[arg(long, default_value_t = 50)]
    pub max_completed_frameworks: usize,
    /// Completed tasks of each framework to remember.
    #[arg(long, default_value_t = 1000)]
    pub max_completed_tasks_per_framework: usize,
    /// Unreachable tasks of each framework to remember.
    #[arg(long, default_value_t = 1000)]
    pub max_unreachable_tasks_per_framework: usize,
    /// Whether frameworks may run tasks as root.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub root_submissions: bool,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetryFlags,
}

fn one_or_more(text: &str) -> Result<u32, &'static str> {
    text.parse().ok().filter(|count| *count > 0).ok_or("expected a whole number from 1")
}

/// What the allocator is to know of the flags.
///
/// # Errors
/// If `--min_allocatable_resources` is not what it should be.
pub(crate) fn allocator_options(flags: &Flags) -> Result<InitializeAllocatorRequest, String> {
    let excluded = flags.fair_sharing_excluded_resource_names.as_deref().unwrap_or_default();
    let nanos = flags.allocation_interval.get().as_nanos();
    Ok(InitializeAllocatorRequest {
        allocation_interval_nanos: Some(u64::try_from(nanos).unwrap_or(u64::MAX)),
        role_sorter: Some(flags.role_sorter.clone()),
        framework_sorter: Some(flags.framework_sorter.clone()),
        fair_sharing_excluded_resource_names: excluded
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
        min_allocatable_resources: smallest_offers(&flags.min_allocatable_resources)?,
        filter_gpu_resources: Some(true),
        domain: None,
        // Fixed: the order of agents is shuffled, not secret.
        seed: Some(0x6d65_7a7a_6f00_0001),
    })
}

/// `cpus:0.01|mem:32`: sets apart by `|`, the entries of a set by `;`.
fn smallest_offers(text: &str) -> Result<Vec<ResourceQuantities>, String> {
    let mut sets = Vec::new();
    for set in text.split('|').map(str::trim).filter(|set| !set.is_empty()) {
        let mut quantities = ResourceQuantities::default();
        for entry in set.split(';') {
            let value = entry.split_once(':').and_then(|(name, number)| {
                let value: f64 = number.trim().parse().ok()?;
                (value.is_finite() && value >= 0.0).then_some((name.trim(), value))
            });
            let Some((name, value)) = value else {
                return Err(format!(
                    "{entry:?} is not an amount of a resource, expected for example \
                     cpus:0.01|mem:32"
                ));
            };
            quantities.quantities.insert(name.to_owned(), Scalar { value });
        }
        sets.push(quantities);
    }
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smallest_offers_are_sets_of_which_one_must_be_reached() {
        let sets = smallest_offers("cpus:0.01|mem:32;disk:1").unwrap();
        let read: Vec<Vec<(&str, f64)>> = sets
            .iter()
            .map(|s| s.quantities.iter().map(|(k, v)| (k.as_str(), v.value)).collect())
            .collect();
        assert_eq!(read, [vec![("cpus", 0.01)], vec![("disk", 1.0), ("mem", 32.0)]]);
        assert!(smallest_offers("").unwrap().is_empty());
    }

    #[test]
    fn intervals_of_nothing_are_refused() {
        for flag in [
            "--allocation_interval=0secs",
            "--offer_timeout=0secs",
            "--agent_ping_timeout=0ms",
            "--max_agent_ping_timeouts=0",
            "--heartbeat_interval=0secs",
        ] {
            let args = ["mezzo-master", "--work_dir=/w", flag];
            let error = mezzo_runtime::config::try_parse::<Flags, _>(args, |_| None).unwrap_err();
            assert!(error.to_string().contains("expected"), "{error}");
        }
    }

    #[test]
    fn an_amount_that_is_none_is_named() {
        for text in ["cpus", "cpus:x", "cpus:-1", "cpus:NaN"] {
            let error = smallest_offers(text).unwrap_err();
            assert!(error.contains(text) && error.contains("expected"), "{error}");
        }
    }
}
