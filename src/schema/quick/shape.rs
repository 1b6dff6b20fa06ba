//! Nodes made into tables: for each place that a payload can have, all schemas that apply there, as one shape.
//!
//! Which schemas apply at a place follows from those at the place around it and the key, so the shapes are found once,
//! before any payload, like the states of an automaton. Their number is bounded; a schema that would need more is left
//! to the crate.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::check::Kind;
use super::program::{AT_ONCE_MAX, Held, Keys, Link, Shape};
use super::read::{Node, NodeId, Rule};

/// Shapes of a schema; the largest built-in one has some forty.
const SHAPES_MAX: usize = 1024;
/// Links of all its shapes.
const LINKS_MAX: usize = 65_536;

/// Schemas at a place, each with whether the payload is not valid without it.
type Roots = BTreeMap<NodeId, bool>;

/// All shapes of a schema and the link to that of the whole payload.
///
/// # Errors
/// Where there would be too many, or a schema follows from itself over the same value.
pub(super) fn build(nodes: &[Node]) -> Result<(Vec<Shape>, Option<Link>), String> {
    let mut builder =
        Builder { nodes, known: HashMap::new(), places: Vec::new(), waiting: VecDeque::new(), links: 0 };
    // Whatever holds at the root must, so nothing stands above it that needs it.
    let root = builder.link(&[Want { own: 0, must: true, part: 0 }])?;
    let mut shapes = Vec::new();
    while let Some(place) = builder.waiting.pop_front() {
        shapes.push(builder.shape(&place)?);
    }
    Ok((shapes, root))
}

/// All schemas at a place: those that apply by themselves, and whatever these follow from, that first.
struct Place {
    order: Vec<NodeId>,
    must: Held,
}

impl Place {
    fn new(nodes: &[Node], roots: &Roots) -> Result<Self, String> {
        let mut place = Self { order: Vec::new(), must: 0 };
        let mut open = Vec::new();
        for root in roots.keys() {
            place.add(nodes, *root, &mut open)?;
        }
        for (at, id) in place.order.iter().enumerate() {
            if roots.get(id).copied().unwrap_or_default() {
                place.must |= 1 << at;
            }
        }
        // Those that others follow from come before them, so one pass from the end is enough.
        for at in (0..place.order.len()).rev().filter(|at| place.must & (1 << at) != 0).collect::<Vec<_>>() {
            place.spread(nodes, at);
        }
        Ok(place)
    }

    fn add(&mut self, nodes: &[Node], id: NodeId, open: &mut Vec<NodeId>) -> Result<(), String> {
        if self.order.contains(&id) {
            return Ok(());
        }
        if open.contains(&id) {
            return Err("a schema that refers to itself over the same value".to_owned());
        }
        if open.len() + self.order.len() >= AT_ONCE_MAX {
            return Err(format!("more than {AT_ONCE_MAX} schemas over one value"));
        }
        open.push(id);
        for part in nodes[id].rules.iter().flat_map(Rule::parts) {
            self.add(nodes, *part, open)?;
        }
        open.pop();
        self.order.push(id);
        Ok(())
    }

    /// Whatever a schema that must hold takes all of must hold too.
    fn spread(&mut self, nodes: &[Node], at: usize) {
        for rule in &nodes[self.order[at]].rules {
            let Rule::All(parts) = rule else { continue };
            for part in parts {
                let bit = self.bit(*part);
                if self.must & (1 << bit) == 0 {
                    self.must |= 1 << bit;
                    self.spread(nodes, usize::from(bit));
                }
            }
        }
    }

    fn bit(&self, id: NodeId) -> u8 {
        let at = self.order.iter().position(|own| *own == id);
        at.and_then(|at| u8::try_from(at).ok())
            .expect("every schema at a place is in its order, of at most 64")
    }
}

/// A schema here that asks something of a part: by its bit, and the schema that it asks.
struct Want {
    own: u8,
    must: bool,
    part: NodeId,
}

struct Builder<'n> {
    nodes: &'n [Node],
    known: HashMap<Vec<(NodeId, bool)>, usize>,
    places: Vec<Arc<Place>>,
    waiting: VecDeque<Arc<Place>>,
    links: usize,
}

