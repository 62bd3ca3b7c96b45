//! Hook `prelaunch`: the last check before a container starts.
//!
//! Refuses a container, so that its task fails, when one of these is true:
//!
//! | parameter | meaning |
//! |---|---|
//! | `refuse_label` | `key` or `key=value`: the task or its executor carries this label. May be given more than once. |
//! | `require_label` | `key` or `key=value`: neither the task nor its executor carries this label. May be given more than once. |
//! | `refuse_user` | The container would run as this user (for example `root`). May be given more than once. |
//!
//! Without parameters nothing is refused.

use mezzo_module_abi::export_module;
use mezzo_module_api::v1::{AgentPrelaunchRequest, AgentPrelaunchResponse, ContainerConfig};
use mezzo_module_api::{Code, Hook, Host, ModuleError, Parameters};
use mezzo_proto::v1::Label;

/// The rules of one instance.
#[derive(Debug, Default)]
pub struct Prelaunch {
    refuse_labels: Vec<Pattern>,
    require_labels: Vec<Pattern>,
    refuse_users: Vec<String>,
}

/// `key`, or `key=value`.
#[derive(Debug, PartialEq, Eq)]
struct Pattern {
    key: String,
    value: Option<String>,
}

impl Prelaunch {
    /// The hook with the rules of these parameters.
    ///
    /// # Errors
    /// When a parameter is unknown, or a label has no key.
    pub fn new(_host: Host, parameters: Parameters) -> Result<Self, ModuleError> {
        parameters.allow_only(&["refuse_label", "require_label", "refuse_user"])?;
        let patterns = |key: &'static str| {
            parameters.all(key).map(|text| Pattern::parse(key, text)).collect::<Result<_, _>>()
        };
        Ok(Self {
            refuse_labels: patterns("refuse_label")?,
            require_labels: patterns("require_label")?,
            refuse_users: parameters.all("refuse_user").map(str::to_owned).collect(),
        })
    }

    fn check(&self, config: &ContainerConfig) -> Result<(), ModuleError> {
        let labels: Vec<&Label> = labels_of(config).collect();
        if let Some(pattern) = self
            .refuse_labels
            .iter()
            .find(|pattern| labels.iter().any(|label| pattern.matches(label)))
        {
            return Err(refused(format!("the label `{pattern}` is refused on this agent")));
        }
        if let Some(pattern) = self
            .require_labels
            .iter()
            .find(|pattern| !labels.iter().any(|label| pattern.matches(label)))
        {
            return Err(refused(format!("the label `{pattern}` is required on this agent")));
        }
        match config.user.as_ref().filter(|user| self.refuse_users.contains(user)) {
            Some(user) => {
                Err(refused(format!("containers of user `{user}` are refused on this agent")))
            }
            None => Ok(()),
        }
    }
}

impl Hook for Prelaunch {
    fn agent_prelaunch(
        &self,
        request: AgentPrelaunchRequest,
    ) -> Result<AgentPrelaunchResponse, ModuleError> {
        self.check(&request.config.unwrap_or_default())?;
        Ok(AgentPrelaunchResponse::default())
    }
}

impl Pattern {
    fn parse(parameter: &str, text: &str) -> Result<Self, ModuleError> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text, None),
        };
        if key.is_empty() {
            return Err(ModuleError::invalid(format!(
                "parameter `{parameter}` is `{text}`, expected `key` or `key=value`"
            )));
        }
        Ok(Self { key: key.to_owned(), value })
    }

    fn matches(&self, label: &Label) -> bool {
        label.key == self.key
            && self.value.as_ref().is_none_or(|value| label.value.as_ref() == Some(value))
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.key)?;
        self.value.as_ref().map_or(Ok(()), |value| write!(f, "={value}"))
    }
}

fn labels_of(config: &ContainerConfig) -> impl Iterator<Item = &Label> {
    let task = config.task_info.as_ref().and_then(|task| task.labels.as_ref());
    let executor = config.executor_info.as_ref().and_then(|executor| executor.labels.as_ref());
    task.into_iter().chain(executor).flat_map(|labels| &labels.labels)
}

fn refused(message: String) -> ModuleError {
    ModuleError::new(Code::PermissionDenied, message)
}

export_module! {
    hook "prelaunch" ("refuses containers by label or user before they start") = Prelaunch::new;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use mezzo_proto::v1::{Labels, TaskInfo};

    use super::*;

    fn request(label: &str, value: &str, user: &str) -> AgentPrelaunchRequest {
        let labels = vec![Label { key: label.into(), value: Some(value.into()) }];
        let task = TaskInfo { labels: Some(Labels { labels }), ..TaskInfo::default() };
        let config = ContainerConfig {
            task_info: Some(task),
            user: Some(user.into()),
            ..ContainerConfig::default()
        };
        AgentPrelaunchRequest { config: Some(config), ..AgentPrelaunchRequest::default() }
    }

    fn hook(pairs: &[(&str, &str)]) -> Prelaunch {
        Prelaunch::new(Host::silent(), Parameters::from_pairs(pairs)).unwrap()
    }

    #[test]
    fn a_refused_label_fails_the_launch_and_others_pass() {
        let hook = hook(&[("refuse_label", "quarantine=yes"), ("refuse_label", "broken")]);
        let error = hook.agent_prelaunch(request("quarantine", "yes", "me")).unwrap_err();
        assert_eq!(error.message, "the label `quarantine=yes` is refused on this agent");
        assert!(hook.agent_prelaunch(request("broken", "whatever", "me")).is_err());
        hook.agent_prelaunch(request("quarantine", "no", "me")).unwrap();
    }

    #[test]
    fn a_required_label_must_be_there() {
        let hook = hook(&[("require_label", "owner")]);
        hook.agent_prelaunch(request("owner", "anybody", "me")).unwrap();
        assert!(hook.agent_prelaunch(request("team", "x", "me")).is_err());
    }

    #[test]
    fn a_refused_user_fails_the_launch() {
        let hook = hook(&[("refuse_user", "root")]);
        assert!(hook.agent_prelaunch(request("a", "b", "root")).is_err());
        hook.agent_prelaunch(request("a", "b", "nobody")).unwrap();
    }

    #[test]
    fn without_parameters_nothing_is_refused() {
        hook(&[]).agent_prelaunch(AgentPrelaunchRequest::default()).unwrap();
    }

    #[test]
    fn wrong_parameters_are_refused_at_start() {
        let make = |pairs: &[(&str, &str)]| {
            Prelaunch::new(Host::silent(), Parameters::from_pairs(pairs)).unwrap_err().message
        };
        assert!(make(&[("refuse_lable", "x")]).starts_with("unknown parameter `refuse_lable`"));
        assert_eq!(
            make(&[("refuse_label", "=x")]),
            "parameter `refuse_label` is `=x`, expected `key` or `key=value`"
        );
    }
}
