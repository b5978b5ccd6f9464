//! Writes the seeds: `seeds FOLDER` makes a folder for each program, with small files that are right.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image::{DynamicImage, ImageFormat, RgbImage};
use lrpet_network::export::schedule::with_schedule;
use lrpet_network::{Checkpoint, Network, Source, onnx};
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::{Model, Shape};
use lrpet_runtime::plan::curve;
use lrpet_tests::every_operation::every_operation;
use lrpet_tests::general_operations::general_operations;
use lrpet_tests::random_model::small_model;

use lrpet_fuzz::Aligned;

/// Seeds of one program.
struct Seeds(PathBuf);

impl Seeds {
    fn of(root: &Path, target: &str) -> Result<Seeds> {
        let folder = root.join(target);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Seeds(folder))
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn main() -> Result<()> {
    let root = PathBuf::from(std::env::args_os().nth(1).context("usage: seeds FOLDER")?);
    let models = models()?;
    for target in ["model", "inspect"] {
        let seeds = Seeds::of(&root, target)?;
        models.iter().try_for_each(|(name, bytes)| seeds.put(name, bytes))?;
    }
    networks(&Seeds::of(&root, "network")?)?;
    graphs(&Seeds::of(&root, "onnx")?, &models)?;
    checkpoints(&Seeds::of(&root, "checkpoint")?)?;
    Seeds::of(&root, "pickle")?.put("state_dict", pickle())?;
    service(&Seeds::of(&root, "service")?)?;
    pictures(&Seeds::of(&root, "picture")?)?;
    datasets(&Seeds::of(&root, "dataset")?)?;
    let values: Vec<u8> = [0.5_f32; 24].iter().flat_map(|value| value.to_le_bytes()).collect();
    Seeds::of(&root, "input")?.put("array", npy("<f4", "1, 2, 3, 4", &values))
}

/// A file of NumPy's.
fn npy(kind: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}");
    [b"\x93NUMPY\x01\x00\x76\x00", format!("{header:<117}\n").as_bytes(), values].concat()
}

/// Models of every operation, layer by layer and in streams.
fn models() -> Result<Vec<(String, Vec<u8>)>> {
    let mut models = vec![
        ("small".to_owned(), small_model(Shape::new(1, 5, 4), 2, 3)?),
        ("every-operation".to_owned(), every_operation()),
        ("general".to_owned(), general_operations(false)),
        ("many".to_owned(), general_operations(true)),
    ];
    for (name, shape) in [("stream", Shape::new(1, 24, 20)), ("wide-stream", Shape::new(3, 17, 33))] {
        let bytes = small_model(shape, 4, 3)?;
        let file = Aligned::copy_of(&bytes);
        let model = Model::new_checked(file.bytes()).map_err(|error| anyhow::anyhow!("{error}"))?;
        let choices = curve(model.program(), Isa::CortexM).map_err(|error| anyhow::anyhow!("{error}"))?;
        let least = choices.last().context("a schedule")?;
        models.push((name.to_owned(), with_schedule(&bytes, &least.bytes())?));
    }
    Ok(models)
}

/// Short files of every kind of layer.
fn networks(seeds: &Seeds) -> Result<()> {
    for (name, shape) in [
        ("resnet8", Shape::new(1, 8, 8)),
        ("ds_cnn", Shape::new(1, 12, 10)),
        ("mobilenet_v1_025", Shape::new(3, 32, 32)),
    ] {
        let network = Network::by_name(name, shape, 3).context("a known network")?;
        seeds.put(name, network.to_text())?;
    }
    for (name, bytes) in models()? {
        let file = Aligned::copy_of(&bytes);
        let model = Model::new_checked(file.bytes()).map_err(|error| anyhow::anyhow!("{error}"))?;
        let text = lrpet_network::export::model_network(&model)?.0.to_text();
        // A model's layers may have names that a file refuses.
        if Network::from_text(&name, &text).is_ok() {
            seeds.put(&name, text)?;
        }
    }
    Ok(())
}

/// Models as ONNX, with weights in f32 and in f16.
fn graphs(seeds: &Seeds, models: &[(String, Vec<u8>)]) -> Result<()> {
    for (name, bytes) in models {
        let file = Aligned::copy_of(bytes);
        let model = Model::new_checked(file.bytes()).map_err(|error| anyhow::anyhow!("{error}"))?;
        for f16_weights in [false, true] {
            let options = onnx::Options { input: onnx::Input::Values, f16_weights, ..Default::default() };
            let converted = onnx::convert(&model, options)?;
            seeds.put(&format!("{name}-{f16_weights}"), converted.bytes)?;
        }
    }
    Ok(())
}

