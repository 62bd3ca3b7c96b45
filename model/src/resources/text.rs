//! Resources as flags give them: `cpus:2;mem(eng):1024;ports:[31000-32000]`, or JSON.

use std::collections::BTreeSet;

use mezzo_proto::v1;
use serde_json::Value as Json;

use super::Resources;
use crate::invalid::quote;
use crate::resource::{Reservation, Resource, Terms};
use crate::role::InvalidRole;
use crate::value::ValueError;
use crate::{InvalidField, Role, Scalar, Value};

/// Text that does not describe resources.
#[derive(Debug, thiserror::Error)]
pub enum ParseResourcesError {
    /// An item without a colon, or with more than one.
    #[error("{0} is not an item such as cpus:2 or mem(role):1024: expected exactly one ':'")]
    Item(String),
    /// An item without a name.
    #[error("{0} has no name; expected one such as cpus in front of the ':'")]
    Name(String),
    /// A parenthesis without its partner.
    #[error("{0} has a parenthesis too few or too many; expected name(role):value")]
    Parentheses(String),
    /// A role that is none.
    #[error("resource {name} is for no proper role")]
    Role {
        /// The name of the resource.
        name: String,
        /// What is wrong with the role.
        #[source]
        source: InvalidRole,
    },
    /// A value that cannot be read.
    #[error("resource {name} has no proper value")]
    Value {
        /// The name of the resource.
        name: String,
        /// What is wrong with the value.
        #[source]
        source: ValueError,
    },
    /// A value that cannot be the amount of this resource.
    #[error("resource {name} cannot be {found}; expected {expected}")]
    Amount {
        /// The name of the resource.
        name: String,
        /// The value.
        found: String,
        /// What it could be.
        expected: &'static str,
    },
    /// JSON that is no list of resources.
    #[error("the JSON is not a list of resources: {0}")]
    Json(String),
    /// JSON of which one field is wrong.
    #[error("a field of the JSON is wrong")]
    Field(#[source] InvalidField),
}

/// What a text says: resources, and the names that it mentions even with an amount of 0. Agents
/// detect by themselves only what the flag does not mention.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParsedResources {
    /// The resources.
    pub resources: Resources,
    /// All names mentioned.
    pub mentioned: BTreeSet<String>,
}

impl Resources {
    /// Reads text or JSON. What names no role is reserved to `default_role` (free for all if that
    /// is `*`).
    pub fn parse(text: &str, default_role: &Role) -> Result<Self, ParseResourcesError> {
        ParsedResources::parse(text, default_role).map(|parsed| parsed.resources)
    }
}

impl ParsedResources {
    /// Reads text or JSON, as [`Resources::parse`].
    pub fn parse(text: &str, default_role: &Role) -> Result<Self, ParseResourcesError> {
        if text.trim_start().starts_with('[') {
            return parse_json(text, default_role);
        }
        let mut list = Vec::new();
        for item in text.split([';', '\n']).map(str::trim).filter(|item| !item.is_empty()) {
            list.push(parse_item(item, default_role)?);
        }
        Ok(Self::of(list))
    }

    fn of(list: Vec<Resource>) -> Self {
        let mentioned = list.iter().map(|resource| resource.name().to_owned()).collect();
        Self { resources: list.into_iter().collect(), mentioned }
    }
}

fn parse_item(item: &str, default_role: &Role) -> Result<Resource, ParseResourcesError> {
    let (left, value) = match item.split_once(':') {
        Some((left, value)) if !value.contains(':') => (left, value),
        _ => return Err(ParseResourcesError::Item(quote(item))),
    };
    let (name, role) = match left.split_once('(') {
        None if left.contains(')') => return Err(ParseResourcesError::Parentheses(quote(item))),
        None => (left.trim(), default_role.clone()),
        Some((name, rest)) => {
            let role = rest.trim_end().strip_suffix(')').filter(|role| !role.contains(['(', ')']));
            let Some(role) = role else {
                return Err(ParseResourcesError::Parentheses(quote(item)));
            };
            let role = Role::parse(role.trim()).map_err(|source| ParseResourcesError::Role {
                name: name.trim().to_owned(),
                source,
            })?;
            (name.trim(), role)
        }
    };
    if name.is_empty() {
        return Err(ParseResourcesError::Name(quote(item)));
    }
    let value = Value::parse(value)
        .map_err(|source| ParseResourcesError::Value { name: name.to_owned(), source })?;
    let plain = of_value(name, value)?;
    if role.is_star() {
        return Ok(plain);
    }
    let terms = Terms { reservations: vec![Reservation::fixed(role)], ..Terms::default() };
    Ok(plain.with_terms(terms))
}

/// The resource of that name and value, by the same rules as a message.
fn of_value(name: &str, value: Value) -> Result<Resource, ParseResourcesError> {
    let wrong = |found: String, expected| {
        Err(ParseResourcesError::Amount { name: name.to_owned(), found, expected })
    };
    let whole = |scalar: Scalar| scalar.millis() % 1000 == 0;
    match (name, value) {
        ("ports", Value::Ranges(ranges)) => Ok(Resource::ranges(name, ranges)),
        ("ports", other) => wrong(other.to_string(), "ranges such as [31000-32000]"),
        ("gpus", Value::Scalar(scalar)) if !whole(scalar) => {
            wrong(scalar.to_string(), "a whole number, as GPUs are not split")
        }
        (_, Value::Scalar(scalar)) => Ok(Resource::scalar(name, scalar)),
        ("cpus" | "mem" | "disk" | "gpus", other) => {
            wrong(quote(&other.to_string()), "0, or a number from 0.001 to 1000000000000")
        }
        (_, Value::Ranges(ranges)) => Ok(Resource::ranges(name, ranges)),
        (_, Value::Set(set)) => Ok(Resource::set(name, set)),
        (_, Value::Text(text)) => {
            wrong(quote(&text), "a number that is not negative, [from-to,…] or {name,…}")
        }
    }
}

#[expect(deprecated, reason = "the default role is said in the old form, which agents accept")]
fn parse_json(text: &str, default_role: &Role) -> Result<ParsedResources, ParseResourcesError> {
    let items: Vec<Json> =
        serde_json::from_str(text).map_err(|error| ParseResourcesError::Json(error.to_string()))?;
    let mut list = Vec::with_capacity(items.len());
    for (n, item) in items.iter().enumerate() {
        let mut wire: v1::Resource = mezzo_proto::json::from_str(&item.to_string())
            .map_err(|error| ParseResourcesError::Json(format!("[{n}]: {error}")))?;
        if wire.role.is_none() && wire.reservations.is_empty() {
            wire.role = Some(default_role.as_str().to_owned());
        }
        let at = format!("resources[{n}]");
        let field = |error: InvalidField| ParseResourcesError::Field(error.within(&at));
        let resource = Resource::from_proto(&wire).map_err(field)?;
        let terms = resource.terms();
        let volume =
            terms.disk.as_ref().is_some_and(|d| d.persistence.is_some() || d.mount.is_some());
        let odd = [("disk.volume", volume), ("revocable", terms.revocable)];
        if let Some((name, _)) = odd.into_iter().find(|(_, is_set)| *is_set) {
            let error =
                InvalidField::new(name, "a value", "nothing, as agents cannot start with such");
            return Err(field(error));
        }
        list.push(resource);
    }
    Ok(ParsedResources::of(list))
}
