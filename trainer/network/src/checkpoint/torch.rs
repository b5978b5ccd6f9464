//! Reads what PyTorch's `torch.save` writes since version 1.6: a zip archive of a pickle and of the bytes of each storage.
//!
//! The parts of the format are those of `torch/_utils.py` and `torch/serialization.py`. candle's reader is not used: it trusts the
//! pickle, whose tuples may be short, whose values may be copied without end, and takes only tensors that lie in order.

use std::collections::{BTreeMap, HashMap};
use std::io::{Cursor, Read};

use zip::{CompressionMethod, ZipArchive};

use super::pickle::{Id, Pickle, Value};
use super::{Array, Checkpoint, Float, abridged};

/// How a file of the format before version 1.6 is refused.
pub(super) const LEGACY: &str = "it is a pickle as PyTorch wrote it before version 1.6; load it in PyTorch and save it again: \
     torch.save(torch.load(OLD, map_location=\"cpu\"), NEW)";
/// Keys under which a training keeps the network's state_dict beside its own state.
const NESTED: [&str; 4] = ["state_dict", "model_state_dict", "model", "net"];
/// Most bytes of the pickle, which holds names and shapes alone.
const MOST_PICKLE: u64 = 16 << 20;
/// Depth to which a tensor may be wrapped in others.
const MOST_WRAPS: usize = 4;

/// Whether the bytes begin as a zip archive.
pub(super) fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

/// Whether the bytes begin as a pickle by itself, or as the tar archive of the first versions.
pub(super) fn is_legacy(bytes: &[u8]) -> bool {
    matches!(bytes, [0x80, 1..=5, ..]) || bytes.get(257..262) == Some(b"ustar")
}

/// The tensors of a state_dict.
///
/// # Errors
/// What is wrong with the bytes, or why there is no state_dict.
pub(super) fn read(bytes: &[u8]) -> Result<Checkpoint, String> {
    let mut archive = Archive::open(bytes)?;
    let (folder, pickled) = archive.pickle()?;
    if archive.has(&format!("{folder}constants.pkl")) {
        return Err(
            "it is a TorchScript archive; save the state_dict: torch.save(module.state_dict(), FILE)"
                .to_owned(),
        );
    }
    if archive.has(&format!("{folder}byteorder")) {
        let order = archive.entry(&format!("{folder}byteorder"), 16)?;
        if order != b"little" {
            return Err("its numbers are big-endian; save it on a little-endian machine".to_owned());
        }
    }
    let pickle = Pickle::read(&pickled)?;
    let mut checkpoint = Checkpoint::default();
    let state = state_dict(&pickle, &mut checkpoint.notes)?;
    let mut storages = Storages { archive, folder, read: HashMap::new(), elements_left: bytes.len() };
    for (name, id) in state {
        match tensor(&pickle, id, 0) {
            None => {}
            Some(Kind::Other(what)) => drop(checkpoint.others.insert(name.to_owned(), what)),
            Some(Kind::Strided(tensor)) => {
                let array = storages.array(&tensor).map_err(|error| format!("tensor {name}: {error}"))?;
                checkpoint.tensors.insert(name.to_owned(), array);
            }
        }
    }
    Ok(checkpoint)
}