fn checkpoints(seeds: &Seeds) -> Result<()> {
    let network = Network::by_name("ds_cnn", Shape::new(1, 12, 10), 3).context("a known network")?;
    let mut checkpoint = Checkpoint::random(&network, 1);
    checkpoint.metadata.insert("network".to_owned(), "ds_cnn".to_owned());
    checkpoint.metadata.insert("bn_epsilon".to_owned(), "1e-3".to_owned());
    seeds.put("known", checkpoint.to_bytes()?)?;
    let network = Source::named("ds_cnn")?.usual();
    let text = network.to_text();
    let mut checkpoint = Checkpoint::default();
    checkpoint.metadata.insert(lrpet_network::network::NETWORK_FILE.to_owned(), text);
    seeds.put("described", checkpoint.to_bytes()?)
}

/// A state_dict of two tensors in one storage.
fn pickle() -> Vec<u8> {
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let int = |value: i32| [b"J", &value.to_le_bytes()[..]].concat();
    let ints = |values: &[i32]| {
        let inner: Vec<u8> = values.iter().flat_map(|value| int(*value)).collect();
        [b"(", &inner[..], b"t"].concat()
    };
    let tensor = |offset, shape: &[i32], strides: &[i32]| {
        [
            b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
            text("storage"),
            b"ctorch\nFloatStorage\n".to_vec(),
            text("0"),
            text("cpu"),
            int(64),
            b"tQ".to_vec(),
            int(offset),
            ints(shape),
            ints(strides),
            b"\x89ccollections\nOrderedDict\n)RtR".to_vec(),
        ]
        .concat()
    };
    [
        b"\x80\x02ccollections\nOrderedDict\n)Rq\x01(".to_vec(),
        text("conv.weight"),
        tensor(0, &[2, 3, 3, 3], &[27, 9, 3, 1]),
        text("conv.bias"),
        tensor(60, &[2], &[1]),
        b"u}".to_vec(),
        text("_metadata"),
        b"ccollections\nOrderedDict\n)Rsb.".to_vec(),
    ]
    .concat()
}

fn service(seeds: &Seeds) -> Result<()> {
    seeds.put("session", "name%db load 12%db 000102030405060708090a0b%infer 5 2%results%db print%")?;
    seeds.put("commands", "profile%timestamp%memory%help%\r\n%infer 1%db 00%what%results%")?;
    seeds.put("failures", b"db load 12%db 0001\xfe02%db 0001\xfd\xfd\xfd\xfd\xfd\xfd02%name%")
}

/// A picture of each kind, and of each kind of pixels.
fn pictures(seeds: &Seeds) -> Result<()> {
    let colour = RgbImage::from_fn(11, 7, |x, y| image::Rgb([(x * 23) as u8, (y * 35) as u8, (x * y) as u8]));
    let colour = DynamicImage::from(colour);
    let kinds = [
        ("rgb", colour.clone()),
        ("grey", colour.to_luma8().into()),
        ("deep", colour.to_rgb16().into()),
        ("transparent", colour.to_rgba8().into()),
    ];
    for (kind, picture) in kinds {
        for format in
            [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP]
        {
            let mut bytes = Cursor::new(Vec::new());
            // Not every format has every kind of pixels.
            if picture.write_to(&mut bytes, format).is_ok() {
                seeds.put(&format!("{kind}-{format:?}").to_lowercase(), bytes.into_inner())?;
            }
        }
    }
    Ok(())
}

fn idx(dims: &[u32], fill: u8) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
    bytes.resize(bytes.len() + dims.iter().product::<u32>() as usize, fill);
    bytes
}

/// As the fuzzed program takes them: a byte of the kind, the length of the first file, the files.
fn datasets(seeds: &Seeds) -> Result<()> {
    let two = |kind: u8, first: &[u8], second: &[u8]| {
        [&[kind], &(first.len() as u16).to_le_bytes()[..], first, second].concat()
    };
    seeds.put("idx", [&[0], &idx(&[2, 3, 4], 7)[..]].concat())?;
    seeds.put("labelled", two(1, &idx(&[2, 3, 4], 7), &idx(&[2], 1)))?;
    seeds.put("cifar-binary", two(2, &[3; 3073], &[]))?;
    let (x, y) = (npy("|u1", "4, 2, 3", &[7; 24]), npy("|i1", "4,", &[0, 1, 0, 1]));
    seeds.put("values", two(4, &x, &y))?;
    let mut sheet = Cursor::new(Vec::new());
    DynamicImage::from(RgbImage::from_pixel(1024, 1, image::Rgb([9, 8, 7])))
        .write_to(&mut sheet, ImageFormat::Png)?;
    seeds.put("cifar-png", two(3, &sheet.into_inner(), b"[1,2,3,4,5]"))
}
