//! The task's output as it is written, read through its agent.

use mezzo_proto::v1;
use mezzo_sdk::sandbox::{Sandbox, SandboxError};

use crate::output;

/// Lines of a failed task's stderr that are shown.
const LAST_LINES: usize = 10;
/// What they are looked for in.
const LAST_BYTES: u64 = 16 << 10;

/// Follows the output of one task.
pub(crate) struct Follower {
    sandbox: Sandbox,
    stdout: u64,
    stderr: u64,
}

impl Follower {
    /// Follows the task `id` on the agent at `address`.
    pub(crate) async fn connect(
        address: &str,
        framework: &v1::FrameworkId,
        id: &str,
    ) -> Result<Self, SandboxError> {
        let sandbox = Sandbox::connect(address, framework, id).await?;
        Ok(Self { sandbox, stdout: 0, stderr: 0 })
    }

    /// Passes on what is new. A file that is not there (yet) has nothing new.
    pub(crate) async fn pass_on(&mut self) -> Result<(), SandboxError> {
        for (file, error) in [("stdout", false), ("stderr", true)] {
            let offset = if error { &mut self.stderr } else { &mut self.stdout };
            match self.sandbox.read_from(file, *offset).await {
                Ok(content) => {
                    *offset += content.len() as u64;
                    output::bytes(error, &content);
                }
                Err(SandboxError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The last lines of the task's stderr.
    pub(crate) async fn last_words(&mut self) -> Vec<String> {
        let Ok(whole) = self.sandbox.read("stderr", 0, 0).await else { return Vec::new() };
        let from = whole.size.saturating_sub(LAST_BYTES);
        let Ok(content) = self.sandbox.read_from("stderr", from).await else { return Vec::new() };
        let text = String::from_utf8_lossy(&content);
        let lines: Vec<&str> = text.lines().collect();
        let skipped = lines.len().saturating_sub(LAST_LINES);
        lines.into_iter().skip(skipped).map(str::to_owned).collect()
    }
}
