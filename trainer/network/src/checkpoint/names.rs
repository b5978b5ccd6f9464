//! Names of a file's tensors become the network's.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{head, layers};
use super::{Checkpoint, CheckpointError};
use crate::network::Network;

/// What wrappers put in front of all names: `torch.compile`, `DataParallel`, and classes that hold the network in a field.
pub(super) const PREFIXES: [&str; 5] = ["_orig_mod.", "module.", "model.", "backbone.", "net."];

/// Usual names of the last linear layer.
pub(super) const HEADS: [&str; 6] = ["fc", "linear", "classifier", "classifier.1", "head", "head.fc"];

/// Last parts of the names of parameters and statistics.
const PARTS: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

impl Checkpoint {
    /// Names of all tensors, of whatever type, and of tied ones.
    fn names(&self) -> impl Iterator<Item = &String> {
        self.tensors.keys().chain(self.others.keys()).chain(self.tied.keys())
    }

    /// Names that look like a layer's.
    fn parameters(&self) -> impl Iterator<Item = &String> {
        let of_layer = |name: &str| name.rsplit_once('.').is_some_and(|(_, part)| PARTS.contains(&part));
        self.names().filter(move |name| of_layer(name))
    }

    /// Leaves out what all parameters' names begin with, as far as it is one of [`PREFIXES`], again and again.
    pub(super) fn leave_out_prefixes(&mut self) {
        let (mut prefixes, mut but_head) = (String::new(), "");
        while let Some(prefix) = self.common_prefix() {
            if !self.parameters().all(|name| name.starts_with(prefix)) {
                but_head = " but the last layer's";
            }
            self.rename(|name| name.strip_prefix(prefix).map(str::to_owned));
            prefixes += prefix;
        }
        if !prefixes.is_empty() {
            self.notes.push(format!("`{prefixes}` in front of all names{but_head} is left out"));
        }
    }

    /// What all parameters' names begin with, but for those of one last layer, which a class adds to a network in a field: without
    /// the prefix no two names may be the same, and no second last layer may come up.
    fn common_prefix(&self) -> Option<&'static str> {
        self.parameters().next()?;
        let layer = |name: &str| name.rsplit_once('.').map(|(layer, _)| layer.to_owned());
        let is_head = |name: &str| layer(name).is_some_and(|layer| HEADS.contains(&&*layer));
        PREFIXES.into_iter().find(|prefix| {
            let (inner, outer): (Vec<_>, Vec<_>) =
                self.parameters().partition(|name| name.starts_with(prefix));
            let heads: BTreeSet<_> = outer.iter().map(|name| layer(name)).collect();
            let alone = |name: &String| !is_head(&name[prefix.len()..]);
            let one_head = heads.len() == 1
                && outer.iter().all(|name| is_head(name))
                && inner.iter().all(|name| alone(name));
            !inner.is_empty() && (outer.is_empty() || one_head)
        })
    }

    /// A prefix that most parameters have and some have not, in words.
    pub(super) fn uneven_prefix(&self) -> Option<String> {
        let count = self.parameters().count();
        PREFIXES.into_iter().find_map(|prefix| {
            let without: Vec<String> =
                self.parameters().filter(|name| !name.starts_with(prefix)).cloned().collect();
            (without.len() < count.div_ceil(2)).then(|| {
                format!(
                    "most names begin with `{prefix}`, which is left out only in front of all: {} have none",
                    super::abridged(&without)
                )
            })
        })
    }

    /// Gives tensors the names that `change` returns.
    fn rename(&mut self, change: impl Fn(&str) -> Option<String>) {
        let new = |name: String| change(&name).unwrap_or(name);
        fn keys<T>(map: &mut BTreeMap<String, T>, new: impl Fn(String) -> String, value: impl Fn(T) -> T) {
            *map = std::mem::take(map).into_iter().map(|(name, of)| (new(name), value(of))).collect();
        }
        keys(&mut self.tensors, new, |array| array);
        keys(&mut self.others, new, |what| what);
        keys(&mut self.tied, new, new);
    }

    /// With the names of `network`, whose number of classes and size of images may still be others: a head of another usual
    /// name gets the network's, and tied tensors get theirs. The layer `fresh` needs no tensors.
    ///
    /// # Errors
    /// [`CheckpointError::Unusable`] where a tensor that the network needs is not of floating-point numbers.
    pub fn named_for(
        mut self,
        network: &Network,
        fresh: Option<&str>,
    ) -> Result<Checkpoint, CheckpointError> {
        let mut layers = layers(network);
        layers.retain(|layer| fresh != Some(&layer.name));
        if fresh.is_none() {
            self.name_head(network);
        }
        // Tied tensors may not take more memory than the file's own.
        let mut room: usize = self.tensors.values().map(|array| array.values.len()).sum();
        let mut copied = BTreeMap::new();
        let needed = || layers.iter().flat_map(|layer| layer.names());
        for name in needed().filter(|name| !self.tensors.contains_key(name)) {
            let Some(array) = self.tied.get(&name).and_then(|kept| self.tensors.get(kept)) else { continue };
            if array.values.len() <= room {
                room -= array.values.len();
                copied.insert(name, array.clone());
            }
        }
        // A tensor under a name that is not the network's has served under another one.
        for name in copied.keys() {
            let kept = self.tied.remove(name).unwrap_or_default();
            if needed().all(|name| name != kept) {
                self.tensors.remove(&kept);
            }
        }
        self.tensors.append(&mut copied);
        for name in needed().filter(|name| !self.tensors.contains_key(name)) {
            if let Some(what) = self.others.get(self.tied.get(&name).unwrap_or(&name)) {
                return Err(CheckpointError::Unusable { tensor: name, what: what.clone() });
            }
        }
        Ok(self)
    }

    /// Gives the last linear layer the network's name where it has exactly one other usual one.
    fn name_head(&mut self, network: &Network) {
        let Some(head) = head(network) else { return };
        let weight = |head: &str| format!("{head}.weight");
        if self.names().any(|name| *name == weight(head)) {
            return;
        }
        let is_layer = |name: &str| network.layers.iter().any(|layer| layer.op.name() == name);
        let matrix = |name: &str| {
            let array = self.tensors.get(self.tied.get(name).map_or(name, String::as_str));
            array.is_some_and(|array| array.shape.len() == 2)
        };
        let found: Vec<&str> =
            HEADS.into_iter().filter(|other| !is_layer(other) && matrix(&weight(other))).collect();
        let [other] = found[..] else { return };
        self.rename(|name| {
            let part = name.strip_prefix(other)?.strip_prefix('.')?;
            ["weight", "bias"].contains(&part).then(|| format!("{head}.{part}"))
        });
        self.notes.push(format!("`{other}` is taken for the network's last layer, `{head}`"));
    }

    /// Leaves out all that is of a last linear layer, under whatever usual name, but for what `keeps` names.
    pub(super) fn leave_out_head(&mut self, head: &str, keeps: impl Fn(&str) -> bool) {
        let first = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        let of_head = |name: &str| {
            name.strip_prefix(head).is_some_and(|rest| rest.starts_with('.'))
                || HEADS.iter().any(|usual| first(usual) == first(name))
        };
        let stays = |name: &str| keeps(name) || !of_head(name);
        self.tensors.retain(|name, _| stays(name));
        self.others.retain(|name, _| stays(name));
        self.tied.retain(|name, _| stays(name));
    }
}
