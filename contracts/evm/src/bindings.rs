//! What `sol!` makes of the committed ABIs. Documentation: the NatSpec of the sources.
#![allow(missing_docs)]

alloy_sol_types::sol!(
    #[derive(Debug, PartialEq, Eq)]
    Sspc,
    "artifacts/Sspc.abi.json"
);

alloy_sol_types::sol!(
    #[derive(Debug, PartialEq, Eq)]
    SspcCompact,
    "artifacts/SspcCompact.abi.json"
);
