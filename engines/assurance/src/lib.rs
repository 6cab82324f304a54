//! Controls and their evidence: what passes, what fails, what was not run.
