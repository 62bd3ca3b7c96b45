//! The flags of an agent. Names and meanings are those of Mesos.

mod isolation;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;
use mezzo_runtime::config::DurationArg;
use mezzo_runtime::telemetry::TelemetryFlags;

pub use isolation::IsolationFlags;

/// Runs tasks on this machine for a Mezzo master.
#[derive(Clone, Debug, Parser)]
#[command(name = "mezzo-agent", version)]
pub struct Flags {
    /// The master, as host:port.
    #[arg(long, value_name = "HOST:PORT")]
    pub master: String,
    /// Directory for sandboxes and checkpoints.
    #[arg(long, value_name = "DIR")]
    pub work_dir: PathBuf,
    /// Address to bind.
    #[arg(long, default_value = "127.0.0.1")]
    pub ip: IpAddr,
    /// Port to bind; 0 takes any free one.
    #[arg(long, default_value_t = 5051)]
    pub port: u16,
    /// Address told to others instead of --ip.
    #[arg(long)]
    pub advertise_ip: Option<IpAddr>,
    /// Port told to others instead of --port.
    #[arg(long)]
    pub advertise_port: Option<u16>,
    /// Name told to the cluster; the machine's name unless given.
    #[arg(long)]
    pub hostname: Option<String>,
    /// Take the machine's name as hostname; false takes the address.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub hostname_lookup: bool,
    /// What this machine offers, as cpus:4;mem:1024;ports:[31000-32000] or JSON. What is not mentioned is detected.
    #[arg(long, value_parser = resources)]
    pub resources: Option<String>,
    /// What frameworks may choose this machine by, as rack:r1;os:linux.
    #[arg(long, value_parser = attributes)]
    pub attributes: Option<String>,
    /// Role that resources belong to that do not name one; * means anybody.
    #[arg(long, default_value = "*")]
    pub default_role: String,
    /// Region and zone as JSON, {"fault_domain":{"region":{"name":"r"},"zone":{"name":"z"}}}.
    #[arg(long, value_parser = domain)]
    pub domain: Option<String>,
    /// Directory for what does not outlive a reboot; DIR/runtime in --work_dir unless given.
    #[arg(long, value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,
    /// Modules, as JSON or the path of a file of it.
    #[arg(long)]
    pub modules: Option<String>,
    /// Directory of files as --modules takes them, read in the order of their names.
    #[arg(long, value_name = "DIR")]
    pub modules_dir: Option<PathBuf>,
    /// Isolators, separated by commas; ours come in an order of their own, then others as given. Unless given:
    /// cgroups/cpu,cgroups/mem where that works, else posix/cpu,posix/mem.
    #[arg(long)]
    pub isolation: Option<String>,
    /// Hooks, in order, separated by commas.
    #[arg(long)]
    pub hooks: Option<String>,
    /// Directory of mezzo-launcher and mezzo-executor; beside this program unless given.
    #[arg(long, value_name = "DIR")]
    pub launcher_dir: Option<PathBuf>,
    /// Run tasks as the user their framework names. Only a root agent can.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub switch_user: bool,
    /// A call into a module that takes longer is reported; one that must not take long is passed over.
    #[arg(long, default_value = "10secs", value_parser = DurationArg::positive)]
    pub module_watchdog: DurationArg,
    /// A call into a module that takes longer has failed, and with it the launch that waits for it.
    #[arg(long, default_value = "1mins", value_parser = DurationArg::positive)]
    pub module_call_timeout: DurationArg,
    /// What isolators are told.
    #[command(flatten)]
    pub isolation_flags: IsolationFlags,
    /// Environment of every executor, as JSON {"NAME":"value"}.
    #[arg(long)]
    pub executor_environment_variables: Option<String>,
    /// Longest first pause before registering with a master again; pauses double, are random, and never exceed a minute.
    #[arg(long, default_value = "1secs")]
    pub registration_backoff_factor: DurationArg,
    /// An executor that has not registered by then is destroyed.
    #[arg(long, default_value = "1mins")]
    pub executor_registration_timeout: DurationArg,
    /// After a restart of the agent, an executor that is not back by then is destroyed. At most 15secs.
    #[arg(long, default_value = "2secs")]
    pub executor_reregistration_timeout: DurationArg,
    /// An executor that was told to end and has not by then is destroyed.
    #[arg(long, default_value = "5secs")]
    pub executor_shutdown_grace_period: DurationArg,
    /// Executors end by themselves when the agent is away for longer.
    #[arg(long, default_value = "15mins")]
    pub recovery_timeout: DurationArg,
    /// What to do with executors of an earlier run: reconnect to them, or cleanup (end them and stop).
    #[arg(long, default_value = "reconnect", value_parser = ["reconnect", "cleanup"])]
    pub recover: String,
    /// Which changes of resources and attributes a restart may bring: equal (none) or additive (more, never less).
    #[arg(long, default_value = "equal", value_parser = ["equal", "additive"])]
    pub reconfiguration_policy: String,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetryFlags,
}

/// A text that makes sense as `--resources`, so that a wrong one is refused before anything starts.
fn resources(text: &str) -> Result<String, String> {
    let parsed = mezzo_model::ParsedResources::parse(text, &mezzo_model::Role::star());
    parsed.map(|_| text.to_owned()).map_err(|error| line(&error))
}

fn attributes(text: &str) -> Result<String, String> {
    let parsed = mezzo_model::Attributes::parse(text);
    parsed.map(|_| text.to_owned()).map_err(|error| line(&error))
}

fn domain(text: &str) -> Result<String, String> {
    let parsed = mezzo_proto::json::from_str::<mezzo_proto::v1::DomainInfo>(text);
    parsed.map(|_| text.to_owned()).map_err(|error| {
        format!(
            "expected JSON as {{\"fault_domain\":{{\"region\":{{\"name\":\"r\"}},\"zone\":{{\"name\":\"z\"}}}}}}: {}",
            line(&error)
        )
    })
}

/// An error with its causes.
fn line(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test may panic")]
mod tests {
    use mezzo_runtime::config;

    use super::Flags;

    fn parse(args: &[&str]) -> Result<Flags, String> {
        let args = std::iter::once("mezzo-agent").chain(args.iter().copied());
        config::try_parse::<Flags, _>(args, |_| None).map(|p| p.config).map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_are_those_of_mesos() {
        let flags = parse(&["--master=localhost:5050", "--work-dir=/w"]).unwrap();
        assert_eq!(flags.port, 5051);
        assert_eq!(flags.executor_registration_timeout.get().as_secs(), 60);
        assert_eq!(flags.executor_reregistration_timeout.get().as_secs(), 2);
        assert!(flags.switch_user);
        assert_eq!(flags.ip.to_string(), "127.0.0.1");
    }

    #[test]
    fn resources_and_attributes_that_are_none_are_one_line_each() {
        for wrong in ["--resources=cpus", "--resources=cpus:-1", "--attributes=x"] {
            let error = parse(&["--master=m:1", "--work_dir=/w", wrong]).unwrap_err();
            let name = wrong.split('=').next().unwrap();
            assert!(error.contains(name) && error.lines().count() == 1, "{error}");
        }
    }

    #[test]
    fn an_unknown_flag_is_one_line() {
        let error = parse(&["--master=m:1", "--work_dir=/w", "--resource=cpus:1"]).unwrap_err();
        assert_eq!(error.lines().count(), 1);
        assert!(error.contains("resource"), "{error}");
    }
}
