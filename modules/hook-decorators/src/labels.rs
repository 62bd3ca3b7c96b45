//! Hook `labels`.

use std::collections::BTreeSet;

use mezzo_module_api::v1::{
    AgentRunTaskLabelsRequest, AgentRunTaskLabelsResponse, AgentTaskStatusRequest,
    AgentTaskStatusResponse, MasterLaunchTaskLabelsRequest, MasterLaunchTaskLabelsResponse,
};
use mezzo_module_api::{Hook, Host, ModuleError, Parameters};
use mezzo_proto::v1::{Label, Labels, TaskInfo, TaskStatus};

use crate::MASTER;

/// Puts labels on and takes labels off.
#[derive(Debug)]
pub struct LabelsHook {
    put: Vec<Label>,
    remove: BTreeSet<String>,
    on_tasks: bool,
    on_updates: bool,
}

impl LabelsHook {
    /// The hook with the rules of these parameters.
    ///
    /// # Errors
    /// When a parameter is unknown, a label has no key, or there are two rules for one key.
    pub fn new(host: Host, parameters: Parameters) -> Result<Self, ModuleError> {
        parameters.allow_only(&["label", "remove", "at"])?;
        let (mut on_tasks, mut on_updates) = (false, false);
        for place in parameters.all("at") {
            match place {
                "task" => on_tasks = true,
                "status" => on_updates = true,
                _ => return Err(wrong("at", place, "`task` or `status`")),
            }
        }
        let mut keys = BTreeSet::new();
        let mut only_rule = |parameter: &str, text: &str, key: &str| {
            if key.is_empty() {
                return Err(wrong(parameter, text, "a label with a key"));
            }
            if !keys.insert(key.to_owned()) {
                return Err(wrong(parameter, text, "one rule for each key"));
            }
            Ok(())
        };
        let mut put = Vec::new();
        for text in parameters.all("label") {
            let (key, value) = match text.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (text, None),
            };
            only_rule("label", text, key)?;
            put.push(Label { key: key.to_owned(), value });
        }
        let mut remove = BTreeSet::new();
        for key in parameters.all("remove") {
            only_rule("remove", key, key)?;
            remove.insert(key.to_owned());
        }
        if on_updates && host.process().name == MASTER {
            host.warn("status updates are decorated by agents: `at` = `status` does nothing here");
        }
        Ok(Self { put, remove, on_tasks: on_tasks || !on_updates, on_updates })
    }

    /// The labels after the rules; `None` when the rules change nothing.
    fn decorate(&self, labels: Option<&Labels>) -> Option<Labels> {
        let before = labels.map_or(&[] as &[Label], |labels| &labels.labels);
        let stays = |label: &&Label| {
            !self.remove.contains(&label.key) && !self.put.iter().any(|put| put.key == label.key)
        };
        let after: Vec<Label> = before.iter().filter(stays).chain(&self.put).cloned().collect();
        (after != before).then_some(Labels { labels: after })
    }

    fn decorate_task(&self, task: Option<TaskInfo>) -> Option<Labels> {
        self.decorate(task.as_ref()?.labels.as_ref()).filter(|_| self.on_tasks)
    }
}

impl Hook for LabelsHook {
    fn master_launch_task_labels(
        &self,
        request: MasterLaunchTaskLabelsRequest,
    ) -> Result<MasterLaunchTaskLabelsResponse, ModuleError> {
        Ok(MasterLaunchTaskLabelsResponse { labels: self.decorate_task(request.task) })
    }

    fn agent_run_task_labels(
        &self,
        request: AgentRunTaskLabelsRequest,
    ) -> Result<AgentRunTaskLabelsResponse, ModuleError> {
        Ok(AgentRunTaskLabelsResponse { labels: self.decorate_task(request.task) })
    }

    fn agent_task_status(
        &self,
        request: AgentTaskStatusRequest,
    ) -> Result<AgentTaskStatusResponse, ModuleError> {
        let Some(status) = request.status.filter(|_| self.on_updates) else {
            return Ok(AgentTaskStatusResponse::default());
        };
        let labels = self.decorate(status.labels.as_ref());
        let status = labels.map(|labels| TaskStatus { labels: Some(labels), ..status });
        Ok(AgentTaskStatusResponse { status })
    }
}

