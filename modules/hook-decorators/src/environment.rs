//! Hook `environment`.

use mezzo_module_api::v1::{
    AgentExecutorEnvironmentRequest, AgentExecutorEnvironmentResponse, AgentPrelaunchDockerRequest,
    AgentPrelaunchDockerResponse, AgentPrelaunchRequest, AgentPrelaunchResponse,
};
use mezzo_module_api::{Hook, Host, ModuleError, Parameters};
use mezzo_proto::v1::Environment;
use mezzo_proto::v1::environment::Variable;
use mezzo_proto::v1::environment::variable::Type;

use crate::MASTER;

/// Sets the same variables everywhere.
#[derive(Debug)]
pub struct EnvironmentHook {
    /// `None`: there are none.
    executor: Option<Environment>,
    task: Option<Environment>,
}

impl EnvironmentHook {
    /// The hook with the variables of these parameters.
    ///
    /// # Errors
    /// When a parameter is unknown or no variable.
    pub fn new(host: Host, parameters: Parameters) -> Result<Self, ModuleError> {
        parameters.allow_only(&["variable", "task_variable"])?;
        if host.process().name == MASTER {
            host.warn("there are no executors in a master: this hook does nothing here");
        }
        Ok(Self {
            executor: environment(&parameters, "variable")?,
            task: environment(&parameters, "task_variable")?,
        })
    }
}

impl Hook for EnvironmentHook {
    fn agent_executor_environment(
        &self,
        request: AgentExecutorEnvironmentRequest,
    ) -> Result<AgentExecutorEnvironmentResponse, ModuleError> {
        let Some(ours) = self.executor.clone() else {
            return Ok(AgentExecutorEnvironmentResponse::default());
        };
        // The answer replaces what the hook before this one answered, so that is in it.
        let before = request.executor.and_then(|e| e.command).and_then(|c| c.environment);
        let mut environment = before.unwrap_or_default();
        environment.variables.retain(|v| !ours.variables.iter().any(|our| our.name == v.name));
        environment.variables.extend(ours.variables);
        Ok(AgentExecutorEnvironmentResponse { environment: Some(environment) })
    }

    fn agent_prelaunch(
        &self,
        _: AgentPrelaunchRequest,
    ) -> Result<AgentPrelaunchResponse, ModuleError> {
        Ok(AgentPrelaunchResponse {
            task_environment: self.task.clone(),
            ..AgentPrelaunchResponse::default()
        })
    }

    fn agent_prelaunch_docker(
        &self,
        _: AgentPrelaunchDockerRequest,
    ) -> Result<AgentPrelaunchDockerResponse, ModuleError> {
        Ok(AgentPrelaunchDockerResponse {
            executor_environment: self.executor.clone(),
            task_environment: self.task.clone(),
        })
    }
}

/// The variables under a key; of one name, the last.
fn environment(
    parameters: &Parameters,
    key: &'static str,
) -> Result<Option<Environment>, ModuleError> {
    let mut variables: Vec<Variable> = Vec::new();
    for text in parameters.all(key) {
        let variable = text.split_once('=').filter(|(name, _)| !name.is_empty());
        let Some((name, value)) = variable.filter(|_| !text.contains('\0')) else {
            return Err(ModuleError::invalid(format!(
                "parameter `{key}` is `{text}`, expected `NAME=value`"
            )));
        };
        variables.retain(|variable| variable.name != name);
        variables.push(Variable {
            name: name.to_owned(),
            r#type: Some(Type::Value.into()),
            value: Some(value.to_owned()),
            ..Variable::default()
        });
    }
    Ok((!variables.is_empty()).then_some(Environment { variables }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use mezzo_proto::v1::{CommandInfo, ExecutorInfo};

    use super::*;

    fn hook(pairs: &[(&str, &str)]) -> Result<EnvironmentHook, String> {
        EnvironmentHook::new(Host::silent(), Parameters::from_pairs(pairs))
            .map_err(|error| error.message)
    }

    fn pairs(environment: Option<Environment>) -> Vec<(String, String)> {
        let variables = environment.map(|environment| environment.variables).unwrap_or_default();
        variables.into_iter().map(|v| (v.name.clone(), v.value().to_owned())).collect()
    }

    #[test]
    fn executors_and_tasks_get_their_own_variables() {
        let hook = hook(&[
            ("variable", "PROXY=http://proxy:3128/?a=b"),
            ("task_variable", "SITE=north"),
            ("variable", "EMPTY="),
        ])
        .unwrap();
        let executor = vec![
            ("PROXY".to_owned(), "http://proxy:3128/?a=b".to_owned()),
            ("EMPTY".to_owned(), String::new()),
        ];
        let task = vec![("SITE".to_owned(), "north".to_owned())];
        let answer = hook.agent_executor_environment(AgentExecutorEnvironmentRequest::default());
        assert_eq!(pairs(answer.unwrap().environment), executor);
        let answer = hook.agent_prelaunch(AgentPrelaunchRequest::default()).unwrap();
        assert_eq!(
            (answer.executor_environment, pairs(answer.task_environment)),
            (None, task.clone())
        );
        let answer = hook.agent_prelaunch_docker(AgentPrelaunchDockerRequest::default()).unwrap();
        assert_eq!(pairs(answer.executor_environment), executor);
        assert_eq!(pairs(answer.task_environment), task);
    }

    #[test]
    fn what_a_hook_before_it_answered_stays() {
        let before = environment(&Parameters::from_pairs(&[("v", "A=1"), ("v", "B=1")]), "v");
        let command = CommandInfo { environment: before.unwrap(), ..CommandInfo::default() };
        let executor = ExecutorInfo { command: Some(command), ..ExecutorInfo::default() };
        let request = AgentExecutorEnvironmentRequest { executor: Some(executor) };
        let answer = hook(&[("variable", "B=2")]).unwrap().agent_executor_environment(request);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(pairs(answer.unwrap().environment), [pair("A", "1"), pair("B", "2")]);
    }

    #[test]
    fn without_variables_nothing_changes_and_of_one_name_the_last_counts() {
        let answer = |hook: EnvironmentHook| {
            hook.agent_executor_environment(AgentExecutorEnvironmentRequest::default()).unwrap()
        };
        assert_eq!(answer(hook(&[]).unwrap()).environment, None);
        let twice = hook(&[("variable", "A=1"), ("variable", "A=2")]).unwrap();
        assert_eq!(pairs(answer(twice).environment), [("A".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn what_is_no_variable_is_refused_at_start() {
        for wrong in ["", "NAME", "=value", "A=\0"] {
            let error = hook(&[("task_variable", wrong)]).unwrap_err();
            assert_eq!(
                error,
                format!("parameter `task_variable` is `{wrong}`, expected `NAME=value`")
            );
        }
        assert!(hook(&[("variables", "A=1")]).unwrap_err().starts_with("unknown parameter"));
    }
}
