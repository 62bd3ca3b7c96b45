//! Isolator `example/licences`: an agent-wide pool of licence keys, handed out when a container is prepared and taken back when it
//! is cleaned up.
//!
//! The number is a resource like any other: the agent is started with `licences:2` among its `--resources`, a task asks for
//! `licences:1`, and master and allocator see to it that no more are used than there are. The isolator knows which: it puts the
//! keys of a container into its environment.
//!
//! | parameter | default | meaning |
//! |---|---|---|
//! | `pool` | required | The keys, with commas between: `AAA-1,AAA-2`. |
//! | `resource` | `licences` | The name of the resource. |
//! | `unasked` | `0` | So many for a container that does not ask. |
//! | `variable` | `LICENCE_KEYS` | The variable that has the keys of a container, with commas between. |
//!
//! Who holds which key is kept in files, one for each container, because containers outlive the agent: the next life of the agent
//! reads them back in `recover`. A key that is not in the pool any more stays with the container that has it, and is not handed
//! out again.

mod ledger;

use std::sync::{Mutex, MutexGuard, PoisonError};

use mezzo_module_abi::export_module;
use mezzo_module_api::model::Resources;
use mezzo_module_api::types::environment::Variable;
use mezzo_module_api::types::{ContainerId, Environment, Resource};
use mezzo_module_api::v1::{
    CleanupRequest, CleanupResponse, ContainerLaunchInfo, IsolatorCapabilitiesRequest,
    IsolatorCapabilitiesResponse, PrepareRequest, PrepareResponse, RecoverRequest, RecoverResponse,
    UpdateRequest, UpdateResponse,
};
use mezzo_module_api::{Code, Host, Isolator, ModuleError, Parameters};

use crate::ledger::Ledger;

/// Hands out licences.
#[derive(Debug)]
pub struct Licences {
    host: Host,
    resource: String,
    unasked: usize,
    variable: String,
    ledger: Mutex<Ledger>,
}

impl Licences {
    /// The isolator for these parameters.
    ///
    /// # Errors
    /// When a parameter is missing, unknown or wrong, or when the place for the files cannot be made.
    pub fn new(host: Host, parameters: Parameters) -> Result<Self, ModuleError> {
        parameters.allow_only(&["pool", "resource", "unasked", "variable"])?;
        let pool = pool(parameters.get("pool").unwrap_or_default())?;
        let variable = parameters.get("variable").unwrap_or("LICENCE_KEYS");
        if variable.is_empty() || variable.contains(['=', '\0']) {
            return Err(ModuleError::invalid(format!(
                "parameter `variable` is `{variable}`, expected the name of an environment variable"
            )));
        }
        // What is below the work directory is there when the agent is started again.
        let process = host.process();
        let place = process.work_dir.as_ref().unwrap_or(&process.runtime_dir);
        let ledger = Ledger::open(&place.join("example-licences"), pool)?;
        Ok(Self {
            resource: parameters.get("resource").unwrap_or("licences").to_owned(),
            unasked: parameters.parse("unasked")?.unwrap_or(0),
            variable: variable.to_owned(),
            ledger: Mutex::new(ledger),
            host,
        })
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Every change of the ledger is whole, whatever panicked beside it.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many licences are among these resources, if any.
    fn asked(&self, resources: &[Resource]) -> Result<Option<usize>, ModuleError> {
        let resources = Resources::from_proto(resources)
            .map_err(|error| ModuleError::invalid(error.to_string()))?;
        if !resources.names().any(|name| name == self.resource) {
            return Ok(None);
        }
        let amount = resources.scalar(&self.resource).to_f64();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let whole = amount as usize;
        if (whole as f64 - amount).abs() > f64::EPSILON {
            return Err(ModuleError::invalid(format!(
                "{amount} {} are wanted, expected a whole number",
                self.resource
            )));
        }
        Ok(Some(whole))
    }

    fn launch_info(&self, keys: &[String], command_task: bool) -> ContainerLaunchInfo {
        let variable = Variable {
            name: self.variable.clone(),
            value: Some(keys.join(",")),
            ..Variable::default()
        };
        let environment = Environment { variables: vec![variable] };
        ContainerLaunchInfo {
            // The task of the built-in command executor has an environment of its own.
            task_environment: command_task.then(|| environment.clone()),
            environment: Some(environment),
            ..ContainerLaunchInfo::default()
        }
    }
}

impl Isolator for Licences {
    fn capabilities(
        &self,
        _: IsolatorCapabilitiesRequest,
    ) -> Result<IsolatorCapabilitiesResponse, ModuleError> {
        // A nested container runs on the resources of the one around it, which has the keys already.
        Ok(IsolatorCapabilitiesResponse { nesting: Some(false), standalone: Some(true) })
    }

    fn recover(&self, request: RecoverRequest) -> Result<RecoverResponse, ModuleError> {
        let alive = request.states.into_iter().map(|state| state.container_id);
        // Orphans are cleaned up right after; until then their keys are theirs.
        let known: Vec<String> =
            alive.chain(request.orphans).filter(top_level).map(|id| id.value).collect();
        let recovered = self.ledger().recover(&known)?;
        self.host.info(format!("{recovered} licences are in use by containers that live on"));
        Ok(RecoverResponse::default())
    }

    fn prepare(&self, request: PrepareRequest) -> Result<PrepareResponse, ModuleError> {
        let id = request.container_id.unwrap_or_default();
        let config = request.config.unwrap_or_default();
        let wanted = self.asked(&config.resources)?.unwrap_or(self.unasked);
        if wanted == 0 || !top_level(&id) {
            return Ok(PrepareResponse::default());
        }
        let keys = self.ledger().take(&id.value, wanted)?;
        self.host.count("handed_out", keys.len() as u64);
        let command_task = config.task_info.is_some();
        Ok(PrepareResponse { launch_info: Some(self.launch_info(&keys, command_task)) })
    }

    fn update(&self, request: UpdateRequest) -> Result<UpdateResponse, ModuleError> {
        let id = request.container_id.unwrap_or_default();
        let asked = self.asked(&request.requests)?;
        match (self.ledger().held(&id.value), asked) {
            // A running process cannot be given another environment.
            (Some(held), Some(wanted)) if held != wanted => Err(ModuleError::new(
                Code::FailedPrecondition,
                format!(
                    "container `{}` holds {held} {} and cannot be given {wanted} while it runs",
                    id.value, self.resource
                ),
            )),
            _ => Ok(UpdateResponse::default()),
        }
    }

    fn cleanup(&self, request: CleanupRequest) -> Result<CleanupResponse, ModuleError> {
        let id = request.container_id.unwrap_or_default();
        if top_level(&id) {
            let freed = self.ledger().give_back(&id.value)?;
            self.host.count("taken_back", freed as u64);
        }
        Ok(CleanupResponse::default())
    }
}

fn top_level(id: &ContainerId) -> bool {
    id.parent.is_none()
}

/// The keys of a list with commas.
fn pool(text: &str) -> Result<Vec<String>, ModuleError> {
    let wrong = |expected: &str| {
        Err(ModuleError::invalid(format!("parameter `pool` is `{text}`, expected {expected}")))
    };
    let keys: Vec<String> =
        text.split(',').map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect();
    if keys.is_empty() {
        return wrong("at least one key, with commas between: `AAA-1,AAA-2`");
    }
    if keys.iter().any(|key| key.contains(char::is_control)) {
        return wrong("keys without control characters");
    }
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() < keys.len() { wrong("each key once") } else { Ok(keys) }
}

export_module! {
    isolator "example/licences" ("hands out licences from a pool of the agent") = Licences::new;
}
