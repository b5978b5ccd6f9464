//! What a picture's file says of it in front.

use image::metadata::Orientation;

/// What a file says of its picture before it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Columns, turned as EXIF says.
    pub width: u32,
    /// Rows, turned as EXIF says.
    pub height: u32,
    /// Grey, without colours.
    pub grey: bool,
}

impl Header {
    /// The header of the picture after it is turned.
    pub(super) fn turned(self, orientation: Orientation) -> Header {
        match orientation {
            Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH => Header { width: self.height, height: self.width, ..self },
            _ => self,
        }
    }
}
