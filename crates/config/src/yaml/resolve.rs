//! YAML 1.1 scalars, by the regular expressions of PyYAML.
