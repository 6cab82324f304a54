//! One tenant's data plane: the plan gate and the runtime.
