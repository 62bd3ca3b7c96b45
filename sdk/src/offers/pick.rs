//! Taking resources out of what is offered.

use std::collections::BTreeMap;

use mezzo_proto::v1;
use mezzo_proto::v1::value;

/// Scalars are exact to three decimals, on the wire and here.
const MILLI: f64 = 1000.0;

/// What a task needs of an offer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Needs {
    /// Thousandths by name.
    pub(crate) scalars: BTreeMap<String, i64>,
    /// These very ports.
    pub(crate) fixed_ports: Vec<u64>,
    /// So many more, whichever are free.
    pub(crate) any_ports: usize,
}

/// Thousandths of `value`; none if it is not a number that a resource can have.
pub(crate) fn milli(value: f64) -> Option<i64> {
    let scaled = (value * MILLI).round();
    // Far beyond any machine, far within what i64 and f64 hold exactly.
    if !(0.0..=1e15).contains(&scaled) {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, reason = "the range was checked")]
    Some(scaled as i64)
}

/// Takes `needs` out of `free`. If they do not fit, nothing is taken.
pub(crate) fn take(free: &mut Vec<v1::Resource>, needs: &Needs) -> Option<Vec<v1::Resource>> {
    let mut rest = free.clone();
    // Reserved ones first: they are of no use to others. Stable, so otherwise as offered.
    rest.sort_by_key(|resource| !is_reserved(resource));
    let mut taken = Vec::new();
    for (name, amount) in &needs.scalars {
        take_scalar(&mut rest, name, *amount, &mut taken)?;
    }
    for port in &needs.fixed_ports {
        take_port(&mut rest, Some(*port), &mut taken)?;
    }
    for _ in 0..needs.any_ports {
        take_port(&mut rest, None, &mut taken)?;
    }
    rest.retain(|resource| !is_empty(resource));
    *free = rest;
    Some(taken)
}

fn take_scalar(
    rest: &mut [v1::Resource],
    name: &str,
    mut amount: i64,
    taken: &mut Vec<v1::Resource>,
) -> Option<()> {
    for resource in rest.iter_mut().filter(|r| r.name == name && is_plain(r)) {
        if amount == 0 {
            break;
        }
        let Some(have) = resource.scalar.as_ref().and_then(|s| milli(s.value)) else { continue };
        let part = have.min(amount);
        if part == 0 {
            continue;
        }
        amount -= part;
        resource.scalar = Some(scalar(have - part));
        taken.push(v1::Resource { scalar: Some(scalar(part)), ..resource.clone() });
    }
    (amount == 0).then_some(())
}

fn take_port(
    rest: &mut [v1::Resource],
    wanted: Option<u64>,
    taken: &mut Vec<v1::Resource>,
) -> Option<()> {
    for resource in rest.iter_mut().filter(|r| r.name == "ports" && is_plain(r)) {
        let Some(ranges) = &mut resource.ranges else { continue };
        let Some(port) = remove_port(&mut ranges.range, wanted) else { continue };
        let kind = v1::Resource { ranges: None, ..resource.clone() };
        let range = value::Range { begin: port, end: port };
        // Ports out of one resource stay one resource.
        let same = taken.iter_mut().find(|t| v1::Resource { ranges: None, ..(*t).clone() } == kind);
        match same.and_then(|t| t.ranges.as_mut()) {
            Some(ranges) => ranges.range.push(range),
            None => {
                let ranges = Some(value::Ranges { range: vec![range] });
                taken.push(v1::Resource { ranges, ..kind });
            }
        }
        return Some(());
    }
    None
}

/// Removes `wanted`, or the lowest port, from `ranges`.
fn remove_port(ranges: &mut Vec<value::Range>, wanted: Option<u64>) -> Option<u64> {
    let valid = |range: &value::Range| range.begin <= range.end;
    let at = ranges.iter().position(|range| {
        valid(range) && wanted.is_none_or(|port| (range.begin..=range.end).contains(&port))
    })?;
    let range = ranges.remove(at);
    let port = wanted.unwrap_or(range.begin);
    if port < range.end {
        ranges.insert(at, value::Range { begin: port + 1, end: range.end });
    }
    if range.begin < port {
        ranges.insert(at, value::Range { begin: range.begin, end: port - 1 });
    }
    Some(port)
}

/// The ports that a task was given, in the order in which it was given them.
#[must_use]
pub fn ports_of(resources: &[v1::Resource]) -> Vec<u64> {
    resources
        .iter()
        .filter(|resource| resource.name == "ports")
        .filter_map(|resource| resource.ranges.as_ref())
        .flat_map(|ranges| &ranges.range)
        .flat_map(|range| range.begin..=range.end)
        .collect()
}

fn scalar(milli: i64) -> value::Scalar {
    #[allow(clippy::cast_precision_loss, reason = "milli() lets nothing through that f64 rounds")]
    let value = milli as f64 / MILLI;
    value::Scalar { value }
}

/// What any task may use without asking for it by kind.
fn is_plain(resource: &v1::Resource) -> bool {
    resource.disk.is_none() && resource.revocable.is_none() && resource.shared.is_none()
}

#[allow(deprecated, reason = "frameworks without RESERVATION_REFINEMENT are offered this field")]
fn is_reserved(resource: &v1::Resource) -> bool {
    !resource.reservations.is_empty() || resource.role.as_ref().is_some_and(|role| role != "*")
}

fn is_empty(resource: &v1::Resource) -> bool {
    match (&resource.scalar, &resource.ranges) {
        (Some(scalar), _) => milli(scalar.value) == Some(0),
        (None, Some(ranges)) => ranges.range.is_empty(),
        (None, None) => false,
    }
}
