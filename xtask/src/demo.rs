//! `cargo xtask demo`: a real cluster does a real job and stops.
//!
//! Nothing here is made for show. The cluster is `mezzo local`: the master and two agents as
//! processes of their own, with their modules loaded from `.so` files. The job is the example
//! `compress-tree`, a framework as an outsider would write it: it compresses and checksums every
//! file of a directory tree in tasks with their own limits, and verifies the result. Then a look at
//! the machine tells whether anything was left behind.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::cargo::{self, cargo, target_dir};
use crate::leftovers::Watch;
use crate::{Failure, say};

/// What runs in the demo. The modules' `.so` files come with the whole workspace.
const PROGRAMS: [&str; 6] =
    ["mezzo", "mezzo-master", "mezzo-agent", "mezzo-executor", "mezzo-launcher", "compress-tree"];

/// Builds in release, runs the job on a cluster, and says what happened.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    let options = Options::parse(args)?;
    if !options.built {
        cargo::run(&mut cargo(&["build", "--release", "--workspace"]))?;
    }
    let binaries = target_dir().join("release");
    for program in PROGRAMS {
        if !binaries.join(program).is_file() {
            let place = binaries.display();
            return Err(Failure::task(format!("there is no {program} in {place}: build it first")));
        }
    }
    let began = Instant::now();
    let watch = Watch::start()?;
    let mut cluster = cluster(&binaries, &options);
    watch.mark(&mut cluster);
    say(format_args!("$ {}", words(&cluster)));
    let job = cargo::status(&mut cluster);
    let left = watch.finish();
    let seconds = began.elapsed().as_secs_f64();
    let status = job?;
    if !status.success() {
        return Err(Failure::task(format!("the demo failed: {status}")));
    }
    if !left.is_empty() {
        return Err(Failure::task(format!("the demo left behind: {}", left.join(", "))));
    }
    say(format_args!("demo: done in {seconds:.1} s, everything stopped, nothing left behind"));
    Ok(())
}

/// What can be said on the command line.
struct Options {
    built: bool,
    agents: String,
    tasks: String,
    tree: Option<PathBuf>,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, Failure> {
        let mut options =
            Self { built: false, agents: "2".to_owned(), tasks: "64".to_owned(), tree: None };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (arg.as_str(), None),
            };
            if name == "--built" && value.is_none() {
                options.built = true;
                continue;
            }
            let value = value.or_else(|| args.next().cloned());
            match (name, value) {
                ("--agents", Some(value)) => options.agents = value,
                ("--tasks", Some(value)) => options.tasks = value,
                ("--tree", Some(value)) => options.tree = Some(value.into()),
                _ => {
                    return Err(Failure::usage(format!(
                        "demo: got {arg:?}, expected --built, --agents N, --tasks N or --tree DIR"
                    )));
                }
            }
        }
        Ok(options)
    }
}

/// `mezzo local … -- compress-tree …`
fn cluster(binaries: &Path, options: &Options) -> Command {
    let mut command = Command::new(binaries.join("mezzo"));
    command.args(["local", "--port=0"]).arg(format!("--agents={}", options.agents));
    command.arg("--").arg(binaries.join("compress-tree")).args(["--tasks", &options.tasks]);
    if let Some(tree) = &options.tree {
        command.arg("--tree").arg(tree);
    }
    command
}

fn words(command: &Command) -> String {
    let mut words = vec![command.get_program().to_owned()];
    words.extend(command.get_args().map(OsString::from));
    words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, Failure> {
        Options::parse(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_job_runs_inside_the_cluster_command() {
        let options = parse(&["--tasks=99", "--tree", "/x"]).ok();
        let command = options.map(|options| words(&cluster(Path::new("/b"), &options)));
        assert_eq!(
            command.as_deref(),
            Some("/b/mezzo local --port=0 --agents=2 -- /b/compress-tree --tasks 99 --tree /x")
        );
    }

    #[test]
    fn a_wrong_argument_is_told_with_what_was_expected() {
        for wrong in [&["--task", "1"][..], &["now"], &["--tree"]] {
            let failure = parse(wrong).err().map(|failure| failure.to_string());
            assert!(failure.is_some_and(|text| text.contains("expected")), "{wrong:?}");
        }
    }
}
