//! What a model takes on a board, before it is flashed.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use lrpet_firmware::memory::{input_bytes, memory_bytes};
use lrpet_runtime::host::MappedModel;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::{Model, Needs};
use lrpet_runtime::plan::{Plan, turns};
use serde::Serialize;

use crate::boards::Board;

/// Memory that a board's firmware must have for a model. Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelMemory {
    /// The arena.
    pub arena: u64,
    /// All of it: arena, logits, and image or counts of the layers.
    pub all: u64,
    /// True where that takes firmware which runs streams.
    pub streams: bool,
    /// What else the firmware must have.
    pub needs: Needs,
}

impl ModelMemory {
    /// What `model` takes on `board`, cut up as the firmware does.
    ///
    /// # Errors
    /// Where it cannot be planned at all.
    pub fn of(board: &Board, model: &Model<'_>) -> Result<ModelMemory> {
        let program = model.program();
        let arena = Plan::new(program, board.isa).map_err(|error| anyhow!("{error}"))?.arena_bytes;
        let header = program.header();
        let all = memory_bytes(arena, header.classes as usize, program.len(), input_bytes(header));
        let streams = program.schedule().has_streams();
        Ok(ModelMemory { arena: arena as u64, all: all as u64, streams, needs: header.needs })
    }

    /// As [`ModelMemory::of`] for the model in a file, which the error names.
    pub fn of_file(board: &Board, file: &Path) -> Result<ModelMemory> {
        let map =
            MappedModel::open(file).with_context(|| format!("cannot read the model {}", file.display()))?;
        let model =
            Model::new_checked(map.bytes()).map_err(|error| anyhow!("{}: {error}", file.display()))?;
        ModelMemory::of(board, &model).with_context(|| file.display().to_string())
    }

    /// An error where `board` lacks the RAM for it, whatever else its firmware needs. Everything that brings a model to a board
    /// without linking it asks this; where it is linked, the linker knows the rest too.
    ///
    /// # Errors
    /// [`TooLarge`], with the bytes that are missing.
    pub fn ensure_fits(&self, board: &Board, model: &Path) -> Result<()> {
        let needed = self.all + (board.ram - board.variables());
        if needed <= board.ram {
            return Ok(());
        }
        let ram = Some(Need { needed, available: board.ram });
        Err(TooLarge { model: model.display().to_string(), board: board.name, flash: None, ram }.into())
    }

    /// An error where firmware that was built with `given` bytes of memory for a model has too few for this one.
    ///
    /// # Errors
    /// It names the bytes that are needed and missing.
    pub fn ensure_region_memory(&self, given: u64, model: &Path) -> Result<()> {
        let needed = self.all;
        anyhow::ensure!(
            needed <= given,
            "{} needs {needed} bytes of memory and the firmware would have {given}, {} are missing: build it with \
             --region-memory {needed}",
            model.display(),
            needed - given
        );
        Ok(())
    }
}

/// Index of the operation that each call of a layer computes rows of, in the order of an inference of the model in `file` by the kernels of
/// this name: as many as there are operations but where some run as a stream.
///
/// # Errors
/// Where the file is no model, there are no such kernels, or they cannot run it.
pub fn calls(file: &Path, kernels: &str) -> Result<Vec<usize>> {
    let map = MappedModel::open(file).with_context(|| format!("cannot read the model {}", file.display()))?;
    let model = Model::new_checked(map.bytes()).map_err(|error| anyhow!("{}: {error}", file.display()))?;
    let isa = Isa::ALL.into_iter().find(|isa| isa.name() == kernels);
    let isa = isa.with_context(|| format!("there are no kernels named {kernels}"))?;
    let turns = turns(model.program(), isa).map_err(|error| anyhow!("{}: {error}", file.display()))?;
    Ok(turns.into_iter().filter_map(|turn| turn.layer).collect())
}

/// Bytes that are needed of one kind of memory, and those that the board has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// Needed.
    pub needed: u64,
    /// On the board.
    pub available: u64,
}

impl Need {
    /// Bytes that are missing.
    pub fn missing(&self) -> u64 {
        self.needed.saturating_sub(self.available)
    }
}

/// A model that does not fit a board; one of the two at least is larger than the board's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// File of the model.
    pub model: String,
    /// Name of the board.
    pub board: &'static str,
    /// Code, constants, initial values and model; none where they fit.
    pub flash: Option<Need>,
    /// Variables, and what is kept for the stack; none where they fit.
    pub ram: Option<Need>,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not fit {}: ", self.model, self.board)?;
        let kinds = [
            ("flash", self.flash, "lower ranks take less"),
            ("RAM", self.ram, "a smaller input image takes less"),
        ];
        let mut before = "";
        for (name, need, help) in kinds {
            let Some(need) = need else { continue };
            let Need { needed, available } = need;
            let missing = need.missing();
            write!(
                f,
                "{before}{name}: {needed} bytes needed, {available} available, {missing} missing ({help})"
            )?;
            before = "; ";
        }
        Ok(())
    }
}

impl std::error::Error for TooLarge {}

#[cfg(test)]
pub(crate) mod tests {
    use lrpet_runtime::host::AlignedBytes;
    use lrpet_runtime::model::{Activation, Linear, Op, Shape, Weights};
    use lrpet_tests::random_model::random_model;

    use super::*;
    use crate::boards::BOARDS;

    /// The mean of an image, which is all that there is in memory, and a classifier.
    pub(crate) fn model_of_an_image(rows: u32) -> AlignedBytes {
        let classifier = Linear {
            name: "fc".to_owned(),
            input: 1,
            out_features: 2,
            weights: Weights::Dense,
            activation: Activation::None,
        };
        let ops = [Op::GlobalAveragePool { input: 0 }, Op::Linear(classifier)];
        AlignedBytes::copy_of(&random_model(Shape::new(3, rows, 1000), 2, &ops, 1).unwrap())
    }

    /// Memory grows with the image, up to one that no board takes.
    #[test]
    fn a_model_whose_memory_exceeds_the_ram_is_refused_with_the_bytes_that_are_missing() {
        let path = Path::new("large.safetensors");
        let files = [1, 12, 25, 54, 58, 500].map(model_of_an_image);
        for board in BOARDS {
            let (mut fitted, mut refused) = (0, 0);
            for file in &files {
                let memory = ModelMemory::of(board, &Model::new_checked(file.as_slice()).unwrap()).unwrap();
                assert!(memory.all > memory.arena);
                let room = board.variables();
                match memory.ensure_fits(board, path) {
                    Ok(()) => {
                        assert!(memory.all <= room);
                        fitted += 1;
                    }
                    Err(error) => {
                        assert!(memory.all > room);
                        let TooLarge { flash: None, ram: Some(need), .. } = error.downcast_ref().unwrap()
                        else {
                            panic!("{error}")
                        };
                        assert_eq!((need.missing(), need.available), (memory.all - room, board.ram));
                        assert!(
                            error.to_string().contains(&format!("{} missing", need.missing())),
                            "{error}"
                        );
                        refused += 1;
                    }
                }
                assert!(memory.ensure_region_memory(memory.all, path).is_ok());
                let error = memory.ensure_region_memory(memory.all - 1, path).unwrap_err().to_string();
                assert!(error.contains(&format!("--region-memory {}", memory.all)), "{error}");
            }
            assert!(fitted > 0 && refused > 0, "{}: {fitted} and {refused}", board.name);
        }
    }
}
