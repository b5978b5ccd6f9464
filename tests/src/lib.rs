//! Whole-path tests: see `tests/`.
