//! Fetching what the tasks made, and comparing it with a direct computation.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use mezzo_sdk::Handle;
use mezzo_sdk::sandbox::{Sandbox, SandboxError};
use mezzo_sdk::v1::FrameworkId;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::tree::Input;

/// A task that has finished, and where its sandbox is.
pub(crate) struct Finished {
    pub(crate) agent: String,
    pub(crate) framework: FrameworkId,
    pub(crate) task_id: String,
    pub(crate) files: Vec<Input>,
}

/// What the scheduler tells the collector.
pub(crate) enum Message {
    /// A task has finished.
    Finished(Box<Finished>),
    /// All have. Sandboxes may be removed with their framework, so it is torn down only when
    /// everything is fetched.
    Done(Handle),
}

/// What came of all tasks.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) tasks: usize,
    pub(crate) compressed: u64,
    /// Differences from the direct computation.
    pub(crate) wrong: Vec<String>,
}

/// Fetches and checks results until all are there, or the scheduler has given up.
pub(crate) async fn collect(mut messages: mpsc::Receiver<Message>) -> Results {
    let mut results = Results::default();
    while let Some(message) = messages.recv().await {
        let finished = match message {
            Message::Finished(finished) => finished,
            Message::Done(handle) => {
                handle.teardown();
                break;
            }
        };
        results.tasks += 1;
        let task_id = finished.task_id.clone();
        match fetch(&finished).await {
            Ok((sums, archive)) => {
                results.compressed += archive.len() as u64;
                // Reading and unpacking is work for a thread that may block.
                let checked =
                    tokio::task::spawn_blocking(move || check(&finished.files, &sums, &archive));
                match checked.await {
                    Ok(Ok(())) => {}
                    Ok(Err(why)) => results.wrong.push(format!("{task_id}: {why}")),
                    Err(_) => results.wrong.push(format!("{task_id}: the check panicked")),
                }
            }
            Err(error) => results.wrong.push(format!("{task_id}: {error}")),
        }
    }
    results
}

async fn fetch(finished: &Finished) -> Result<(Vec<u8>, Vec<u8>), SandboxError> {
    let mut sandbox =
        Sandbox::connect(&finished.agent, &finished.framework, &finished.task_id).await?;
    Ok((sandbox.read_from("stdout", 0).await?, sandbox.read_from("archive.gz", 0).await?))
}

/// Compares a task's checksums and its archive with the files themselves.
fn check(files: &[Input], sums: &[u8], archive: &[u8]) -> Result<(), String> {
    let sums = String::from_utf8_lossy(sums);
    // `sha256sum` writes the sum and the name `-`.
    let mut sums = sums.lines().filter_map(|line| line.split_whitespace().next());
    let mut unpacked = MultiGzDecoder::new(archive);
    for file in files {
        let path = file.path.display();
        let content = read(&file.path).map_err(|error| format!("{path}: {error}"))?;
        let expected = hex(&Sha256::digest(&content));
        let told = sums.next().unwrap_or("nothing");
        if told != expected {
            return Err(format!("{path}: the task's checksum is {told}, expected {expected}"));
        }
        let mut same = vec![0; content.len()];
        let read = unpacked.read_exact(&mut same);
        if read.is_err() || same != content {
            return Err(format!("{path}: the compressed file holds something else"));
        }
    }
    if sums.next().is_some() || unpacked.read(&mut [0]).map_or(true, |more| more > 0) {
        return Err("more came back than was asked for".to_owned());
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.read_to_end(&mut content)?;
    Ok(content)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// What the task's script does, for two files.
    fn task(files: &[Input]) -> (Vec<u8>, Vec<u8>) {
        let (mut sums, mut archive) = (Vec::new(), Vec::new());
        for file in files {
            let content = read(&file.path).unwrap();
            writeln!(sums, "{}  -", hex(&Sha256::digest(&content))).unwrap();
            let mut member = GzEncoder::new(&mut archive, Compression::fast());
            member.write_all(&content).unwrap();
            member.finish().unwrap();
        }
        (sums, archive)
    }

    #[test]
    fn a_right_result_passes_and_every_kind_of_wrong_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let input = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            Input { path, size: content.len() as u64 }
        };
        let files = [input("a", "first"), input("b", ""), input("c", "third file")];
        let (sums, archive) = task(&files);
        assert_eq!(check(&files, &sums, &archive), Ok(()));

        let other = [input("d", "First"), input("e", ""), input("f", "third file")];
        assert!(check(&other, &sums, &archive).unwrap_err().contains("checksum"));
        let (right_sums, _) = task(&other);
        assert!(check(&other, &right_sums, &archive).unwrap_err().contains("something else"));
        let two = files.get(..2).unwrap();
        assert!(check(two, &sums, &archive).unwrap_err().contains("more came back"));
        let cut = archive.get(..archive.len() / 2).unwrap();
        assert!(check(&files, &sums, cut).is_err());
        assert!(check(&files, b"", &archive).unwrap_err().contains("nothing"));
    }
}