/// The zip archive.
struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// Bytes that entries may still have in all: more than the file has only where they overlap.
    left: u64,
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8]) -> Result<Archive<'a>, String> {
        let zip =
            ZipArchive::new(Cursor::new(bytes)).map_err(|error| format!("as a zip archive: {error}"))?;
        Ok(Archive { zip, left: bytes.len() as u64 })
    }

    fn has(&self, name: &str) -> bool {
        self.zip.index_for_name(name).is_some()
    }

    /// The pickle and the folder in which it lies, with a slash behind it.
    fn pickle(&mut self) -> Result<(String, Vec<u8>), String> {
        const NAME: &str = "data.pkl";
        let names = self.zip.file_names().flatten().map(|name| name.into_owned());
        let mut found: Vec<String> =
            names.filter(|name| name == NAME || name.ends_with(&format!("/{NAME}"))).collect();
        let (Some(name), true) = (found.pop(), found.is_empty()) else {
            return Err("it is a zip archive, but none of PyTorch's: it has no single data.pkl".to_owned());
        };
        let pickle = self.entry(&name, MOST_PICKLE)?;
        Ok((name[..name.len() - NAME.len()].to_owned(), pickle))
    }

    /// The bytes of an entry.
    fn entry(&mut self, name: &str, most: u64) -> Result<Vec<u8>, String> {
        let fails = |error: &dyn std::fmt::Display| format!("{name} in it cannot be read: {error}");
        let file = self.zip.by_name(name).map_err(|error| fails(&error))?;
        if file.compression() != CompressionMethod::Stored {
            return Err(format!(
                "{name} in it is compressed, as PyTorch does not: load it in PyTorch and save it again, or pack it anew without \
                 compression (zip -0)"
            ));
        }
        let size = file.size();
        if size > most.min(self.left) {
            return Err(fails(&format!("{size} bytes are too many")));
        }
        let mut bytes = Vec::new();
        file.take(size + 1).read_to_end(&mut bytes).map_err(|error| fails(&error))?;
        if bytes.len() as u64 != size {
            return Err(fails(&format!("it has {} bytes and should have {size}", bytes.len())));
        }
        self.left -= size;
        Ok(bytes)
    }
}

/// Entries of a dictionary whose keys are text.
fn entries<'a>(pickle: &Pickle<'a>, id: Id) -> Option<BTreeMap<&'a str, Id>> {
    let Value::Dict(entries) = pickle.get(id) else { return None };
    Some(entries.iter().filter_map(|&(key, value)| Some((pickle.text(key)?, value))).collect())
}

/// The dictionary of tensors: the whole pickle, or one inside of it.
fn state_dict<'a>(pickle: &Pickle<'a>, notes: &mut Vec<String>) -> Result<BTreeMap<&'a str, Id>, String> {
    let Some(root) = entries(pickle, pickle.root()) else {
        let what = match *pickle.get(pickle.root()) {
            Value::Call { callable, .. } => match *pickle.get(callable) {
                Value::Global(module, name) => format!("an object of {module}.{name}"),
                _ => "an object".to_owned(),
            },
            _ => "no dictionary".to_owned(),
        };
        return Err(format!(
            "it holds {what}, not a state_dict; save that: torch.save(network.state_dict(), FILE)"
        ));
    };
    let has_tensors = |of: &BTreeMap<&str, Id>| of.values().any(|&id| tensor(pickle, id, 0).is_some());
    let mut nested: Vec<(&str, BTreeMap<&str, Id>)> = (root.iter())
        .filter_map(|(&key, &id)| Some((key, entries(pickle, id)?)))
        .filter(|(_, inner)| has_tensors(inner))
        .collect();
    let usual = |key: &str| NESTED.contains(&key);
    if nested.iter().any(|(key, _)| usual(key)) {
        nested.retain(|(key, _)| usual(key));
    } else if has_tensors(&root) {
        return Ok(root);
    }
    let keys: Vec<String> = nested.iter().map(|(key, _)| (*key).to_owned()).collect();
    match (nested.pop(), nested.is_empty()) {
        (Some((key, inner)), true) => {
            notes.push(format!("the tensors are those under `{key}`"));
            Ok(inner)
        }
        (None, _) => {
            let keys: Vec<String> = root.keys().map(|key| (*key).to_owned()).collect();
            let deeper = root.iter().find_map(|(&key, &id)| {
                let inner = entries(pickle, id)?;
                let found = inner
                    .into_iter()
                    .find(|&(_, id)| entries(pickle, id).is_some_and(|innermost| has_tensors(&innermost)));
                Some((key, found?.0))
            });
            if let Some((outer, inner)) = deeper {
                return Err(format!(
                    "its tensors are under `{outer}`, `{inner}`; save these alone: \
                     torch.save(torch.load(FILE, map_location=\"cpu\")[\"{outer}\"][\"{inner}\"], NEW)"
                ));
            }
            Err(format!("it holds no tensors, nor does one of its dictionaries ({})", abridged(&keys)))
        }
        _ => Err(format!(
            "tensors are under {}: which are meant? Save these alone: torch.save(torch.load(FILE)[\"{}\"], NEW)",
            abridged(&keys),
            keys[0]
        )),
    }
}

