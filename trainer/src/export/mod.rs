//! From a trained checkpoint to a model file: BN folding, factorisation, f16, program, self-check.
