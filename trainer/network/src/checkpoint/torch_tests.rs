//! Files as `torch.save` writes them, made by hand.

use std::io::{Cursor, Write};

use safetensors::Dtype;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::tests::{network, raw};
use super::*;

/// Instructions of a pickle of protocol 2.
#[derive(Default)]
pub(super) struct Emitter(Vec<u8>);

impl Emitter {
    pub fn new() -> Emitter {
        Emitter(b"\x80\x02".to_vec())
    }

    pub fn op(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    pub fn text(&mut self, text: &str) {
        self.op(b"X");
        self.op(&(text.len() as u32).to_le_bytes());
        self.op(text.as_bytes());
    }

    fn int(&mut self, value: usize) {
        self.op(b"J");
        self.op(&(value as i32).to_le_bytes());
    }

    fn ints(&mut self, values: &[usize]) {
        self.op(b"(");
        values.iter().for_each(|&value| self.int(value));
        self.op(b"t");
    }

    /// An ordered dictionary with a state of its own, as a state_dict is.
    pub fn state_dict(&mut self, entries: impl FnOnce(&mut Emitter)) {
        self.op(b"ccollections\nOrderedDict\n)Rq\x01(");
        entries(self);
        self.op(b"u}");
        self.text("_metadata");
        self.op(b"ccollections\nOrderedDict\n)Rsb");
    }

    pub fn tensor(&mut self, tensor: &Saved) {
        let storage = match tensor.dtype {
            Dtype::F16 => "HalfStorage",
            Dtype::BF16 => "BFloat16Storage",
            Dtype::F32 => "FloatStorage",
            Dtype::F64 => "DoubleStorage",
            _ => "LongStorage",
        };
        self.op(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        self.text("storage");
        self.op(format!("ctorch\n{storage}\n").as_bytes());
        self.text(&tensor.storage);
        self.text("cpu");
        self.int(tensor.bytes.len());
        self.op(b"tQ");
        self.int(tensor.offset);
        self.ints(&tensor.shape);
        self.ints(&tensor.strides);
        self.op(b"\x89ccollections\nOrderedDict\n)RtR");
    }

    pub fn done(mut self) -> Vec<u8> {
        self.op(b".");
        self.0
    }
}

/// A tensor as it is saved.
#[derive(Clone)]
pub(super) struct Saved {
    pub name: String,
    pub dtype: Dtype,
    pub storage: String,
    pub bytes: Vec<u8>,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

fn in_order(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
}

/// The tensors of `checkpoint`, each in a storage of its own, the types in turn, with a counter.
pub(super) fn saved(checkpoint: &Checkpoint, types: &[Dtype]) -> Vec<Saved> {
    let tensors = checkpoint.tensors.iter().zip(types.iter().cycle()).enumerate();
    let mut all: Vec<Saved> = tensors
        .map(|(number, ((name, array), &dtype))| Saved {
            name: name.clone(),
            dtype,
            storage: number.to_string(),
            bytes: raw(dtype, &array.values),
            offset: 0,
            shape: array.shape.clone(),
            strides: in_order(&array.shape),
        })
        .collect();
    all.push(Saved {
        name: "bn1.num_batches_tracked".into(),
        dtype: Dtype::I64,
        storage: "counter".into(),
        bytes: vec![0; 8],
        offset: 0,
        shape: vec![],
        strides: vec![],
    });
    all
}

/// A zip archive.
pub(super) fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in entries {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The archive of a pickle and of the tensors' storages.
pub(super) fn pack(pickle: &[u8], tensors: &[Saved]) -> Vec<u8> {
    let names: Vec<String> =
        tensors.iter().map(|tensor| format!("weights/data/{}", tensor.storage)).collect();
    let mut entries: Vec<(&str, &[u8])> =
        vec![("weights/data.pkl", pickle), ("weights/byteorder", b"little")];
    for (at, name) in names.iter().enumerate() {
        if !names[..at].contains(name) {
            entries.push((name, &tensors[at].bytes));
        }
    }
    entries.push(("weights/version", b"3\n"));
    archive(&entries)
}

fn emit(emitter: &mut Emitter, tensors: &[Saved]) {
    emitter.state_dict(|emitter| {
        for tensor in tensors {
            emitter.text(&tensor.name);
            emitter.tensor(tensor);
        }
    });
}

/// A file that is a state_dict.
pub(super) fn pth(tensors: &[Saved]) -> Vec<u8> {
    let mut emitter = Emitter::new();
    emit(&mut emitter, tensors);
    pack(&emitter.done(), tensors)
}

const F32: &[Dtype] = &[Dtype::F32];

fn refused(bytes: &[u8], words: &[&str]) {
    let error = Checkpoint::from_bytes(bytes).unwrap_err();
    words.iter().for_each(|word| assert!(error.contains(word), "{error}"));
}

#[test]
fn a_state_dict_is_read_in_every_float_type() {
    let net = network();
    let checkpoint = Checkpoint::random(&net, 1);
    assert_eq!(Checkpoint::from_bytes(&pth(&saved(&checkpoint, F32))).unwrap(), checkpoint);
    let types = [Dtype::F16, Dtype::BF16, Dtype::F32, Dtype::F64];
    let read = Checkpoint::from_bytes(&pth(&saved(&checkpoint, &types))).unwrap();
    read.check(&net).unwrap();
    for (name, array) in &checkpoint.tensors {
        for (a, b) in array.values.iter().zip(read.values(name).unwrap()) {
            // bf16 keeps 8 bits.
            assert!((a - b).abs() <= a.abs() / 256.0, "{name}: {a} {b}");
        }
    }
    // Wrapped as a parameter, and under DataParallel.
    let mut tensors = saved(&checkpoint, F32);
    tensors.iter_mut().for_each(|tensor| tensor.name.insert_str(0, "module."));
    let mut emitter = Emitter::new();
    emitter.state_dict(|emitter| {
        for tensor in &tensors {
            emitter.text(&tensor.name);
            emitter.op(b"ctorch._utils\n_rebuild_parameter\n(");
            emitter.tensor(tensor);
            emitter.op(b"\x88ccollections\nOrderedDict\n)RtR");
        }
    });
    let read = Checkpoint::from_bytes(&pack(&emitter.done(), &tensors)).unwrap();
    assert_eq!(read.tensors, checkpoint.tensors);
}

#[test]
fn a_state_dict_inside_of_a_training_s_file_is_found() {
    let checkpoint = Checkpoint::random(&network(), 2);
    let tensors = saved(&checkpoint, F32);
    let loose = Saved { name: "best".into(), shape: vec![1], strides: vec![1], ..tensors[0].clone() };
    let whole = |keys: &[&str]| {
        let mut emitter = Emitter::new();
        emitter.op(b"}(");
        for key in keys {
            emitter.text(key);
            emit(&mut emitter, &tensors);
        }
        // Beside it: the epoch, the optimiser with its momenta, the arguments of the program, a loose number.
        emitter.text("epoch");
        emitter.op(b"K\x07");
        emitter.text("optimizer");
        emitter.op(b"}(");
        emitter.text("state");
        emitter.op(b"}K\x00}");
        emitter.text("momentum_buffer");
        emitter.tensor(&tensors[1]);
        emitter.op(b"ss");
        emitter.text("param_groups");
        emitter.op(b"]}(");
        emitter.text("lr");
        emitter.op(b"G?\xb9\x99\x99\x99\x99\x99\x9aua");
        emitter.op(b"u");
        emitter.text("args");
        emitter.op(b"cargparse\nNamespace\n)\x81}");
        emitter.text("arch");
        emitter.text("resnet");
        emitter.op(b"sb");
        emitter.text("best");
        emitter.tensor(&loose);
        emitter.op(b"u");
        pack(&emitter.done(), &tensors)
    };
    for key in ["state_dict", "model", "model_state_dict", "net", "weights"] {
        let read = Checkpoint::from_bytes(&whole(&[key])).unwrap();
        if key != "weights" {
            assert_eq!(read.tensors, checkpoint.tensors);
            assert!(read.notes[0].contains(&format!("`{key}`")), "{:?}", read.notes);
        }
    }
    // The usual key goes before others; two usual ones are not chosen from.
    let read = Checkpoint::from_bytes(&whole(&["ema", "model"])).unwrap();
    assert!(read.tensors == checkpoint.tensors && read.notes[0].contains("`model`"));
    refused(&whole(&["net", "model"]), &["tensors are under model, net", "torch.save(torch.load(FILE)"]);
}

#[test]
fn tensors_that_do_not_lie_in_order_are_read() {
    let mut checkpoint = Checkpoint::default();
    let values: Vec<f32> = (0..120).map(|value| value as f32).collect();
    let tensor = |name: &str, offset, shape: &[usize], strides: &[usize]| Saved {
        name: name.to_owned(),
        dtype: Dtype::F32,
        storage: "0".to_owned(),
        bytes: raw(Dtype::F32, &values),
        offset,
        shape: shape.to_vec(),
        strides: strides.to_vec(),
    };
    // Channels last, a slice, a transposed matrix, an axis of one element with a step of its own, one number, none.
    let tensors = [
        tensor("a.weight", 0, &[2, 3, 2, 2], &[12, 1, 6, 3]),
        tensor("b.weight", 60, &[2, 2], &[30, 2]),
        tensor("c.weight", 0, &[3, 2], &[1, 3]),
        tensor("d.weight", 5, &[1, 3], &[1 << 30, 1]),
        tensor("e.weight", 119, &[], &[]),
        tensor("f.weight", 0, &[0, 3], &[3, 1]),
    ];
    let expected: [&[f32]; 6] = [
        &[
            0., 3., 6., 9., 1., 4., 7., 10., 2., 5., 8., 11., 12., 15., 18., 21., 13., 16., 19., 22., 14.,
            17., 20., 23.,
        ],
        &[60., 62., 90., 92.],
        &[0., 3., 1., 4., 2., 5.],
        &[5., 6., 7.],
        &[119.],
        &[],
    ];
    for (tensor, values) in tensors.iter().zip(expected) {
        let array = Array { shape: tensor.shape.clone(), values: values.to_vec() };
        checkpoint.tensors.insert(tensor.name.clone(), array);
    }
    assert_eq!(Checkpoint::from_bytes(&pth(&tensors)).unwrap(), checkpoint);
    // Beyond the storage, without end, the same numbers again and again.
    for (offset, shape, strides) in [
        (1, &[2, 3, 20][..], &[60, 20, 1][..]),
        (120, &[1], &[1]),
        (0, &[2], &[120]),
        (0, &[1 << 30, 1 << 30, 1 << 30], &[0, 0, 0]),
        (0, &[1 << 20], &[0]),
        (i32::MAX as usize, &[3], &[1]),
    ] {
        refused(&pth(&[tensor("a.weight", offset, shape, strides)]), &["a.weight", "goes beyond"]);
    }
    // Names for the same numbers over and over, each of which would be a copy.
    let large = Saved { bytes: vec![0; 1 << 17], ..tensor("t", 0, &[1 << 15], &[1]) };
    let names = |count: usize| -> Vec<Saved> {
        (0..count).map(|at| Saved { name: format!("t{at}"), ..large.clone() }).collect()
    };
    assert_eq!(Checkpoint::from_bytes(&pth(&names(4))).unwrap().tensors.len(), 4);
    refused(&pth(&names(40)), &["more numbers than the file"]);
}

#[test]
fn what_holds_no_state_dict_says_how_to_make_one() {
    let checkpoint = Checkpoint::random(&network(), 3);
    let tensors = saved(&checkpoint, F32);
    let pickled = |bytes: &[u8]| archive(&[("weights/data.pkl", bytes)]);
    refused(
        &pickled(b"\x80\x02cmodels\nResNet\n)\x81}b."),
        &["an object of models.ResNet", "network.state_dict()"],
    );
    refused(&pickled(b"\x80\x02K\x01."), &["no dictionary"]);
    refused(&pickled(b"\x80\x02}."), &["holds no tensors"]);
    // A word of the zip's two headers says how an entry is compressed: 8 is deflate.
    let mut deflated = pickled(b"\x80\x02}.");
    let central = deflated.windows(4).position(|word| word == b"PK\x01\x02").unwrap();
    (deflated[8], deflated[central + 10]) = (8, 8);
    refused(&deflated, &["is compressed", "save it again", "zip -0"]);
    let mut deep = Emitter::new();
    deep.op(b"}(");
    deep.text("run");
    deep.op(b"}(");
    deep.text("weights");
    emit(&mut deep, &tensors);
    deep.op(b"uu");
    refused(
        &pack(&deep.done(), &tensors),
        &["under `run`, `weights`", "map_location=\"cpu\")[\"run\"][\"weights\"], NEW)"],
    );
    refused(&archive(&[("word/document.xml", b"<w/>")]), &["none of PyTorch's"]);
    refused(&archive(&[("a/data.pkl", b"}."), ("a/constants.pkl", b").")]), &["TorchScript", "state_dict"]);
    refused(&archive(&[("a/data.pkl", b"}."), ("a/byteorder", b"big")]), &["big-endian"]);
    let mut emitter = Emitter::new();
    emit(&mut emitter, &tensors);
    let missing = archive(&[("weights/data.pkl", &emitter.done())]);
    refused(&missing, &["tensor bn1.bias", "weights/data/0"]);
    // A tensor of whole numbers, of NumPy, or quantised says so where it is needed, and only there.
    let mut whole = tensors.clone();
    whole[0].dtype = Dtype::I64;
    whole.push(Saved { name: "steps".into(), ..tensors[tensors.len() - 1].clone() });
    let read = Checkpoint::from_bytes(&pth(&whole)).unwrap();
    assert_eq!(read.others["steps"], "Long");
    let error = read.fit(&network(), Purpose::Model).unwrap_err().to_string();
    assert!(error.contains("tensor bn1.bias is Long"), "{error}");
    for (call, what) in [
        (&b"cnumpy.core.multiarray\n_reconstruct\n)R"[..], "an array of NumPy"),
        (b"ctorch._utils\n_rebuild_qtensor\n)R", "a tensor: qtensor"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n)R", "a tensor that is described in no known way"),
        (b"ctorch._tensor\n_rebuild_from_type_v2\n(NNNNtR", "a tensor of a class of its own"),
    ] {
        let mut emitter = Emitter::new();
        emitter.state_dict(|emitter| {
            emitter.text("conv1.weight");
            emitter.op(call);
            emitter.text("fc.bias");
            emitter.tensor(&tensors[0]);
        });
        let read = Checkpoint::from_bytes(&pack(&emitter.done(), &tensors)).unwrap();
        assert_eq!(read.others["conv1.weight"], what);
    }
}
