//! Low-rank projection with energy transfer (Guo et al., arXiv 2204.05566).