/// What a value of a state_dict is.
enum Kind<'a> {
    Strided(Strided<'a>),
    /// No weights, with what it is instead.
    Other(String),
}

/// Where a tensor's numbers are.
struct Strided<'a> {
    float: Float,
    /// Name of the storage.
    storage: &'a str,
    /// Elements before the first one.
    offset: usize,
    shape: Vec<usize>,
    /// Elements from one to the next of each axis.
    strides: Vec<usize>,
}

/// The tensor that a value is; none where it is no tensor at all.
fn tensor<'a>(pickle: &Pickle<'a>, id: Id, wraps: usize) -> Option<Kind<'a>> {
    let other = |what: String| Some(Kind::Other(what));
    let &Value::Call { callable, arguments } = pickle.get(id) else { return None };
    let &Value::Global(module, function) = pickle.get(callable) else { return None };
    let arguments = pickle.elements(arguments)?;
    match (module, function) {
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") if wraps < MOST_WRAPS => {
            tensor(pickle, *arguments.first()?, wraps + 1)
        }
        ("torch._tensor", "_rebuild_from_type_v2") => {
            let [function, _, arguments, ..] = *arguments else { return None };
            match pickle.get(function) {
                Value::Global("torch._utils", function @ ("_rebuild_tensor_v2" | "_rebuild_tensor_v3")) => {
                    Some(rebuilt(pickle, function, pickle.elements(arguments)?))
                }
                _ => other("a tensor of a class of its own".to_owned()),
            }
        }
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3") => {
            Some(rebuilt(pickle, function, arguments))
        }
        ("torch._utils", _) if function.starts_with("_rebuild") => {
            other(function.trim_start_matches('_').replace('_', " ").replace("rebuild ", "a tensor: "))
        }
        _ if module.starts_with("numpy") => other("an array of NumPy".to_owned()),
        _ => None,
    }
}

/// A tensor by the arguments of PyTorch's `function`: storage, offset, shape, strides, whether it has a gradient, hooks, for
/// version 3 the type of its numbers, and sometimes what is put off (a sign, a conjugate).
fn rebuilt<'a>(pickle: &Pickle<'a>, function: &str, arguments: &[Id]) -> Kind<'a> {
    strided(pickle, function, arguments).unwrap_or_else(|what| Kind::Other(what.to_owned()))
}

