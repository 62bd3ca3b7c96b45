//! Reading what a task wrote, through its agent.

use bytes::Bytes;
use mezzo_proto::v1;
use mezzo_proto::v1::agent::agent_service_client::AgentServiceClient;
use mezzo_proto::v1::agent::call;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// What is asked for at once. Small enough for any message limit, large enough to be quick.
const CHUNK: u64 = 1 << 20;

/// The sandbox of one executor; a command task's executor has the id of the task.
#[derive(Debug, Clone)]
pub struct Sandbox {
    client: AgentServiceClient<Channel>,
    directory: String,
}

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chunk {
    /// How long the whole file is at this moment.
    pub size: u64,
    /// The bytes from the offset that was asked for, fewer than asked for at the end.
    pub data: Bytes,
}

/// Why a sandbox could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The agent cannot be reached.
    #[error("cannot connect to the agent at {address}: {why}")]
    Connect {
        /// Where it should be.
        address: String,
        /// What came of trying.
        why: String,
    },
    /// There is no such file (any more, or yet).
    #[error("no file '{path}' on the agent")]
    NotFound {
        /// What was asked for.
        path: String,
    },
    /// The agent refused.
    #[error("cannot read '{path}' on the agent: {}", .status.message())]
    Refused {
        /// What was asked for.
        path: String,
        /// Its answer.
        status: Box<Status>,
    },
}

impl Sandbox {
    /// The latest sandbox of `executor` on the agent at `address` (`host:port`).
    ///
    /// # Errors
    /// If the agent cannot be reached.
    pub async fn connect(
        address: &str,
        framework: &v1::FrameworkId,
        executor: &str,
    ) -> Result<Self, SandboxError> {
        let fail = |why| SandboxError::Connect { address: address.to_owned(), why };
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| fail(error.to_string()))?;
        let channel = endpoint
            .connect_timeout(std::time::Duration::from_secs(10))
            .tcp_nodelay(true)
            .connect()
            .await
            .map_err(|error| fail(crate::errors::chain(&error)))?;
        Ok(Self::on(channel, framework, executor))
    }

    /// The same over a connection that is there already.
    #[must_use]
    pub fn on(channel: Channel, framework: &v1::FrameworkId, executor: &str) -> Self {
        let directory = format!("/frameworks/{}/executors/{executor}/runs/latest", framework.value);
        Self { client: AgentServiceClient::new(channel), directory }
    }

    /// Reads up to `length` bytes of `file`, a path below the sandbox, from `offset`.
    ///
    /// # Errors
    /// If the agent does not answer or has no such file.
    pub async fn read(
        &mut self,
        file: &str,
        offset: u64,
        length: u64,
    ) -> Result<Chunk, SandboxError> {
        let path = format!("{}/{file}", self.directory);
        let call = call::ReadFile { path: path.clone(), offset, length: Some(length) };
        match self.client.read_file(call).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                Ok(Chunk { size: answer.size, data: answer.data })
            }
            Err(status) if status.code() == Code::NotFound => Err(SandboxError::NotFound { path }),
            Err(status) => Err(SandboxError::Refused { path, status: Box::new(status) }),
        }
    }

    /// Reads what `file` holds from `offset` to its end at this moment.
    ///
    /// # Errors
    /// As [`Sandbox::read`].
    pub async fn read_from(&mut self, file: &str, offset: u64) -> Result<Vec<u8>, SandboxError> {
        let mut content = Vec::new();
        loop {
            let at = offset + content.len() as u64;
            let chunk = self.read(file, at, CHUNK).await?;
            content.extend_from_slice(&chunk.data);
            if chunk.data.is_empty() || offset + content.len() as u64 >= chunk.size {
                return Ok(content);
            }
        }
    }
}

/// `host:port` of the agent that made `offer`.
#[must_use]
pub fn agent_of(offer: &v1::Offer) -> Option<String> {
    let address = &offer.url.as_ref()?.address;
    let host = address.ip.as_ref().or(address.hostname.as_ref())?;
    Some(format!("{host}:{}", address.port))
}
