//! The tree of roles, and who wants something in each.
//!
//! A role `a/b` is a path. Every role has a leaf of its own, `a/b/.`, inside the node of its path, so that a role competes with
//! its children as one of them; where there are no children the leaf is alone and changes nothing. A node holds what
//! its subtree holds. The children of a node that lead to an active framework are kept in order.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mezzo_model::{Quantities, Role};

use crate::share::{Load, Order, Rank, Totals, Walk};
use crate::state::{FrameworkKey, RoleKey};

/// All roles.
#[derive(Debug)]
pub(crate) struct Roles {
    nodes: Vec<Node>,
    /// By path; the root has the empty one.
    by_path: HashMap<Arc<str>, usize>,
    by_key: HashMap<RoleKey, RoleEntry>,
}

#[derive(Debug)]
struct Node {
    path: Arc<str>,
    weight: f64,
    parent: Option<usize>,
    /// Active children only.
    order: Order,
    load: Load,
    /// How many active leaves there are in the subtree.
    active: usize,
    /// For a leaf.
    role: Option<RoleKey>,
    /// As it stands in the parent's order.
    rank: Option<Rank>,
}

/// A role and its frameworks.
#[derive(Debug)]
pub(crate) struct RoleEntry {
    pub(crate) name: Role,
    leaf: usize,
    members: BTreeMap<FrameworkKey, Member>,
    /// Active members only.
    pub(crate) order: Order,
}

/// A framework in a role: one that is subscribed, or still holds something.
#[derive(Debug)]
struct Member {
    path: Arc<str>,
    load: Load,
    subscribed: bool,
    /// As it stands in the role's order; `None` when it is not active.
    rank: Option<Rank>,
}

/// A walk over the roles that have an active framework, as they were ordered at the start.
#[derive(Debug)]
pub(crate) struct RoleWalk {
    levels: Vec<(usize, Walk)>,
}

const ROOT: usize = 0;

impl Default for Roles {
    fn default() -> Self {
        let path: Arc<str> = "".into();
        Self {
            nodes: vec![Node::new(Arc::clone(&path), None)],
            by_path: HashMap::from([(path, ROOT)]),
            by_key: HashMap::new(),
        }
    }
}

impl Roles {
    pub(crate) fn add(&mut self, key: RoleKey, name: Role) {
        let inner = self.node(name.as_str());
        let leaf = self.child(inner, format!("{name}/.").into());
        if let Some(node) = self.nodes.get_mut(leaf) {
            node.role = Some(key);
        }
        let entry = RoleEntry { name, leaf, members: BTreeMap::new(), order: Order::new() };
        self.by_key.insert(key, entry);
    }

    pub(crate) fn get(&self, key: RoleKey) -> Option<&RoleEntry> {
        self.by_key.get(&key)
    }

    pub(crate) fn set_weight(&mut self, key: RoleKey, weight: f64, totals: &Totals) {
        let Some(inner) =
            self.by_key.get(&key).and_then(|entry| self.nodes.get(entry.leaf)?.parent)
        else {
            return;
        };
        if let Some(node) = self.nodes.get_mut(inner) {
            node.weight = weight;
        }
        self.rank_node(inner, totals);
    }

    /// Makes a framework a member, or changes what it is called and whether it wants offers.
    pub(crate) fn subscribe(
        &mut self,
        role: RoleKey,
        framework: FrameworkKey,
        path: &Arc<str>,
        active: bool,
        totals: &Totals,
    ) {
        let Some(entry) = self.by_key.get_mut(&role) else { return };
        let member = entry.member(framework);
        member.path = Arc::clone(path);
        member.subscribed = true;
        self.set_active(role, framework, active, totals);
    }

    /// A framework has left the role; it stays while it holds something there.
    pub(crate) fn unsubscribe(&mut self, role: RoleKey, framework: FrameworkKey, totals: &Totals) {
        self.set_active(role, framework, false, totals);
        if let Some(entry) = self.by_key.get_mut(&role)
            && let Some(member) = entry.members.get_mut(&framework)
        {
            member.subscribed = false;
            entry.forget_idle(framework);
        }
    }

    /// Whether a member gets offers.
    pub(crate) fn set_active(
        &mut self,
        role: RoleKey,
        framework: FrameworkKey,
        active: bool,
        totals: &Totals,
    ) {
        let Some(entry) = self.by_key.get_mut(&role) else { return };
        let (was_active, leaf) = (!entry.order.is_empty(), entry.leaf);
        let Some(member) = entry.members.get_mut(&framework) else { return };
        if let Some(rank) = member.rank.take() {
            entry.order.remove(&rank);
        }
        if active {
            let rank = member.load.rank(totals, 1.0, &member.path, framework);
            entry.order.insert(rank.clone());
            member.rank = Some(rank);
        }
        let is_active = !entry.order.is_empty();
        if was_active != is_active {
            self.count_active(leaf, is_active, totals);
        }
    }

