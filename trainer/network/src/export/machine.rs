//! What computes a folded network where the exporter has to try something that the runtime cannot.

use super::{ExportError, Folded};

/// Computes folded networks, in f32 or better, on several images at once.
/// [`Interpreter`](super::reference::Interpreter) is one, slow and without any further library.
pub trait Machine {
    /// Logits (images × classes) of `images` (normalised values, each image C×H×W). Each operation's results but the logits are shown
    /// to `store` for all images (each C×H×W), which may change them.
    ///
    /// # Errors
    /// [`ExportError::Machine`].
    fn forward(
        &self,
        network: &Folded,
        images: Vec<f32>,
        store: &mut dyn FnMut(&mut [f32]),
    ) -> Result<Vec<f32>, ExportError>;
}