fn strided<'a>(pickle: &Pickle<'a>, function: &str, arguments: &[Id]) -> Result<Kind<'a>, &'static str> {
    const BROKEN: &str = "a tensor that is described in no known way";
    let [storage, offset, shape, strides, ref rest @ ..] = *arguments else { return Err(BROKEN) };
    let &Value::Persistent(storage) = pickle.get(storage) else { return Err(BROKEN) };
    // ("storage", class, name, device, elements)
    let Some(&[tag, class, name, ..]) = pickle.elements(storage) else { return Err(BROKEN) };
    let (Some("storage"), Some(name)) = (pickle.text(tag), pickle.text(name)) else { return Err(BROKEN) };
    let third = function.ends_with("_v3");
    let class = if third { *rest.get(2).ok_or(BROKEN)? } else { class };
    let &Value::Global("torch" | "torch.storage", class) = pickle.get(class) else { return Err(BROKEN) };
    let float = match class {
        "HalfStorage" | "float16" | "half" => Float::F16,
        "BFloat16Storage" | "bfloat16" => Float::BF16,
        "FloatStorage" | "float32" | "float" => Float::F32,
        "DoubleStorage" | "float64" | "double" => Float::F64,
        _ => return Ok(Kind::Other(class.trim_end_matches("Storage").to_owned())),
    };
    if let Some(&put_off) = rest.get(if third { 3 } else { 2 })
        && !matches!(pickle.get(put_off), Value::Dict(entries) if entries.is_empty())
        && *pickle.get(put_off) != Value::Other
    {
        return Err("a tensor whose sign or conjugate is put off");
    }
    let size = |id: Id| match *pickle.get(id) {
        Value::Int(size) => usize::try_from(size).map_err(|_| BROKEN),
        _ => Err(BROKEN),
    };
    let sizes =
        |id: Id| pickle.elements(id).ok_or(BROKEN)?.iter().map(|&id| size(id)).collect::<Result<Vec<_>, _>>();
    let (shape, strides, offset) = (sizes(shape)?, sizes(strides)?, size(offset)?);
    if shape.len() != strides.len() {
        return Err(BROKEN);
    }
    Ok(Kind::Strided(Strided { float, storage: name, offset, shape, strides }))
}

/// The storages that tensors lie in.
struct Storages<'a> {
    archive: Archive<'a>,
    folder: String,
    /// Bytes by name.
    read: HashMap<String, Vec<u8>>,
    /// Elements that tensors may still have in all; a file has more bytes than elements, unless tensors share them over and over.
    elements_left: usize,
}

impl Storages<'_> {
    /// The numbers of a tensor, in the order of its axes.
    fn array(&mut self, tensor: &Strided) -> Result<Array, String> {
        let Strided { float, storage, offset, shape, strides } = tensor;
        if !self.read.contains_key(*storage) {
            let bytes = self.archive.entry(&format!("{}data/{storage}", self.folder), u64::MAX)?;
            self.read.insert((*storage).to_owned(), bytes);
        }
        let bytes = &self.read[*storage];
        let held = bytes.len() / float.size();
        let beyond = || format!("its shape {shape:?} goes beyond the {held} numbers of its storage");
        let count =
            shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size)).ok_or_else(beyond)?;
        if count > held {
            return Err(beyond());
        }
        if count > self.elements_left {
            return Err("the tensors up to this one have more numbers than the file has bytes".to_owned());
        }
        self.elements_left -= count;
        if count == 0 {
            return Ok(Array { shape: shape.clone(), values: Vec::new() });
        }
        let last = shape
            .iter()
            .zip(strides)
            .try_fold(*offset, |last, (size, stride)| last.checked_add((size - 1).checked_mul(*stride)?));
        if last.is_none_or(|last| last >= held) {
            return Err(beyond());
        }
        let numbers =
            |first: usize, end: usize| float.values(&bytes[first * float.size()..end * float.size()]);
        if in_order(shape, strides) {
            return Ok(Array { shape: shape.clone(), values: numbers(*offset, offset + count) });
        }
        let numbers = numbers(0, held);
        let mut values = Vec::with_capacity(count);
        let (mut at, mut index) = (*offset, vec![0; shape.len()]);
        for _ in 0..count {
            values.push(numbers[at]);
            // The step of an axis of one element may be any number, which is taken back at once.
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                at = at.wrapping_add(strides[axis]);
                if index[axis] < shape[axis] {
                    break;
                }
                at = at.wrapping_sub(shape[axis].wrapping_mul(strides[axis]));
                index[axis] = 0;
            }
        }
        Ok(Array { shape: shape.clone(), values })
    }
}

/// Whether the numbers lie one behind the other, the last axis fastest.
fn in_order(shape: &[usize], strides: &[usize]) -> bool {
    let mut step = 1;
    shape.iter().zip(strides).rev().all(|(&size, &stride)| {
        let fits = size == 1 || stride == step;
        step *= size;
        fits
    })
}