    /// A framework has got something in a role.
    pub(crate) fn add_load(
        &mut self,
        role: RoleKey,
        framework: FrameworkKey,
        amount: &Quantities,
        totals: &Totals,
    ) {
        self.change_load(role, framework, totals, |load| load.add(amount));
    }

    /// A framework has given something back.
    pub(crate) fn subtract_load(
        &mut self,
        role: RoleKey,
        framework: FrameworkKey,
        amount: &Quantities,
        totals: &Totals,
    ) {
        self.change_load(role, framework, totals, |load| load.subtract(amount));
        if let Some(entry) = self.by_key.get_mut(&role) {
            entry.forget_idle(framework);
        }
    }

    fn change_load(
        &mut self,
        role: RoleKey,
        framework: FrameworkKey,
        totals: &Totals,
        mut change: impl FnMut(&mut Load),
    ) {
        let Some(entry) = self.by_key.get_mut(&role) else { return };
        let member = entry.member(framework);
        change(&mut member.load);
        entry.rank_member(framework, totals);
        let mut node = Some(entry.leaf);
        while let Some(index) = node {
            let Some(found) = self.nodes.get_mut(index) else { return };
            change(&mut found.load);
            node = found.parent;
            self.rank_node(index, totals);
        }
    }

    /// All shares again, because the totals have changed. Whoever has nothing keeps a share of nothing.
    pub(crate) fn rank_all(&mut self, totals: &Totals) {
        for entry in self.by_key.values_mut() {
            let holders = entry
                .members
                .iter()
                .filter(|(_, member)| member.rank.is_some() && !member.load.allocated.is_empty());
            let holders: Vec<_> = holders.map(|(framework, _)| *framework).collect();
            for framework in holders {
                entry.rank_member(framework, totals);
            }
        }
        for index in 0..self.nodes.len() {
            if self
                .nodes
                .get(index)
                .is_some_and(|node| node.rank.is_some() && !node.load.allocated.is_empty())
            {
                self.rank_node(index, totals);
            }
        }
    }

    /// The next role of a walk.
    pub(crate) fn next(&self, walk: &mut RoleWalk) -> Option<RoleKey> {
        loop {
            let (node, level) = walk.levels.last_mut()?;
            match level.next(&self.nodes.get(*node)?.order).and_then(|id| usize::try_from(id).ok())
            {
                None => {
                    walk.levels.pop();
                }
                Some(child) => match self.nodes.get(child)?.role {
                    Some(role) => return Some(role),
                    None => walk.levels.push((child, Walk::default())),
                },
            }
        }
    }

    /// What the framework holds in the role, and in how many pieces it got it.
    #[cfg(test)]
    pub(crate) fn load(&self, role: RoleKey, framework: FrameworkKey) -> Option<&Load> {
        Some(&self.by_key.get(&role)?.members.get(&framework)?.load)
    }

    fn count_active(&mut self, leaf: usize, one_more: bool, totals: &Totals) {
        let mut node = Some(leaf);
        while let Some(index) = node {
            let Some(found) = self.nodes.get_mut(index) else { return };
            found.active = if one_more { found.active + 1 } else { found.active.saturating_sub(1) };
            node = found.parent;
            self.rank_node(index, totals);
        }
    }

    /// Puts a node where it belongs among its siblings; takes it out when nothing below it is active.
    fn rank_node(&mut self, index: usize, totals: &Totals) {
        let Some(node) = self.nodes.get_mut(index) else { return };
        let Some(parent) = node.parent else { return };
        let old = node.rank.take();
        let new = (node.active > 0)
            .then(|| node.load.rank(totals, node.weight, &node.path, index as u64));
        node.rank.clone_from(&new);
        if let Some(parent) = self.nodes.get_mut(parent)
            && old != new
        {
            old.iter().for_each(|rank| {
                parent.order.remove(rank);
            });
            parent.order.extend(new);
        }
    }

    /// The node of a path, made with all above it.
    fn node(&mut self, path: &str) -> usize {
        if let Some(node) = self.by_path.get(path) {
            return *node;
        }
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let parent = self.node(parent);
        self.child(parent, path.into())
    }

    fn child(&mut self, parent: usize, path: Arc<str>) -> usize {
        let index = self.nodes.len();
        self.nodes.push(Node::new(Arc::clone(&path), Some(parent)));
        self.by_path.insert(path, index);
        index
    }
}

