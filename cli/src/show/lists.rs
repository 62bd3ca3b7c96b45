//! Tables of agents, frameworks, tasks and offers.

use std::time::{SystemTime, UNIX_EPOCH};

use mezzo_proto::v1;

use crate::args::ListOptions;
use crate::output::scalar;
use crate::{CliError, cluster, output};

/// `mezzo agents`.
pub(crate) async fn agents(master: &str, json: bool) -> Result<u8, CliError> {
    let mut client = cluster::master(master).await?;
    let answer = client.get_agents(()).await.map_err(CliError::refused("cannot list agents"))?;
    let answer = answer.into_inner();
    if json {
        output::json(&answer)?;
        return Ok(0);
    }
    let rows = answer.agents.iter().map(|agent| {
        let used = |name| {
            let (used, total) =
                (scalar(&agent.allocated_resources, name), scalar(&agent.total_resources, name));
            format!("{used}/{total}")
        };
        let state = if agent.deactivated() {
            "deactivated"
        } else if agent.active {
            "active"
        } else {
            "disconnected"
        };
        vec![
            agent.agent_info.id.as_ref().map(|id| id.value.clone()).unwrap_or_default(),
            cluster::address_of(agent),
            state.to_owned(),
            used("cpus"),
            used("mem"),
            used("disk"),
        ]
    });
    output::table(&["AGENT", "ADDRESS", "STATE", "CPUS", "MEM MB", "DISK MB"], rows);
    Ok(0)
}

/// `mezzo frameworks`.
pub(crate) async fn frameworks(
    master: &str,
    options: ListOptions,
    json: bool,
) -> Result<u8, CliError> {
    let mut client = cluster::master(master).await?;
    let answer = client.get_frameworks(()).await;
    let answer = answer.map_err(CliError::refused("cannot list frameworks"))?.into_inner();
    if json {
        output::json(&answer)?;
        return Ok(0);
    }
    let completed = if options.all { answer.completed_frameworks.as_slice() } else { &[] };
    let living = answer.frameworks.iter().map(|framework| (framework, false));
    let ended = completed.iter().map(|framework| (framework, true));
    let rows = living.chain(ended).map(|(framework, ended)| {
        let info = &framework.framework_info;
        let roles = if info.roles.is_empty() { role_of(info) } else { info.roles.join(",") };
        let state = match (ended, framework.connected, framework.active) {
            (true, _, _) => "completed",
            (false, false, _) => "disconnected",
            (false, true, false) => "inactive",
            (false, true, true) => "active",
        };
        vec![
            info.id.as_ref().map(|id| id.value.clone()).unwrap_or_default(),
            info.name.clone(),
            info.user.clone(),
            roles,
            state.to_owned(),
            scalar(&framework.allocated_resources, "cpus").to_string(),
            scalar(&framework.allocated_resources, "mem").to_string(),
        ]
    });
    output::table(&["FRAMEWORK", "NAME", "USER", "ROLES", "STATE", "CPUS", "MEM MB"], rows);
    Ok(0)
}

#[allow(deprecated, reason = "frameworks without MULTI_ROLE still say their role here")]
fn role_of(info: &v1::FrameworkInfo) -> String {
    info.role().to_owned()
}

/// `mezzo tasks`.
pub(crate) async fn tasks(master: &str, options: ListOptions, json: bool) -> Result<u8, CliError> {
    let mut client = cluster::master(master).await?;
    let answer = client.get_tasks(()).await.map_err(CliError::refused("cannot list tasks"))?;
    let answer = answer.into_inner();
    if json {
        output::json(&answer)?;
        return Ok(0);
    }
    let completed = if options.all { answer.completed_tasks.as_slice() } else { &[] };
    let all = answer.tasks.iter().chain(&answer.unreachable_tasks).chain(completed);
    let rows = all.map(|task| {
        vec![
            task.task_id.value.clone(),
            task.name.clone(),
            output::state(task.state()),
            scalar(&task.resources, "cpus").to_string(),
            scalar(&task.resources, "mem").to_string(),
            since(task),
            task.agent_id.value.clone(),
            task.framework_id.value.clone(),
        ]
    });
    output::table(
        &["TASK", "NAME", "STATE", "CPUS", "MEM MB", "SINCE", "AGENT", "FRAMEWORK"],
        rows,
    );
    Ok(0)
}

/// How long ago the task's last status was made.
fn since(task: &v1::Task) -> String {
    let Some(made) = task.statuses.iter().rev().find_map(|status| status.timestamp) else {
        return String::new();
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(made, |now| now.as_secs_f64());
    age(now - made)
}

/// A time in the largest unit that fits.
fn age(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    match seconds {
        s if s < 120.0 => format!("{s:.0}s"),
        s if s < 7_200.0 => format!("{:.0}m", s / 60.0),
        s if s < 172_800.0 => format!("{:.0}h", s / 3_600.0),
        s => format!("{:.0}d", s / 86_400.0),
    }
}

/// `mezzo offers`.
pub(crate) async fn offers(master: &str, json: bool) -> Result<u8, CliError> {
    let mut client = cluster::master(master).await?;
    let answer = client.get_frameworks(()).await;
    let answer = answer.map_err(CliError::refused("cannot list offers"))?.into_inner();
    let offers: Vec<v1::Offer> =
        answer.frameworks.into_iter().flat_map(|framework| framework.offers).collect();
    if json {
        // The message that frameworks receive them in.
        output::json(&v1::scheduler::event::Offers { offers })?;
        return Ok(0);
    }
    let rows = offers.iter().map(|offer| {
        let role = offer.allocation_info.as_ref().map_or("*", |info| info.role());
        vec![
            offer.id.value.clone(),
            offer.framework_id.value.clone(),
            role.to_owned(),
            offer.agent_id.value.clone(),
            scalar(&offer.resources, "cpus").to_string(),
            scalar(&offer.resources, "mem").to_string(),
            scalar(&offer.resources, "disk").to_string(),
        ]
    });
    output::table(&["OFFER", "FRAMEWORK", "ROLE", "AGENT", "CPUS", "MEM MB", "DISK MB"], rows);
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn ages_are_told_in_the_largest_unit_that_fits() {
        assert_eq!(age(-1.0), "0s");
        assert_eq!(age(90.0), "90s");
        assert_eq!(age(600.0), "10m");
        assert_eq!(age(10_800.0), "3h");
        assert_eq!(age(864_000.0), "10d");
    }
}
