//! A model in the program itself.

/// What the address of a model file in memory must be a multiple of: biases are read in place as f32. More than these 4
/// bytes gains nothing, because the tensors' places in the file decide where each of them lies.
pub const MODEL_ALIGNMENT: usize = 4;

/// Bytes that begin at a multiple of [`MODEL_ALIGNMENT`].
#[doc(hidden)]
#[repr(C, align(4))]
pub struct Aligned<T: ?Sized>(pub T);

const _: () = assert!(align_of::<Aligned<[u8; 1]>>() == MODEL_ALIGNMENT);

/// The bytes of a model file (`&'static [u8]`) as a part of the program, in flash on a microcontroller. As `include_bytes!`,
/// but at an address that [`Model::new_checked`](crate::model::Model::new_checked) takes, which that gives only by chance.
///
/// The file is named as for `include_bytes!`: relative to the source file, or a whole path.
///
/// ```
/// static MODEL: &[u8] = lrpet_runtime::include_model!(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
/// assert!(MODEL.as_ptr().addr() % lrpet_runtime::model::MODEL_ALIGNMENT == 0);
/// ```
#[macro_export]
macro_rules! include_model {
    ($file:expr $(,)?) => {{
        const MODEL: &$crate::model::Aligned<[u8]> = &$crate::model::Aligned(*::core::include_bytes!($file));
        &MODEL.0
    }};
}
