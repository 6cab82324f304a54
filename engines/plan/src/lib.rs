//! Drafts plans on the control side and admits each one once on the data side.