impl Builder<'_> {
    /// The link to a part that so much is wanted of.
    fn link(&mut self, wants: &[Want]) -> Result<Option<Link>, String> {
        let mut roots = Roots::new();
        for want in wants.iter().filter(|want| !self.nodes[want.part].is_any()) {
            *roots.entry(want.part).or_default() |= want.must;
        }
        if roots.is_empty() {
            return Ok(None);
        }
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(format!("more than {LINKS_MAX} members and elements"));
        }
        let shape = self.place(&roots)?;
        let place = &self.places[shape];
        // One that must hold needs no mention: without it the walk ends.
        let needs = wants.iter().filter(|want| !want.must && roots.contains_key(&want.part));
        let needs = needs.map(|want| (want.own, place.bit(want.part))).collect();
        Ok(Some(Link { shape, needs }))
    }

    fn place(&mut self, roots: &Roots) -> Result<usize, String> {
        let key: Vec<_> = roots.iter().map(|(id, must)| (*id, *must)).collect();
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        if self.places.len() == SHAPES_MAX {
            return Err(format!("more than {SHAPES_MAX} different places"));
        }
        let place = Arc::new(Place::new(self.nodes, roots)?);
        self.known.insert(key, self.places.len());
        self.waiting.push_back(Arc::clone(&place));
        self.places.push(place);
        Ok(self.places.len() - 1)
    }

    /// The link to a part of all schemas here that `part` finds something to ask of it in.
    fn part(
        &mut self,
        place: &Place,
        part: impl Fn(&Node) -> Option<NodeId>,
    ) -> Result<Option<Link>, String> {
        let mut wants = Vec::new();
        for (id, own) in place.order.iter().zip(0..) {
            if let Some(part) = part(&self.nodes[*id]) {
                wants.push(Want { own, must: place.must & (1 << own) != 0, part });
            }
        }
        self.link(&wants)
    }

    fn shape(&mut self, place: &Place) -> Result<Shape, String> {
        let all: Vec<&Node> = place.order.iter().map(|id| &self.nodes[*id]).collect();
        let mut keys = Keys::default();
        let mut names: Vec<&str> = Vec::new();
        for name in all.iter().flat_map(|node| node.properties.keys().chain(&node.required)) {
            if keys.add(name) == names.len() {
                names.push(name);
            }
        }
        let mut members = Vec::with_capacity(names.len());
        for name in names {
            members.push(self.part(place, |node| node.properties.get(name).copied().or(node.additional))?);
        }
        let others = self.part(place, |node| node.additional)?;
        let mut prefix = Vec::new();
        for at in 0..all.iter().map(|node| node.prefix.len()).max().unwrap_or_default() {
            prefix.push(self.part(place, |node| node.prefix.get(at).copied().or(node.items))?);
        }
        let items = self.part(place, |node| node.items)?;
        Ok(Shape {
            must: place.must,
            allows: Kind::ALL.map(|kind| bits(&all, |node| node.check.allows(kind))),
            asks: Kind::ALL.map(|kind| bits(&all, |node| node.check.asks(kind))),
            rules: rules(&all, place),
            required: required(&all, &keys, members.len()),
            counted: others.is_some() || all.iter().any(|node| node.check.asks(Kind::Object)),
            checks: all.iter().map(|node| Arc::clone(&node.check)).collect(),
            keys,
            members,
            others,
            prefix,
            items,
        })
    }
}

fn bits(nodes: &[&Node], set: impl Fn(&Node) -> bool) -> Held {
    let set = nodes.iter().zip(0..).filter(|(node, _)| set(node));
    set.fold(0, |bits, (_, at): (_, u32)| bits | 1 << at)
}

/// Those of schemas that must hold are left out where their parts must hold too.
fn rules(nodes: &[&Node], place: &Place) -> Vec<(u8, Rule<u8>)> {
    let mut all = Vec::new();
    for (node, own) in nodes.iter().zip(0..) {
        let must = place.must & (1 << own) != 0;
        let wanted = node.rules.iter().filter(|rule| !(must && matches!(rule, Rule::All(_))));
        all.extend(wanted.map(|rule| (own, rule.renamed(|id| place.bit(*id)))));
    }
    all
}

fn required(nodes: &[&Node], keys: &Keys, count: usize) -> Vec<(u8, Vec<u64>)> {
    let mut all = Vec::new();
    for (node, own) in nodes.iter().zip(0..).filter(|(node, _)| !node.required.is_empty()) {
        let mut words = vec![0; count.div_ceil(64)];
        for at in node.required.iter().filter_map(|name| keys.find(name)) {
            words[at / 64] |= 1 << (at % 64);
        }
        all.push((own, words));
    }
    all
}