impl RoleWalk {
    pub(crate) fn new() -> Self {
        Self { levels: vec![(ROOT, Walk::default())] }
    }
}

impl Node {
    fn new(path: Arc<str>, parent: Option<usize>) -> Self {
        Self {
            path,
            weight: 1.0,
            parent,
            order: Order::new(),
            load: Load::default(),
            active: 0,
            role: None,
            rank: None,
        }
    }
}

impl RoleEntry {
    fn member(&mut self, framework: FrameworkKey) -> &mut Member {
        // A framework that holds something may come after its holdings; its name is told then.
        self.members.entry(framework).or_insert_with(|| Member {
            path: framework.to_string().into(),
            load: Load::default(),
            subscribed: false,
            rank: None,
        })
    }

    fn rank_member(&mut self, framework: FrameworkKey, totals: &Totals) {
        let Some(member) = self.members.get_mut(&framework) else { return };
        if let Some(old) = member.rank.take() {
            let new = member.load.rank(totals, 1.0, &member.path, framework);
            if old != new {
                self.order.remove(&old);
                self.order.insert(new.clone());
            }
            member.rank = Some(new);
        }
    }

    fn forget_idle(&mut self, framework: FrameworkKey) {
        let idle = |member: &Member| !member.subscribed && member.load.allocated.is_empty();
        if self.members.get(&framework).is_some_and(idle) {
            self.members.remove(&framework);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    struct Cluster {
        roles: Roles,
        totals: Totals,
    }

    impl Cluster {
        /// Roles with keys from 1 on, with one framework each that has ten times the role's key.
        fn new(names: &[&str]) -> Self {
            let mut totals = Totals::default();
            totals.replace(&Quantities::new(), &Quantities::parse("cpus:100").unwrap());
            let mut roles = Roles::default();
            for (key, name) in (1..).zip(names) {
                roles.add(key, Role::parse(name).unwrap());
                roles.subscribe(key, u64::from(key) * 10, &"f".into(), true, &totals);
            }
            Self { roles, totals }
        }

        fn take(&mut self, role: RoleKey, cpus: &str) {
            self.roles.add_load(
                role,
                u64::from(role) * 10,
                &Quantities::parse(cpus).unwrap(),
                &self.totals,
            );
        }

        fn order(&self) -> Vec<RoleKey> {
            let mut walk = RoleWalk::new();
            std::iter::from_fn(|| self.roles.next(&mut walk)).collect()
        }
    }

    #[test]
    fn siblings_compete_by_the_sum_of_their_subtrees() {
        let mut cluster = Cluster::new(&["a/x", "a/y", "b"]);
        cluster.take(1, "cpus:1");
        cluster.take(2, "cpus:2");
        cluster.take(3, "cpus:2.5");
        assert_eq!(cluster.order(), [3, 1, 2], "b has 2.5, all of a has 3");
    }

    #[test]
    fn a_role_competes_with_its_children_as_one_of_them() {
        let mut cluster = Cluster::new(&["a", "a/b"]);
        assert_eq!(cluster.order(), [1, 2], "`a/.` is before `a/b` by name");
        cluster.take(1, "cpus:1");
        assert_eq!(cluster.order(), [2, 1]);
    }

    #[test]
    fn weights_divide_shares() {
        let mut cluster = Cluster::new(&["a", "b"]);
        cluster.take(1, "cpus:2");
        cluster.take(2, "cpus:1.5");
        assert_eq!(cluster.order(), [2, 1]);
        cluster.roles.set_weight(1, 2.0, &cluster.totals);
        assert_eq!(cluster.order(), [1, 2]);
    }

    #[test]
    fn a_role_without_an_active_framework_is_left_out_but_its_use_counts_above() {
        let mut cluster = Cluster::new(&["a/x", "a/y", "b"]);
        cluster.take(1, "cpus:5");
        cluster.take(3, "cpus:1");
        cluster.roles.set_active(1, 10, false, &cluster.totals);
        assert_eq!(cluster.order(), [3, 2]);
    }

    #[test]
    fn a_framework_that_left_is_kept_until_it_holds_nothing() {
        let mut cluster = Cluster::new(&["a"]);
        cluster.take(1, "cpus:5");
        cluster.roles.unsubscribe(1, 10, &cluster.totals);
        assert!(cluster.roles.load(1, 10).is_some());
        cluster.roles.subtract_load(1, 10, &Quantities::parse("cpus:5").unwrap(), &cluster.totals);
        assert!(cluster.roles.load(1, 10).is_none());
        assert!(cluster.order().is_empty());
    }
}
