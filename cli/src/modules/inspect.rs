//! `mezzo modules inspect`: what a library offers, or why no master and no agent would load it.
//!
//! A library that is opened runs code of its own, so a child process does it: `mezzo-module-probe`, the
//! program that the master and the agents try libraries with. What it says is what they would say.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::time::timeout;

use crate::args::InspectOptions;
use crate::{CliError, output};

const PROBE: &str = "mezzo-module-probe";
/// How long a library may take to open.
const PATIENCE: Duration = Duration::from_secs(15);
/// The exit code for a library that would not be loaded.
const REFUSED: u8 = 1;

/// Why nobody could look at a library. (One that was looked at and refused is an answer.)
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// The program that looks is not there.
    #[error("there is no {PROBE} beside {} (or in ../lib/mezzo), expected all binaries of mezzo in one directory", .beside.display())]
    NoProbe {
        /// Where it was looked for.
        beside: PathBuf,
    },
    /// It does not run.
    #[error("cannot run {}: {source}", .probe.display())]
    Run {
        /// Which program.
        probe: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Its answer makes no sense.
    #[error("{} answered `{answer}`, expected a description of the library in JSON", .probe.display())]
    Garbled {
        /// Which program.
        probe: PathBuf,
        /// What it said.
        answer: String,
    },
}

/// What the probe tells of a library.
#[derive(Debug, Serialize, Deserialize)]
struct Inspected {
    /// The version of the module ABI it was built for.
    abi: String,
    #[serde(default)]
    sha256: String,
    modules: Vec<InspectedModule>,
}

#[derive(Debug, Serialize, Deserialize)]
struct InspectedModule {
    name: String,
    kind: String,
    version: String,
    author: String,
    description: String,
    /// The revision of the messages it was built with.
    #[serde(default)]
    api: u32,
}

/// `mezzo modules inspect`.
pub(crate) async fn run(options: InspectOptions, json: bool) -> Result<u8, CliError> {
    let file = options.file.display().to_string();
    match look(&options.file).await? {
        Ok(found) if json => {
            let answer = serde_json::json!({
                "file": file, "abi": found.abi, "sha256": found.sha256, "modules": found.modules,
            });
            output::answer(&answer.to_string());
            Ok(0)
        }
        Ok(found) => {
            let row = |module: &InspectedModule| {
                let InspectedModule { name, kind, version, author, description, .. } = module;
                let cells = [name, kind, version, author, &found.abi, description];
                cells.map(Clone::clone).to_vec()
            };
            let header = ["NAME", "KIND", "VERSION", "AUTHOR", "ABI", "DESCRIPTION"];
            output::table(&header, found.modules.iter().map(row));
            Ok(0)
        }
        Err(reason) => {
            if json {
                let answer = serde_json::json!({ "file": file, "error": reason });
                output::answer(&answer.to_string());
            }
            output::remark(&format!("mezzo: {reason}"));
            Ok(REFUSED)
        }
    }
}

/// What the probe says: the library's description, or why it would be refused.
async fn look(file: &Path) -> Result<Result<Inspected, String>, InspectError> {
    let probe = probe()?;
    let child = Command::new(&probe)
        .arg("--inspect")
        .arg(file)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let Ok(ended) = timeout(PATIENCE, child).await else {
        let seconds = PATIENCE.as_secs();
        let file = file.display();
        return Ok(Err(format!(
            "module library `{file}` did not load within {seconds} s in the process that tried it"
        )));
    };
    let ended = ended.map_err(|source| InspectError::Run { probe: probe.clone(), source })?;
    if let Some(signal) = ended.status.signal() {
        let file = file.display();
        return Ok(Err(format!(
            "module library `{file}` killed the process that tried it, by signal {signal}"
        )));
    }
    let last = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes).lines().next_back().unwrap_or_default().to_owned()
    };
    match ended.status.code() {
        Some(0) => {}
        Some(code) if code == i32::from(REFUSED) => return Ok(Err(last(&ended.stderr))),
        // Not its own words: the dynamic loader, or the library, has ended it.
        code => {
            let (file, code) = (file.display(), code.unwrap_or_default());
            let said = last(&ended.stderr);
            return Ok(Err(format!(
                "module library `{file}` ended the process that tried it, with exit code {code}: {said}"
            )));
        }
    }
    // What the library itself printed comes before.
    let answer = last(&ended.stdout);
    let found = serde_json::from_str(&answer);
    found.map(Ok).map_err(|_| InspectError::Garbled { probe, answer })
}

/// The probe beside this program, or where an installation has it.
fn probe() -> Result<PathBuf, InspectError> {
    let own = std::env::current_exe().unwrap_or_default();
    let here = own.parent().unwrap_or(Path::new("/")).to_owned();
    let places = [here.clone(), here.join(".."), here.join("../lib/mezzo")];
    let found = places.iter().map(|place| place.join(PROBE)).find(|path| path.is_file());
    found.ok_or(InspectError::NoProbe { beside: here })
}
