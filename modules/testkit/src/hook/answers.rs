//! What an answer of a hook may hold.

use mezzo_model::{Attributes, Resources};
use mezzo_module_api::Hook;
use mezzo_proto::v1::{Environment, Labels};

use super::occasions::Occasion;
use crate::isolator::variables;
use crate::report::ensure;
use crate::{Failure, Verdict};

/// Asks every decorator and looks at what it answered. An error is no answer.
pub(super) fn valid(hook: &dyn Hook, occasion: &Occasion) -> Verdict {
    for answer in [
        hook.master_launch_task_resources(occasion.task_resources()).map(|answer| answer.resources),
        hook.agent_resources(occasion.agent_resources()).map(|answer| answer.resources),
    ] {
        if let Ok(Some(list)) = answer {
            Resources::from_proto(&list.resources)
                .map_err(|error| Failure::new(error.to_string(), "resources that parse"))?;
        }
    }
    if let Ok(Some(list)) =
        hook.agent_attributes(occasion.agent_attributes()).map(|answer| answer.attributes)
    {
        Attributes::from_proto(&list.attributes)
            .map_err(|error| Failure::new(error.to_string(), "attributes that parse"))?;
    }
    for answer in [
        hook.master_launch_task_labels(occasion.task_labels()).map(|answer| answer.labels),
        hook.agent_run_task_labels(occasion.run_task_labels()).map(|answer| answer.labels),
        hook.agent_task_status(occasion.task_status())
            .map(|answer| answer.status.and_then(|status| status.labels)),
    ] {
        answer.ok().flatten().map_or(Ok(()), |answered| labels(&answered))?;
    }
    let mut environments: Vec<Option<Environment>> = Vec::new();
    if let Ok(answer) = hook.agent_executor_environment(occasion.executor_environment()) {
        environments.push(answer.environment);
    }
    if let Ok(answer) = hook.agent_prelaunch(occasion.prelaunch()) {
        environments.extend([answer.executor_environment, answer.task_environment]);
    }
    if let Ok(answer) = hook.agent_prelaunch_docker(occasion.prelaunch_docker()) {
        environments.extend([answer.executor_environment, answer.task_environment]);
    }
    environments.iter().flatten().try_for_each(variables)
}

fn labels(answered: &Labels) -> Verdict {
    for label in &answered.labels {
        ensure(
            !label.key.is_empty(),
            || format!("a label with the value {:?} and no key", label.value),
            "labels have keys",
        )?;
    }
    Ok(())
}
