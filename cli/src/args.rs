//! What can be written on the command line.
//!
//! The rules are those of all our programs (`mezzo_runtime::config`): `--work_dir` and `--work-dir`
//! are one flag, each flag can come from the environment (`MEZZO_MASTER`), and what is wrong is told
//! in one line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Offers of a cluster's resources, made into running tasks.
#[derive(Debug, Parser)]
#[command(name = "mezzo", version, arg_required_else_help = true)]
pub struct Arguments {
    /// The master, or several separated by commas.
    #[arg(long, global = true, value_name = "HOST:PORT", default_value = "127.0.0.1:5050")]
    pub master: String,
    /// Answer in JSON, for programs.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a master and agents on this machine; Ctrl-C stops them all.
    Local(LocalOptions),
    /// Run a command, or many, on the cluster.
    Run(RunOptions),
    /// List agents.
    Agents,
    /// List frameworks.
    Frameworks(ListOptions),
    /// List tasks.
    Tasks(ListOptions),
    /// List outstanding offers.
    Offers,
    /// Show what a task wrote.
    Logs(LogsOptions),
    /// End a task.
    Kill(KillOptions),
    /// Modules: what a library offers, what the cluster has loaded, a new one to begin with.
    #[command(subcommand)]
    Modules(ModulesCommand),
    /// Tell the version of this program and of the master.
    Version,
}

/// `mezzo modules`.
#[derive(Debug, Subcommand)]
pub enum ModulesCommand {
    /// Tell what a library of modules offers, without loading it into this process; exit code 1 if
    /// no master or agent would load it.
    Inspect(InspectOptions),
    /// List the modules of the master and of every agent, with the counts of their calls.
    List,
    /// Make a crate with a module in it that builds, loads and keeps every rule, to be changed.
    New(NewModuleOptions),
}

/// `mezzo modules inspect`.
#[derive(Debug, Clone, Args)]
pub struct InspectOptions {
    /// The library.
    #[arg(value_name = "FILE.so")]
    pub file: PathBuf,
}

/// `mezzo modules new`.
#[derive(Debug, Clone, Args)]
pub struct NewModuleOptions {
    /// What it is to be.
    #[arg(long, value_name = "KIND")]
    pub kind: ModuleKind,
    /// The name of the crate and of the module.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Where the crate goes, if not to ./NAME.
    #[arg(long, value_name = "DIR")]
    pub path: Option<PathBuf>,
    /// A checkout of mezzo, if not the one that this program was built from.
    #[arg(long, value_name = "DIR")]
    pub mezzo: Option<PathBuf>,
}

/// A kind of module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModuleKind {
    /// Decides in the master who is offered what.
    Allocator,
    /// Keeps one container on an agent from harming others.
    Isolator,
    /// Small changes and checks at chosen points of master and agent.
    Hook,
}

impl ModuleKind {
    /// As it is written on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allocator => "allocator",
            Self::Isolator => "isolator",
            Self::Hook => "hook",
        }
    }
}

/// `mezzo local`.
#[derive(Debug, Clone, Args)]
pub struct LocalOptions {
    /// How many agents.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=100))]
    pub agents: u16,
    /// Port of the master; 0 for any that is free.
    #[arg(long, default_value_t = 5050, value_name = "PORT")]
    pub port: u16,
    /// Where everything is kept; a temporary directory, removed at the end, if not given.
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Resources of each agent, such as cpus:2;mem:1024; what the machine has if not given.
    #[arg(long, value_name = "RESOURCES")]
    pub resources: Option<String>,
    /// A command to run against the cluster (`MEZZO_MASTER` is set); the cluster ends with it.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `mezzo run`.
#[derive(Debug, Clone, Args)]
pub struct RunOptions {
    /// Processors for each task.
    #[arg(long, default_value_t = 0.1, value_name = "CPUS", value_parser = amount)]
    pub cpus: f64,
    /// Memory for each task, in megabytes.
    #[arg(long, default_value_t = 32.0, value_name = "MB", value_parser = amount)]
    pub mem: f64,
    /// What to call the task.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// A variable of the task's environment; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,
    /// How many times to run it.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub instances: u32,
    /// A file with one task on each line: a shell command, or a JSON object with command (or argv),
    /// name, cpus, mem, env, instances.
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    pub tasks: Option<PathBuf>,
    /// The role whose resources to use.
    #[arg(long, default_value = "*", value_name = "ROLE")]
    pub role: String,
    /// The user to run as, if not you.
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// The command. One word is read by a shell; several are a program and its arguments.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `mezzo tasks`, `mezzo frameworks`.
#[derive(Debug, Clone, Copy, Args)]
pub struct ListOptions {
    /// Those that have ended too.
    #[arg(long, short)]
    pub all: bool,
}

/// `mezzo logs`.
#[derive(Debug, Clone, Args)]
pub struct LogsOptions {
    /// The task's id.
    #[arg(value_name = "TASK")]
    pub task: String,
    /// Go on until the task ends.
    #[arg(long, short)]
    pub follow: bool,
    /// Its stderr instead of its stdout.
    #[arg(long)]
    pub stderr: bool,
    /// The framework, if several have a task of this id.
    #[arg(long, value_name = "ID")]
    pub framework: Option<String>,
}

/// `mezzo kill`.
#[derive(Debug, Clone, Args)]
pub struct KillOptions {
    /// The task's id.
    #[arg(value_name = "TASK")]
    pub task: String,
    /// The framework, if several have a task of this id.
    #[arg(long, value_name = "ID")]
    pub framework: Option<String>,
}

fn amount(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(amount) if (0.0..=1e12).contains(&amount) => Ok(amount),
        _ => Err("expected a number that is not negative".to_owned()),
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
