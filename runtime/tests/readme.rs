//! The README's code for firmware, compiled and run.

use std::error::Error;
use std::path::Path;

use lrpet_runtime::include_model;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::Model;
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::Session;

static MODEL: &[u8] = include_model!("../../models/fashion-mnist-resnet8-g0.6.safetensors");

fn infer<'a>(pixels: [u8; 784], arena: &'a mut [u8]) -> Result<[f32; 10], Box<dyn Error + 'a>> {
    let mut logits = [0.0; 10];
    let model = Model::new_checked(MODEL)?;
    let mut session = Session::new(&model, arena)?;
    session.run_image(&pixels, &mut logits, &mut ())?;
    Ok(logits)
}

/// As a program does it: the error outlives the arena, which is its own.
#[test]
fn a_main_of_ones_own_passes_errors_on() -> Result<(), Box<dyn Error>> {
    let model = Model::new_checked(MODEL)?;
    let mut arena = vec![0u128; Plan::new(model.program(), Isa::detect())?.arena_bytes.div_ceil(16)];
    let mut session = Session::new(&model, bytemuck::cast_slice_mut(&mut arena))?;
    let mut logits = [0.0; 10];
    session.run_image(&[0; 784], &mut logits, &mut ())?;
    Ok(())
}

#[test]
fn the_code_of_the_readme_runs() {
    let model = Model::new_checked(MODEL).unwrap();
    let bytes = Plan::new(model.program(), Isa::detect()).unwrap().arena_bytes;
    let mut arena = vec![0u128; bytes.div_ceil(16)];
    let check = model.self_check().unwrap();
    let pixels = check.image(0).try_into().unwrap();
    let logits = infer(pixels, bytemuck::cast_slice_mut(&mut arena)).unwrap();
    for (found, expected) in logits.iter().zip(check.logits(0)) {
        assert!((found - expected).abs() < 0.1, "{found} and not {expected}");
    }
}

/// Each line of the README's block is one of this file, but for the name of the model and comments.
#[test]
fn the_readme_shows_code_of_this_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let block = readme.split("```rust").nth(1).unwrap().split("```").next().unwrap();
    let here = include_str!("readme.rs").replace("../../models/fashion-mnist-resnet8-g0.6", "low");
    let here: Vec<&str> = here.lines().map(str::trim).collect();
    let lines = block.lines().skip(1).map(|line| line.split("//").next().unwrap_or_default().trim());
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    assert!(lines.len() >= 4, "{block}");
    for line in lines {
        assert!(
            here.contains(&line),
            "`{line}` of the README is not in this file, which is compiled and run"
        );
    }
}
