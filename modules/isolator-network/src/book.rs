//! The containers, their ports, and what has been told about them.

use std::collections::HashMap;
use std::sync::Arc;

use mezzo_linux::process::ProcessId;
use mezzo_model::{ContainerId, Range, Ranges};
use mezzo_module_api::LimitWatch;
use mezzo_module_api::v1::ContainerLimitation;
use mezzo_proto::v1::task_status::Reason;
use mezzo_proto::v1::{Resource, value};

/// All containers of the agent.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) containers: HashMap<ContainerId, Container>,
    /// The isolator is going away.
    pub(crate) stopping: bool,
}

/// One container, outermost or nested.
#[derive(Debug)]
pub(crate) struct Container {
    /// Its first process, once it is there.
    pub(crate) root: Option<ProcessId>,
    /// What it may listen on. `None` while that is not known, and in a nested container: the outermost one has it.
    pub(crate) allocated: Option<Ranges>,
    /// Ports it was found to listen on wrongly the last time: told already.
    told: Ranges,
    /// Whom to tell when it has to end; of use in the outermost one.
    pub(crate) limit: Arc<LimitWatch>,
}

/// A container that listens where it may not.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Offence {
    /// The container whose processes listen; the outermost one around it is the one to end.
    pub(crate) container: ContainerId,
    /// Where.
    pub(crate) ports: Ranges,
    /// Some of it was not told before.
    pub(crate) is_news: bool,
}

impl Container {
    /// A container that nothing has been told about.
    pub(crate) fn new(root: Option<ProcessId>, allocated: Option<Ranges>) -> Self {
        Self { root, allocated, told: Ranges::new(), limit: Arc::default() }
    }
}

impl Book {
    /// Whom to tell when this container has to end.
    pub(crate) fn limit_of(&self, id: &ContainerId) -> Option<Arc<LimitWatch>> {
        self.containers.get(id).map(|container| Arc::clone(&container.limit))
    }

    /// Compares what containers listen on with what they may. A container that is not in `listening` listens on nothing.
    pub(crate) fn judge(&mut self, mut listening: HashMap<ContainerId, Ranges>) -> Vec<Offence> {
        let mut offences = Vec::new();
        let allocated: HashMap<ContainerId, Ranges> = self
            .containers
            .iter()
            .filter_map(|(id, container)| Some((id.clone(), container.allocated.clone()?)))
            .collect();
        for (id, container) in &mut self.containers {
            let ports = listening.remove(id).unwrap_or_default();
            let Some(allocated) = allocated.get(id.root()) else { continue };
            let wrong = ports.difference(allocated);
            if !wrong.is_empty() {
                let is_news = !container.told.contains(&wrong);
                offences.push(Offence { container: id.clone(), ports: wrong.clone(), is_news });
            }
            container.told = wrong;
        }
        offences
    }
}

impl Offence {
    pub(crate) fn message(&self) -> String {
        format!("Container {} is listening on unallocated port(s): {}", self.container, self.ports)
    }

    pub(crate) fn limitation(&self) -> ContainerLimitation {
        ContainerLimitation {
            resources: vec![resource(&self.ports)],
            message: Some(self.message()),
            reason: Some(Reason::ContainerLimitation.into()),
        }
    }
}

/// All ports among the resources, whatever their terms.
pub(crate) fn ports(resources: &[Resource]) -> Ranges {
    let ports = resources.iter().filter(|resource| resource.name == "ports");
    ports
        .flat_map(|resource| resource.ranges.iter().flat_map(|ranges| &ranges.range))
        .map(|range| Range { begin: range.begin, end: range.end })
        .collect()
}

/// The ports as a resource.
pub(crate) fn resource(ports: &Ranges) -> Resource {
    let range = |range: Range| value::Range { begin: range.begin, end: range.end };
    Resource {
        name: "ports".to_owned(),
        r#type: value::Type::Ranges.into(),
        ranges: Some(value::Ranges { range: ports.iter().map(range).collect() }),
        ..Resource::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(containers: &[(&ContainerId, Option<Ranges>)]) -> Book {
        let containers = containers
            .iter()
            .map(|(id, allocated)| ((*id).clone(), Container::new(None, allocated.clone())))
            .collect();
        Book { containers, stopping: false }
    }

    #[test]
    fn only_ports_that_were_not_given_are_an_offence_and_news_once() {
        let id = ContainerId::new("c");
        let mut book = book(&[(&id, Some(Ranges::single(31000, 31001)))]);
        let mut judge = |begin, end| {
            book.judge(HashMap::from([(id.clone(), Ranges::single(begin, end))]))
                .pop()
                .map(|offence| (offence.ports.to_string(), offence.is_news, offence.message()))
        };
        assert_eq!(judge(31000, 31001), None);
        let message = "Container c is listening on unallocated port(s): [31002-31003]".to_owned();
        let offence = |is_news| Some(("[31002-31003]".to_owned(), is_news, message.clone()));
        assert_eq!(judge(31001, 31003), offence(true));
        assert_eq!(judge(31001, 31003), offence(false));
        assert_eq!(judge(31001, 31001), None);
        assert_eq!(judge(31001, 31003), offence(true), "it had been closed in between");
    }

    #[test]
    fn a_nested_container_is_held_to_the_ports_of_the_outermost_one() {
        let root = ContainerId::new("c");
        let nested = root.child("n");
        let mut book = book(&[(&root, Some(Ranges::single(1, 2))), (&nested, None)]);
        let mut judge =
            |port| book.judge(HashMap::from([(nested.clone(), Ranges::single(port, port))]));
        assert_eq!(judge(2), []);
        let limitation = judge(3).pop().map(|offence| offence.limitation()).unwrap_or_default();
        assert_eq!(
            limitation.message(),
            "Container c.n is listening on unallocated port(s): [3-3]"
        );
        assert_eq!(limitation.reason(), Reason::ContainerLimitation);
        assert_eq!(ports(&limitation.resources), Ranges::single(3, 3));
    }

    #[test]
    fn a_container_whose_ports_are_unknown_or_that_is_gone_is_not_judged() {
        let (id, gone) = (ContainerId::new("c"), ContainerId::new("gone"));
        let listening = [(id.clone(), Ranges::single(1, 1)), (gone, Ranges::single(1, 1))];
        assert_eq!(book(&[(&id, None)]).judge(listening.into()), []);
    }
}