fn wrong(parameter: &str, found: &str, expected: &str) -> ModuleError {
    ModuleError::invalid(format!("parameter `{parameter}` is `{found}`, expected {expected}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn hook(pairs: &[(&str, &str)]) -> Result<LabelsHook, String> {
        LabelsHook::new(Host::silent(), Parameters::from_pairs(pairs))
            .map_err(|error| error.message)
    }

    fn labels(pairs: &[(&str, &str)]) -> Option<Labels> {
        let label = |(key, value): &(&str, &str)| Label {
            key: (*key).into(),
            value: Some((*value).into()),
        };
        Some(Labels { labels: pairs.iter().map(label).collect() })
    }

    fn on_task(hook: &LabelsHook, before: Option<Labels>) -> Option<Labels> {
        let task = Some(TaskInfo { labels: before, ..TaskInfo::default() });
        let master = MasterLaunchTaskLabelsRequest { task: task.clone(), ..Default::default() };
        let agent = AgentRunTaskLabelsRequest { task, ..Default::default() };
        let answer = hook.master_launch_task_labels(master).unwrap().labels;
        assert_eq!(hook.agent_run_task_labels(agent).unwrap().labels, answer);
        answer
    }

    fn on_update(hook: &LabelsHook, before: Option<Labels>) -> Option<Labels> {
        let status = Some(TaskStatus { labels: before, ..TaskStatus::default() });
        let request = AgentTaskStatusRequest { status, ..Default::default() };
        hook.agent_task_status(request).unwrap().status.and_then(|status| status.labels)
    }

    #[test]
    fn labels_are_added_replaced_and_removed_and_the_others_stay() {
        let hook = hook(&[("label", "site=north=1"), ("remove", "secret"), ("label", "tier=2")]);
        let before = labels(&[
            ("secret", "x"),
            ("tier", "1"),
            ("owner", "me"),
            ("secret", "y"),
            ("tier", "9"),
        ]);
        let after = labels(&[("owner", "me"), ("site", "north=1"), ("tier", "2")]);
        let hook = hook.unwrap();
        assert_eq!(on_task(&hook, before), after);
        assert_eq!(on_task(&hook, after), None, "a second time nothing changes");
        assert_eq!(on_task(&hook, None), labels(&[("site", "north=1"), ("tier", "2")]));
    }

    #[test]
    fn a_label_may_have_no_value_and_the_last_one_may_go() {
        let marked = on_task(&hook(&[("label", "marked")]).unwrap(), None).unwrap();
        assert_eq!(marked.labels, [Label { key: "marked".into(), value: None }]);
        let removed = on_task(&hook(&[("remove", "marked")]).unwrap(), Some(marked));
        assert_eq!(removed, Some(Labels::default()), "no labels is not the same as unchanged");
    }

    #[test]
    fn tasks_and_updates_are_decorated_where_the_operator_said() {
        let of = |places: &[&str]| {
            let mut pairs = vec![("label", "a=b")];
            pairs.extend(places.iter().map(|place| ("at", *place)));
            let hook = hook(&pairs).unwrap();
            (on_task(&hook, None).is_some(), on_update(&hook, None).is_some())
        };
        assert_eq!(of(&[]), (true, false));
        assert_eq!(of(&["task"]), (true, false));
        assert_eq!(of(&["status"]), (false, true));
        assert_eq!(of(&["status", "task"]), (true, true));
    }

    #[test]
    fn an_update_keeps_everything_but_its_labels() {
        let hook = hook(&[("label", "a=b"), ("at", "status")]).unwrap();
        let status = TaskStatus { message: Some("m".into()), ..TaskStatus::default() };
        let request = AgentTaskStatusRequest { status: Some(status.clone()), ..Default::default() };
        let after = hook.agent_task_status(request).unwrap().status.unwrap();
        assert_eq!(after, TaskStatus { labels: labels(&[("a", "b")]), ..status });
    }

    #[test]
    fn without_rules_and_without_a_task_nothing_changes() {
        assert_eq!(on_task(&hook(&[]).unwrap(), labels(&[("a", "b")])), None);
        let empty = MasterLaunchTaskLabelsRequest::default();
        let hook = hook(&[("label", "a=b")]).unwrap();
        assert_eq!(hook.master_launch_task_labels(empty).unwrap().labels, None);
    }

    #[test]
    fn wrong_parameters_are_refused_at_start() {
        let error = |pairs: &[(&str, &str)]| hook(pairs).unwrap_err();
        assert_eq!(
            error(&[("label", "=x")]),
            "parameter `label` is `=x`, expected a label with a key"
        );
        assert!(error(&[("remove", "")]).contains("expected a label with a key"));
        assert_eq!(
            error(&[("label", "a=1"), ("remove", "a")]),
            "parameter `remove` is `a`, expected one rule for each key"
        );
        assert!(error(&[("label", "a=1"), ("label", "a=2")]).contains("one rule for each key"));
        assert!(error(&[("at", "offer")]).contains("`task` or `status`"));
        assert!(error(&[("labels", "a=1")]).starts_with("unknown parameter `labels`"));
    }
}
