//! route-planner
