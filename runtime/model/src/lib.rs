//! Builds a model into a program: [`model!`] checks the file when the program is compiled, plans it for the program's
//! target, and lays weights and tables out for flash. The program has no parser, no planner and no check of files, and only
//! the kernels that this model uses.
//!
//! ```
//! lrpet_model::model! {
//!     /// Clothes, by their picture.
//!     pub struct Clothes = "../../models/fashion-mnist-resnet8-g0.6.safetensors";
//! }
//!
//! let mut arena = Clothes::arena();
//! let mut session = Clothes::session(&mut arena).unwrap();
//! let mut logits = [0.0; Clothes::CLASSES];
//! session.run_image(&[0; Clothes::INPUT_VALUES], &mut logits, &mut ()).unwrap();
//! ```

mod expand;
mod input;

use proc_macro::TokenStream;

/// Makes a type of a model file: `model!(struct Name = "file.safetensors");`, with attributes and visibility as any `struct`. The
/// file is found from the folder of the package's `Cargo.toml`.
///
/// The type has `arena()`, memory of the right size, `session(&mut arena)`, and the constants `ARENA_BYTES`, `FLASH_BYTES`,
/// `CLASSES`, `INPUT` (channels, height, width), `INPUT_VALUES` and `ROWS_TOGETHER` (for `push_rows`); it is `Clone`, `Copy`, `Debug` and a [`BuiltIn`](lrpet_runtime::built::BuiltIn).
/// The package needs `lrpet-runtime` under that name.
///
/// Behind the file may stand how much RAM it takes: `model!(struct Name = "file.safetensors", ram = 64_000);` bytes of arena
/// at most, or `ram = fastest`: as much as makes it faster. Unless it is said, the least. A schedule in the file (`lrpet
/// schedule`) is followed, unless `layers` stands there too: then the model runs layer by layer.
///
/// With `whole`, behind another comma, the file stays in the program as it is and the tensors are used where they lie in it. The type is
/// then a [`Whole`](lrpet_runtime::built::Whole) too, which has the file's names and self-check.
///
/// ```
/// use lrpet_runtime::built::Whole;
/// use lrpet_runtime::check::Comparison;
///
/// lrpet_model::model!(struct Clothes = "../../models/fashion-mnist-resnet8-g0.6.safetensors", ram = fastest, whole);
///
/// let mut arena = Clothes::arena();
/// let mut session = Clothes::session(&mut arena).unwrap();
/// let (check, mut logits) = (Clothes::self_check().unwrap(), [0.0; Clothes::CLASSES]);
/// for sample in 0..check.samples() {
///     session.run_sample(&check, sample, &mut logits, &mut ()).unwrap();
///     assert!(Comparison::by(&session, &logits, &check, sample).passes());
/// }
/// assert_eq!(Clothes::LAYERS.last().map(|layer| layer.name), Some("fc"));
/// ```
///
/// # Errors
/// Those of the compiler: a file that cannot be read or is no model, with the layer's name; a model that does not fit the
/// RAM that was said; operations for which `lrpet-runtime` needs a feature that the program has not.
#[proc_macro]
pub fn model(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as input::Input);
    expand::expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}
