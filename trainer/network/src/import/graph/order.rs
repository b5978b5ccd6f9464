//! The order of a graph's nodes.

use std::collections::{HashMap, HashSet};

use super::node::{Id, Node};

/// The nodes that the outputs need, each behind those that make what it reads.
pub(super) fn ordered(
    nodes: Vec<Node>,
    given: &HashSet<Id>,
    outputs: &[Id],
    names: &[String],
) -> Result<Vec<Node>, String> {
    let mut maker: HashMap<Id, usize> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for id in node.outputs.iter().flatten() {
            if given.contains(id) || maker.insert(*id, index).is_some() {
                return Err(format!("the value `{}` is made twice, last by `{}`", names[*id], node.name));
            }
        }
    }
    if outputs.is_empty() {
        return Err("it has no output".to_owned());
    }
    if let Some(missing) = outputs.iter().find(|id| !maker.contains_key(id) && !given.contains(id)) {
        return Err(format!("nothing makes its output `{}`", names[*missing]));
    }
    let mut needed = vec![false; nodes.len()];
    let mut stack: Vec<usize> = outputs.iter().filter_map(|id| maker.get(id).copied()).collect();
    let mut missing = Vec::new();
    while let Some(index) = stack.pop() {
        if std::mem::replace(&mut needed[index], true) {
            continue;
        }
        for id in nodes[index].inputs.iter().flatten() {
            match maker.get(id) {
                Some(&maker) => stack.push(maker),
                None if !given.contains(id) => missing.push((*id, index)),
                None => {}
            }
        }
    }
    if !missing.is_empty() {
        missing.sort_unstable_by_key(|&(_, index)| index);
        let one = |&(id, index): &(Id, usize)| format!("`{}` (for `{}`)", names[id], nodes[index].name);
        let shown: Vec<String> = missing.iter().take(8).map(one).collect();
        return Err(format!(
            "{} values are read that nothing makes and no weight is called: {}",
            missing.len(),
            shown.join(", ")
        ));
    }
    // Those that wait for nothing any more, in the file's order.
    let mut waits = vec![0_usize; nodes.len()];
    let mut readers: HashMap<usize, Vec<usize>> = HashMap::new();
    for (index, node) in nodes.iter().enumerate().filter(|&(index, _)| needed[index]) {
        for maker in node.inputs.iter().flatten().filter_map(|id| maker.get(id)) {
            waits[index] += 1;
            readers.entry(*maker).or_default().push(index);
        }
    }
    let ready = |index: &usize| needed[*index] && waits[*index] == 0;
    let mut ready: std::collections::BTreeSet<usize> = (0..nodes.len()).filter(ready).collect();
    let mut order = Vec::new();
    while let Some(index) = ready.pop_first() {
        order.push(index);
        for &reader in readers.get(&index).into_iter().flatten() {
            waits[reader] -= 1;
            if waits[reader] == 0 {
                ready.insert(reader);
            }
        }
    }
    let placed: HashSet<usize> = order.iter().copied().collect();
    if let Some(index) = (0..nodes.len()).find(|index| needed[*index] && !placed.contains(index)) {
        return Err(format!(
            "the node `{}` reads what depends on itself: the graph is cyclic",
            nodes[index].name
        ));
    }
    let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|index| nodes[index].take()).collect())
}
