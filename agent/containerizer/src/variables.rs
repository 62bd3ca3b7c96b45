//! The environment of a container, put together from what several have to say about it.

use std::collections::BTreeMap;

use mezzo_proto::v1::Environment;

use crate::LaunchError;

/// Variables for the task alone, as a JSON object: how they get past an executor. `mezzo-executor` takes it from its
/// environment.
pub(crate) const TASK_ENVIRONMENT: &str = "MEZZO_TASK_ENVIRONMENT";

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Environment variables; of two with one name the later counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Puts variables over those that are there.
    pub(crate) fn set(&mut self, environment: &Environment) -> Result<(), WrongVariable> {
        for variable in &environment.variables {
            let name = &variable.name;
            let wrong = |why| WrongVariable { name: name.escape_debug().to_string(), why };
            let value = match (&variable.value, &variable.secret) {
                (Some(value), _) => value.clone(),
                (None, None) => String::new(),
                (None, Some(secret)) => {
                    let data = secret.value.as_ref().map(|v| v.data.to_vec()).ok_or_else(|| {
                        wrong("refers to a secret by name, and this agent has no resolver for secrets")
                    })?;
                    String::from_utf8(data).map_err(|_| wrong("has a secret that is not text"))?
                }
            };
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(wrong(
                    "cannot be set; expected a name that is not empty, without '=', and no NUL in name or value",
                ));
            }
            self.0.insert(name.clone(), value);
        }
        Ok(())
    }

    /// Puts another set over this one.
    pub(crate) fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn to_proto(&self) -> Environment {
        use mezzo_proto::v1::environment::Variable;
        let variable = |(name, value): (&String, &String)| Variable {
            name: name.clone(),
            value: Some(value.clone()),
            ..Variable::default()
        };
        Environment { variables: self.0.iter().map(variable).collect() }
    }

    /// As a process gets them: with a PATH, and the task's own set packed into one.
    pub(crate) fn finish(mut self, task: Self) -> Vec<(String, String)> {
        self.0.entry("PATH".to_owned()).or_insert_with(|| DEFAULT_PATH.to_owned());
        if !task.0.is_empty() {
            let json =
                serde_json::Value::Object(task.0.into_iter().map(|(k, v)| (k, v.into())).collect());
            self.0.insert(TASK_ENVIRONMENT.to_owned(), json.to_string());
        }
        self.0.into_iter().collect()
    }
}

/// A variable that no process can have. Whose mistake it is, only the caller knows.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("environment variable '{name}' {why}")]
pub(crate) struct WrongVariable {
    name: String,
    /// Goes on after the name, or after a "which".
    why: &'static str,
}

impl WrongVariable {
    /// As a mistake of whoever wrote the command.
    pub(crate) fn in_command(self) -> LaunchError {
        LaunchError::InvalidCommand(self.to_string())
    }

    /// As a mistake of a module, for example `isolator 'x'`.
    pub(crate) fn of_module(self, kind: &'static str, name: &str) -> LaunchError {
        let what = format!("environment variable '{}', which {}", self.name, self.why);
        LaunchError::Unusable { kind, name: name.to_owned(), what }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use mezzo_proto::v1::Secret;
    use mezzo_proto::v1::environment::Variable;

    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let variable = |(name, value): &(&str, &str)| Variable {
            name: (*name).to_owned(),
            value: Some((*value).to_owned()),
            ..Variable::default()
        };
        Environment { variables: variables.iter().map(variable).collect() }
    }

    #[test]
    fn variables_that_no_process_can_have_are_refused() {
        for wrong in [("", "x"), ("a=b", "x"), ("a", "x\0")] {
            assert!(Variables::default().set(&environment(&[wrong])).is_err(), "{wrong:?}");
        }
        let secret = Variable {
            name: "S".to_owned(),
            secret: Some(Secret::default()),
            ..Variable::default()
        };
        let error = Variables::default().set(&Environment { variables: vec![secret] }).unwrap_err();
        assert!(error.to_string().contains("'S' refers to a secret"), "{error}");
    }

    #[test]
    fn there_is_always_a_path_and_the_tasks_variables_travel_in_one() {
        let mut task = Variables::default();
        task.set(&environment(&[("A", "1\"")])).unwrap();
        let all = Variables::default().finish(task);
        assert!(all.contains(&("PATH".to_owned(), DEFAULT_PATH.to_owned())));
        assert!(all.contains(&(TASK_ENVIRONMENT.to_owned(), r#"{"A":"1\""}"#.to_owned())));
    }

    #[test]
    fn a_wrong_variable_is_told_as_the_mistake_of_whoever_made_it() {
        let wrong = || Variables::default().set(&environment(&[("A=B", "x")])).unwrap_err();
        let why = "cannot be set; expected a name that is not empty, without '=', and no NUL in name or value";
        assert_eq!(wrong().in_command().to_string(), format!("environment variable 'A=B' {why}"));
        assert_eq!(
            wrong().of_module("hook", "h").to_string(),
            format!("hook 'h' wants environment variable 'A=B', which {why}")
        );
    }
}
