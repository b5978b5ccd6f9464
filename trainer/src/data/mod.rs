//! Data sets: reading, splitting, batching, augmentation.
