"""Network policies as pure functions: who a selector means, and what a node is to enforce for its pods."""
