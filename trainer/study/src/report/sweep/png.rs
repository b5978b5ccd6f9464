//! The picture of a sweep as pixels, for where SVG is not shown.

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use super::scatter::picture;
use crate::schema::sweep::Sweep;

/// Pixels for each unit of the SVG.
const SCALE: f32 = 2.0;

/// Families that are taken for the text, best first; any other where none is installed.
const FAMILIES: [&str; 4] = ["DejaVu Sans", "Noto Sans", "Liberation Sans", "Arial"];

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum PngError {
    /// Nothing to write with.
    #[error("no font is installed for the PNG's text (Debian: fonts-dejavu-core); the SVG needs none")]
    NoFont,
    /// The charts do not become pixels.
    #[error("the picture cannot be drawn: {0}")]
    Draw(String),
}

/// All charts of the sweep as a PNG file, in light colours, with this system's fonts.
pub fn png(sweep: &Sweep) -> Result<Vec<u8>, PngError> {
    let mut options = Options::default();
    let fonts = options.fontdb_mut();
    fonts.load_system_fonts();
    let family = family(fonts).ok_or(PngError::NoFont)?;
    fonts.set_sans_serif_family(&family);
    options.font_family = family;
    let draw = |error: &dyn std::fmt::Display| PngError::Draw(error.to_string());
    let svg = picture(sweep, include_str!("print.css"));
    let tree = Tree::from_str(&svg, &options).map_err(|error| draw(&error))?;
    let size = tree.size().to_int_size().scale_by(SCALE).ok_or_else(|| draw(&"it has no size"))?;
    let mut pixels =
        Pixmap::new(size.width(), size.height()).ok_or_else(|| draw(&"too large for the memory"))?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| draw(&error))
}

/// The installed family to write with.
fn family(fonts: &fontdb::Database) -> Option<String> {
    let installed = || fonts.faces().flat_map(|face| &face.families).map(|(name, _)| name);
    let wished = FAMILIES.iter().find_map(|wished| installed().find(|name| name == wished));
    wished.or_else(|| installed().next()).cloned()
}
