//! A real job: compress and checksum every file of a directory tree, split over many tasks, and
//! prove that the result is right.
//!
//! Each task gets some of the files, a limit of cpu and memory of its own, and does its work with
//! nothing but `sh`, `gzip` and `sha256sum`: for each file a checksum on stdout, and the compressed
//! file at the end of `archive.gz`. The framework fetches both from the sandbox when the task has
//! finished and compares them with what it reads from the disk itself.
//!
//! `compress-tree [MASTER] [--tree DIR] [--tasks N]`

mod collect;
mod job;
mod split;
mod tree;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use mezzo_sdk::{Framework, SchedulerDriver};

use crate::job::Job;

/// What to do and where.
struct Options {
    master: String,
    tree: Option<PathBuf>,
    tasks: usize,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let master = std::env::var("MEZZO_MASTER").ok();
        let master = master.unwrap_or_else(|| "127.0.0.1:5050".to_owned());
        let mut options = Self { master, tree: None, tasks: 64 };
        while let Some(argument) = arguments.next() {
            let mut value =
                || arguments.next().with_context(|| format!("{argument}: expected a value"));
            match argument.as_str() {
                "--tree" => options.tree = Some(value()?.into()),
                "--tasks" => {
                    options.tasks = value()?.parse().context("--tasks: expected a number")?;
                    ensure!(
                        (1..=100_000).contains(&options.tasks),
                        "--tasks: expected 1 to 100000"
                    );
                }
                flag if flag.starts_with('-') => {
                    bail!("unknown flag {flag}: expected --tree DIR or --tasks N");
                }
                _ => options.master = argument,
            }
        }
        Ok(options)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let root = match options.tree {
        Some(tree) => tree,
        None => tree::default_tree().context("no default tree: expected --tree DIR")?,
    };
    let files = tree::files(&root).with_context(|| format!("cannot read {}", root.display()))?;
    ensure!(!files.is_empty(), "{} has no files that can be read", root.display());
    let count = files.len();
    let bytes: u64 = files.iter().map(|file| file.size).sum();
    let parts = split::split(files, options.tasks);
    let tasks = parts.len();
    tell(&format!("{count} files, {:.1} MB in {}, {tasks} tasks", mb(bytes), root.display()));

    let began = Instant::now();
    let (job, collected) = Job::new(parts);
    let driver = SchedulerDriver::new(options.master, Framework::new("compress-tree"));
    let job = driver.run(job).await?;
    let seconds = began.elapsed().as_secs_f64();
    if let Some(wrong) = job.wrong() {
        bail!("{wrong}");
    }
    let results = collected.await.context("the collector panicked")?;
    ensure!(results.tasks == tasks, "{} of {tasks} results came", results.tasks);
    let wrong = results.wrong;
    for difference in wrong.iter().take(10) {
        tell(&format!("WRONG: {difference}"));
    }
    ensure!(wrong.is_empty(), "{} differences from a direct computation", wrong.len());
    tell(&format!(
        "{tasks} tasks in {seconds:.1} s ({:.1} tasks/s): {count} files, {:.1} MB compressed to {:.1} MB ({:.1} MB/s)",
        f64::from(u32::try_from(tasks).unwrap_or(u32::MAX)) / seconds,
        mb(bytes),
        mb(results.compressed),
        mb(bytes) / seconds,
    ));
    tell(&format!("compress-tree: verified {count} checksums and every compressed byte"));
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "for people, with one decimal")]
fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Everything that this program says.
#[allow(clippy::print_stdout, reason = "this program is here to tell")]
fn tell(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> anyhow::Result<Options> {
        Options::parse(arguments.iter().map(|argument| (*argument).to_owned()))
    }

    #[test]
    fn arguments_are_understood_and_wrong_ones_named() {
        let options = parse(&["h:1", "--tree", "/x", "--tasks", "7"]).unwrap();
        assert_eq!((options.master.as_str(), options.tasks), ("h:1", 7));
        assert_eq!(options.tree, Some(PathBuf::from("/x")));
        for wrong in [&["--tasks", "0"][..], &["--tasks", "x"], &["--tree"], &["--what"]] {
            let error = parse(wrong).err().unwrap().to_string();
            assert!(error.contains("expected"), "{error}");
        }
    }
}
